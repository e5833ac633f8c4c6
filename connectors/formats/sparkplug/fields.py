"""The fields of Sparkplug's payloads and metrics as they are written, and what is read of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: First bytes of a value, by which it is told what kind it is; 0 where there is none.
INT, LONG, FLOAT, DOUBLE, BOOLEAN, STRING = 0x50, 0x58, 0x65, 0x69, 0x70, 0x7A

#: Fields of a payload by their first byte: its time, a metric, its number.
TIME, METRIC, SEQ = 0x08, 0x12, 0x18

#: How a field goes on behind its first byte: a varint, so many bytes, or as many as a varint says.
NONE, VARINT, FOUR, EIGHT, SIZED = range(5)

#: Columns of a metric. Metadata and properties are not read, whatever is in them.
NAME, ALIAS, WHEN, TYPE, HISTORICAL, TRANSIENT, NULL, VALUE, UNREAD = range(9)

#: By first byte, how a metric's field goes on, and its column. Those of two bytes are of bytes,
#: arrays, tables and templates; 1 is always the second.
FIELDS: Final[Mapping[int, tuple[int, int]]] = {
    0x0A: (SIZED, NAME),
    0x10: (VARINT, ALIAS),
    0x18: (VARINT, WHEN),
    0x20: (VARINT, TYPE),
    0x28: (VARINT, HISTORICAL),
    0x30: (VARINT, TRANSIENT),
    0x38: (VARINT, NULL),
    0x42: (SIZED, UNREAD),
    0x4A: (SIZED, UNREAD),
    INT: (VARINT, VALUE),
    LONG: (VARINT, VALUE),
    FLOAT: (FOUR, VALUE),
    DOUBLE: (EIGHT, VALUE),
    BOOLEAN: (VARINT, VALUE),
    STRING: (SIZED, VALUE),
    0x82: (SIZED, VALUE),
    0x8A: (SIZED, VALUE),
    0x92: (SIZED, VALUE),
}

#: A length of more bytes is none to Protobuf.
LONGEST_LENGTH: Final = 5

#: Larger numbers do not fit into a field of so many bits.
MOST_UINT32: Final = (1 << 32) - 1

#: By so many bits is the place of a text before its length.
PLACE_BITS: Final = np.uint64(32)

#: Of eight bytes, seven bits each.
SEVENS: Final = np.uint64(0x7F7F7F7F7F7F7F7F)

_ONE, _TWO, _FOUR = np.uint64(1), np.uint64(2), np.uint64(4)


class Columns(NamedTuple):
    """Metrics, a row each, in the order of their payloads.

    Attributes:
        owner: intp[n], the payload that each is of.
        name_at: intp[n], where its name begins in the text of all payloads.
        name_size: intp[n], how long that is; 0 where it has none.
        alias: int64[n], below 0 where it has none.
        datatype: int64[n], 0 where it has none.
        time_ms: int64[n], its own or else the payload's; below 0 where neither has one.
        kind: uint8[n], which value it has, such as ``DOUBLE``; 0 where it has none.
        bits: uint64[n], the value, of a text and the like where it begins in the text of all
            payloads, times 2^32, and how long it is.
        is_null: bool[n].
        is_set_apart: bool[n], whether it is historical or transient.
    """

    owner: NDArray[np.intp]
    name_at: NDArray[np.intp]
    name_size: NDArray[np.intp]
    alias: NDArray[np.int64]
    datatype: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    kind: NDArray[np.uint8]
    bits: NDArray[np.uint64]
    is_null: NDArray[np.bool_]
    is_set_apart: NDArray[np.bool_]

    def of(self, is_taken: NDArray[np.bool_]) -> Columns:
        """Those of some payloads, bool[payload]."""
        rows = is_taken[self.owner]
        return Columns._make(column[rows] for column in self)


@dataclass(frozen=True, slots=True)
class Scanned:
    """What payloads hold.

    Attributes:
        text: All of them, one behind the other.
        is_read: bool[payload], whether a payload was read; of others there is nothing here.
        seq: int64[payload], its number; below 0 where it has none.
        first: intp[payload + 1], its first metric; behind them the number of all.
        metrics: All metrics.
    """

    text: bytes
    is_read: NDArray[np.bool_]
    seq: NDArray[np.int64]
    first: NDArray[np.intp]
    metrics: Columns

    @classmethod
    def of(
        cls,
        text: bytes,
        is_read: NDArray[np.bool_],
        seq: NDArray[np.int64],
        parts: Sequence[Columns],
    ) -> Scanned:
        """What payloads hold, put together from parts, each with all of its payloads."""
        columns = parts[0]
        if len(parts) > 1:
            columns = Columns._make(map(np.concatenate, zip(*parts, strict=True)))
        if (np.diff(columns.owner) < 0).any():
            order = np.argsort(columns.owner, kind="stable")
            columns = Columns._make(column[order] for column in columns)
        first = np.searchsorted(columns.owner, np.arange(len(is_read) + 1))
        return cls(text, is_read, seq, first, columns)

    def names(self) -> list[bytes]:
        """The metrics' names, empty of those that have none; nothing at all where none has one."""
        metrics = self.metrics
        if not metrics.name_size.any():
            return []
        names, text = [b""] * len(metrics.owner), self.text
        rows = np.flatnonzero(metrics.name_size)
        begins = metrics.name_at[rows]
        ends = begins + metrics.name_size[rows]
        for row, begin, end in zip(rows.tolist(), begins.tolist(), ends.tolist(), strict=True):
            names[row] = text[begin:end]
        return names


def joined(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers of which each byte has seven bits, the first ones lowest, without what is between."""
    value = value & np.uint64(0x007F007F007F007F) | (value & np.uint64(0x7F007F007F007F00)) >> _ONE
    value = value & np.uint64(0x00003FFF00003FFF) | (value & np.uint64(0x3FFF00003FFF0000)) >> _TWO
    return value & np.uint64(0x000000000FFFFFFF) | (value & np.uint64(0x0FFFFFFF00000000)) >> _FOUR
