"""CBOR as one of the formats: its parser, and what a payload would cost it (RFC 8949)."""

from __future__ import annotations

import cbor2
import msgspec
import numpy as np
from numpy.typing import NDArray

from connectors.formats.bounds import Bounds
from connectors.formats.cbor.maps import MapTable
from connectors.formats.cbor.payload import UNREADABLE, content_of, contents_of, loads
from connectors.formats.format import ReadTable, Wanted
from connectors.formats.tables import RecordTable
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import parts_of
from headgate.config.schema import IngestConfig
from headgate.core.errors import DataError

#: What the parser makes of a map, an array, a text, a tag, a float, another number, and of what is
#: in one byte, the place in its array or map included, bytes. For the dearest of each kind.
#: Measured with cbor2 on CPython 3.11.
_MAP, _ARRAY, _TEXT, _TAG, _FLOAT, _VALUE, _SMALL = 240, 104, 90, 64, 33, 48, 9

#: Values that are looked at one by one, at most.
_MAX_VALUES = 200_000

#: By first byte: what the value takes in memory. Its upper three bits are the type, the lower five
#: its value or length, or how that is written.
_COST = np.full(256, _VALUE, np.int64)
_COST[:0x19] = _COST[0xF4:0xF8] = _COST[0xFF] = _SMALL
_COST[0x40:0x80] = _TEXT
_COST[0x80:0xA0] = _ARRAY
_COST[0xA0:0xC0] = _MAP
_COST[0xC0:0xE0] = _TAG
_COST[0xF9:0xFC] = _FLOAT

#: By first byte: how many bytes the value takes, itself included; 0 where it says so itself. Of
#: arrays, maps and tags it is the head: the values in them are values of their own.
_STEPS = [1] * 256
for _type in range(0, 256, 32):
    _STEPS[_type + 0x18 : _type + 0x1C] = (2, 3, 5, 9)
for _type in (0x40, 0x60):
    _STEPS[_type : _type + 0x1C] = [*range(1, 25), 0, 0, 0, 0]

#: One that says its length takes as long as so many more.
_LENGTH_COUNTS = 3

#: With so many arrays in it, it is looked whether some of them are keys. Python's hash of them is
#: known beforehand, so there may be many of one hash, and each of these takes as long as there are.
_MANY_ARRAYS = 500

#: First bytes: the end of what has no length, and texts and bytes of that kind; the type that tags
#: have, and how it is written that there is no length.
_BREAK, _IN_PARTS, _TAGGED, _NO_LENGTH = 0xFF, (0x5F, 0x7F), 6, 31

_IS_ARRAY = _COST == _ARRAY
_IS_MAP = _COST == _MAP


class CborFormat:
    """Reads CBOR; a ``Format``.

    Args:
        feed: The feed's configuration.
        limits: What one message may hold.
    """

    # All texts are read.
    is_utf8 = False
    make_typed = None
    pick = None

    def __init__(self, feed: FeedConfig, limits: IngestConfig) -> None:
        self._bounds = Bounds(limits.max_records, len(feed.channels))
        # An empty map has one byte, not three as in JSON.
        self.unseen_bytes = self._bounds.unseen_bytes // 3
        self.check_count = self._bounds.check_count

    def make_table(self, wanted: Wanted) -> ReadTable:
        """What reads many payloads; see ``Format``."""
        # Keys that are whole numbers are texts in the terms of JSON.
        if _has_numbers_for_keys(wanted):
            return RecordTable(wanted, loads, UNREADABLE, self.check_count)
        rest = RecordTable(wanted, content_of, UNREADABLE, self.check_count, contents_of)
        return MapTable(wanted, rest) if MapTable.can_read(wanted) else rest

    def check(self, payload: bytes) -> bool:
        """Look at a payload before it is parsed; see ``Format.check``."""
        return check(payload, self._bounds)

    def read(self, topic: bytes, payload: bytes) -> object:
        """What a payload holds; see ``Format.read``."""
        del topic
        return loads(payload)


def _has_numbers_for_keys(wanted: Wanted) -> bool:
    """Whether a key that is looked for may be a whole number in the payload."""
    paths = [*(path for path, _ in wanted.channels), *wanted.names]
    paths += [] if wanted.time is None else [wanted.time[0]]
    return any(part.removeprefix("-").isdecimal() for path in paths for part in parts_of(path))


def check(payload: bytes, bounds: Bounds) -> bool:
    """Look at a payload before it is parsed; see ``Format.check``."""
    counts = np.bincount(np.frombuffer(payload, np.uint8), minlength=256)
    arrays = counts[_IS_ARRAY].sum()
    is_much = False
    try:
        # As if each byte began a value, which nearly all payloads can afford.
        bounds.check_size(payload, int(counts @ _COST))
    except DataError:
        is_much = True
    if is_much or arrays > _MANY_ARRAYS:
        counts = _first_bytes(payload)
        bounds.check_size(payload, int(counts @ _COST))
        if counts[_IS_ARRAY].sum() > _MANY_ARRAYS and counts[_IS_MAP].any():
            _check_keys(payload)
    return bounds.check_objects(payload, int(counts[_IS_MAP].sum()), _elements)


def _elements(payload: bytes) -> range:
    """As long as the array is that a payload is; MsgspecError when it is none that says it."""
    size = _STEPS[payload[0]]
    if not _IS_ARRAY[payload[0]] or payload[0] == 0x9F:
        raise msgspec.DecodeError("no array")
    return range(
        min(int.from_bytes(payload[1:size], "big") if size > 1 else payload[0] & 31, len(payload))
    )


def _check_keys(payload: bytes) -> None:
    """Refuse, with DataError, arrays that are keys."""
    try:
        # The fastest look takes no key but texts and bytes.
        cbor2.loads(payload, strict_hashable_types=True, tag_hook=lambda tag, _: tag.value)
    except UNREADABLE:
        # Or there is another kind of key, or what is only here no value.
        _check_each_key(payload)


def _check_each_key(payload: bytes) -> None:
    """The same, value by value: keys may be whole numbers."""
    # Of each array or map that is open: values that are still to come, below 0 where it does not
    # say, and whether it is a map. A key comes where their number is even.
    left, is_map = [1], [False]
    at, end = 0, len(payload)
    for _ in range(_MAX_VALUES // 2):
        while left and not left[-1]:
            left.pop()
            is_map.pop()
        if not left or at >= end:
            return  # the parser says what is wrong
        first = payload[at]
        kind, size = first >> 5, _STEPS[first]
        if first == _BREAK:
            left[-1] = 0
        elif kind != _TAGGED:
            is_key = is_map[-1] and left[-1] % 2 == 0
            left[-1] -= 1
            if _IS_ARRAY[first] or _IS_MAP[first] or first in _IN_PARTS:
                if is_key and _IS_ARRAY[first]:
                    raise DataError("not_cbor", "an array for a key, in a message of many arrays")
                is_map.append(bool(_IS_MAP[first]))
                count = first & 31 if size == 1 else int.from_bytes(payload[at + 1 : at + size])
                count = -1 if first & 31 == _NO_LENGTH else count
                left.append(2 * count)
        at += size or _length_at(payload, at)
    raise DataError("too_many_records", f"more than {_MAX_VALUES // 2} values, many of them arrays")


def _length_at(payload: bytes, at: int) -> int:
    """How many bytes a text takes that says so itself."""
    size = 1 << (payload[at] & 3)
    return 1 + size + int.from_bytes(payload[at + 1 : at + 1 + size])


def _first_bytes(payload: bytes) -> NDArray[np.int64]:
    """How many values begin with which byte, int64[256]; DataError for too many."""
    found = bytearray()
    at, end, left = 0, len(payload), _MAX_VALUES
    while at < end:
        first = payload[at]
        found.append(first)
        step = _STEPS[first]
        if not step:
            step = _length_at(payload, at)
            left -= _LENGTH_COUNTS
        at += step
        left -= 1
        if left < 0:
            raise DataError(
                "too_many_records",
                f"so many small values that it is not looked whether there is room for them; "
                f"{_MAX_VALUES} are the most",
            )
    return np.bincount(np.frombuffer(found, np.uint8), minlength=256)
