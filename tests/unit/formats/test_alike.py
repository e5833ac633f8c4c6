"""Messages that are alike are read together, and say what each of them says by itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import cbor2
import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable
from tests.unit.formats.test_cost import calls
from tests.unit.formats.test_typed import decoded_by

_T = 1_799_999_990 * 10**9

#: Most are as ever; of the others some are none of what they stand for.
_NUMBERS = [
    *("1", "1.5", "-3", "2i", "t", "0.1", "21.25") * 3,
    "1e5",
    "5u",
    "+1",
    ".5",
    "5.",
    "007",
]
_NUMBERS += [
    "",
    "nan",
    "-",
    "--1",
    "1-1",
    '"a"',
    "9" * 60,
    "0." + "0" * 350 + "1",
    "1i2",
    "tt",
    "1e400",
]
_ODD_NUMBERS = ["false", "99999999999999999999i", "1_0", "0x1", "٣", "1\\", "[1]", "1]", "null"]
_LINE_TIMES = [
    f" {_T}",
    f" {_T + 1}",
    "",
    " 0",
    " -5",
    " 5.5",
    f" {_T}0",
    " 9223372036854775807",
    " ",
]
_NAMES = [*("x", "y") * 5, "z", "time", "tags", "pump", "tags.host", "a\\ b", "#x", ""]


def _line(chance: random.Random) -> bytes:
    """A line of one of some kinds."""
    kind = chance.choice((1, 1, 1, 2, 3))
    names = ["x", "y"] if kind == 1 else [chance.choice(_NAMES) for _ in range(kind)]
    is_odd = chance.random() < 0.2
    values = [chance.choice([*_NUMBERS, *_ODD_NUMBERS] if is_odd else _NUMBERS[:21]) for _ in names]
    tags = chance.choice(
        (",host=a", ",host=b", ",host=b", ",host=a,host=b", ",line=1", "", ",host=")
    )
    if not is_odd:
        tags = chance.choice((",host=a", ",host=b"))
    fields = ",".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
    time = chance.choice(_LINE_TIMES if is_odd else _LINE_TIMES[:2])
    line = f"{chance.choice(('pump',) * 9 + ('x', '{', '', 'valve'))}{tags} {fields}{time}"
    ends = ("", "", "\n", "\n\n", "\r\n", "\npump x=1", " ", "\0") if is_odd else ("", "", "\n")
    return (line + chance.choice(ends)).encode()


_LINE_FEEDS: list[dict[str, Any]] = [
    {"channels": {"x": {}, "y": {"missing": [1]}}},
    {"topic": "in/#", "device": "tags.host", "channels": {"x": {}, "y": {}}},
    {"tags": {"host": {"path": "tags.host"}, "of": {"path": "measurement"}}, "channels": {"x": {}}},
    {"channels": {"x": {}, "host": {"type": "text", "path": "tags.host"}}},
    {"time": {"path": "time", "unit": "ms"}, "channels": {"x": {"scale": 2}, "none": {}}},
]

_KEYS = [*("t", "x", "y") * 4, "z", "id", "ü", "a long key of many letters", 5, ""]


def _map(chance: random.Random) -> bytes:
    """A map of one of some kinds."""

    def value() -> object:
        return chance.choice(
            (
                *(1.5, -0.25, 7, -7, 300, -(2**40), 2**53 + 1, 2**63 - 1) * 2,
                *(
                    2**64 - 1,
                    -(2**64),
                    10**30,
                    None,
                    True,
                    "a",
                    "21.5",
                    "ü",
                    "a" * 30,
                    float("nan"),
                ),
                *([1], {}, b"a", cbor2.CBORSimpleValue(99), cbor2.undefined),
            )[: 14 if is_plain else None]
        )

    is_plain = chance.random() < 0.8
    keys: list[object] = ["t", "x", "y"]
    if not is_plain:
        keys = [chance.choice(_KEYS) for _ in range(chance.choice((0, 1, 3, 5)))]
    content = {key: value() for key in keys}
    if "t" in content and chance.random() < 0.9:
        content["t"] = chance.choice((_T // 10**9, _T / 10**9, _T // 10**9 + 1))
    if chance.random() < 0.8:
        content["id"] = chance.choice(("a", "b", "longer"))
    payload = cbor2.dumps(content, canonical=chance.random() < 0.2)
    if chance.random() < 0.2:
        other = bytearray(payload)
        other[chance.randrange(len(other))] = chance.randrange(256)
        payload = bytes(other)
    return chance.choice(((payload,) * 20) + (payload[:-1], payload + b"\0", b""))


_MAP_FEEDS: list[dict[str, Any]] = [
    {"time": {"path": "t", "unit": "s"}, "channels": {"x": {}, "y": {}}},
    {"topic": "in/#", "device": "id", "channels": {"x": {}, "y": {"missing": [7]}}},
    {"channels": {"x": {"default": 3}, "y": {}}},
    {"time": {"path": "t", "unit": "s"}, "channels": {"x": {}, "y": {}, "id": {"type": "text"}}},
    {
        "time": {"path": "t", "unit": "s"},
        "strict": True,
        "channels": {"z": {}, "y": {"scale": 0.5}},
    },
]

_KINDS: dict[str, tuple[list[dict[str, Any]], Callable[[random.Random], bytes]]] = {
    "line_protocol": (_LINE_FEEDS, _line),
    "cbor": (_MAP_FEEDS, _map),
}


def _hold(name: str, seeds: range) -> None:
    feeds, make = _KINDS[name]
    for seed in seeds:
        chance = random.Random(seed)
        table = {"topic": "in/{device}", "format": name, **feeds[seed % len(feeds)]}
        feed = FeedConfig.model_validate(table)
        payloads = [make(chance) for _ in range(chance.choice((20, 60, 200)))]
        topics = [b"in/%d" % chance.randrange(3) for _ in payloads]
        together, each = (decoded_by(feed, payloads, topics, is_typed=way) for way in (True, False))
        assert together == each, seed


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("line_protocol", b"m x=1,y=2 00000000000001799999990000000000"),
        ("line_protocol", b"m x=1,y=2 -0000000000000000000000000000005"),
        ("line_protocol", b"m x=1,y=2 -9223372036854775808"),
        ("line_protocol", b"m x=1,y=2 9223372036854775807"),
        ("line_protocol", b"m x=1,y=2 00000000000000000005"),
        ("cbor", bytes.fromhex("a3 6174 1a6b49d200 6178 fa7f800001 6179 02")),
    ],
)
def test_odd_ones_say_what_they_say_alone(name: str, payload: bytes) -> None:
    """Times that are written too long or are too large, and a number that is none."""
    time = {"path": "time", "unit": "ns"} if name == "line_protocol" else {"path": "t", "unit": "s"}
    table = {"topic": "in/{device}", "format": name, "time": time, "channels": {"x": {}, "y": {}}}
    feed = FeedConfig.model_validate(table)
    both = [decoded_by(feed, [payload] * 20, [b"in/a"] * 20, is_typed=way) for way in (True, False)]
    assert both[0] == both[1]


@pytest.mark.parametrize("name", _KINDS)
def test_together_they_say_what_each_says(name: str) -> None:
    """Lines and maps of some kinds, mixed, with some that are damaged or odd."""
    _hold(name, range(20))


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("line_protocol", b"pump,host=a x=1.5,y=2i 1799999990000000000\n"),
        ("cbor", cbor2.dumps({"t": _T // 10**9, "x": 1.5, "id": "a", "y": -2})),
    ],
)
def test_a_message_more_costs_hardly_a_call(name: str, payload: bytes) -> None:
    """One by one each takes ten."""
    table = {"topic": "in/{device}", "format": name, **_KINDS[name][0][0]}
    decoder = FeedDecoder("f", FeedConfig.model_validate(table), ChannelTable(), IngestConfig())

    def count(number: int) -> int:
        arrival_ns = np.full(number, 1_800_000_000 * 10**9)
        return calls(lambda: decoder.decode([b"in/a"] * number, [payload] * number, arrival_ns))

    count(1)
    assert count(1200) - count(200) < 2500


@pytest.mark.parametrize(
    ("name", "path", "payload"),
    [
        ("line_protocol", "tags.host", b"pump,host=a x=1.5"),
        ("line_protocol", "mode", b'pump x=1.5,mode="auto"'),
        ("cbor", "mode", cbor2.dumps({"x": 1.5, "mode": "auto"})),
        ("cbor", "mode", cbor2.dumps({"x": 1.5, "mode": "auto", "list": []})),
    ],
)
def test_texts_are_read_with_many_others(name: str, path: str, payload: bytes) -> None:
    """Whether they are all alike or not."""
    channels = {"x": {}, "mode": {"type": "text", "path": path}}
    table = {"topic": "in/{device}", "format": name, "time": {}, "channels": channels}
    decoder = FeedDecoder("f", FeedConfig.model_validate(table), ChannelTable(), IngestConfig())

    assert decoder._typed is not None
    assert decoder._typed.decode([b"in/a"] * 50, [payload] * 50).failed == []


@pytest.mark.slow
@pytest.mark.parametrize("name", _KINDS)
def test_so_they_do_in_many_runs(name: str) -> None:
    """The same, harder."""
    _hold(name, range(20, 220))


@pytest.mark.thorough
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", _KINDS)
def test_so_they_do_in_thousands_of_runs(name: str) -> None:
    """And much harder."""
    _hold(name, range(220, 2000))
