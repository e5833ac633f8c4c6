"""Registers of Modbus: in whatever order they lie, and however gateways write them."""

from __future__ import annotations

import json
import math
import re
import struct
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable

_README = Path(__file__).parents[3] / "connectors/formats/binary/README.md"

#: In which order the bytes of a number of four and of eight lie; A is the one that counts most.
_ORDERS = {
    "ABCD": ([0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7]),
    "DCBA": ([3, 2, 1, 0], [7, 6, 5, 4, 3, 2, 1, 0]),
    "CDAB": ([2, 3, 0, 1], [6, 7, 4, 5, 2, 3, 0, 1]),
    "BADC": ([1, 0, 3, 2], [1, 0, 3, 2, 5, 4, 7, 6]),
}


def _read(feed: dict[str, Any], *payloads: object) -> tuple[list[float | None], list[str]]:
    """Values, NaN as None, and what was refused; both ways say the same."""
    config = FeedConfig.model_validate({"topic": "m/{device}", **feed})
    raw = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in payloads]
    found = []
    for takes_fast_way in (True, False):
        table = ChannelTable()
        decoder = FeedDecoder("f", config, table, IngestConfig(), takes_fast_way=takes_fast_way)
        decoded = decoder.decode([b"m/d"] * len(raw), raw, np.full(len(raw), 1_795_900_000 * 10**9))
        values = [None if math.isnan(value) else value for value in decoded.value.tolist()]
        found.append((values, [f"{at}: {error.detail}" for at, error in decoded.refused]))
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("order", _ORDERS)
@pytest.mark.parametrize(
    ("kind", "letter", "value"),
    [
        ("u32", "I", 305419896), ("i32", "i", -2), ("f32", "f", -1.5), ("u64", "Q", 2**40 + 3),
        ("i64", "q", -(2**40)), ("f64", "d", 1234.5678),
    ],
)  # fmt: skip
def test_numbers_are_read_in_each_order(order: str, kind: str, letter: str, value: float) -> None:
    """Alone and one after the other, from any place on, with an order of the field's or of all."""
    packed = struct.pack(f">{letter}", value)
    places = _ORDERS[order][len(packed) == 8]
    frame = b"\xff" + bytes(packed[place] for place in places)
    field = {"at": 1, "type": kind}
    own = {"type": "binary", "fields": {"x": {**field, "order": order}}}
    of_all = {"type": "binary", "order": order, "size": 1 + len(packed), "fields": {"x": field}}

    assert _read({"format": own, "channels": {"x": {}}}, frame) == ([value], [])
    assert _read({"format": of_all, "channels": {"x": {}}}, frame * 3) == ([value] * 3, [])


def test_shorter_numbers_and_bits_have_their_order_as_well() -> None:
    """Two bytes are one register: only of BADC they are swapped. One byte is itself."""
    fields = {
        "a": {"at": 0, "type": "u16"}, "b": {"at": 2, "type": "u8"},
        "c": {"at": 3, "type": "u32", "bit": 24, "bits": 8},
    }  # fmt: skip
    frame = bytes([0x01, 0x02, 0x03, 0x0A, 0x0B, 0x0C, 0x0D])
    channels: dict[str, Any] = {"a": {}, "b": {}, "c": {}}

    def read(order: str) -> list[float | None]:
        form = {"type": "binary", "order": order, "fields": fields}
        return _read({"format": form, "channels": channels}, frame)[0]

    assert read("CDAB") == [0x0102, 3, 0x0C]
    assert read("BADC") == [0x0201, 3, 0x0B]
    assert read("DCBA") == [0x0201, 3, 0x0D]


def test_a_number_that_fills_no_registers_has_no_such_order() -> None:
    form = {"type": "binary", "order": "CDAB", "fields": {"x": {"at": 0, "type": "u24"}}}
    with pytest.raises(ValidationError, match=r"fields\.x: u24 fills no registers"):
        FeedConfig.model_validate({"topic": "{device}", "format": form, "channels": {"x": {}}})
    form["fields"] = {"x": {"at": 0, "type": "u24", "order": "big"}}
    FeedConfig.model_validate({"topic": "{device}", "format": form, "channels": {"x": {}}})


def test_the_feed_of_the_page_reads_its_message() -> None:
    """As the page on the format has it."""
    section = _README.read_text().split("**Registers of Modbus**")[1]
    feed = tomllib.loads(section.split("```toml\n")[1].split("```")[0])["feed"]["meter"]
    message = re.search(r"^`(\{.*?\})` is 230\.1 V, 1001 W and 100\.001 kWh", section, re.MULTILINE)
    assert message is not None
    feed["topic"] = "m/{device}"
    assert _read(feed, message[1].encode()) == ([230.1, 1001, 100.001], [])


def test_registers_may_be_hexadecimal_in_texts() -> None:
    """With 0x before them, in a list of texts or a text of such a list; what is none is refused."""
    fields = {"x": {"at": 0, "type": "f32", "order": "CDAB"}}
    form = {"type": "binary", "encoding": "registers", "inside": "regs", "fields": fields}
    feed = {"format": form, "channels": {"x": {}}}
    good = (["0x999a", "0x4145"], ["0X999A", " 16709 "], "[0x999a, 0x4145]", "['0x999a','16709']")
    values, told = _read(feed, *({"regs": each} for each in good))
    assert (values, told) == ([struct.unpack(">f", b"\x41\x45\x99\x9a")[0]] * 4, [])
    bad: tuple[object, ...] = (["999a", "4145"], ["0x1999a", "0x4145"], "999a4145", ["0x", "0x1"])
    values, told = _read(feed, *({"regs": each} for each in bad))
    assert (values, len(told)) == ([], 4)
    assert '"0x999A", got an array of 2; bytes in a row as one text need encoding' in told[0]


def test_registers_come_as_lists_and_as_texts() -> None:
    """With signs or without; a message may be the list itself. All else is told."""
    fields = {"x": {"at": 0, "type": "i16"}, "y": {"at": 2, "type": "u16"}}
    channels: dict[str, Any] = {"x": {}, "y": {}}
    form = {"type": "binary", "encoding": "registers", "fields": fields}
    bare = {"format": form, "channels": channels}
    assert _read(bare, [65535, 258], [-1, 258], "[65535, 258]", "65535,258")[0] == [-1, 258] * 4
    for bad in ([65536, 1], [1.5, 1], [True, 1], ["a", 1], [], {"a": 1}, "x", 5, None):
        values, refused = _read(bare, bad)
        assert not values
        assert len(refused) == 1
    inside = {"format": {**form, "inside": "d.regs"}, "channels": channels}
    values, refused = _read(inside, {"d": {"regs": [1, 2]}}, {"d": {"regs": [1]}}, {"d": {}})
    assert values == [1, 2]
    assert refused == ["1: expected at least 4 bytes, got 2", '2: no bytes at "d.regs"']


def test_what_node_red_makes_of_bytes_is_bytes() -> None:
    """Alone, or somewhere in an object."""
    form = {"type": "binary", "inside": "payload", "fields": {"x": {"at": 0, "type": "u16"}}}
    feed = {"format": form, "channels": {"x": {}}}
    buffer = {"type": "Buffer", "data": [8, 253]}
    assert _read(feed, {"payload": buffer}, {"payload": [8, 253]}) == ([2301, 2301], [])
    whole = {"format": {**form, "inside": "data"}, "channels": {"x": {}}}
    assert _read(whole, buffer) == ([2301], [])
    _, refused = _read(feed, {"payload": {"type": "Buffer", "data": [300]}})
    assert refused == ['0: not all that is at "payload" are bytes']
