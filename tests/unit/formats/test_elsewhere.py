"""Values and times that stand here or there, written one way or another, and scaled exactly."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.formats.decoder import FeedDecoder
from headgate.config.channel import ChannelConfig
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable

_NOW_NS = 1_795_900_000 * 10**9


def _read(
    feed: dict[str, Any], *messages: object, topic: str = "m/d"
) -> tuple[list[tuple[str, float | None]], list[str]]:
    """Channel and value of each reading, and what was refused or bad; both ways say the same."""
    config = FeedConfig.model_validate({"topic": "m/{device}", **feed})
    payloads = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in messages]
    found = []
    for takes_fast_way in (True, False):
        table = ChannelTable()
        decoder = FeedDecoder("f", config, table, IngestConfig(), takes_fast_way=takes_fast_way)
        arrival_ns = np.full(len(payloads), _NOW_NS)
        decoded = decoder.decode([topic.encode()] * len(payloads), payloads, arrival_ns)
        readings = [
            (table.channels[row].field, None if math.isnan(value) else value, time_ns)
            for row, value, time_ns in zip(
                decoded.channel.tolist(),
                decoded.value.tolist(),
                decoded.time_ns.tolist(),
                strict=True,
            )
        ]
        told = [f"{at}: {each.reason}: {each.detail}" for at, each in decoded.refused]
        found.append((readings, told + [each.detail for each in decoded.bad_fields.values()]))
    assert found[0] == found[1]
    readings, told = found[0]
    return [(channel, value) for channel, value, _ in readings], told


def _times(time: dict[str, Any], *messages: dict[str, object]) -> tuple[list[int], list[str]]:
    """Event times, s before now, and what was refused."""
    config = {"topic": "m/{device}", "time": time, "channels": {"x": {}}}
    decoder = FeedDecoder("f", FeedConfig.model_validate(config), ChannelTable(), IngestConfig())
    payloads = [json.dumps({"x": 1, **each}).encode() for each in messages]
    arrival_ns = np.full(len(payloads), _NOW_NS)
    decoded = decoder.decode([b"m/d"] * len(payloads), payloads, arrival_ns)
    ages = [(_NOW_NS - time_ns) // 10**9 for time_ns in decoded.time_ns.tolist()]
    return ages, [error.detail for _, error in decoded.refused]


def test_a_channel_stands_where_there_is_something_first() -> None:
    """In each message anew; what is null is there, and what is nowhere has its default."""
    either = {"channels": {"t": {"path": ["temp", "temperature", "air.t"]}, "h": {}}}
    readings, told = _read(
        either,
        {"temp": 1, "temperature": 9}, {"temperature": 2, "h": 5}, {"air": {"t": 3}},
        {"temp": None, "temperature": 9}, {"h": 4}, {"other": 1},
    )  # fmt: skip
    assert readings == [
        ("t", 1), ("t", 2), ("h", 5), ("t", 3), ("t", None), ("h", 4)
    ]  # fmt: skip
    assert told == ["5: no_channels: none of the feed's channels is in the record"]

    default = {"channels": {"t": {"path": ["a", "b"], "default": 7}, "h": {}}}
    assert _read(default, {"b": 1}, {"h": 2})[0] == [("t", 1), ("t", 7), ("h", 2)]
    alone = {"channels": {"t": {"path": "a", "or_path": "b"}}}
    assert _read(alone, {"b": 1}, {"a": 2})[0] == [("t", 1), ("t", 2)]
    required = {"channels": {"t": {"path": ["a", "b"], "required": True}}}
    assert _read(required, {"b": 1}, {"h": 2}) == (
        [("t", 1)],
        ["1: missing_field: t is required and absent"],
    )


@pytest.mark.parametrize(
    ("feed", "messages"),
    [
        ({"pairs": {"name": "n", "value": "v"}}, [{"n": "a", "v": 1}, {"n": "b", "v": 2}]),
        ({"format": {"type": "csv", "header": True}}, [b"a,c\n1,9\n", b"b,c\n2,9\n"]),
        ({"format": "line_protocol"}, [b"m a=1", b"m b=2"]),
        ({"arrays": {"step": "1s"}}, [{"a": [1]}, {"b": [2]}]),
        ({"records": "r"}, [{"r": [{"a": 1}, {"b": 2}]}]),
        ({"other_channels": True, "time": {"path": "ts", "or_path": ["t"]}},
         [{"a": 1, "t": 1795900000000}, {"b": 2, "ts": 1795900000000}]),
    ],
)  # fmt: skip
def test_it_does_so_whatever_the_message_is_like(
    feed: dict[str, Any], messages: list[object]
) -> None:
    """Names of pairs, columns, fields; and nothing of it is another channel."""
    readings, told = _read({"channels": {"t": {"path": ["a", "b"]}}, **feed}, *messages)
    assert (readings, told) == ([("t", 1), ("t", 2)], [])


def test_a_channel_of_its_own_topic_may_have_several_names() -> None:
    feed = {
        "topic": "m/{device}/{channel}",
        "format": "value",
        "channels": {"t": {"path": ["a", "b"]}},
    }
    assert _read(feed, b"1", topic="m/d/a") == ([("t", 1)], [])
    assert _read(feed, b"2", topic="m/d/b") == ([("t", 2)], [])


def test_a_time_stands_where_there_is_something_first() -> None:
    """Also where it is null at the first place, and around the record."""
    ages, told = _times(
        {"path": "ts", "or_path": ["time", "meta.t"], "unit": "s"},
        {"ts": 1795899999, "time": 5}, {"time": 1795899998}, {"ts": "", "time": 1795899997},
        {"ts": None, "meta": {"t": 1795899996}}, {},
    )  # fmt: skip
    assert ages == [1, 2, 3, 4]
    assert told == ['no event time at "ts"']
    assert _times({"path": "a", "or_path": "b", "unit": "s"}, {"b": 1795899999}) == ([1], [])


def test_a_time_may_be_written_in_several_ways() -> None:
    """The first that fits; with fractions where a pattern has them."""
    ages, told = _times(
        {"path": "t", "pattern": ["%d.%m.%Y %H:%M:%S", "%Y/%m/%d %H:%M", "%d%m%y %H%M%S.%f"]},
        {"t": "28.11.2026 21:06:30"}, {"t": "2026/11/28 21:05"}, {"t": "281126 210620.123456789"},
        {"t": "yesterday"},
    )  # fmt: skip
    assert ages == [10, 100, 19]
    (detail,) = told
    wanted = '"%d.%m.%Y %H:%M:%S" or "%Y/%m/%d %H:%M" or "%d%m%y %H%M%S.%f"'
    assert detail == f"expected a text as {wanted}, got 'yesterday'"


@pytest.mark.parametrize("times", [1, 100])
@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        (["DT#%Y-%m-%d-%H:%M:%S", "%Y%m%d%H%M%S"], 20261128210630),
        (["DT#%Y-%m-%d-%H:%M:%S", "%Y%m%d%H%M%S"], "DT#2026-11-28-21:06:30"),
        (["%Y%m%d%H%M%S", "%d%m%y%H%M%S"], 281126210630),
        (["%Y%m%d%H%M%S", "%d%m%y%H%M%S"], "281126210630"),
        (["%Y%m%d%H%M%S", "%d%m%y%H%M%S"], 20261128210630),
        (["%d%m%y%H%M%S", "%Y%m%d%H%M%S"], "20261128210630"),
        (["%d%m%Y %H%M%S", "%d%m%y%H%M%S.%f"], 281126210630.5),
    ],
)
def test_of_several_ways_one_fits_digits_too(pattern: list[str], value: object, times: int) -> None:
    """Zeros that got lost are those of each way itself, and none of a year; one or many at once."""
    mapping = {"path": "t", "pattern": pattern}
    ages, told = _times(mapping, *[{"t": value}] * times)
    assert {round(age) for age in ages} <= {9, 10}
    assert (len(ages), told) == (times, [])


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ({"time": {"path": ["d", "t"], "unit": "iso8601", "or_path": ["x"]}}, "or_path: is for"),
        ({"time": {"or_path": ["x"]}}, "or_path: of which times"),
        ({"time": {"path": "t", "or_pattern": ["%Y"]}}, "or_pattern: beside which"),
        ({"time": {"path": "t", "pattern": ["%Y-%m-%d %H:%M:%S", "%H:%M"]}}, "a date and a time"),
        ({"time": {"path": "t", "pattern": ["%c", "%Y %Z"]}}, "expected %z"),
        ({"channels": {"t": {"path": []}}}, "path"),
        ({"channels": {"t": {"path": ["a", "b[*]"]}}}, "a path to one value"),
        ({"channels": {"t": {"path": ["a", 1]}}}, "or_path"),
        ({"other_channels": {"power_of_ten": "sf"}}, "is of one channel"),
    ],
)
def test_what_goes_with_nothing_is_refused(raw: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        FeedConfig.model_validate({"topic": "m/{device}", "channels": {"x": {}}, **raw})


def test_texts_of_those_who_know_texts_only_are_what_json_would_be() -> None:
    """True and false; an array of one number. Nothing else is guessed."""
    feed: dict[str, Any] = {"channels": {"a": {}}}
    readings, told = _read(
        feed, *({"a": each} for each in ("true", " False ", "[220]", "[ 1.5 ]", "[1,2]", "on"))
    )
    assert [value for _, value in readings] == [1, 0, 220, 1.5, None, None]
    assert told == ["a: expected a number, got '[1,2]'"]
    states = {"channels": {"a": {"states": {"true": 5}, "missing": "false"}}}
    assert _read(states, {"a": "true"}, {"a": "false"})[0] == [("a", 5), ("a", None)]
    strict = _read({"channels": {"a": {}}, "strict": True}, {"a": "true"})
    assert strict == ([], ["0: wrong_type: a: expected a number, got 'true'"])


def test_a_value_is_scaled_by_the_power_of_ten_that_stands_beside_it() -> None:
    """As SunSpec has it; then by what the configuration says. Without one it is no number."""
    feed = {"channels": {"w": {"power_of_ten": "sf", "missing": -32768, "scale": 0.001}}}
    readings, told = _read(
        feed,
        {"w": 2347, "sf": -1}, {"w": 12, "sf": 3}, {"w": "12", "sf": "0"},
        {"w": -32768, "sf": -32768}, {"w": None, "sf": 1}, {"w": 1}, {"w": 1, "sf": 0.5},
        {"w": 1, "sf": 99},
    )  # fmt: skip
    assert [value for _, value in readings] == [0.2347, 12, 0.012, *[None] * 5]
    assert told == ["w: expected a number, got one with nothing as its power of ten"]


@given(
    st.integers(-(10**6), 10**6),
    st.decimals(Decimal(-10), Decimal(10), places=3).filter(bool),
    st.decimals(Decimal(-500), Decimal(500), places=2),
)
def test_counts_are_scaled_as_their_digits_say(count: int, scale: Decimal, offset: Decimal) -> None:
    """234 times 0.1 is 23.4 and nothing else, with the fast way and the careful one."""
    feed = {"channels": {"x": {"scale": float(scale), "offset": float(offset)}}}
    ((_, value),), told = _read(feed, {"x": count})
    assert not told
    assert value == float(Decimal(count) * scale + offset)


def test_units_are_converted_to_the_last_digit() -> None:
    """And what is too large on the way is not, if the result is none."""
    feed = {"channels": {"t": {"unit": "degF", "to": "degC"}, "x": {"scale": 0.03}}}
    readings, told = _read(feed, {"t": 77, "x": 1.5e308}, {"t": "212", "x": 7})
    assert readings == [("t", 25), ("x", 4.5e306), ("t", 100), ("x", 0.21)]
    assert not told
    tiny = ChannelConfig.model_validate({"scale": 1e-300})
    assert tiny.exact_line() == (1e-300, 0.0, 1.0)
