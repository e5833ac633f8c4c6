"""What one message may cost: a look at its bytes before anything is made of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager

import msgspec
import numpy as np

from headgate.core.errors import DataError

#: Values that are looked for in one message at most: its records times the feed's channels.
_MAX_CELLS = 200_000

#: A parsed message may take so many times its own size, and always this much, bytes.
_MAX_RATIO = 14
_FREE_BYTES = 8 << 20

#: Shorter payloads may be as dense as can be.
_MAX_UNSEEN_BYTES = 8 << 10


class AnyObject(msgspec.Struct, gc=False):
    """An object that nobody looks into: the least that an element of an array can take."""


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

    def check_size(self, payload: bytes, size: int) -> None:
        """Refuse, with DataError, a payload of which a parser would make so many bytes."""
        if size > max(_MAX_RATIO * len(payload), _FREE_BYTES):
            raise DataError(
                "too_many_records",
                f"objects, arrays and texts so small and many that they would take {size >> 20} "
                f"MiB; a message of {len(payload)} bytes may take {_MAX_RATIO} times as much",
            )

    def check_objects(
        self, payload: bytes, objects: int, elements: Callable[[bytes], Sized]
    ) -> bool:
        """Count a payload's records before they are made.

        Args:
            payload: The payload.
            objects: How many objects there are in it at most, wherever they stand.
            elements: Reads it as an array; only its length is looked at.

        Returns:
            Whether it may go the typed way, which makes records before it knows their number.

        Raises:
            DataError: There are too many.
        """
        if objects > min(self._max_records, self._by_cells):
            # Many of them may stand in records: count these, without making them.
            try:
                records = len(elements(payload))
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


def pieces_of(payloads: Sequence[bytes], most: int) -> Iterator[tuple[int, int]]:
    """Where pieces begin and end that have so many bytes at most, or are one payload."""
    ends = np.cumsum(np.fromiter(map(len, payloads), np.intp, len(payloads)))
    first = size = 0
    while first < len(payloads):
        end = max(first + 1, int(np.searchsorted(ends, size + most, side="right")))
        yield first, end
        first, size = end, int(ends[end - 1])


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Work on what has no cycles, and so much of it that looking for some takes longest."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
