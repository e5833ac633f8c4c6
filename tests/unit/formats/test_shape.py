"""Records of a name and a value, and what senders say of their values."""

from __future__ import annotations

import json

import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from tests.unit.formats.decoding import Decoding
from tests.unit.formats.test_cost import calls

_NOW_NS = 1_800_000_000 * 10**9
_S = 10**9

_PLC = {
    "records": "values",
    "pairs": {"name": "id", "value": "v"},
    "time": {"path": "t", "unit": "s"},
    "channels": {"temp": {"path": "Line1.Oven.Temp"}, "pressure": {"path": '"Line1/P"'}},
}


def test_a_record_says_the_name_of_its_channel() -> None:
    """Dots and slashes in it are part of it; what is not asked for is passed over."""
    content = {
        "t": 1_799_999_990,
        "values": [
            {"id": "Line1.Oven.Temp", "v": 181.5},
            {"id": "Line1/P", "v": "2.4", "t": 1_799_999_991},
            {"id": "Line1.Recipe", "v": "A-17"},
        ],
    }
    found = Decoding(content, **_PLC)
    assert found.readings == [("a", "temp", -10.0, 181.5), ("a", "pressure", -9.0, 2.4)]
    assert not found.refused


def test_events_that_name_device_and_time_outside() -> None:
    """With numbers as texts and times in nanoseconds."""
    found = Decoding(
        {
            "deviceName": "rot1",
            "origin": _NOW_NS - _S,
            "readings": [
                {"resourceName": "Speed", "value": "1176"},
                {"resourceName": "Load", "value": "0.5"},
            ],
        },
        topic="in/+",
        device="deviceName",
        records="readings",
        pairs={"name": "resourceName", "value": "value"},
        time={"path": "origin", "unit": "ns"},
        channels={"Speed": {}, "Load": {}},
    )
    assert found.readings == [("rot1", "Speed", -1.0, 1176.0), ("rot1", "Load", -1.0, 0.5)]


def test_a_channel_may_be_called_as_a_key_of_the_record_is() -> None:
    """The time stays the record's."""
    pairs = {"pairs": {}, "time": {"path": "t", "unit": "s"}, "channels": {"t": {}, "value": {}}}
    content = [
        {"name": "t", "value": 5, "t": 1_799_999_999},
        {"name": "value", "value": 6, "t": 1_799_999_999},
    ]
    found = Decoding(content, **pairs)
    assert found.readings == [("a", "t", -1.0, 5.0), ("a", "value", -1.0, 6.0)]


def test_a_name_in_parts_and_values_of_several_types() -> None:
    """Parts are joined, also those around the record; the value stands where its type is."""
    found = Decoding(
        {
            "area": "oven",
            "at": _NOW_NS // 10**6,
            "tags": [
                {"n": 7, "kind": "temp", "value": {"integerValue": None, "doubleValue": 181.5}},
                {"n": 7, "kind": "on", "value": {"booleanValue": True}},
                {"n": 8, "kind": "temp", "value": {"doubleValue": None, "integerValue": "90"}},
                {"kind": "temp", "value": {"doubleValue": 1}},
            ],
        },
        records="tags",
        time={"path": "at"},
        pairs={
            "name": ["area", "n", "kind"],
            "value": ["value.doubleValue", "value.integerValue", "value.booleanValue"],
        },
        channels={
            "temp7": {"path": "oven/7/temp"},
            "on": {"path": "oven/7/on"},
            "temp8": {"path": "oven/8/temp"},
        },
    )
    assert [each[1::2] for each in found.readings] == [("temp7", 181.5), ("on", 1), ("temp8", 90)]
    assert [each.split(";")[0] for each in found.refused] == ["no_channels: 1 of 4 records"]
    assert 'no name at "n": nothing' in found.refused[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"t": 1, "values": []}, "no_channels: no records"),
        ({"values": [{"id": "x", "v": 1, "t": 1_799_999_990}]}, "no_channels: none of the feed's"),
        ({"values": [{"v": 1}]}, 'no_channels: no name at "id": nothing'),
        ({"values": [{"id": 7.5, "v": 1}]}, 'no_channels: no name at "id": 7.5'),
        ({"values": [{"id": "Line1/P", "v": 1}]}, "bad_time"),
        ({"values": [{"id": "Line1/P", "t": 1_799_999_990}]}, "no_channels"),
        ({"values": [7]}, "not_object"),
    ],
)
def test_pairs_that_are_none_are_refused(content: object, reason: str) -> None:
    """With what is wrong; a message of which nothing is taken is no good message."""
    found = Decoding(content, **_PLC)
    assert not found.readings
    assert [each.startswith(reason) for each in found.refused] == [True]


def test_good_pairs_beside_bad_ones() -> None:
    """Are kept."""
    good = {"id": "Line1/P", "v": 1, "t": 1_799_999_990}
    found = Decoding({"values": [good, {"id": "Line1/P", "v": 2, "t": "x"}, good]}, **_PLC)
    assert [each[3] for each in found.readings] == [1.0, 1.0]
    assert found.refused[0].startswith("bad_time: 1 of 3 records; the first, number 2:")


@pytest.mark.parametrize(
    ("said", "is_good"),
    [
        *[(good, True) for good in (True, "good", " GOOD ", 192, 192.0, "192", "True", None)],
        *[(bad, False) for bad in (False, 1, "BAD", "uncertain", "", "1", "false", "64")],
        ([], False),
    ],
)
def test_what_the_sender_does_not_believe_is_missing(said: object, is_good: bool) -> None:
    """Marked as that; of which nothing, or null, is said is good. Numbers may be texts."""
    quality = {"path": "q"}
    found = Decoding([{"x": 0, "q": said}, {"x": 5}], quality=quality, channels={"x": {}})
    assert [each[3] for each in found.readings] == [0.0 if is_good else None, 5.0]
    assert (Quality.BAD_AT_SOURCE in found.quality[0]) is not is_good
    assert (Quality.MISSING in found.quality[0]) is not is_good
    assert not found.refused


def test_quality_goes_with_pairs() -> None:
    """Of each value by itself, or of all where it stands around them."""
    content = {
        "t": 1_799_999_990,
        "values": [{"id": "Line1/P", "v": 1, "q": False}, {"id": "Line1/P", "v": 2, "q": True}],
    }
    quality = {"path": "q"}
    found = Decoding(content, **_PLC, quality=quality)
    assert [each[3] for each in found.readings] == [None, 2.0]
    content = {**content, "q": "BAD", "values": [{"id": "Line1/P", "v": 1}]}
    assert Decoding(content, **_PLC, quality=quality).readings[0][3] is None


def test_mistakes_are_told() -> None:
    """What does not go together."""
    for feed, told in (
        ({"pairs": {}, "arrays": {}}, "pairs and arrays: a record is one of them"),
        ({"arrays": {"step": "1s", "rate": "hz"}}, "step and rate: give one of them"),
        ({"arrays": {"step": "0s"}}, "step: expected more than"),
        ({"arrays": {"rate": "hz"}}, "arrays: rate counts from the time of the first element"),
        ({"arrays": {"interval": "dt"}}, "arrays: interval counts from the time of the first"),
        ({"arrays": {"rate": "hz", "interval": "dt"}}, "rate and interval: give one of them"),
        ({"arrays": {"step": "1s", "unit": "ms"}}, "unit is what interval counts"),
        (
            {"arrays": {}, "time": {"path": ["d", "t"], "unit": "iso8601"}},
            "arrays: expected one time.path",
        ),
        ({"quality": {"path": "q", "good": []}}, "good"),
        (
            {"topic": "{device}/{channel}", "format": "value", "pairs": {}},
            "pairs: a message of",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            FeedConfig.model_validate({"topic": "in/{device}", "channels": {"x": {}}, **feed})


def test_many_devices_are_met_in_records_of_other_shapes() -> None:
    """Also where the table of their channels must grow."""
    feed = {"topic": "in/+", "device": "id", "pairs": {}, "channels": {"x": {}}}
    for some in range(12):
        content = [{"id": f"d{some}-{n}", "name": "x", "value": n} for n in range(4)]
        found = Decoding(content, **feed)
        assert [each[3] for each in found.readings] == [0.0, 1.0, 2.0, 3.0]
    table = ChannelTable()
    decoder = FeedDecoder("f", FeedConfig.model_validate(feed), table, IngestConfig())
    for device in range(70):
        payload = json.dumps({"id": f"d{device}", "name": "x", "value": device}).encode()
        one = decoder.decode([b"in/a"], [payload], np.array([_NOW_NS]))
        assert [table.channels[row].device for row in one.channel.tolist()] == [f"d{device}"]


def test_names_may_be_whole_numbers() -> None:
    """As registers have them."""
    found = Decoding({"name": 40001, "value": 7}, pairs={}, channels={"flow": {"path": "40001"}})
    assert [each[1] for each in found.readings] == ["flow"]


@pytest.mark.parametrize("shape", ["pairs", "arrays"])
def test_no_channel_is_required_where_records_have_few(shape: str) -> None:
    """Each record would be refused for what is in the next."""
    feed = {shape: {}, "time": {"path": "t"}, "channels": {"x": {"required": True}}}
    with pytest.raises(ValueError, match=rf"channels\.x\.required: with {shape} a record need"):
        FeedConfig.model_validate({"topic": "in/{device}", **feed})


def test_what_is_said_around_records_is_looked_at_once() -> None:
    """A long array there is no verdict, and no work for each record."""
    feed = {"records": "r", "quality": {"path": "q"}, "channels": {"x": {}}}

    def work(records: int) -> None:
        table = ChannelTable()
        limits = IngestConfig(max_records=10_000)
        config = FeedConfig.model_validate({"topic": "in/{device}", **feed})
        decoder = FeedDecoder("f", config, table, limits)
        payload = json.dumps({"q": [1] * 5000, "r": [{"x": 1}] * records}).encode()
        found = decoder.decode([b"in/a"], [payload], np.array([_NOW_NS]))
        assert np.isnan(found.value).all()

    few, many = calls(lambda: work(1)), calls(lambda: work(101))
    assert many - few < 100 * 100
