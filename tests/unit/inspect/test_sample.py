"""What each step makes of a message, told by the steps themselves."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from headgate.config.schema import Config
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.properties import Properties
from headgate.discover.trial import ZONELESS
from headgate.inspect.sample import Explainer, came_of

_NOW_NS = 1_795_900_000 * NS_PER_S
_FEEDS = """
[local_store]
[mqtt]
ignore = ["plant/bridge/#"]
[feed.other]
topic = "plant/{device}/status"
channels.x = {}
[feed.pump]
topic = "plant/{line}/{device}/data"
time = { path = "t", unit = "s" }
channels.flow = { unit = "m3/h", range = [0, 10] }
channels.temp = { unit = "C" }
[feed.late]
topic = "plant/+/+/{device}"
channels.flow = {}
"""


def _explainer() -> Explainer:
    return Explainer(Config.model_validate(tomllib.loads(_FEEDS)), SystemClock())


@pytest.mark.parametrize(
    ("time", "payload", "told"),
    [
        ({"path": "t", "epoch": "start"}, b'{"t": 5, "x": 1}', "by its uptime, the device's start"),
        ({"path": "t", "epoch": "arrival"}, b'{"t": 5, "x": 1}', "by its age, counted back"),
        ({"path": "t", "fallback": "arrival"}, b'{"x": 1}', "because it has no time of its own"),
        ({}, b'{"x": 1}', "because the feed has no time"),
    ],
)
def test_a_time_by_arrivals_is_told_as_what_it_is(
    time: dict[str, str], payload: bytes, told: str
) -> None:
    feed = {"topic": "{device}", "channels": {"x": {}}, "time": time}
    config = Config.model_validate({"local_store": {}, "feed": {"f": feed}})
    (reading,) = Explainer(config, SystemClock()).explain(b"d", payload, _NOW_NS).readings
    assert told in reading.flags[0]


def test_a_message_is_followed_from_its_topic_to_its_point() -> None:
    """Which feed and why no other, format, time, flags, decision, point."""
    explainer = _explainer()
    payload = b'{"t": 1795899990, "flow": 12.5, "temp": null}'
    told = explainer.explain(b"plant/a/p07/data", payload, _NOW_NS)

    assert [(step.feed, step.why_not) for step in told.steps] == [
        ("other", "level 3 is 'p07', expected 'status'"),
        ("pump", ""),
        ("late", "feed.pump takes it, whose topic is more specific"),
    ]
    assert (told.feed, told.format, told.records) == ("pump", "json", 1)
    assert told.record == '{"t": 1795899990, "flow": 12.5, "temp": null}'
    assert told.time == 't = 1795899990, read with unit = "s"'
    flow, temp = told.readings
    assert (flow.device, flow.tags, flow.value, flow.unit) == ("p07", {"line": "a"}, 12.5, "m3/h")
    assert flow.time == "2026-11-28T21:06:30.000000000Z"
    assert flow.fate == "kept: out of range (range = [0, 10]), counted, and in no statistics"
    assert (temp.value, temp.flags) == (None, ["missing: no number"])
    (point,) = explainer.points()
    assert point.line().startswith("pump_10s,device=p07,gateway=gateway,line=a flow_n=0i,flow_fla")
    assert came_of([told])


@pytest.mark.parametrize(
    ("time", "value", "how"),
    [
        ("", '"2026-11-28T10:00:00Z"', "ISO 8601"),
        ("", "1795899990000", 'unit = "ms"'),
        ("", '"1795899990000"', 'unit = "ms"'),
        ('zone = "UTC"', '"2026-11-28 10:00"', 'ISO 8601, zone = "UTC"'),
        ('zone = "UTC"', "1795899990000", 'unit = "ms", zone = "UTC"'),
        ('unit = "iso8601"', '"2026-11-28T10:00:00Z"', 'unit = "iso8601"'),
    ],
)
def test_it_is_told_how_a_time_is_read(time: str, value: str, how: str) -> None:
    """Also where the configuration does not say it."""
    feeds = f"""
[local_store]
[feed.f]
topic = "in/{{device}}"
time = {{ path = "t"{time and ", "}{time} }}
channels.v = {{}}
"""
    explainer = Explainer(Config.model_validate(tomllib.loads(feeds)), SystemClock())
    told = explainer.explain(b"in/a", b'{"t": %s, "v": 1}' % value.encode(), _NOW_NS)
    assert told.time.endswith(f", read with {how}")
    assert came_of([told])


def test_several_messages_are_one_after_the_other() -> None:
    """The second of one time is rejected as the gateway rejects it."""
    explainer = _explainer()
    payload = b'{"t": 1795899990, "flow": 1.5}'
    fates = [
        explainer.explain(b"plant/a/p07/data", payload, _NOW_NS + at).readings[0].fate
        for at in range(2)
    ]

    assert fates == ["kept", "rejected: duplicate"]


def test_of_several_readings_of_one_time_each_has_its_own_fate() -> None:
    """The first counts; another value is in conflict with it, the same one a duplicate."""
    told = _explainer().explain(
        b"plant/a/p07/data",
        b'[{"t": 1795899990, "flow": 1.5}, {"t": 1795899990, "flow": 2.5}, '
        b'{"t": 1795899990, "flow": 1.5}, {"t": 1795899991, "flow": 1.5}]',
        _NOW_NS,
    )

    assert [(each.value, each.fate) for each in told.readings] == [
        (1.5, "kept"),
        (2.5, "rejected: conflict"),
        (1.5, "rejected: duplicate"),
        (1.5, "kept"),
    ]


def test_a_refusal_is_told_with_its_place_and_remedy() -> None:
    """Where the parser stopped; and the line that takes it, where there is one."""
    explainer = _explainer()
    broken = explainer.explain(b"plant/a/p07/data", b'{"flow": 1,, "t": 5}', _NOW_NS)
    early = explainer.explain(b"plant/a/p07/data", b'{"t": 1795899990000, "flow": 1}', _NOW_NS)

    assert [each.reason for each in broken.troubles] == ["not_json"]
    assert broken.troubles[0].where == '{"flow": 1, ▶ , "t": 5}'
    assert not came_of([broken])
    assert [each.reason for each in early.troubles] == ["bad_time"]
    assert str(early.troubles[0].remedies[0]) == 'in [feed.pump] time = { path = "t", unit = "ms" }'


def test_a_message_is_read_as_what_it_says_it_is() -> None:
    """And what is told of a refusal, and what would help, are of that format."""
    feed = {
        "topic": "m/{device}",
        "channels": {"x": {}},
        "content_types": {"application/msgpack": "msgpack"},
    }
    explainer = Explainer(
        Config.model_validate({"local_store": {}, "feed": {"f": feed}}), SystemClock()
    )
    packed = b"\x81\xa1x\x01"
    good = explainer.explain(
        b"m/a", packed, _NOW_NS, properties=Properties(b"application/msgpack;v=1")
    )
    json = explainer.explain(b"m/a", b'{"x": 2}', _NOW_NS + 1, properties=Properties(b"text/plain"))
    other = explainer.explain(
        b"m/a", b"\x81\xa1y\x01", _NOW_NS + 2, properties=Properties(b"application/msgpack")
    )
    bad = explainer.explain(b"m/a", packed, _NOW_NS + 3)
    wrong = explainer.explain(
        b"m/a", b'{"x": 2}', _NOW_NS + 4, properties=Properties(b"application/msgpack")
    )

    assert (good.format, [each.value for each in good.readings]) == ("msgpack", [1])
    assert (json.format, [each.value for each in json.readings]) == ("json", [2])
    (trouble,) = other.troubles
    assert trouble.detail.endswith("; content type application/msgpack")
    assert [str(each) for each in trouble.remedies] == ["in [feed.f.channels] y = {}"]
    assert bad.troubles[0].reason == "not_utf8"
    # What it says itself is believed: that it is JSON would be no remedy.
    assert wrong.troubles[0].reason == "not_msgpack"
    assert not wrong.troubles[0].remedies


def test_topics_of_no_feed_and_ignored_ones_are_told_apart() -> None:
    """Both without a reading."""
    explainer = _explainer()
    none = explainer.explain(b"plant/x", b"1", _NOW_NS)
    ignored = explainer.explain(b"plant/bridge/p07/data", b"1", _NOW_NS)

    assert [each.reason for each in none.troubles] == ["unknown_topic"]
    assert none.steps[1].why_not == "2 levels, expected 4"
    assert not ignored.troubles
    assert {step.why_not for step in ignored.steps} == {"the topic is one of mqtt.ignore"}
    assert not explainer.points()


def test_a_time_far_ahead_is_held() -> None:
    """Until others agree, as in the gateway."""
    explainer = _explainer()
    told = explainer.explain(b"plant/a/p07/data", b'{"t": 1795899990, "flow": 1}', _NOW_NS)
    ahead = explainer.explain(b"plant/a/p07/data", b'{"t": 1795950000, "flow": 1}', _NOW_NS)

    assert told.readings[0].fate == "kept"
    assert ahead.readings[0].flags == ["ahead of the gateway's clock"]
    assert ahead.readings[0].fate.startswith("held: ")


def test_any_payload_is_explained() -> None:
    """None of them raises."""
    explainer = _explainer()
    for payload in (b"", b"\xff\x00", b"[" * 1000, b"{}", b"[1, 2]", b'{"t": 1e999}', b"9" * 5000):
        told = explainer.explain(b"plant/a/p07/data", payload, _NOW_NS)
        assert told.troubles
        assert not told.readings


def test_the_filters_of_a_feed_mean_no_message_of_any_other() -> None:
    """What it passes over that nothing else matches is refused nowhere."""
    feeds = {
        "a": {"topic": "a/{device}", "ignore": ["+/bridge"], "other_channels": {}},
        "b": {"topic": "b/{device}", "other_channels": {}},
    }
    explainer = Explainer(Config.model_validate({"local_store": {}, "feed": feeds}), SystemClock())

    ignored = explainer.explain(b"a/bridge", b'{"x": 1}', _NOW_NS)
    read = explainer.explain(b"b/bridge", b'{"x": 1}', _NOW_NS)

    assert [(step.feed, step.why_not) for step in ignored.steps] == [
        ("a", "the topic is one of feed.a.ignore"),
        ("b", "level 1 is 'a', expected 'b'"),
    ]
    assert not ignored.readings
    assert not ignored.troubles
    assert [(each.device, each.channel, each.fate) for each in read.readings] == [
        ("bridge", "x", "kept")
    ]


def test_of_topics_that_overlap_the_more_specific_takes_the_message() -> None:
    """As the page on feeds says, whatever their order in the file; each other feed says why not."""
    page = (Path(__file__).parents[3] / "connectors/formats/README.md").read_text()
    section = page.split("## Feeds whose topics overlap\n")[1].split("\n## ")[0]
    table = tomllib.loads(section.split("```toml\n")[1].split("```")[0])["feed"]
    expected = re.findall(r"^\| `([^`]+)` \| (?:`(\w+)`|none) \|", section, re.MULTILINE)
    assert len(expected) == 5
    for feeds in (table, dict(reversed(table.items()))):
        config = Config.model_validate({"local_store": {}, "feed": feeds})
        explainer = Explainer(config, SystemClock())
        for topic, feed in expected:
            told = explainer.explain(topic.encode(), b"1", _NOW_NS)
            assert told.feed == feed
            assert [step.feed for step in told.steps if not step.why_not] == [feed] * bool(feed)
            assert bool(told.troubles) is bool(feed and feed != "log")
        shown = explainer.explain(b"plant/pump1/data", b'{"flow": 2}', _NOW_NS)
        assert [(step.feed, step.why_not) for step in shown.steps] == [
            ("pump", ""),
            ("log", "level 3 is 'data', expected 'log'"),
            ("plant", "feed.pump takes it, whose topic is more specific"),
        ]
        (reading,) = shown.readings
        assert (reading.device, reading.channel, reading.value) == ("pump1", "flow", 2)


def _of_one(feed: str) -> Explainer:
    text = f"[local_store]\n[feed.f]\ntopic = 'in/{{device}}'\n{feed}"
    return Explainer(Config.model_validate(tomllib.loads(text)), SystemClock())


def test_all_that_is_wrong_is_told_of_each_message() -> None:
    """Also where one before it was wrong likewise: the gateway keeps an example a minute."""
    explainer = _of_one('channels.x = { unit = "W" }')
    told = [explainer.explain(b"in/a", b'{"x": "n/a"}', _NOW_NS + at) for at in range(3)]

    assert [[each.reason for each in one.troubles] for one in told] == [["bad_field"]] * 3
    assert all(one.troubles[0].remedies for one in told)


def test_a_place_in_a_text_is_shown_in_that_text() -> None:
    """And a number that is none without the mark that it has inside."""
    explainer = _of_one('format = { type = "json", embedded = ["a"] }\nchannels.x = {}')
    bad = explainer.explain(b"in/a", b'{"b": 12345678, "a": "{\\"x\\": 1,, 2}"}', _NOW_NS)
    odd = explainer.explain(b"in/a", b'{"x": NaN, "y": [-inf], "z": "nan"}', _NOW_NS + 1)

    assert bad.troubles[0].where == '{"x": 1, ▶ , 2}'
    assert odd.record == '{"x": NaN, "y": [-inf], "z": "nan"}'


def test_a_text_that_is_missing_is_no_number() -> None:
    """It is told as what it is."""
    explainer = _of_one('channels = { x = { type = "text" }, y = {} }')
    said, number = explainer.explain(b"in/a", b'{"x": null, "y": null}', _NOW_NS).readings[::-1]
    flags = {each.channel: each.flags[0] for each in (said, number)}

    assert flags == {"x": "missing: no text", "y": "missing: no number"}


def test_a_time_without_a_zone_is_told_to_be_taken_for_utc() -> None:
    """As the running gateway tells it; so does a remedy that reads one."""
    payload = b'{"t": "28.11.2026 13:59:38", "x": 1}'
    pattern = 'time = { path = "t", pattern = "%d.%m.%Y %H:%M:%S"'
    local = _of_one(f"{pattern} }}\nchannels.x = {{}}").explain(b"in/a", payload, _NOW_NS)
    zoned = _of_one(f'{pattern}, zone = "Europe/Berlin" }}\nchannels.x = {{}}')
    refused = _of_one('time = { path = "t", unit = "s" }\nchannels.x = {}')
    (trouble,) = refused.explain(b"in/a", payload, _NOW_NS).troubles

    assert local.time.endswith(f"; {ZONELESS}")
    assert "UTC" not in zoned.explain(b"in/a", payload, _NOW_NS).time
    assert trouble.remedies[0].gives == f"x 1; {ZONELESS}"


def test_a_message_that_is_a_text_of_json_is_read_as_what_it_holds() -> None:
    """As some write it that make JSON of JSON; no other text is."""
    explainer = _of_one('time = { path = "ts", unit = "s" }\nchannels.p = {}')
    told = explainer.explain(b"in/a", b'"{\\"ts\\":1795899990,\\"p\\":3}"', _NOW_NS)
    bad = explainer.explain(b"in/a", b'"{\\"ts\\":,}"', _NOW_NS + 1)
    other = explainer.explain(b"in/a", b'"hello"', _NOW_NS + 2)

    assert [(each.channel, each.value) for each in told.readings] == [("p", 3)]
    assert told.time == 'ts = 1795899990, read with unit = "s"'
    assert bad.troubles[0].detail.startswith("the text that the message is: ")
    assert bad.troubles[0].where == '{"ts": ▶ ,}'
    assert [each.reason for each in other.troubles] == ["not_object"]
