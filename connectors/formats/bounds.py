"""What one message may cost: a look at its bytes before anything is made of them."""

from __future__ import annotations

import msgspec
import numpy as np

from headgate.core.errors import DataError

#: Values that are looked for in one message at most: its records times the feed's channels.
_MAX_CELLS = 200_000

#: A parsed message may take so many times its own size, and always this much, bytes.
_MAX_RATIO = 14
_FREE_BYTES = 8 << 20

#: What a parser makes of an object, an array, half a text, and a number or a place in any of them,
#: bytes. For the dearest of each kind, but that numbers alone are never too many: those of a digit
#: or two take next to nothing. Measured with msgspec on CPython 3.11.
_OBJECT, _ARRAY, _QUOTE, _VALUE = 192, 104, 29, 27

#: Shorter payloads may be as dense as can be.
_MAX_UNSEEN_BYTES = 8 << 10

#: Numbers with exponents of three digits in one message at most. The parser takes up to 35 µs for
#: one that is near what a float can hold, a hundred times what it takes for others.
_MAX_EXTREME = 1000


class _Any(msgspec.Struct, gc=False):
    """An object that nobody looks into: the least that an element of an array can take."""


_elements = msgspec.json.Decoder(list[_Any]).decode


class Bounds:
    """The bounds of one feed's messages.

    Args:
        max_records: Records, and refusals, of one message.
        channels: The feed's channels.
    """

    def __init__(self, max_records: int, channels: int) -> None:
        self._by_cells = _MAX_CELLS // max(1, channels)
        self._max_records = max_records
        most = min(max_records, self._by_cells)
        #: Payloads of so many bytes can break no bound: ``{},`` is the shortest record.
        self.unseen_bytes = min(3 * most, _MAX_UNSEEN_BYTES)

    def check(self, payload: bytes) -> bool:
        """Look at a payload before it is parsed; for those longer than ``unseen_bytes``.

        Returns:
            Whether it may go the typed way, which makes records before it knows their number.

        Raises:
            DataError: Too much would come of it, or it takes too long to read.
        """
        objects = payload.count(b"{")
        size = (
            _OBJECT * objects
            + _ARRAY * payload.count(b"[")
            + _QUOTE * payload.count(b'"')
            + _VALUE * payload.count(b",")
        )
        if size > max(_MAX_RATIO * len(payload), _FREE_BYTES):
            raise DataError(
                "too_many_records",
                f"objects, arrays and texts so small and many that they would take {size >> 20} "
                f"MiB; a message of {len(payload)} bytes may take {_MAX_RATIO} times as much",
            )
        if (extreme := _extreme_numbers(payload)) > _MAX_EXTREME:
            raise DataError(
                "too_many_records",
                f"{extreme} numbers with exponents of three digits, such as 1e-320; "
                f"{_MAX_EXTREME} are the most",
            )
        if objects > min(self._max_records, self._by_cells):
            # Many of them may stand in records: count these, without making them.
            try:
                records = len(_elements(payload))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                return False
            self.check_count(records)
        return True

    def check_count(self, records: int) -> None:
        """Refuse, with DataError, so many records."""
        if records > self._max_records:
            raise DataError(
                "too_many_records",
                f"{records} records; ingest.max_records is {self._max_records}",
            )
        if records > self._by_cells:
            raise DataError(
                "too_many_records",
                f"{records} records of a feed with so many channels; {self._by_cells} are the most",
            )


def _extreme_numbers(payload: bytes) -> int:
    """How many exponents of three digits or more there are; some may stand in texts."""
    # Some more bytes, so that there is something to look at behind the last one. Bytes and not
    # places are worked on, because a text may be full of that letter.
    text = np.frombuffer(payload + b"\0\0\0\0", np.uint8)
    count = len(payload)
    # Below "0" a byte wraps around to a large number.
    is_digit = text - np.uint8(ord("0")) < 10
    two, three = is_digit[2:], is_digit[3:]
    is_long = is_digit[1 : count + 1] & two[:count] & three[:count]
    after = text[1 : count + 1]
    is_signed = (after == ord("+")) | (after == ord("-"))
    is_long |= is_signed & two[:count] & three[:count] & is_digit[4:]
    return int(np.count_nonzero(is_long & ((text[:count] | 0x20) == ord("e"))))
