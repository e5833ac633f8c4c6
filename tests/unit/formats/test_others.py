"""Channels that no table names: what is one, what it is called, and how many there may be."""

from __future__ import annotations

import math
import random
from itertools import product
from typing import Any

import msgspec
import numpy as np
import pytest

from connectors.formats.columns import Decoded
from connectors.formats.components import BUILT_IN
from connectors.formats.decoder import FeedDecoder
from connectors.formats.format import FormatExample
from connectors.formats.said import Globs, pattern_of
from headgate.config.channel import OtherChannelsConfig
from headgate.config.schema import Config
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from headgate.core.components import component
from headgate.testing.formats import changed
from tests.unit.formats.test_cost import calls

_NOW_NS = 1_795_900_000 * 10**9

_BELOW = {"other_channels": {"below": "a"}}

_PLAIN = {"topic": "t/{device}", "other_channels": {}}


class _Feed:
    """A feed, and what it has read."""

    def __init__(self, feed: dict[str, Any], **ingest: int) -> None:
        raw = {"local_store": {}, "feed": {"f": feed}, "ingest": ingest}
        config = Config.model_validate(raw)
        self.table = ChannelTable()
        self.decoder = FeedDecoder("f", config.feed["f"], self.table, config.ingest)
        self.refused: list[str] = []
        self.found: Decoded

    def read(self, *messages: tuple[str, str]) -> list[tuple[str, str, float | None]]:
        """Device, channel and value of each reading."""
        self.found = self.decoder.decode(
            [topic.encode() for topic, _ in messages],
            [payload.encode() for _, payload in messages],
            np.full(len(messages), _NOW_NS),
        )
        self.refused = [str(error) for _, error in self.found.refused]
        channels = [self.table.channels[row] for row in self.found.channel.tolist()]
        return [
            (channel.device, channel.field, None if math.isnan(value) else value)
            for channel, value in zip(channels, self.found.value.tolist(), strict=True)
        ]


def test_every_number_is_a_channel_by_its_path() -> None:
    feed = _Feed({**_PLAIN, "channels": {"level": {"path": "tank.level", "unit": "m"}}})

    readings = feed.read(
        ("t/a", '{"tank": {"level": 1.5, "temp": 4}, "on": true, "Boiler.Temp": 61, "v": [7, 8]}'),
    )

    assert readings == [
        ("a", "level", 1.5),
        ("a", "tank.temp", 4.0),
        ("a", "on", 1.0),
        ("a", '"Boiler.Temp"', 61.0),
        ("a", "v.0", 7.0),
        ("a", "v.1", 8.0),
    ]
    assert not feed.refused


def test_what_time_device_tags_and_quality_are_at_is_no_channel() -> None:
    feed = _Feed(
        {
            "topic": "t/+",
            "device": "id",
            "time": {"path": "at.s", "unit": "s"},
            "tags": {"line": {"path": "line"}},
            "quality": {"path": "q", "good": [1]},
            "other_channels": {},
        }
    )

    readings = feed.read(("t/a", '{"id": 7, "at": {"s": 1795870778}, "line": 3, "q": 1, "x": 2}'))

    assert readings == [("7", "x", 2.0)]


def test_texts_are_passed_over_but_words_that_are_said_to_mean_something() -> None:
    feed = _Feed({**_PLAIN, "other_channels": {"states": {"ON": 1, "OFF": 0}}})

    readings = feed.read(("t/a", '{"state": "on", "serial": "00123", "mode": "auto", "n": null}'))

    assert readings == [("a", "state", 1.0)]


def test_a_channel_that_is_known_is_read_as_any_other_is() -> None:
    feed = _Feed({**_PLAIN, "other_channels": {"missing": [-127, "n/a"], "scale": 0.5}})
    feed.read(("t/a", '{"temp": 40, "hum": 90, "lux": 2}'))

    readings = feed.read(("t/a", '{"temp": null, "hum": "n/a", "lux": "broken", "new": -127}'))

    assert readings == [("a", "temp", None), ("a", "hum", None), ("a", "lux", None)]
    flags = [each & int(Quality.BAD_FIELD) != 0 for each in feed.found.quality.tolist()]
    assert flags == [False, False, True]
    assert feed.found.bad_fields["other_channels", "text"].detail.startswith("lux: expected")


def test_a_message_without_any_number_is_nothing_and_no_mistake() -> None:
    feed = _Feed({**_PLAIN})

    assert not feed.read(("t/a", '{"state": "idle"}'), ("t/b", "{}"))
    assert not feed.refused


def test_below_takes_one_object_and_names_begin_there() -> None:
    feed = _Feed({**_PLAIN, "other_channels": {"below": "uplink.decoded"}})

    readings = feed.read(
        ("t/a", '{"rssi": -97, "uplink": {"port": 1, "decoded": {"x": {"y": 2}, "z": 3}}}'),
        ("t/a", '{"uplink": {"decoded": null}}'),
        ("t/a", '{"uplink": 4}'),
    )

    assert readings == [("a", "x.y", 2.0), ("a", "z", 3.0)]
    assert not feed.refused


def test_what_is_listed_stands_where_what_is_not_does() -> None:
    """Units and ranges are given to what a preset reads, by its name."""
    listed = {"x.y": {"unit": "bar", "range": [0, 5]}, "rssi": {"path": "rssi"}}
    feed = _Feed({**_PLAIN, "other_channels": {"below": "uplink.decoded"}, "channels": listed})

    readings = feed.read(
        ("t/a", '{"rssi": -97, "uplink": {"decoded": {"x": {"y": 2}, "z": 3}}, "x": {"y": 9}}'),
    )

    assert sorted(readings) == [("a", "rssi", -97.0), ("a", "x.y", 2.0), ("a", "z", 3.0)]
    units = {channel.field: channel.unit for channel in feed.table.channels}
    assert units["x.y"] == "bar"


def test_names_may_be_left_out_and_have_units_by_what_they_look_like() -> None:
    feed = _Feed(
        {
            **_PLAIN,
            "other_channels": {
                "skip": ["update.*", "id"],
                "units": {"*Power": "W", "*": "V"},
                "unit": "A",
            },
        }
    )

    readings = feed.read(("t/a", '{"id": 0, "ids": 5, "update": {"v": 3}, "ENERGY": {"Power": 4}}'))

    assert readings == [("a", "ids", 5.0), ("a", "ENERGY.Power", 4.0)]
    assert [each.unit for each in feed.table.channels] == ["V", "W"]


def test_one_value_a_topic_names_its_channel_whatever_it_is_called() -> None:
    feed = _Feed({"topic": "s/{device}/{channel...}", "format": "value", "other_channels": {}})

    readings = feed.read(
        ("s/a/relay/0/power", "12.5"),
        ("s/a/Boiler.Temp", ' "61" '),
        ("s/a/mode", "auto"),
        ("s/a/relay/0/power", "nan"),
    )

    assert readings == [
        ("a", "relay/0/power", 12.5),
        ("a", "Boiler.Temp", 61.0),
        ("a", "relay/0/power", None),
    ]
    assert not feed.refused


def test_records_of_a_name_and_a_value_are_all_taken() -> None:
    feed = _Feed(
        {
            "topic": "p/{device}",
            "records": "values",
            "pairs": {"name": "id", "value": "v"},
            "other_channels": {},
            "channels": {"pressure": {"path": "Line1.Pressure"}},
        }
    )

    values = [("Line1.Temp", '"181.5"'), ("Line1.Pressure", "2"), ("Recipe", '"A-17"')]
    records = ", ".join(f'{{"id": "{name}", "v": {value}}}' for name, value in values)
    readings = feed.read(("p/a", f'{{"values": [{records}]}}'))

    assert readings == [("a", "Line1.Temp", 181.5), ("a", "pressure", 2.0)]


def test_a_device_has_no_more_of_them_than_it_may_have_and_the_others_are_told() -> None:
    feed = _Feed({**_PLAIN}, max_other_channels=3)

    readings = feed.read(("t/a", '{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}'), ("t/b", '{"d": 4}'))

    assert [name for _, name, _ in readings] == ["a", "b", "c", "d"]
    (refused,) = feed.refused
    assert "too_many_channels" in refused
    assert "'d': ingest.max_other_channels is 3" in refused


def test_all_feeds_together_have_no_more_than_they_may_have() -> None:
    feed = _Feed({**_PLAIN}, max_channels=2)

    assert len(feed.read(("t/a", '{"a": 1}'), ("t/b", '{"b": 2, "c": 3}'))) == 2
    assert "ingest.max_channels is 2" in feed.refused[0]
    assert feed.decoder.is_full


def test_devices_without_any_channel_count_as_devices() -> None:
    feed = _Feed({**_PLAIN}, max_devices=2)

    feed.read(("t/a", '{"s": "x"}'), ("t/b", '{"s": "x"}'), ("t/c", '{"s": "x"}'))

    assert feed.refused == ["too_many_devices: ingest.max_devices is 2"]


def test_so_many_fields_of_one_message_are_looked_at() -> None:
    feed = _Feed({**_PLAIN}, max_other_channels=10)
    fields = ", ".join(f'"n{number}": "x"' for number in range(30_000))

    assert feed.read(("t/a", f'{{"x": 1, {fields}, "y": 2}}')) == [("a", "x", 1.0)]
    assert "10000 fields" in feed.refused[0]


@pytest.mark.parametrize("name", ["", "x" * 257, "a\u0007b"])
def test_a_name_that_is_none_is_refused_and_its_neighbours_are_kept(name: str) -> None:
    feed = _Feed({**_PLAIN})
    key = name.replace("\u0007", "\\u0007")

    assert feed.read(("t/a", f'{{"{key}": 1, "x": 2}}')) == [("a", "x", 2.0)]
    assert len(feed.refused) == 1


@pytest.mark.parametrize("keys", [{"skip": ["*.*.Id"]}, {"units": {"*.*.Id": "C"}}, {}])
def test_what_is_called_too_long_is_not_looked_at(keys: dict[str, Any]) -> None:
    """Neither by patterns, which would take the square of its length, nor below it."""
    feed = _Feed({**_PLAIN, "other_channels": keys})
    inner = ", ".join(f'"{number}": 1' for number in range(9000))
    payloads = [
        f'{{"{"." * 25_000}": 1, "x": 2}}',
        f'{{"{"k" * 25_000}": {{{inner}}}, "x": 2}}',
        f'{{"{"t" * 25_000}": "a text", "x": 2}}',
    ]

    for payload in payloads:
        count = calls(lambda: feed.read(("t/a", payload)))  # noqa: B023  (called at once)
        assert count < 1000
        assert feed.read(("t/a", payload)) == [("a", "x", 2.0)]
        told = [] if "text" in payload else ["name_too_long: a channel's name: expected at"]
        assert [each[:44] for each in feed.refused] == told


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        ("*.Id", ["a.Id", ".Id", "a.Id.Id"], ["Id", "a.Ids"]),
        ("a*b*c", ["abc", "a-b-c", "abcbc", "a\nbc"], ["ab", "ac", "abcd", "xabc"]),
        ("*a*", ["a", "xax"], ["x"]),
        ("**", ["x"], []),
        ("a.c", ["a.c"], ["abc", "xa.c"]),
        ("a*a", ["aa", "aba"], ["a"]),
    ],
)
def test_a_star_stands_for_any_letters(pattern: str, names: list[str], others: list[str]) -> None:
    table = OtherChannelsConfig.model_validate({"skip": [pattern]})
    found = pattern_of(table.skip)

    assert all(found.fullmatch(name) for name in names)
    assert not any(found.fullmatch(name) for name in others)


def test_stars_take_no_longer_the_more_there_are() -> None:
    found = pattern_of(["*".join("." * 12) + "x"])

    assert found.fullmatch("." * 256) is None  # or it would not end


def test_keys_that_are_no_texts_are_told_and_nothing_else_goes_by_their_name() -> None:
    feed = _Feed({**_PLAIN, "format": "msgpack"})
    payload = msgspec.msgpack.encode({1: 5, "1": 6, False: 7, "x": {2: 8, "y": 9}})

    found = _decoded(feed, "t/a", [payload])

    assert [feed.table.channels[row].field for row in found.channel.tolist()] == ["1", "x.y"]
    assert found.value.tolist() == [6.0, 9.0]
    assert str(found.refused[0][1]) == "no_channels: a key that is no text: 1"


def test_a_field_that_is_listed_by_itself_is_none_of_the_others() -> None:
    """In no measurement; what a measurement is called says nothing of that."""
    channels = {"load": {"path": "load1"}, "used": {"path": "mem.used"}, "cpu": {}}
    feed = _Feed({**_PLAIN, "format": "line_protocol", "channels": channels})

    readings = feed.read(
        ("t/a", "system load1=1,n=2 1795870778000000000"),
        ("t/a", "mem used=3,load1=4 1795870778000000000"),
        ("t/a", "disk used=5 1795870778000000000"),
    )

    assert readings == [
        ("a", "load", 1.0),
        ("a", "system.n", 2.0),
        ("a", "load", 4.0),
        ("a", "used", 3.0),
        ("a", "disk.used", 5.0),
    ]


def test_a_strict_feed_is_strict_with_them() -> None:
    """As with those that are listed: the whole record is refused."""
    feed = _Feed({**_PLAIN, "strict": True, "channels": {"level": {}}})

    assert len(feed.read(("t/a", '{"level": 1, "x": 2, "mode": "auto", "n": "5"}'))) == 2
    assert not feed.refused
    assert not feed.read(("t/a", '{"level": 1, "y": 3, "x": "broken"}'))
    assert feed.refused == ["wrong_type: x: expected a number, got 'broken'"]
    assert feed.read(("t/a", '{"level": 1, "x": null}'))[1] == ("a", "x", None)


def test_what_has_been_silent_for_long_is_forgotten_one_by_one() -> None:
    feed = _Feed({**_PLAIN, "channels": {"level": {}}})
    feed.read(("t/a", '{"level": 1, "x": 2, "y": 3}'), ("t/b", '{"z": 4}'), ("t/c", '{"z": 5}'))
    names = [(each.device, each.field) for each in feed.table.channels]
    is_kept = np.array([each in (("a", "y"), ("c", "z")) for each in names])

    feed.decoder.keep_whole(is_kept)
    remaining = feed.table.only(is_kept)
    feed.decoder.keep(remaining)
    feed.table = remaining.table

    kept = {(each.device, each.field) for each in feed.table.channels}
    assert kept == {("a", "level"), ("a", "y"), ("c", "level"), ("c", "z")}
    readings = feed.read(("t/a", '{"x": 6, "y": 7}'), ("t/b", '{"z": 8}'), ("t/c", '{"z": null}'))
    assert readings == [("a", "x", 6.0), ("a", "y", 7.0), ("b", "z", 8.0), ("c", "z", None)]


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_no_payload_raises_and_good_ones_beside_it_are_read(name: str) -> None:
    """Of any format; the same laws that listed channels are held to."""
    for example in _of_records(name):
        keys = {**example.feed, "other_channels": {"states": {"a": 1}}}
        topic = example.topic
        good = example.payload
        before = len(_decoded(_Feed(keys), topic, [good]).value)
        assert before >= len(example.readings)
        for payload in changed(good, random.Random(7), 300):
            feed = _Feed(keys)
            if feed.decoder.conversation is not None:
                _decoded(feed, topic, [payload])
                continue
            found = _decoded(feed, topic, [good, payload, good])
            rows = [np.count_nonzero(found.owner == at) for at in (0, 2)]
            assert rows[0] == before
            assert rows[1] >= before


def _of_records(name: str) -> list[FormatExample]:
    examples = component("formats", name).examples
    return [each for each in examples if "arrays" not in each.feed]


def _decoded(feed: _Feed, topic: str, payloads: list[bytes]) -> Decoded:
    count = len(payloads)
    return feed.decoder.decode([topic.encode()] * count, payloads, np.full(count, _NOW_NS))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"other_channels": {"path": "x"}}, "path: is of one channel"),
        ({"other_channels": {"required": True}}, "required: is of one channel"),
        ({**_BELOW, "pairs": {}}, "below: with pairs no channel is below another; leave it out"),
        ({**_BELOW, "records": "{channel}"}, "below: with pairs no channel is below another"),
        ({**_BELOW, "format": "senml"}, "below: in senml no channel is below another"),
        (
            {**_BELOW, "format": {"type": "value", "channel": "x"}},
            "below: in value no channel is below another",
        ),
        (
            {**_BELOW, "format": {"type": "csv", "header": True}},
            "below: in csv no channel is below another",
        ),
        (
            {
                **_BELOW,
                "format": {"type": "binary", "fields": {"x": {"at": 0, "type": "u8"}}},
                "compression": "none",
            },
            "below: in binary no channel is below another",
        ),
        (
            {**_BELOW, "topic": "spBv1.0/#", "format": "sparkplug", "time": {}},
            "below: in sparkplug no channel is below another",
        ),
        ({"other_channels": {"skip": [""]}}, "expected names that are no channels"),
        ({"other_channels": {}, "arrays": {"step": "1s"}}, "with arrays channels must be listed"),
        ({"other_channels": False, "channels": {}}, "at least 1"),
    ],
)
def test_what_makes_no_sense_is_told(keys: dict[str, Any], told: str) -> None:
    feed = {"topic": "t/{device}", "time": {"path": "t"}, **keys}
    with pytest.raises(ValueError, match=told):
        Config.model_validate({"local_store": {}, "feed": {"f": feed}})


def test_the_first_name_that_fits_is_found_in_one_look() -> None:
    """As if one was tried after the other, whether they have stars or not."""
    texts = ["".join(each) for size in range(4) for each in product("ab.", repeat=size)]
    names = ["a*b", "ab", "*", "b", "*.a", "a*", "bb", "*b*", "b", "a.*a", "**a"]
    for first in range(len(names)):
        some = names[first:] + names[:first] if first else names[:2] + names[3:]
        found = Globs(some)
        for text in texts:
            fits = (at for at, name in enumerate(some) if pattern_of([name]).fullmatch(text))
            assert found.place_of(text) == next(fits, None)
    assert Globs([]).place_of("a") is None
    assert Globs(["x\n*", "y"]).place_of("x\n\n") == 0


@pytest.mark.parametrize("unit", ["C", {"unit": "degF", "to": "degC"}])
@pytest.mark.parametrize("most", [250, 10_000])
def test_many_names_are_not_gone_through_once_for_each_unit(unit: object, most: int) -> None:
    """However many there are of both, new ones in each message; nor at all those that are over."""
    units = {f"*a{at}*b{at}*c": unit for at in range(100)} | {"f1_*": "V"}
    feed = _Feed(
        {**_PLAIN, "other_channels": {"units": units}},
        max_other_channels=most,
        max_channels=20_000,
    )
    for message in range(2):
        fields = {f"f{message}_{at}": 1.5 for at in range(5_000)}
        payload = msgspec.json.encode(fields).decode()

        count = calls(lambda: feed.read(("t/a", payload)))  # noqa: B023  (called at once)

        # Beside what any field costs.
        assert count < (80 if most > 250 else 20) * len(fields)
        whole = most > 250
        assert len(feed.found.value) == (5_000 if whole else 250 if message == 0 else 0)
        assert feed.refused == [] if whole else feed.refused[0].startswith("too_many_channels")
    units_of = {channel.field[:3]: channel.unit for channel in feed.table.channels}
    assert units_of == ({"f0_": "", "f1_": "V"} if most > 250 else {"f0_": ""})
