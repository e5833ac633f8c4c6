"""Payloads of one layout: of as many bytes, with the same fields at the same places.

What a node sends again and again differs in its values, which take as many bytes as before, and in
nothing else. So one payload is followed, and many others are held against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

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
    STRING,
    TIME,
    TRANSIENT,
    TYPE,
    VALUE,
    VARINT,
    WHEN,
    Columns,
    joined,
)
from connectors.formats.words import Words

#: Fewer payloads of one layout are not worth looking for it; and so many layouts are looked for
#: among payloads of one length.
_LEAST, _MOST_LAYOUTS = 16, 8

#: What of a byte must be as in the layout: all; its highest bit, which says whether a number goes
#: on, and that a text is ASCII; nothing.
_ALL, _HIGHEST, _NOTHING = 0xFF, 0x80, 0x00

#: Longer numbers are not read here; by how many bytes one has, its bits.
_LONGEST: Final = 8
_BITS = np.array([(1 << (8 * size)) - 1 for size in range(_LONGEST + 1)], np.uint64)


@dataclass(slots=True)
class _Metric:
    """A metric of a layout.

    Attributes:
        numbers: By column, which of the layout's numbers it is.
        name_at: Where its name begins.
        name_size: How long that is.
        kind: Of its value, see ``Scanned``.
        value_at: Where the value begins, if it has a fixed size; below 0: it has none.
        value_size: That size; or how long a text is.
        text_at: Where that begins.
    """

    numbers: dict[int, int] = field(default_factory=dict)
    name_at: int = 0
    name_size: int = 0
    kind: int = 0
    value_at: int = -1
    value_size: int = 0
    text_at: int = 0


class Layout:
    """The layout of a payload.

    Args:
        payload: The payload.

    Raises:
        ValueError: There is something in it that is not read here.
    """

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._mask = np.full(len(payload), _ALL, np.uint8)
        # Of each whole number where it begins, and how many bytes it has.
        self._numbers: list[tuple[int, int]] = []
        self._top: dict[int, int] = {}
        self._metrics: list[_Metric] = []
        try:
            self._follow()
        except IndexError:
            raise ValueError("it ends within a field") from None
        self._expected = np.frombuffer(payload, np.uint8) & self._mask

    def _follow(self) -> None:
        payload, at = self._payload, 0
        while at < len(payload):
            first = payload[at]
            if first == METRIC:
                size, at = self._length(at + 1)
                self._metrics.append(self._metric(at, at + size))
                at += size
            elif first in (TIME, SEQ):
                self._top[first], at = self._number(at + 1)
            else:
                raise ValueError("another field")
        if at != len(payload):
            raise ValueError("it ends within a field")

    def _metric(self, at: int, end: int) -> _Metric:
        metric = _Metric()
        while at < end:
            first = self._payload[at]
            how, column = FIELDS.get(first, (NONE, NONE))
            at += 1
            if first >= _HIGHEST:
                how = how if self._payload[at] == 1 else NONE
                at += 1
            if how == NONE:
                raise ValueError("another field")
            if column == VALUE:
                metric.kind, metric.value_at = first, -1
            if how == VARINT:
                metric.numbers[column], at = self._number(at)
            elif how in (FOUR, EIGHT):
                metric.value_at, metric.value_size = at, 4 if how == FOUR else 8
                self._mask[at : at + metric.value_size] = _NOTHING
                at += metric.value_size
            else:
                at = self._sized(metric, first, column, at)
        if at != end:
            raise ValueError("it ends within a field")
        return metric

    def _sized(self, metric: _Metric, first: int, column: int, at: int) -> int:
        """Where what says its length ends; its content may be another one, of as many bytes."""
        size, at = self._length(at)
        is_text = column == NAME or first == STRING
        if is_text and not self._payload[at : at + size].isascii():
            raise ValueError("a text beyond ASCII")
        self._mask[at : at + size] = _HIGHEST if is_text else _NOTHING
        if column == NAME:
            metric.name_at, metric.name_size = at, size
        elif column == VALUE:
            metric.text_at, metric.value_size = at, size
        return at + size

    def _length(self, at: int) -> tuple[int, int]:
        """A length, which is the same in all payloads, and where it ends."""
        end = self._end(at)
        used = self._payload[at:end]
        if len(used) > LONGEST_LENGTH:
            raise ValueError("a long length")
        return sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(used)), end

    def _number(self, at: int) -> tuple[int, int]:
        """Which of the numbers stands there, and where it ends."""
        end = self._end(at)
        self._mask[at:end] = _HIGHEST
        self._numbers.append((at, end - at))
        return len(self._numbers) - 1, end

    def _end(self, at: int) -> int:
        end = at
        while self._payload[end] >= _HIGHEST:
            end += 1
        if end - at >= _LONGEST:
            raise ValueError("a long number")
        return end + 1

    def fits(self, rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which payloads, uint8[n, byte], have this layout, bool[n]."""
        said = rows & self._mask
        if said.tobytes() == self._expected.tobytes() * len(rows):
            return np.ones(len(rows), np.bool_)
        found: NDArray[np.bool_] = (said == self._expected).all(axis=1)
        return found

    def read(self, wire: Words, positions: NDArray[np.intp]) -> tuple[NDArray[np.int64], Columns]:
        """The numbers of payloads of this layout, and their metrics; see ``Scanned``.

        Args:
            wire: All payloads.
            positions: Which of them these are, rising.
        """
        starts = wire.starts[positions][:, None]
        begins = np.array([at for at, _ in self._numbers], np.intp)
        bits = _BITS[np.array([size for _, size in self._numbers], np.intp)]
        numbers = joined(wire.at(starts + begins) & bits & SEVENS).view(np.int64)
        shape = (len(positions), len(self._metrics))

        def column(which: int, otherwise: int = 0, instead: int = -1) -> NDArray[np.int64]:
            places = np.array([each.numbers.get(which, instead) for each in self._metrics], np.intp)
            is_there = places >= 0
            if is_there.all():
                return numbers.take(places, axis=1)
            found = np.full(shape, otherwise, np.int64)
            if is_there.any():
                found[:, is_there] = numbers[:, places[is_there]]
            return found

        name_at = starts + np.array([each.name_at for each in self._metrics], np.intp)
        columns = Columns(
            np.repeat(positions, shape[1]),
            name_at.ravel(),
            self._of_all(shape, (each.name_size for each in self._metrics)),
            column(ALIAS, -1).ravel(),
            column(TYPE).ravel(),
            column(WHEN, -1, self._top.get(TIME, -1)).ravel(),
            self._of_all(shape, (each.kind for each in self._metrics)).astype(np.uint8),
            self._values(wire, starts, column(VALUE).view(np.uint64)).ravel(),
            column(NULL).ravel() != 0,
            (column(HISTORICAL) | column(TRANSIENT)).ravel() != 0,
        )
        seq = np.full(shape[0], -1, np.int64)
        if SEQ in self._top:
            seq = numbers[:, self._top[SEQ]]
        return seq, columns

    def _values(
        self, wire: Words, starts: NDArray[np.intp], numbers: NDArray[np.uint64]
    ) -> NDArray[np.uint64]:
        """The values of metrics, uint64[n, metric], which has those that are whole numbers."""
        places = np.array([each.value_at for each in self._metrics], np.intp)
        sizes = np.array([each.value_size for each in self._metrics], np.intp)
        is_fixed = places >= 0
        if is_fixed.any():
            numbers[:, is_fixed] = wire.at(starts + places[is_fixed]) & _BITS[sizes[is_fixed]]
        for at, metric in enumerate(self._metrics):
            if metric.kind and FIELDS[metric.kind][0] not in (VARINT, FOUR, EIGHT):
                begins = (starts[:, 0] + metric.text_at).astype(np.uint64)
                numbers[:, at] = begins << PLACE_BITS | np.uint64(metric.value_size)
        return numbers

    def _of_all(self, shape: tuple[int, int], values: Iterable[int]) -> NDArray[np.intp]:
        return np.tile(np.fromiter(values, np.intp, shape[1]), shape[0])


def by_layout(
    wire: Words, payloads: Sequence[bytes], seq: NDArray[np.int64]
) -> tuple[list[Columns], NDArray[np.bool_]]:
    """The metrics of those payloads of which many have one layout.

    Args:
        wire: The payloads.
        payloads: Likewise.
        seq: int64[payload], gets their numbers.

    Returns:
        Their metrics, layout by layout; and bool[payload], the payloads that these are of.
    """
    parts: list[Columns] = []
    is_read = np.zeros(len(payloads), np.bool_)
    lengths = wire.ends - wire.starts
    for length in np.flatnonzero(np.bincount(lengths) >= _LEAST).tolist():
        left = np.flatnonzero(lengths == length)
        rows = np.frombuffer(b"".join([payloads[at] for at in left.tolist()]), np.uint8)
        rows = rows.reshape(len(left), length)
        for _ in range(_MOST_LAYOUTS):
            if len(left) < _LEAST or not length:
                break
            is_done = np.zeros(len(left), np.bool_)
            is_done[0] = True
            try:
                layout = Layout(payloads[left[0]])
            except ValueError:
                pass
            else:
                is_done = layout.fits(rows)
                found = left[is_done]
                seq[found], columns = layout.read(wire, found)
                is_read[found] = True
                is_bad = (columns.datatype > MOST_UINT32) | (
                    (columns.kind == INT) & (columns.bits > MOST_UINT32)
                )
                is_read[columns.owner[is_bad]] = False
                parts.append(columns.of(is_read) if is_bad.any() else columns)
            left, rows = left[~is_done], rows[~is_done]
    return parts, is_read
