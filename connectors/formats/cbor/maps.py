"""Many payloads that are maps of numbers with the same keys, read together.

What stands behind each key is looked at in all of them at once: floats, whole numbers, and beside
them short texts. A payload that holds anything else, or other keys, or these in another order, is
left to the parser.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectors.formats.format import ReadTable, Typed, Wanted
from connectors.formats.paths import ABSENT
from connectors.formats.tables import Gathered, merged
from connectors.formats.words import Words
from headgate.config.payload_path import parts_of

#: Fewer payloads with the same keys are read one by one; and so many sets of keys are looked for.
_LEAST, _MOST_KINDS = 16, 8

#: First bytes of maps that say how long they are in these, and of texts likewise.
_MAP, _TEXT, _MOST_PAIRS, _MOST_TEXT = 0xA0, 0x60, 23, 23

#: Kinds of values: what is not read here, whole numbers from 0 up and below it, and floats.
_NONE, _WHOLE, _BELOW, _SINGLE, _DOUBLE, _SHORT_TEXT = range(6)

#: By first byte, the kind of a value, and how many bytes it has behind that.
_KIND, _SIZE = np.zeros(256, np.uint8), np.zeros(256, np.intp)
for _first, _kind in ((0x00, _WHOLE), (0x20, _BELOW)):
    _KIND[_first : _first + 0x1C] = _kind
    _SIZE[_first + 0x18 : _first + 0x1C] = (1, 2, 4, 8)
_KIND[0xFA], _SIZE[0xFA] = _SINGLE, 4
_KIND[0xFB], _SIZE[0xFB] = _DOUBLE, 8
_KIND[_TEXT : _TEXT + _MOST_TEXT + 1] = _SHORT_TEXT
_SIZE[_TEXT : _TEXT + _MOST_TEXT + 1] = range(_MOST_TEXT + 1)

#: How far eight bytes, the first one highest, are moved so that so many of them are left.
_SHIFTS = np.array([64 - 8 * min(size, 8) for size in range(25)], np.uint64)

#: Larger whole numbers are none of int64.
_MOST_WHOLE = np.uint64((1 << 63) - 1)


class _Column(NamedTuple):
    """What stands behind one key, a value a payload.

    Attributes:
        kind: uint8[n].
        bits: uint64[n], what stands behind the first byte, or in it.
        begin: intp[n], where that begins.
    """

    kind: NDArray[np.uint8]
    bits: NDArray[np.uint64]
    begin: NDArray[np.intp]

    def take(self, rows: NDArray[np.bool_]) -> _Column:
        """The same of these payloads."""
        return _Column(self.kind[rows], self.bits[rows], self.begin[rows])

    def numbers(self) -> NDArray[np.float64]:
        """The values as numbers, NaN where one is none."""
        kind, bits = self.kind, self.bits
        number = np.full(len(kind), np.nan)
        for of_kind, found in (
            (_DOUBLE, bits.view(np.float64)),
            (_SINGLE, bits.astype(np.uint32).view(np.float32)),
            (_WHOLE, bits),
            (_BELOW, ~bits.view(np.int64)),
        ):
            is_kind = kind == of_kind
            # Some of what is not a number is told of as it becomes one of more bits.
            with np.errstate(invalid="ignore"):
                number[is_kind] = found[is_kind]
        return number

    def values(self, text: bytes) -> Sequence[object]:
        """The same as values of their kinds, texts too."""
        kind = self.kind
        if (kind == _WHOLE).all():
            return list(self.bits.tolist())
        if (kind == _DOUBLE).all():
            return list(self.bits.view(np.float64).tolist())
        whole = self.bits.view(np.int64)
        whole = np.where(kind == _BELOW, ~whole, whole)
        return [
            text[at : at + size].decode()
            if of_kind == _SHORT_TEXT
            else each
            if is_whole
            else number
            for of_kind, at, size, is_whole, each, number in zip(
                kind.tolist(),
                self.begin.tolist(),
                self.bits.tolist(),
                (kind <= _BELOW).tolist(),
                whole.tolist(),
                self.numbers().tolist(),
                strict=True,
            )
        ]


class MapTable:
    """Reads payloads that are maps; a ``ReadTable``.

    Args:
        wanted: What is looked for.
        rest: Reads what is not so.
    """

    reads_texts = True

    def __init__(self, wanted: Wanted, rest: ReadTable) -> None:
        self._wanted, self._rest = wanted, rest
        self._channels = [parts_of(path)[0] for path, _ in wanted.channels]
        self._time = None if wanted.time is None else parts_of(wanted.time[0])[0]
        self._names = [parts_of(path)[0] for path in wanted.names]

    @staticmethod
    def can_read(wanted: Wanted) -> bool:
        """Whether what is looked for can be found so: keys of the map itself."""
        paths = [*(path for path, _ in wanted.channels), *wanted.names]
        paths += [] if wanted.time is None else [wanted.time[0]]
        has_defaults = any(default is not None for _, default in wanted.channels)
        return not has_defaults and all(len(parts_of(path)) == 1 for path in paths)

    def __call__(self, topics: Sequence[bytes], payloads: Sequence[bytes]) -> Typed:
        """What payloads hold."""
        if len(payloads) < _LEAST:
            return self._rest(topics, payloads)
        words = Words(payloads)
        parts: list[tuple[Sequence[int], Typed]] = []
        left = np.arange(len(payloads))
        odd: list[int] = []
        for _ in range(_MOST_KINDS):
            if len(left) < _LEAST:
                break
            keys = _keys_of(payloads[left[0]])
            if keys is None:
                odd, left = [*odd, int(left[0])], left[1:]
                continue
            is_read, columns = _follow(words, left, keys)
            if is_read.any():
                names = [key[1:].decode() for key in keys]
                found = dict(zip(names, columns, strict=True))
                parts.append((left[is_read].tolist(), self._typed(found, words.text)))
            if not is_read[0]:
                odd.append(int(left[0]))
                is_read[0] = True
            left = left[~is_read]
        rest = sorted([*odd, *left.tolist()])
        if rest:
            typed = self._rest([topics[at] for at in rest], [payloads[at] for at in rest])
            parts.append((rest, typed))
        return parts[0][1] if len(parts) == 1 else merged(parts)

    def _typed(self, columns: dict[str, _Column], text: bytes) -> Typed:
        """What payloads hold that have these keys."""
        count = len(next(iter(columns.values())).kind)
        nothing = [ABSENT] * count
        gathered = Gathered(self._wanted, np.arange(count), (), has_arrays=False)
        for place, key in enumerate(self._channels):
            column = columns.get(key)
            if column is None:
                gathered.add_values(place, nothing, takes_truth=False)
            else:
                gathered.add_numbers(place, column.numbers())
        if self._time is not None:
            column = columns.get(self._time)
            gathered.add_time(nothing if column is None else column.values(text))
        for key in self._names:
            column = columns.get(key)
            gathered.add_names(nothing if column is None else column.values(text))
        return gathered.typed()


def _keys_of(payload: bytes) -> list[bytes] | None:
    """The keys of a payload, each as it is written; None where it is no map of short values."""
    count, at = payload[0] - _MAP if payload else 0, 1
    if not 0 < count <= _MOST_PAIRS:
        return None
    keys: list[bytes] = []
    for _ in range(count):
        size = payload[at] - _TEXT if at < len(payload) else -1
        if not 0 <= size <= _MOST_TEXT:
            return None
        keys.append(payload[at : at + 1 + size])
        at += 1 + size
        if at >= len(payload) or _KIND[payload[at]] == _NONE:
            return None
        at += 1 + int(_SIZE[payload[at]])
    is_plain = at == len(payload) and len(set(keys)) == count and b"".join(keys).isascii()
    return keys if is_plain else None


def _follow(
    words: Words, rows: NDArray[np.intp], keys: Sequence[bytes]
) -> tuple[NDArray[np.bool_], list[_Column]]:
    """Which of some payloads have these keys and plain values, bool[rows]; and their values."""
    at, end = words.starts[rows] + 1, words.ends[rows]
    is_read = (at < end) & (words.bytes[at - 1] == _MAP + len(keys))
    columns: list[_Column] = []
    wide: NDArray[np.int64] | None = None
    for key in keys:
        # What is not read any more stays where it is.
        for first in range(0, len(key), 8):
            part = key[first : first + 8]
            is_key = words.at(at + first) << np.uint64(64 - 8 * len(part))
            is_read &= is_key == np.uint64(int.from_bytes(part.rjust(8, b"\0"), "little"))
        value_at = np.where(is_read, at + len(key), at)
        first_byte = words.bytes[value_at]
        kind, size = _KIND[first_byte], _SIZE[first_byte]
        begin = value_at + 1
        is_read &= (kind != _NONE) & (begin + size <= end)
        bits = words.at(begin).byteswap() >> _SHIFTS[size]
        in_itself = (first_byte & np.uint8(0x1F)).astype(np.uint64)
        bits = np.where((size == 0) | (kind == _SHORT_TEXT), in_itself, bits)
        is_read &= (bits <= _MOST_WHOLE) | (kind > _BELOW)
        if (is_text := kind == _SHORT_TEXT).any():
            if wide is None:
                wide = np.concatenate([np.zeros(1, np.int64), np.cumsum(words.bytes >= 0x80)])
            last = np.minimum(begin + size, end)
            is_read &= ~is_text | (wide[last] == wide[np.minimum(begin, end)])
        columns.append(_Column(kind, bits, begin))
        at = np.where(is_read, begin + size, at)
    is_read &= at == end
    return is_read, [column.take(is_read) for column in columns]
