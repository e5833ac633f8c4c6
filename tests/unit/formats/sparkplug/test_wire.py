"""Many payloads scanned at once say what protobuf says of each."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from connectors.formats.sparkplug.fields import Scanned
from connectors.formats.sparkplug.schema import Payload, parsed
from connectors.formats.sparkplug.wire import scan
from headgate.core.errors import DataError
from headgate.testing.formats import changed
from tests.unit.formats.sparkplug.host import TIME_MS, bd_seq, metric, payload

#: Names of values by their first byte.
_KINDS = {
    0x50: "int_value",
    0x58: "long_value",
    0x65: "float_value",
    0x69: "double_value",
    0x70: "boolean_value",
    0x7A: "string_value",
    0x82: "bytes_value",
    0x8A: "dataset_value",
    0x92: "template_value",
}


def _number(**fields: object) -> dict[str, Any]:
    return {"alias": 5, "timestamp": TIME_MS, **fields}


_GOOD = [
    payload([_number(double_value=21.5), _number(alias=300, float_value=-0.5)], 7),
    payload([_number(int_value=0xFFFFFFFF), _number(long_value=2**64 - 5, datatype=4)], 255),
    payload([_number(boolean_value=True, is_historical=True), {"alias": 0, "is_null": True}], 1),
    payload([bd_seq(3), metric("Motor/Speed", 10, alias=1), metric("note", "a b", datatype=12)]),
    payload([_number(bytes_value=b"\1\2", is_transient=True), {"name": "", "alias": 2**40}], 2),
    payload([_number(dataset_value=b"", template_value=b"\x12\0"), {}], None),
    payload([metric("Größe", 1.0), metric("a", "ü", datatype=12)], 9),
    payload([], 3, uuid="", body=b"x"),
    Payload(seq=300).SerializeToString(),
    # Fields that are there twice, the last of which counts; and some that the schema has not.
    bytes.fromhex("0801120410011007 1801 120a18b0ea01380038013800 0802 1809 1803".replace(" ", "")),
    bytes.fromhex("120f4a030102034203ffffff6500000000"),
    bytes.fromhex("120a 6500000040 5003 10 80 01".replace(" ", "")),
]


def _told_by_protobuf(content: bytes) -> tuple[object, ...]:
    message = parsed("Payload", content)
    return (
        message.seq if message.HasField("seq") else -1,
        [_metric(each, message) for each in message.metrics],
    )


def _metric(each: Any, message: Any) -> tuple[object, ...]:  # noqa: ANN401
    timed = next((one for one in (each, message) if one.HasField("timestamp")), None)
    kind = each.WhichOneof("value")
    value = None if kind is None else getattr(each, kind)
    return (
        each.name.encode(),
        each.alias if each.HasField("alias") else -1,
        -1 if timed is None else timed.timestamp,
        each.datatype,
        each.is_null,
        each.is_historical or each.is_transient,
        kind,
        repr(value.encode() if isinstance(value, str) else value),
    )


def _told_by_scan(found: Scanned, at: int) -> tuple[object, ...]:
    metrics = found.metrics
    names = found.names() or [b""] * len(metrics.owner)
    return (
        int(found.seq[at]),
        [
            (
                names[row],
                int(metrics.alias[row]),
                int(metrics.time_ms[row]),
                int(metrics.datatype[row]),
                bool(metrics.is_null[row]),
                bool(metrics.is_set_apart[row]),
                _KINDS.get(int(metrics.kind[row])),
                _value(int(metrics.kind[row]), metrics.bits[row : row + 1], found.text),
            )
            for row in range(found.first[at], found.first[at + 1])
        ],
    )


def _value(kind: int, bits: Any, text: bytes) -> object:  # noqa: ANN401
    name = _KINDS.get(kind)
    if name is None:
        return repr(None)
    if name == "double_value":
        return repr(float(bits.view(np.float64)[0]))
    if name == "float_value":
        return repr(float(bits.astype(np.uint32).view(np.float32)[0]))
    if name == "boolean_value":
        return repr(bool(bits[0]))
    number = int(bits[0])
    if name in ("int_value", "long_value"):
        return repr(number)
    return repr(text[number >> 32 :][: number & 0xFFFFFFFF])


def _hold(chance: random.Random, count: int) -> int:
    """How many payloads were read of those that these were turned into."""
    payloads: list[bytes] = []
    for good in _GOOD:
        payloads += changed(good, chance, count // len(_GOOD) // 2)
    chance.shuffle(payloads)
    for good in _GOOD:
        # With as many bytes as before, so that many have one layout.
        for _ in range(count // len(_GOOD) // 2):
            other = bytearray(good)
            other[chance.randrange(len(good))] = chance.choice((chance.randrange(256), 0x7F, 0x80))
            payloads.append(bytes(other))
    read = 0
    for first in range(0, len(payloads), 200):
        some = payloads[first : first + 200]
        found = scan(some)
        for at in np.flatnonzero(found.is_read).tolist():
            read += 1
            try:
                wanted = _told_by_protobuf(some[at])
            except DataError as error:
                raise AssertionError(f"{some[at].hex()} is read, and is none: {error}") from None
            assert _told_by_scan(found, at) == wanted, some[at].hex()
    return read


@pytest.mark.parametrize("content", _GOOD[:7] + _GOOD[8:])
def test_what_nodes_send_is_read(content: bytes) -> None:
    """Whatever is around it."""
    found = scan([b"\xff", content, b"", content])

    assert found.is_read.tolist() == [False, True, False, True]
    assert _told_by_scan(found, 1) == _told_by_scan(found, 3) == _told_by_protobuf(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        payload([], 1, uuid="SPBV1.0_COMPRESSED", body=b"x"),
        # Texts that are none: half a letter, and half of two.
        b"\x12\x05\x0a\x01\xc3\x10\x01",
        b"\x12\x05\x7a\x03\xed\xa0\x80",
        b"\x12\x00" * 501,
        b"\x12\x7f",
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x08" + b"\x80" * 10 + b"\x01",
        b"\x12\x04\x10\x01\x18",
        b"\x12\x03\x13\x10\x01",
    ],
)
def test_what_is_not_as_most_is_not_read(content: bytes) -> None:
    """It is for protobuf, and takes no neighbour along."""
    good = _GOOD[0]
    found = scan([good, content, good])

    assert found.is_read.tolist() == [True, False, True]
    assert _told_by_scan(found, 0) == _told_by_scan(found, 2) == _told_by_protobuf(good)


def test_nothing_is_nothing() -> None:
    """No payload at all."""
    assert not len(scan([]).metrics.owner)


@pytest.mark.slow
def test_a_scan_says_what_protobuf_says_of_whatever_comes() -> None:
    """Ten thousand payloads with bytes lost, changed and added; a good part of them is read."""
    assert _hold(random.Random(0), 10_000) > 1000


@pytest.mark.thorough
def test_so_it_does_much_longer() -> None:
    """A hundred thousand, and others."""
    assert _hold(random.Random(1), 100_000) > 10_000
