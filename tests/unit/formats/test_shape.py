"""Records of a name and a value, channels that are arrays, and what senders say of their values."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from connectors.formats.arrivals import Arrivals
from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from tests.unit.formats.test_cost import calls

_NOW_NS = 1_800_000_000 * 10**9
_S = 10**9


class Decoding:
    """What comes of one payload."""

    def __init__(self, content: object, **feed: Any) -> None:  # noqa: ANN401  (a table of the file)
        max_records, is_typed = feed.pop("max_records", 4), feed.pop("is_typed", True)
        table = ChannelTable()
        config = FeedConfig.model_validate({"topic": "in/{device}", **feed})
        limits = IngestConfig(max_records=max_records)
        decoder = FeedDecoder("f", config, table, limits, takes_fast_way=is_typed)
        payload = json.dumps(content).encode()
        found = decoder.decode([b"in/a"], [payload], np.array([_NOW_NS]))
        rows = zip(
            [table.channels[row] for row in found.channel.tolist()],
            found.time_ns.tolist(),
            found.value.tolist(),
            found.quality.tolist(),
            strict=True,
        )
        self.readings = [
            (
                channel.device,
                channel.field,
                (time_ns - _NOW_NS) / _S,
                None if math.isnan(value) else value,
            )
            for channel, time_ns, value, _ in rows
        ]
        self.times_ns = found.time_ns.tolist()
        self.tags = [channel.tags for channel in table.channels]
        self.labels = [device.label for device in table.devices]
        self.quality = [Quality(bits) for bits in found.quality.tolist()]
        self.refused = [str(error) for _, error in found.refused]


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


_ARRAYS = {
    "arrays": {},
    "time": {"path": "time", "unit": "s"},
    "channels": {"temp": {}, "vib": {"path": "axes.x"}},
}


def test_arrays_beside_an_array_of_times() -> None:
    """An element a time; null is missing, and paths lead to arrays as to values."""
    found = Decoding(
        {"time": [1_799_999_990, 1_799_999_995], "temp": [21.5, None], "axes": {"x": [1, 2]}},
        **_ARRAYS,
    )
    assert found.readings == [
        ("a", "temp", -10.0, 21.5),
        ("a", "vib", -10.0, 1.0),
        ("a", "temp", -5.0, None),
        ("a", "vib", -5.0, 2.0),
    ]


@pytest.mark.parametrize(
    ("arrays", "more"),
    [({"step": "10ms"}, {}), ({"rate": "hz"}, {"hz": 100})],
)
def test_a_waveform_has_a_time_and_a_step(arrays: object, more: dict[str, object]) -> None:
    """Or so many elements a second; what is no array is said once."""
    feed = {**_ARRAYS, "arrays": arrays}
    found = Decoding(
        {"time": 1_799_999_990, "temp": 20, "axes": {"x": [0.1, 0.2, 0.3]}, **more}, **feed
    )
    assert found.readings == [
        ("a", "temp", -10.0, 20.0),
        ("a", "vib", -10.0, 0.1),
        ("a", "vib", -9.99, 0.2),
        ("a", "vib", -9.98, 0.3),
    ]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"interval": "meta.dt"}, {"meta": {"dt": 0.25}}),
        ({"interval": "dt", "unit": "ms"}, {"dt": 250}),
        ({"interval": "dt", "unit": "us"}, {"dt": "250000"}),
        ({"rate": "hz"}, {"hz": "4"}),
        ({"step": "250ms"}, {}),
    ],
)
def test_how_far_elements_are_apart_may_be_told(
    arrays: dict[str, object], said: dict[str, object]
) -> None:
    """By the message or by the configuration; a number may be a text."""
    content = {"time": 1_799_999_990, "temp": [1, 2, 3], **said}
    found = Decoding(content, **{**_ARRAYS, "arrays": arrays})
    assert [at for _, _, at, _ in found.readings] == [-10.0, -9.75, -9.5]


@pytest.mark.parametrize(
    ("content", "records", "arrays"),
    [
        ({"t0": 1_799_999_990, "hz": 2, "acc": [[1, 4], [2, 5], [3]]}, "acc", {"rate": "hz"}),
        (
            {"t0": 1_799_999_990, "a": {"acc": [[1, 4], [2, 5], [3, None]]}},
            "a.acc",
            {"step": "500ms"},
        ),
        (
            [{"t0": 1_799_999_990, "dt": 0.5, "acc": [[1, 4], [2, 5], [3]]}],
            "acc",
            {"interval": "dt"},
        ),
    ],
)
def test_rows_may_be_samples_of_several_channels(
    content: object, records: str, arrays: dict[str, object]
) -> None:
    """One below the other, a step apart; a row that is too short has none of the others."""
    found = Decoding(
        content,
        records=records,
        arrays=arrays,
        time={"path": "t0", "unit": "s"},
        channels={"x": {"path": "0"}, "y": {"path": "1"}},
    )
    assert not found.refused
    assert found.readings == [
        ("a", "x", -10.0, 1.0),
        ("a", "y", -10.0, 4.0),
        ("a", "x", -9.5, 2.0),
        ("a", "y", -9.5, 5.0),
        ("a", "x", -9.0, 3.0),
        ("a", "y", -9.0, None),
    ]


def test_rows_may_have_a_time_each_beside_arrays() -> None:
    """Then nothing has to say how far they are apart."""
    found = Decoding(
        [[1_799_999_990, 7], [1_799_999_993, 8]],
        arrays={},
        time={"path": "0", "unit": "s"},
        channels={"x": {"path": "1"}},
    )
    assert found.readings == [("a", "x", -10.0, 7.0), ("a", "x", -7.0, 8.0)]


@pytest.mark.parametrize("arrays", [{}, {"step": "10ms"}])
def test_elements_without_a_time_end_with_their_arrival(arrays: dict[str, object]) -> None:
    """And are a step apart, or a period, before it is known how many come in which time."""
    feed = FeedConfig.model_validate(
        {
            "topic": "in/{device}",
            "period": "20ms",
            "arrays": arrays,
            "channels": {"x": {}, "y": {"path": "axes.y"}},
        }
    )
    channels = ChannelTable()
    decoder, arrival_ns = FeedDecoder("f", feed, channels, IngestConfig()), np.array([_NOW_NS])
    decoded = decoder.decode([b"in/a"], [b'{"x": [1, 2, 3], "axes": {"y": [4, 5, 6]}}'], arrival_ns)
    settled = Arrivals(feed, channels).settle(decoded, arrival_ns)
    step_ns = 10_000_000 if arrays else 20_000_000
    assert settled.value.tolist() == [1, 4, 2, 5, 3, 6]
    assert (settled.time_ns - _NOW_NS).tolist() == [at * step_ns for at in (-2, -2, -1, -1, 0, 0)]
    assert all(Quality.ARRIVAL_TIME in Quality(bits) for bits in settled.quality.tolist())


def test_records_without_arrays_are_as_ever() -> None:
    """Some devices send arrays only when they have waited."""
    found = Decoding({"time": 1_799_999_990, "temp": 20, "axes": {"x": 1}}, **_ARRAYS)
    assert found.readings == [("a", "temp", -10.0, 20.0), ("a", "vib", -10.0, 1.0)]
    several = [{"time": [1_799_999_990], "temp": [1]}, {"time": [1_799_999_991], "temp": [2]}]
    assert [each[3] for each in Decoding(several, **_ARRAYS).readings] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("content", "arrays", "reason"),
    [
        (
            {"time": [1, 2], "temp": [1]},
            {},
            "uneven_arrays: expected arrays of one length; temp has 1, time has 2",
        ),
        ({"time": 1_799_999_990, "temp": [1, 2]}, {}, "bad_time: one time for several elements"),
        (
            {"time": 1_799_999_990, "temp": [1, 2], "hz": 0},
            {"rate": "hz"},
            "bad_time: hz: expected elements a second, got 0",
        ),
        ({"time": 1_799_999_990, "temp": [1, 2]}, {"rate": "hz"}, "bad_time: hz: expected"),
        *(
            (
                {"time": 1_799_999_990, "temp": [1, 2], "dt": dt},
                {"interval": "dt"},
                "bad_time: dt: expected how far elements are apart, got",
            )
            for dt in (0, -1, None, True, "x", 10**400)
        ),
        ({"time": 1_799_999_990, "temp": [1, 2]}, {"step": "365d"}, "bad_time: 2 elements would"),
        ({"time": 1_799_999_990, "temp": [1, 2, 3]}, {"step": "50d"}, "bad_time: not a believable"),
        ({"time": [], "temp": []}, {}, "no_channels: its arrays are empty"),
        ({"time": [1_799_999_990] * 5, "temp": [1] * 5}, {}, "too_many_records: 5 records"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(content: object, arrays: object, reason: str) -> None:
    """With what is wrong."""
    feed = {**_ARRAYS, "arrays": arrays}
    found = Decoding(content, **feed)
    assert [each.startswith(reason) for each in found.refused] == [True], found.refused


def test_one_bad_time_among_many_takes_none_of_the_others() -> None:
    """It is told once."""
    found = Decoding({"time": [1_799_999_990, "x", 1_799_999_992], "temp": [1, 2, 3]}, **_ARRAYS)
    assert [each[3] for each in found.readings] == [1.0, 3.0]
    assert found.refused == ["bad_time: expected a number, got 'x'"]


@pytest.mark.parametrize(
    ("said", "is_good"),
    [
        *[(good, True) for good in (True, "good", " GOOD ", 192, 192.0, "192", "True")],
        *[(bad, False) for bad in (False, 1, "BAD", "uncertain", None, "1", "false", "64")],
        ([], False),
    ],
)
def test_what_the_sender_does_not_believe_is_missing(said: object, is_good: bool) -> None:
    """Marked as that; of which nothing is said is good. Numbers may be texts, as everywhere."""
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


def test_the_parts_of_a_message_are_counted_together() -> None:
    """Many arrays in many records are as many readings; one too many refuses all of them."""
    good = {"time": [1_799_999_990, 1_799_999_992], "temp": [1, 2]}
    assert len(Decoding([good, good], **_ARRAYS).readings) == 4
    found = Decoding([good, good, good], **_ARRAYS)
    assert not found.readings
    assert found.refused[0].startswith("too_many_records: 6 records")


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


def test_an_empty_array_takes_no_value_down() -> None:
    """What is no array counts, and a record without anything is refused by itself."""
    time = {"path": "t", "unit": "s"}
    feed = {"arrays": {"step": "1s"}, "time": time, "channels": {"a": {}, "b": {}}}
    t = 1_799_999_990
    content = [{"t": t, "a": [1]}, {"t": t, "a": [], "b": 4}, {"t": t, "a": []}]
    found = Decoding(content, **feed)
    assert [each[1::2] for each in found.readings] == [("a", 1.0), ("b", 4.0)]
    assert found.refused == [
        "no_channels: 1 of 3 records; the first, number 3: its arrays are empty"
    ]


def test_times_may_stand_around_records() -> None:
    """As a single time may."""
    content = {"time": [1_799_999_990, 1_799_999_991], "r": [{"temp": [1, 2]}]}
    found = Decoding(content, **{**_ARRAYS, "records": "r"})
    assert [each[2:] for each in found.readings] == [(-10.0, 1.0), (-9.0, 2.0)]


def test_a_sender_may_judge_each_element() -> None:
    """By an array beside the others; in other shapes an array says nothing good."""
    content = {"time": [1_799_999_990, 1_799_999_991], "temp": [1, 2], "q": ["GOOD", "BAD"]}
    found = Decoding(content, **_ARRAYS, quality={"path": "q"})
    assert [each[3] for each in found.readings] == [1.0, None]
    one = Decoding({"x": 1, "q": ["GOOD"]}, quality={"path": "q"}, channels={"x": {}})
    assert one.readings[0][3] is None


@pytest.mark.parametrize("rate", [0, -1, True, "fast", "nan", 2e9, None, [100]])
def test_a_rate_is_a_number_that_leaves_times_apart(rate: object) -> None:
    """More than one element in a nanosecond would have one time."""
    content = {"time": 1_799_999_990, "temp": [1, 2], "hz": rate}
    found = Decoding(content, **{**_ARRAYS, "arrays": {"rate": "hz"}})
    assert found.refused[0].startswith("bad_time: hz: expected elements a second, got ")


@pytest.mark.parametrize("shape", ["pairs", "arrays"])
def test_no_channel_is_required_where_records_have_few(shape: str) -> None:
    """Each record would be refused for what is in the next."""
    feed = {shape: {}, "time": {"path": "t"}, "channels": {"x": {"required": True}}}
    with pytest.raises(ValueError, match=rf"channels\.x\.required: with {shape} a record need"):
        FeedConfig.model_validate({"topic": "in/{device}", **feed})


def test_with_times_a_single_value_counts_once() -> None:
    """Of the first of them, and nothing is refused."""
    found = Decoding({"time": [1_799_999_990, 1_799_999_991], "temp": 5}, **_ARRAYS)
    assert found.readings == [("a", "temp", -10.0, 5.0)]
    assert not found.refused


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


_ROWS = {
    "records": "acc",
    "time": {"path": "t0", "unit": "s"},
    "arrays": {"step": "1s"},
    "channels": {"x": {"path": "0"}, "y": {"path": "1"}},
}


@pytest.mark.parametrize(
    ("bad", "flags"),
    [
        (None, Quality.MISSING),
        ({}, Quality.MISSING | Quality.BAD_FIELD),
        (7, Quality.MISSING | Quality.BAD_FIELD),
        ("n/a", Quality.MISSING | Quality.BAD_FIELD),
        ([], Quality.MISSING),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_row_that_is_none_takes_its_place_all_the_same(
    at: int, bad: object, flags: Quality
) -> None:
    """The others are not dated as if it were not there."""
    if at == 0 and bad in (7, "n/a"):
        at = 1  # what begins with a value is a row itself, of arrays
    rows: list[object] = [[1, 2], [3, 4]]
    rows.insert(at, bad)
    found = Decoding({"t0": _NOW_NS // _S, "acc": rows}, **_ROWS)

    assert [time_s for *_, time_s, _ in found.readings] == [0, 0, 1, 1, 2, 2]
    values = [value for *_, value in found.readings]
    assert values[2 * at : 2 * at + 2] == [None, None]
    assert [value for value in values if value] == [1, 2, 3, 4]
    assert found.quality[2 * at : 2 * at + 2] == [flags] * 2
    assert not found.refused


def test_lines_that_can_not_be_read_among_rows_are_told() -> None:
    """They leave a place of a row, as far as anybody knows."""
    feed = FeedConfig.model_validate(
        {
            **{key: value for key, value in _ROWS.items() if key not in ("records", "time")},
            "topic": "in/{device}",
            "format": {"type": "json", "lines": True},
        }
    )
    decoder = FeedDecoder("f", feed, ChannelTable(), IngestConfig())
    payload = b"[[1, 2]]\n[[3, \n[[5, 6]]"

    found = decoder.decode([b"in/a"], [payload], np.array([_NOW_NS]))

    assert found.value[:2].tolist() + found.value[4:].tolist() == [1, 2, 5, 6]
    assert [error.reason for _, error in found.refused] == ["not_json"]
