"""What messages say of whether devices are there, and of which devices."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.formats.availability import AvailabilityTopics
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.errors import DataError
from headgate.core.results import Availability
from tests.unit.docs.test_docs import ROOT


def _feed(topic: object, /, **keys: object) -> FeedConfig:
    base: dict[str, Any] = {"topic": "in/{line}/{device}", "channels": {"x": {}}}
    named = {name: keys.pop(name) for name in ("online", "offline", "path") if name in keys}
    return FeedConfig.model_validate({**base, **keys, "availability": {"topic": topic, **named}})


def _reader(
    topic: object, /, most: int = 100, most_away: int = 100, **keys: object
) -> AvailabilityTopics:
    feed = _feed(topic, **keys)
    assert feed.availability is not None
    limits = IngestConfig(max_devices=most, max_tag_values=most_away)
    return AvailabilityTopics("f", feed, feed.availability, limits)


def _read(reader: AvailabilityTopics, topic: str, payload: bytes) -> list[Availability]:
    return reader.read(topic.encode(), payload, 7, 0)


def _reason(reader: AvailabilityTopics, topic: str, payload: bytes) -> str:
    with pytest.raises(DataError) as caught:
        _read(reader, topic, payload)
    return f"{caught.value.reason}: {caught.value.detail}"


@pytest.mark.parametrize(
    ("payload", "keys", "state"),
    [
        (b"online", {}, "online"),
        (b" Offline\n", {}, "offline"),
        (b"\xef\xbb\xbfonline\x00", {}, "online"),
        (b"true", {"online": [True], "offline": [False]}, "online"),
        (b"0", {"online": [1], "offline": [0]}, "offline"),
        (b'{"state": "online"}', {"path": "state"}, "online"),
        (b'{"device": {"up": false}}', {"path": "device.up", "offline": [False]}, "offline"),
        (b'{"up": 1.0}', {"path": "up", "online": [1]}, "online"),
        (b"offline", {"path": "state"}, "offline"),
    ],
)
def test_words(payload: bytes, keys: dict[str, Any], state: str) -> None:
    """As texts, numbers and booleans, bare and in an object."""
    (said,) = _read(_reader("s/{line}/{device}", **keys), "s/a/p7", payload)
    assert said == Availability(
        "f", "p7", 7, state, "availability", adds=True, tags=(("line", "a"),)
    )


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (
            b"maybe",
            "unknown_state: state: expected one of 'offline' (offline), 'online' (online)",
        ),
        (b'{"other": "online"}', "unknown_state: state: expected one of "),
        (b'{"state": {"x": 1}}', "unknown_state: state: expected one of "),
        (b'{"state": ' + b"9" * 5000 + b"}", "unknown_state: "),
        (b"[" * 5000, "unknown_state: "),
        (b"\xff\xfe", "unknown_state: "),
        (b"x" * 70_000, "too_large: 70000 bytes"),
    ],
)
def test_what_says_nothing_that_is_known_is_refused(payload: bytes, reason: str) -> None:
    """With what was expected and what was found."""
    assert _reason(_reader("s/{line}/{device}", path="state"), "s/a/p7", payload).startswith(reason)


def test_what_can_be_no_device_is_refused() -> None:
    """As with readings; and so is one device too many, but none that is known."""
    reader = _reader("s/{line}/{device}", most=1)
    assert _reason(reader, "s/a/", b"online").startswith("bad_device")
    assert _reason(reader, f"s/a/{'p' * 300}", b"online").startswith("name_too_long")
    _read(reader, "s/a/p7", b"online")
    assert _reason(reader, "s/a/p8", b"online") == "too_many_devices: ingest.max_devices is 1"
    _read(reader, "s/a/p7", b"offline")

    reader.forget(1)
    assert len(_read(reader, "s/a/p8", b"online")) == 1


def test_a_topic_with_less_than_a_device_is_of_all_that_have_it() -> None:
    """One of them has no device: it is of what these are connected through."""
    reader = _reader(["s/{line}", "t/{device}", "bridge/state"])
    (of_line,) = _read(reader, "s/a", b"offline")
    (of_name,) = _read(reader, "t/p7", b"offline")
    (of_all,) = _read(reader, "bridge/state", b"offline")

    assert (of_line.device, of_line.tags, of_line.is_through) == (None, (("line", "a"),), True)
    assert (of_name.device, of_name.tags, of_name.is_through) == ("p7", (), False)
    assert (of_all.device, of_all.tags, of_all.is_through) == (None, (), True)
    assert not any(each.adds for each in (of_line, of_name, of_all))


def test_a_name_is_made_as_that_of_the_feed() -> None:
    """Of the placeholders that it is made of; or it is what {device} is."""
    keys: dict[str, Any] = {"topic": "in/{line}/{no}/x", "device": "{line}-{no}", "identity": []}
    (said,) = _read(_reader("s/{no}/{line}", **keys), "s/7/a", b"online")
    assert (said.device, said.tags, said.adds) == ("a-7", (), True)
    keys = {"topic": "in/+", "device": "meta.serial"}
    (said,) = _read(_reader("s/{device}", **keys), "s/X1", b"online")
    assert (said.device, said.adds) == ("X1", True)


def test_what_a_broker_retains_of_a_device_is_no_newer_than_that_its_bridge_has_gone() -> None:
    """However the two come after a start; later on the device is believed."""
    reader = _reader(["s/{line}/{device}", "bridge/{line}"])
    _read(reader, "bridge/a", b"offline")
    first = _read(reader, "s/a/p7", b"online")
    assert [(each.state, each.is_through) for each in first] == [
        ("offline", True),
        ("online", False),
    ]
    assert len(_read(reader, "s/a/p7", b"online")) == 1
    assert len(_read(reader, "s/b/p7", b"online")) == 1
    _read(reader, "bridge/a", b"online")
    assert len(_read(reader, "s/a/p8", b"online")) == 1


def test_what_is_away_is_bounded_and_forgotten_as_devices_are() -> None:
    """One too many is refused; those that are known go on, and what is back makes room."""
    reader = _reader(["s/{line}/{device}", "bridge/{line}"], most_away=2)
    was_full = []
    for topic in ("bridge/a", "bridge/b"):
        _read(reader, topic, b"offline")
        was_full.append(reader.is_full)
    assert was_full == [False, True]
    assert _reason(reader, "bridge/c", b"offline") == (
        "too_many_tag_values: so many are away that devices of feed.f are connected through; "
        "ingest.max_tag_values is 2"
    )
    _read(reader, "bridge/a", b"offline")
    _read(reader, "bridge/c", b"online")
    _read(reader, "bridge/b", b"online")
    reader.read(b"bridge/c", b"offline", 7, 5)
    reader.forget(1)

    assert not reader.is_full
    assert len(_read(reader, "s/a/p7", b"online")) == 1
    assert len(_read(reader, "s/c/p7", b"online")) == 2


def test_what_is_away_is_known_to_the_next_process() -> None:
    """Once, and it is told when there is news of it; what could never be taken back is left out."""
    topics = ["s/{line}/{device}", "bridge/{line}", "bridge"]
    reader = _reader(topics)
    news = []
    for topic, state in (
        ("bridge/a", b"offline"),
        ("bridge/a", b"offline"),
        ("bridge", b"online"),
        ("bridge/b", b"offline"),
        ("bridge/b", b""),
        ("s/a/p6", b"offline"),
    ):
        _read(reader, topic, state)
        news.append(reader.is_away_news)
        away = json.loads(json.dumps(reader.away()))
    assert news == [True, False, False, True, True, False]

    after, other = _reader(topics), _reader(topics[0])
    for each in (after, other):
        each.recall(away, 3)
    assert len(_read(after, "s/a/p7", b"online")) == 2
    assert len(_read(other, "s/a/p7", b"online")) == 1
    after.forget(4)
    assert after.is_away_news
    assert after.away() == []


@pytest.mark.parametrize(
    "away",
    [
        None,
        7,
        {},
        [7],
        [[7]],
        [["a"]],
        [[["line"]]],
        [[["line", 7]]],
        [[["hall", "a"]]],
        [[["line", "a"], ["line", "a"]]],
    ],
)
def test_a_note_of_somebody_elses_is_no_note(away: object) -> None:
    """Nothing is away by it."""
    reader = _reader(["s/{line}/{device}", "bridge/{line}"], most_away=1)
    reader.recall(away, 0)
    assert reader.away() == []
    reader.recall([[["line", "a"]], [["line", "b"]]], 0)
    assert reader.away() == [(("line", "a"),)]


def test_a_device_is_cut_off_by_whatever_it_is_connected_through() -> None:
    """By something that all are connected through, too, and by what has one of its tags."""
    keys: dict[str, Any] = {"topic": "in/{hall}/{line}/{device}"}
    topics = ["s/{hall}/{line}/{device}", "bridge", "of/hall/{hall}", "of/line/{line}"]
    for topic, cut_off in (
        ("of/hall/h", {"h/a", "h/b"}),
        ("of/line/a", {"h/a", "i/a"}),
        ("bridge", {"h/a", "h/b", "i/a"}),
    ):
        reader = _reader(topics, **keys)
        _read(reader, topic, b"offline")
        said = {at: _read(reader, f"s/{at}/p", b"online") for at in ("h/a", "h/b", "i/a")}
        assert {at for at, each in said.items() if len(each) == 2} == cut_off


def test_nothing_says_that_nothing_is_said_any_more() -> None:
    """As one who clears a retained message does; it makes no device known, and ends an absence."""
    reader = _reader(["s/{line}/{device}", "bridge/{line}"], most=1)
    (of_one,) = _read(reader, "s/a/p7", b"")
    assert of_one == Availability("f", "p7", 7, "withdrawn", "availability", tags=(("line", "a"),))
    _read(reader, "bridge/a", b"offline")
    (of_all,) = _read(reader, "bridge/a", b"")
    assert (of_all.state, of_all.is_through, of_all.adds) == ("withdrawn", True, False)
    assert len(_read(reader, "s/a/p8", b"online")) == 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"topic": "s/{other}"}, "{other} tells nothing of a device of this feed; write + in its"),
        ({"topic": []}, "expected an MQTT topic, or a list of some"),
        ({"topic": ["a", "a"]}, "the same topic stands twice; leave one out"),
        ({"topic": "s/x+"}, "a wildcard must be a whole level"),
        ({"topic": "s", "online": []}, "at least 1 item"),
        ({"topic": "s", "online": ["Up"], "offline": ["up"]}, "'up' is in both"),
        ({"topic": "s", "device_state": False}, "with device_state = false nothing is said"),
    ],
)
def test_mistakes_are_told(keys: dict[str, Any], message: str) -> None:
    """When the configuration is read."""
    with pytest.raises(ValidationError, match=re.escape(message)):
        _feed(keys.pop("topic"), **keys)


#: What each product of the page on devices publishes, made up in the form that it sends.
_PUBLISHED: dict[str, list[tuple[str, bytes, str | None, str]]] = {
    "Zigbee2MQTT": [
        ("zigbee2mqtt/cold-store/availability", b'{"state":"offline"}', "cold-store", "offline"),
        ("zigbee2mqtt/bridge/state", b'{"state":"online"}', None, "online"),
    ],
    "Tasmota": [("tele/press-3/LWT", b"Online", "press-3", "online")],
    "ESPHome": [("boiler-room/status", b"offline", "boiler-room", "offline")],
    "Shelly, first generation": [
        ("shellies/shelly1pm-8CAAB5/online", b"false", "shelly1pm-8CAAB5", "offline")
    ],
    "Shelly, second generation and later": [
        ("shellyplus1pm-44179/online", b"true", "shellyplus1pm-44179", "online")
    ],
    "Homie": [
        ("homie/greenhouse/$state", b"lost", "greenhouse", "offline"),
        ("homie/greenhouse/$state", b"ready", "greenhouse", "online"),
    ],
}


def test_the_page_on_devices_says_what_products_publish() -> None:
    """Each row of its table is a table of a feed, and reads what the product says."""
    text = (ROOT / "docs/devices.md").read_text()
    text = text.split("## Whether they are there\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| (`topic.*) \|$", text, re.MULTILINE)
    assert [name for name, _ in rows] == list(_PUBLISHED)
    for name, keys in rows:
        lines = "\n".join(re.findall(r"`([^`]+)`", keys))
        feed = FeedConfig.model_validate(
            {"topic": "in/{device}", "channels": {"x": {}}, "availability": tomllib.loads(lines)}
        )
        assert feed.availability is not None
        reader = AvailabilityTopics("f", feed, feed.availability, IngestConfig())
        for topic, payload, device, state in _PUBLISHED[name]:
            said = _read(reader, topic, payload)[-1]
            assert (said.device, said.state) == (device, state)
