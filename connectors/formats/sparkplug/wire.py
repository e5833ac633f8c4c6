"""What is written in many payloads of Sparkplug B at once: columns of metrics, without a message.

Protobuf's wire format is followed in all payloads in step: of each the next field, and of each
metric likewise. That is done for what nearly all payloads are made of. One in which anything else
is met (a body, a group, a field of another kind than the schema has, a text that is none) is not
read here at all, and is for protobuf itself; of those that are read, the columns say what it would.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from connectors.formats.sparkplug.fields import (
    ALIAS,
    EIGHT,
    FIELDS,
    FOUR,
    HISTORICAL,
    INT,
    LONGEST_LENGTH,
    METRIC,
    MOST_UINT32,
    NAME,
    NONE,
    NULL,
    PLACE_BITS,
    SEQ,
    SEVENS,
    SIZED,
    STRING,
    TIME,
    TRANSIENT,
    TYPE,
    VALUE,
    WHEN,
    Columns,
    Scanned,
    joined,
)
from connectors.formats.sparkplug.layout import by_layout
from connectors.formats.words import Words

#: Whole numbers, int64[n] or intp[n]; the bits of values, uint64[n]; and which of them, bool[n].
_Whole: TypeAlias = NDArray[np.int64]
_Bits: TypeAlias = NDArray[np.uint64]
_Which: TypeAlias = NDArray[np.bool_]

_HOW, _COLUMN = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
for _first, (_how, _column) in FIELDS.items():
    _HOW[_first], _COLUMN[_first] = _how, _column

#: Bytes that a field takes behind its first, by how it goes on; 0 where a varint says so.
_SIZES = np.array([0, 0, 4, 8, 0])

#: So many metrics of a payload, and fields of a metric, are followed.
_MOST_METRICS, _MOST_FIELDS = 500, 24

#: When so few payloads go on after so many fields, each is followed by itself: a step of all that
#: are left costs as much as one of many.
_FEW, _TOGETHER = 32, 6

#: Larger numbers do not fit into a column.
_MOST = np.uint64(1 << 62)

#: Nor have those so many bits.
_MOST_SHIFT = 55

_ONE = np.uint64(1)
_STOPS = np.uint64(0x8080808080808080)


def scan(payloads: Sequence[bytes]) -> Scanned:
    """The metrics of payloads."""
    wire = Words(payloads)
    seq = np.full(len(payloads), -1, np.int64)
    parts, is_read = by_layout(wire, payloads, seq)
    if not is_read.all() or not parts:
        top = _Payloads(wire, ~is_read, seq)
        owner, at, end = top.metrics()
        fields = _Fields(wire, at, end)
        top.is_read[owner[fields.follow()]] = False
        is_read |= top.is_read
        parts.append(fields.metrics(top, owner).of(is_read))
    return Scanned.of(wire.text, is_read, seq, parts)


def _varints(wire: Words, at: NDArray[np.intp]) -> tuple[_Bits, _Bits, NDArray[np.intp]]:
    """What stands there, eight bytes each; as whole numbers; and how many bytes each of them takes.

    That is 0 where it is none.
    """
    words = wire.at(at)
    stops = ~words & _STOPS
    # All bits of its bytes, up to the one that says that it is the last.
    lowest = stops & (~stops + _ONE)
    used = lowest | (lowest - _ONE)
    value = joined(words & used & SEVENS)
    size = (np.bitwise_count(used) >> 3).astype(np.intp)
    rows = np.flatnonzero(stops == 0)
    if len(rows):
        ninth, tenth = wire.bytes[at[rows] + 8], wire.bytes[at[rows] + 9]
        is_nine = ninth < 0x80
        value[rows] |= (ninth & np.uint8(0x7F)).astype(np.uint64) << np.uint64(56)
        value[rows] |= np.where(is_nine, 0, tenth & 1).astype(np.uint64) << np.uint64(63)
        size[rows] = np.where(is_nine, 9, np.where(tenth <= 1, 10, 0))
    return words, value, size


class _Payloads:
    """Follows the fields of payloads."""

    def __init__(self, wire: Words, is_left: _Which, seq: _Whole) -> None:
        self._wire, self.seq = wire, seq
        self.is_read = is_left & (wire.ends > wire.starts)
        self.time_ms = np.full(len(self.is_read), -1, np.int64)

    def metrics(
        self,
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Of each metric its payload, beginning and end."""
        counts = np.zeros(len(self.is_read), np.intp)
        found: list[tuple[NDArray[np.intp], ...]] = []
        rows = np.flatnonzero(self.is_read)
        at = self._wire.starts[rows]
        for step in range(_MOST_METRICS):
            if step >= _TOGETHER and len(rows) <= _FEW:
                for row, begin in zip(rows.tolist(), at.tolist(), strict=True):
                    self._follow(row, begin, counts, found)
                rows = rows[:0]
            if not len(rows):
                break
            first = self._wire.bytes[at]
            _, value, size = _varints(self._wire, at + 1)
            is_metric = first == METRIC
            at = at + 1 + size
            begin = at
            if is_metric.all():
                at = at + value.astype(np.int64)
            else:
                self._note(rows, first, value)
                at = at + np.where(is_metric, value, 0).astype(np.int64)
            ends = self._wire.ends[rows]
            is_good = is_metric | (first == TIME) | (first == SEQ)
            is_good &= (size > 0) & (value < _MOST) & (at <= ends)
            is_good &= ~is_metric | (size <= LONGEST_LENGTH)
            if not is_good.all():
                self.is_read[rows[~is_good]] = False
                is_metric &= is_good
            those = rows[is_metric]
            found.append((those, counts[those], begin[is_metric], at[is_metric]))
            counts[those] += 1
            goes_on = is_good & (at < ends)
            rows, at = rows[goes_on], at[goes_on]
        self.is_read[rows] = False
        counts[~self.is_read] = 0
        return self._in_order(counts, found)

    def _follow(
        self,
        row: int,
        at: int,
        counts: NDArray[np.intp],
        found: list[tuple[NDArray[np.intp], ...]],
    ) -> None:
        """Follow what is left of one payload."""
        text, end = self._wire.text, int(self._wire.ends[row])
        room = _MOST_METRICS - int(counts[row])
        begins: list[int] = []
        ends: list[int] = []
        while at < end and len(begins) < room:
            first, begin = text[at], at + 1
            value, at = _varint(text, begin)
            if first == METRIC and value >= 0 and at - begin <= LONGEST_LENGTH:
                begins.append(at)
                at += value
                ends.append(at)
            elif first == TIME and value >= 0:
                self.time_ms[row] = value
            elif first == SEQ and value >= 0:
                self.seq[row] = value
            else:
                break
        else:
            self.is_read[row] = at == end
            numbers = np.arange(len(begins)) + counts[row]
            counts[row] += len(begins)
            columns = (np.array(begins, np.intp), np.array(ends, np.intp))
            found.append((np.full(len(begins), row), numbers, *columns))
            return
        self.is_read[row] = False

    def _note(self, rows: NDArray[np.intp], first: NDArray[np.uint8], value: _Bits) -> None:
        for kind, column in ((TIME, self.time_ms), (SEQ, self.seq)):
            is_kind = first == kind
            if is_kind.any():
                column[rows[is_kind]] = value[is_kind].astype(np.int64)

    def _in_order(
        self, counts: NDArray[np.intp], found: Sequence[tuple[NDArray[np.intp], ...]]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        first = np.concatenate([np.zeros(1, np.intp), np.cumsum(counts)])
        owner = np.repeat(np.arange(len(counts)), counts)
        at, end = np.empty(len(owner), np.intp), np.empty(len(owner), np.intp)
        for those, numbers, begins, ends in found:
            is_read = self.is_read[those]
            places = first[those[is_read]] + numbers[is_read]
            at[places], end[places] = begins[is_read], ends[is_read]
        return owner, at, end


class _Fields:
    """Follows the fields of metrics."""

    def __init__(self, wire: Words, at: NDArray[np.intp], end: NDArray[np.intp]) -> None:
        self._wire, self._at, self._end = wire, at, end
        self._values = np.zeros((9, len(at)), np.uint64)
        self._has = np.zeros((9, len(at)), np.bool_)
        self._name_at = np.zeros(len(at), np.intp)
        self._kind = np.zeros(len(at), np.uint8)

    def follow(self) -> _Which:
        """Read all fields; bool[n], those of which something is not read."""
        is_bad = np.zeros(len(self._at), np.bool_)
        texts: list[tuple[NDArray[np.intp], ...]] = []
        rows = np.flatnonzero(self._at < self._end)
        at = self._at[rows]
        for _ in range(_MOST_FIELDS):
            if not len(rows):
                break
            first = self._wire.bytes[at]
            at = at + 1
            is_good = np.ones(len(rows), np.bool_)
            if (is_wide := first >= 0x80).any():
                is_good = ~is_wide | (self._wire.bytes[at] == 1)
                at = at + is_wide
            begin, at, value, is_whole = self._step(first, at)
            is_good &= is_whole & (at <= self._end[rows])
            if not is_good.all():
                is_bad[rows[~is_good]] = True
                rows, first, value = rows[is_good], first[is_good], value[is_good]
                begin, at = begin[is_good], at[is_good]
            self._note(rows, first, value, begin, texts)
            goes_on = at < self._end[rows]
            rows, at = rows[goes_on], at[goes_on]
        is_bad[rows] = True
        is_bad |= (self._values[[ALIAS, WHEN]] >= _MOST).any(axis=0)
        is_bad |= self._values[TYPE] > MOST_UINT32
        is_bad |= (self._kind == INT) & (self._values[VALUE] > MOST_UINT32)
        self._mark_texts(texts, is_bad)
        return is_bad

    def _step(
        self, first: NDArray[np.uint8], at: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], _Bits, _Which]:
        """Of the fields that begin so, and go on there: where their content begins and ends, the
        value, and whether there is such a field.
        """
        how = _HOW[first]
        words, value, size = _varints(self._wire, at)
        is_whole = (how != NONE) & (size > 0)
        if (is_fixed := (how == FOUR) | (how == EIGHT)).any():
            size = np.where(is_fixed, _SIZES[how], size)
            value = np.where(is_fixed, words, value)
            value[how == FOUR] &= np.uint64(MOST_UINT32)
            is_whole |= is_fixed
        begin = end = at + size
        if (is_sized := how == SIZED).any():
            is_whole &= ~is_sized | ((value < _MOST) & (size <= LONGEST_LENGTH))
            end = begin + np.where(is_sized & is_whole, value, 0).astype(np.int64)
        return begin, end, value, is_whole

    def _note(
        self,
        rows: NDArray[np.intp],
        first: NDArray[np.uint8],
        value: _Bits,
        begin: NDArray[np.intp],
        texts: list[tuple[NDArray[np.intp], ...]],
    ) -> None:
        column = _COLUMN[first]
        is_value = column == VALUE
        if (is_placed := is_value & (_HOW[first] == SIZED)).any():
            value = np.where(is_placed, begin.astype(np.uint64) << PLACE_BITS | value, value)
        self._values[column, rows] = value
        self._has[column, rows] = True
        self._kind[rows[is_value]] = first[is_value]
        is_name = column == NAME
        self._name_at[rows[is_name]] = begin[is_name]
        is_text = is_name | (first == STRING)
        if is_text.any():
            size = (value[is_text] & np.uint64(MOST_UINT32)).astype(np.int64)
            texts.append((rows[is_text], begin[is_text], begin[is_text] + size))

    def _mark_texts(self, texts: Sequence[tuple[NDArray[np.intp], ...]], is_bad: _Which) -> None:
        """Mark metrics of which a text, be it the last of its field or not, is no UTF-8."""
        text = self._wire.text
        for columns in texts:
            for row, begin, end in zip(*(column.tolist() for column in columns), strict=True):
                its_text = text[begin:end]
                if not its_text.isascii() and not _is_utf8(its_text):
                    is_bad[row] = True

    def metrics(self, top: _Payloads, owner: NDArray[np.intp]) -> Columns:
        """What was read, in its order; of payloads that were not read there may be some, too."""
        values, has = self._values, self._has
        return Columns(
            owner,
            self._name_at,
            values[NAME].astype(np.intp),
            np.where(has[ALIAS], values[ALIAS].astype(np.int64), -1),
            values[TYPE].astype(np.int64),
            np.where(has[WHEN], values[WHEN].astype(np.int64), top.time_ms[owner]),
            self._kind,
            values[VALUE],
            values[NULL] != 0,
            (values[HISTORICAL] != 0) | (values[TRANSIENT] != 0),
        )


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _varint(text: bytes, at: int) -> tuple[int, int]:
    """A whole number, below 0 where it is longer than any that is read here; and where it ends."""
    value = shift = 0
    while (byte := text[at]) >= 0x80:
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if shift > _MOST_SHIFT:
            return -1, at
    return value | byte << shift, at + 1
