"""Channels that are arrays: columns, rows, and how far apart their elements are."""

from __future__ import annotations

import numpy as np
import pytest

from connectors.formats.arrivals import Arrivals
from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from tests.unit.formats.decoding import Decoding

_NOW_NS = 1_800_000_000 * 10**9
_S = 10**9

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


def test_the_parts_of_a_message_are_counted_together() -> None:
    """Many arrays in many records are as many readings; one too many refuses all of them."""
    good = {"time": [1_799_999_990, 1_799_999_992], "temp": [1, 2]}
    assert len(Decoding([good, good], **_ARRAYS).readings) == 4
    found = Decoding([good, good, good], **_ARRAYS)
    assert not found.readings
    assert found.refused[0].startswith("too_many_records: 6 records")


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


def test_with_times_a_single_value_counts_once() -> None:
    """Of the first of them, and nothing is refused."""
    found = Decoding({"time": [1_799_999_990, 1_799_999_991], "temp": 5}, **_ARRAYS)
    assert found.readings == [("a", "temp", -10.0, 5.0)]
    assert not found.refused


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
