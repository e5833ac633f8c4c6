"""What stands beside a value, or is in it: its quality, its power of ten, its bits."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable

_NOW_NS = 1_795_900_000 * 10**9


def _read(
    feed: dict[str, Any], *messages: object, topic: str = "m/d"
) -> tuple[list[tuple[str, float | str]], list[str]]:
    """Channel and value of each reading, and what is wrong; record by record and by columns.

    A value in which its sender does not believe is "bad at source".
    """
    config = FeedConfig.model_validate({"topic": "m/{device}", **feed})
    payloads = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in messages]
    found = []
    for least_columns in (1_000, 1):
        table = ChannelTable()
        decoder = FeedDecoder("f", config, table, IngestConfig(), least_columns=least_columns)
        arrival_ns = np.full(len(payloads), _NOW_NS)
        decoded = decoder.decode([topic.encode()] * len(payloads), payloads, arrival_ns)
        readings: list[tuple[str, float | str]] = []
        for row, value, quality in zip(
            decoded.channel.tolist(), decoded.value.tolist(), decoded.quality.tolist(), strict=True
        ):
            shown: float | str = "missing" if math.isnan(value) else value
            if quality & Quality.BAD_AT_SOURCE:
                assert quality & Quality.MISSING
                shown = "bad at source"
            readings.append((table.channels[row].field, shown))
        told = [f"{at}: {each.reason}" for at, each in decoded.refused]
        found.append((readings, told + [each.detail for each in decoded.bad_fields.values()]))
    assert found[0] == found[1]
    return found[0]


_POWER = {"channels": {"p": {"power_of_ten": "sf"}}}
_GOOD = {"channels": {"p": {"quality": {"path": "sf", "good": [-1]}, "scale": 0.1}}}


@pytest.mark.parametrize("feed", [_POWER, _GOOD])
@pytest.mark.parametrize(
    ("shape", "topic", "message"),
    [
        ({}, "m/d", {"p": 123, "sf": -1}),
        (
            {"records": "data", "pairs": {"name": "key", "value": "val"}},
            "m/d",
            {"data": [{"key": "p", "val": 123, "sf": -1}, {"key": "q", "val": 5}]},
        ),
        ({"arrays": {"step": "1s"}}, "m/d", {"p": [123], "sf": [-1]}),
        ({"arrays": {"step": "1s"}}, "m/d", {"p": [123], "sf": -1}),
        ({"arrays": {"step": "1s"}}, "m/d", {"p": 123, "sf": -1}),
        (
            {"topic": "m/{device}/{channel}", "format": {"type": "value", "path": "v"}},
            "m/d/p",
            {"v": 123, "sf": -1},
        ),
        ({"records": "{device}", "topic": "m"}, "m", {"d": {"p": 123, "sf": -1}}),
        ({"format": {"type": "csv", "columns": ["x", "sf", "p"]}}, "m/d", b"7,-1,123"),
    ],
)
def test_what_stands_beside_a_value_is_found_whatever_its_record_is(
    feed: dict[str, Any], shape: dict[str, Any], topic: str, message: object
) -> None:
    """In the record where a name, an element or a topic gives the value its channel."""
    assert _read({**feed, **shape}, message, topic=topic) == ([("p", 12.3)], [])


def test_it_may_be_a_place_behind_all_channels_of_a_row() -> None:
    """Which nobody else asks for."""
    feed = {"records": "r", "channels": {"t": {"path": "0", "power_of_ten": "2"}}}
    assert _read(feed, {"r": [[15, 0, -1], [2, 0, 1]]}) == ([("t", 1.5), ("t", 20)], [])


def test_each_element_of_an_array_has_its_own() -> None:
    """Where an array says less than there are values, nothing good is said of the rest."""
    feed = {
        "arrays": {},
        "time": {"path": "t", "unit": "s"},
        "channels": {"x": {"quality": {"path": "q.x", "good": "ok"}}},
    }
    t = [1_795_899_990, 1_795_899_991, 1_795_899_992]
    found = _read(feed, {"t": t, "x": [1, 2, 3], "q": {"x": ["ok", "bad"]}})
    assert found == ([("x", 1), ("x", "bad at source"), ("x", "bad at source")], [])


@pytest.mark.parametrize(
    ("path", "beside"),
    [
        ('"q.x"', {"q.x": [0, 4]}),
        ("q.x", {"q.x": [0, 4]}),
        ("$['q.x']", {"q.x": [0, 4]}),
        ("$.qx", {"qx": [0, 4]}),
        ('q."a.b"', {"q": {"a.b": [0, 4]}}),
        ("q[1]", {"q": [[], [0, 4]]}),
        ("q", {"q": [None, 4]}),
        ("q", {"q": [0]}),
    ],
)
@pytest.mark.parametrize("of", ["channel", "record"])
def test_it_is_found_beside_arrays_however_its_path_is_written(
    path: str, beside: dict[str, object], of: str
) -> None:
    """Where null is said of an element nothing is, and of none behind the end nothing good."""
    quality = {"path": path, "good": 0}
    feed: dict[str, Any] = {"arrays": {"step": "1s"}, "channels": {"x": {}}}
    if of == "channel":
        feed["channels"] = {"x": {"quality": quality}}
    else:
        feed["quality"] = quality
    assert _read(feed, {"x": [1, 2], **beside}) == ([("x", 1), ("x", "bad at source")], [])


@pytest.mark.parametrize("path", ['"s.f"', "$['s.f']", "s.f"])
def test_so_is_a_power_of_ten(path: str) -> None:
    feed = {"arrays": {"step": "1s"}, "channels": {"x": {"power_of_ten": path}}}
    found, told = _read(feed, {"x": [1, 2, 3], "s.f": [-1, 1]})
    assert found == [("x", 0.1), ("x", 20), ("x", "missing")]
    assert told == ["x: expected a number, got one with nothing as its power of ten"]


def test_what_says_nothing_is_asked_of_what_is_around() -> None:
    """Null and what is absent are one thing, of a record as of a value."""
    feed = {"records": "r", "quality": {"path": "q", "good": 0}, "channels": {"x": {}}}
    assert _read(
        feed, {"q": 4, "r": [{"x": 1, "q": None}, {"x": 2, "q": 0}, {"x": 3}]}, {"r": {"x": 4}}
    ) == ([("x", "bad at source"), ("x", 2), ("x", "bad at source"), ("x", 4)], [])


@pytest.mark.parametrize(
    ("channel", "wanted"),
    [
        ({"bit": 0}, [1, 0]),
        ({"bit": 1}, [0, 0]),
        ({"power_of_ten": "sf"}, [0.1, 0]),
        ({"missing": [0, 1]}, [1, 0]),
        ({"bit": 0, "missing": [0, 1]}, [1, 0]),
        ({"bit": 0, "states": {"true": 4, "false": 1}}, [0, 1]),
    ],
)
def test_truths_are_one_thing_with_quotes_and_without(
    channel: dict[str, Any], wanted: list[float]
) -> None:
    """1 and 0, and none of the numbers that say that there is no reading; words are texts alone."""
    said: list[object] = ["true", "false", " TRUE", "False "]
    said += [] if "states" in channel else [True, False]
    found = _read({"channels": {"x": channel}}, *({"x": each, "sf": -1} for each in said))
    assert found == ([("x", each) for each in wanted] * (len(said) // 2), [])


def test_channels_have_a_quality_each() -> None:
    """One that says nothing is good; a null may be bad as well, and none takes another down."""
    feed = {
        "channels": {
            "temp": {"quality": {"path": "temp_q", "good": [0]}},
            "press": {"quality": {"path": "press_q", "good": [0]}},
        }
    }
    found = _read(
        feed,
        {"temp": 21.5, "temp_q": 4, "press": 2.5, "press_q": 0},
        {"temp": 21.6, "press": None, "press_q": 8},
        {"temp_q": 4, "press": 2.6},
    )
    assert found == (
        [
            ("temp", "bad at source"), ("press", 2.5),
            ("temp", 21.6), ("press", "bad at source"),
            ("press", 2.6),
        ],
        [],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("quality", "good", "bad"),
    [
        (
            {"good": "Good*"},
            ["Good", "good, non-specific", "Good_LocalOverride", None],
            ["Bad", "", {}],
        ),
        (
            {"mask": 0xC0000000, "good": 0},
            [0, 0x00960000, "9830400", 0.0, "0x00000000", " 0X00960000 ", None],
            [0x80000000, 0x40000000, "Good", 0.5, "0x80000000", "0x", "", -1, "-2147483648", []],
        ),
        ({"mask": 0xC0, "good": 0xC0}, [192, 216, "192", "0xd8", None], [64, 0, 24, True, "true"]),
        ({"mask": 0xC0, "good": ["0xC0", "ok"]}, [192, "0xC0", "OK"], [0, "0x40", "c0"]),
        ({"good": ["0xC0"]}, ["0xc0"], [192, "192"]),
        (
            {"mask": 2**62 + 1, "good": 2**62 + 1},
            [2**62 + 1, str(2**62 + 1), hex(2**62 + 3)],
            [2**62, str(2**62), 1],
        ),
    ],
)
def test_what_is_good_may_be_a_class_of_words(
    quality: dict[str, Any], good: list[object], bad: list[object]
) -> None:
    """Texts that begin so, codes by their upper bits; for a whole record as for one value."""
    messages = [{"v": 1, "q": each} for each in [*good, *bad]]
    said = {"path": "q", **quality}
    wanted = [("v", 1)] * len(good) + [("v", "bad at source")] * len(bad)
    assert _read({"channels": {"v": {"quality": said}}}, *messages) == (wanted, [])
    assert _read({"channels": {"v": {}}, "quality": said}, *messages) == (wanted, [])


def test_bits_of_a_status_are_channels() -> None:
    """Of numbers and of texts in any base; what has no bits is bad, what is missing is compared."""
    feed = {
        "channels": {
            "on": {"path": "sw", "bit": 0, "missing": [0, 65535]},
            "mode": {"path": "sw", "bit": 4, "bits": 3, "scale": 0.5},
            "valve": {"path": "in", "base": 2, "bit": 6},
            "alarm": {"path": "hex", "base": 16, "bit": 31},
        }
    }
    found, told = _read(
        feed,
        {"sw": 1079, "in": "01000001", "hex": "0x80000000"},
        {"sw": 1078, "in": "00000001"},
        {"sw": 0},
        {"sw": -1},
        {"sw": 1.5},
    )
    assert found == [
        ("on", 1), ("mode", 1.5), ("valve", 1), ("alarm", 1),
        ("on", 0), ("mode", 1.5), ("valve", 0),
        ("on", "missing"), ("mode", 0),
        ("on", 1), ("mode", 3.5),
        ("on", "missing"), ("mode", "missing"),
    ]  # fmt: skip
    assert told[0] == "on: expected a number, got 1.5, which has no bits"


def test_a_value_of_which_a_quality_is_said_is_read_as_any_other() -> None:
    """With units behind it, words and numbers that mean no reading."""
    channel: dict[str, Any] = {
        "unit": "W",
        "suffix": ["W", "kW"],
        "states": {"off": 0},
        "missing": [99],
    }
    feed = {"channels": {"p": {**channel, "quality": {"path": "q", "good": "ok"}}}}
    messages = [{"p": each, "q": "ok"} for each in ("1.5 kW", "7 W", "OFF", "99", 99)]
    found = _read(feed, *messages, {"p": "2 kW", "q": "no"})
    values = [1500, 7, 0, "missing", "missing", "bad at source"]
    assert found == ([("p", each) for each in values], [])
    feed = {"channels": {"p": {"unit": "W", "suffix": ["W", "kW"], "bit": 1}}}
    with pytest.raises(ValidationError, match="bit and suffix"):
        FeedConfig.model_validate({"topic": "m/{device}", **feed})


def test_what_stands_beside_a_channel_is_no_other_channel() -> None:
    """It says how the value is meant, and is none itself."""
    feed = {"other_channels": True, "channels": {"p": {"quality": {"path": "p_q", "good": 0}}}}
    assert _read(feed, {"p": 1, "p_q": 0, "x": 2}) == ([("p", 1), ("x", 2)], [])


@pytest.mark.parametrize(
    ("channel", "why"),
    [
        ({"bits": 2}, "how many from which on"),
        ({"bit": 1, "power_of_ten": "sf"}, "leave one out"),
        ({"bit": 1, "type": "text"}, "is of numbers"),
        ({"quality": {"path": "q"}, "type": "text"}, "is of numbers"),
        ({"bit": 1, "counter": True}, "a status counts nothing"),
        ({"quality": {"path": "q", "mask": 0}}, "greater than or equal to 1"),
        ({"quality": {"path": "q", "mask": 0x80}}, r"no number is 192 \(0xc0\) where only"),
        ({"quality": {"path": "q", "mask": 0xC0, "good": [0xC0, 1]}}, r"no number is 1 \(0x1\)"),
        ({"quality": {"path": "q", "mask": 0xC0, "good": "0xC1"}}, "no number is '0xC1'"),
        ({"quality": {"path": "q", "mask": 0xC0, "good": -1}}, "no number is -1 where"),
        ({"quality": {"path": "q", "mask": 0xC0, "good": 0.5}}, "no number is 0.5 where"),
        ({"quality": {"path": "q", "mask": 0xC0, "good": ["Good", True]}}, "mask: is of numbers"),
    ],
)
def test_what_does_not_go_together_is_refused(channel: dict[str, Any], why: str) -> None:
    """With the key, and what to do; and all of it where channels have no table of their own."""
    with pytest.raises(ValidationError, match=why):
        FeedConfig.model_validate({"topic": "m/{device}", "channels": {"x": channel}})


@pytest.mark.parametrize("key", [{"bit": 1}, {"quality": {"path": "q"}}])
def test_it_is_of_one_channel(key: dict[str, Any]) -> None:
    """What stands beside all others nobody knows."""
    with pytest.raises(ValidationError, match="is of one channel"):
        FeedConfig.model_validate({"topic": "m/{device}", "other_channels": key})
