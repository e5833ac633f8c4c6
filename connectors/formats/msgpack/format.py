"""MessagePack as one of the formats: its parser, and what a payload would cost it.

What a payload holds is told from its first bytes only: a value's first byte has its type and, of
short ones, its length (https://github.com/msgpack/msgpack/blob/master/spec.md).
"""

from __future__ import annotations

import struct

import msgspec
import numpy as np
from numpy.typing import NDArray

from connectors.formats.bounds import AnyObject, Bounds
from connectors.formats.format import ReadTable, Wanted
from connectors.formats.tables import RecordTable
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.errors import DataError

#: What the parser makes of an object, an array, a text, a number, and of what is in one byte, the
#: place in its array or object included, bytes. For the dearest of each kind. Measured with msgspec
#: on CPython 3.11.
_OBJECT, _ARRAY, _TEXT, _VALUE, _SMALL = 240, 96, 90, 72, 9

#: Values that are looked at one by one, at most: that takes some 25 ms.
_MAX_VALUES = 200_000

#: By first byte: what the value takes in memory.
_COST = np.full(256, _VALUE, np.int64)
_COST[:0x80] = _COST[0xE0:] = _COST[0xC0:0xC4] = _SMALL
_COST[0x80:0x90] = _COST[0xDE:0xE0] = _OBJECT
_COST[0x90:0xA0] = _COST[0xDC:0xDE] = _ARRAY
_COST[0xA0:0xC0] = _COST[0xC4:0xCA] = _COST[0xD4:0xDC] = _TEXT

#: By first byte: how many bytes the value takes, itself included; 0 where it says so itself. Of
#: arrays and maps it is the head: the values in them are values of their own.
_STEPS = [1] * 256
_STEPS[0xA0:0xC0] = range(1, 33)
_STEPS[0xC4:0xE0] = [
    *(0, 0, 0, 0, 0, 0),  # bytes, extensions
    *(5, 9, 2, 3, 5, 9, 2, 3, 5, 9),  # float, uint, int
    *(3, 4, 6, 10, 18),  # extensions of a fixed length
    *(0, 0, 0, 3, 5, 3, 5),  # texts, arrays, maps
]

#: One that says its length takes as long as so many more.
_LENGTH_COUNTS = 3

#: Texts, bytes and extensions of any length: how it is written, and what is there besides.
_LENGTHS = {
    0xC4: (">B", 0),
    0xC5: (">H", 0),
    0xC6: (">I", 0),
    0xC7: (">B", 1),
    0xC8: (">H", 1),
    0xC9: (">I", 1),
    0xD9: (">B", 0),
    0xDA: (">H", 0),
    0xDB: (">I", 0),
}

#: With so many arrays in it, it is looked whether some of them are keys. Python's hash of them is
#: known beforehand, so there may be many of one hash, and each of these takes as long as there are.
_MANY_ARRAYS = 500

_IS_ARRAY = _COST == _ARRAY
_IS_OBJECT = _COST == _OBJECT

_decode = msgspec.msgpack.Decoder().decode
_elements = msgspec.msgpack.Decoder(list[AnyObject]).decode

#: What the parser raises.
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)


def _content(payload: bytes) -> object:
    """What a payload holds.

    Raises:
        msgspec.MsgspecError: It can't be read.
    """
    try:
        return _decode(payload)
    except (UnicodeDecodeError, RecursionError, msgspec.MsgspecError):
        raise
    except _UNREADABLE as error:
        # A time beyond all years, a map for a key.
        raise msgspec.DecodeError(str(error)) from None


class MsgpackFormat:
    """Reads MessagePack; a ``Format``.

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
        return RecordTable(wanted, _decode, _UNREADABLE, self.check_count)

    def check(self, payload: bytes) -> bool:
        """Look at a payload before it is parsed; see ``Format.check``."""
        counts = np.bincount(np.frombuffer(payload, np.uint8), minlength=256)
        try:
            # As if each byte began a value, which nearly all payloads can afford.
            self._bounds.check_size(payload, int(counts @ _COST))
        except DataError:
            counts = _first_bytes(payload)
            self._bounds.check_size(payload, int(counts @ _COST))
        if counts[_IS_ARRAY].sum() > _MANY_ARRAYS and counts[_IS_OBJECT].any():
            _check_keys(payload)
        return self._bounds.check_objects(payload, int(counts[_IS_OBJECT].sum()), _elements)

    def read(self, topic: bytes, payload: bytes) -> object:
        """What a payload holds; see ``Format.read``."""
        del topic
        if not payload:
            raise DataError("empty", "nothing in it; so are retained messages cleared")
        try:
            return _content(payload)
        except RecursionError:
            raise DataError("too_deep", "arrays or maps in each other beyond all need") from None
        except UnicodeDecodeError as error:
            raise DataError("not_utf8", f"a text that is no UTF-8: {error.reason}") from None
        except msgspec.MsgspecError as error:
            detail = str(error).removeprefix("MessagePack data is malformed: ")[:200]
            if payload.lstrip()[:1] in (b"{", b"["):
                detail += '; it looks like JSON, which format = "json" reads'
            raise DataError("not_msgpack", detail) from None


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


def _check_keys(payload: bytes) -> None:
    """Refuse, with DataError, arrays that are keys of a map; and what is too long to look at."""
    # Of each array or map that is open: values that are still to come, and whether it is a map.
    left, is_map = [1], [False]
    at, end = 0, len(payload)
    for _ in range(_MAX_VALUES):
        while left and not left[-1]:
            left.pop()
            is_map.pop()
        if not left or at >= end:
            return  # the parser says what is wrong
        is_key = is_map[-1] and left[-1] % 2 == 0
        left[-1] -= 1
        first = payload[at]
        if _COST[first] in (_ARRAY, _OBJECT):
            if is_key:
                raise DataError("not_msgpack", "an array or a map for a key")
            is_map.append(bool(_IS_OBJECT[first]))
            count = first & 0x0F
            if first >= 0xDC:
                count = int.from_bytes(payload[at + 1 : at + _STEPS[first]], "big")
            left.append(2 * count if is_map[-1] else count)
        at += _STEPS[first] or _length_at(payload, at)
    raise DataError("too_many_records", f"more than {_MAX_VALUES} values, many of them arrays")


def _length_at(payload: bytes, at: int) -> int:
    """How many bytes a value takes that says so itself."""
    written, more = _LENGTHS[payload[at]]
    try:
        length: int = struct.unpack_from(written, payload, at + 1)[0]
    except struct.error:
        return len(payload)  # cut off; the parser says so
    return 1 + struct.calcsize(written) + length + more
