"""The last event times of every channel, with their values: what duplicates are found by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headgate.core.errors import DataError
from headgate.core.grown import grown
from headgate.core.runs import runs
from headgate.core.stage import StateBlock
from streams.stages.arrays import NEVER_NS, NO_TIME_NS, Groups, max_before, ramp

#: Readings remembered of a channel: twice what its grace holds at the feed's period, within these.
#: Fewer than 16 saves nothing worth having; 512 are 8 KiB a channel.
_FEWEST = 16
_MOST = 512

#: Comparisons done in one go: 8 MiB of times, and as much of values.
_BLOCK_ELEMENTS = 1 << 20

#: The value of a reading that is missing.
_MISSING = np.array([np.nan]).view(np.int64)[0]

#: Stands for the value of a reading of which only the time is known: a NaN that no computation
#: gives, told by its bits.
_UNKNOWN = np.int64(0x7FF8_0000_0000_0BAD)


class Recent:
    """Tells readings whose channel sent the same event time not long before.

    Each channel has a ring of its last readings in arrival order, repeated ones included. A
    reading is repeated when its time is among the last ``size`` of its channel: a duplicate with
    the same value, in conflict with another. One that is missing says nothing: beside any other it
    is a duplicate, and a value beside nothing but missing ones is no repetition. Anything that
    comes back later than that is older than the watermark, unless the device sends twice as fast
    as its feed says.
    """

    def __init__(self) -> None:
        self._channels = 0
        self._slots = 0
        # All rings in one array; by channel, where its ring begins and how long it is.
        self._ring = np.empty(0, np.int64)
        self._ring_bits = np.empty(0, np.int64)
        self._first = np.empty(0, np.int64)
        self._size = np.empty(0, np.int64)
        # By channel: how many times were ever put in, and the newest of them.
        self._count = np.empty(0, np.int64)
        self._newest_ns = np.empty(0, np.int64)

    def add(self, in_grace: int) -> None:
        """Make room for one more channel, with ``in_grace`` readings within its grace."""
        row = self._channels
        self._channels += 1
        self._first = grown(self._first, self._channels, 0)
        self._size = grown(self._size, self._channels, _FEWEST)
        self._count = grown(self._count, self._channels, 0)
        self._newest_ns = grown(self._newest_ns, self._channels, NO_TIME_NS)
        self._first[row] = self._slots
        self._size[row] = min(max(2 * in_grace + 2, _FEWEST), _MOST)
        self._slots += int(self._size[row])
        self._ring = grown(self._ring, self._slots, NO_TIME_NS)
        self._ring_bits = grown(self._ring_bits, self._slots, _UNKNOWN)

    def check(
        self, groups: Groups, time_ns: NDArray[np.int64], value: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """bool[n], twice: repeated readings, and those of them with a value that is known already.

        All of them are remembered.

        Args:
            groups: The readings by channel row.
            time_ns: int64[n], in the groups' order.
            value: float64[n], in the groups' order.
        """
        channels = groups.keys
        ordinal = groups.rank + np.repeat(self._count[channels], groups.lengths)
        before_ns = max_before(time_ns, groups.starts, groups.lengths, self._newest_ns[channels])
        bits = _bits(value)
        is_repeated, is_same = np.zeros((2, len(time_ns)), np.bool_)
        # A reading newer than all before it can't be repeated, and most are.
        suspects = np.flatnonzero(time_ns <= before_ns)
        if len(suspects):
            is_missing = bits == _MISSING
            is_anything = np.zeros(len(time_ns), np.bool_)
            self._check_batch(groups, suspects, ordinal, is_anything, time_ns)
            self._check_batch(
                groups, suspects, ordinal, is_repeated, time_ns, is_missing.astype(np.int64)
            )
            is_repeated |= is_anything & is_missing
            self._check_batch(groups, suspects, ordinal, is_same, time_ns, bits)
            self._check_ring(groups, suspects, time_ns, bits, ordinal, is_repeated, is_same)
            is_same |= is_repeated & is_missing
        ends = groups.starts + groups.lengths - 1
        self._newest_ns[channels] = np.maximum(before_ns[ends], time_ns[ends])
        self._count[channels] += groups.lengths
        sizes = np.repeat(self._size[channels], groups.lengths)
        fits = ordinal >= np.repeat(self._count[channels], groups.lengths) - sizes
        slot = np.repeat(self._first[channels], groups.lengths) + ordinal % sizes
        self._ring[slot[fits]] = time_ns[fits]
        self._ring_bits[slot[fits]] = bits[fits]
        return is_repeated, is_same

    def snapshot(self, channels: NDArray[np.int32]) -> StateBlock:
        """Copy out the rings of these channels."""
        sizes = self._size[channels]
        return {
            "recent_size": sizes,
            "recent_count": self._count[channels],
            "recent_newest_ns": self._newest_ns[channels],
            "recent_ns": self._ring[self._ring_slots(channels)],
            "recent_bits": self._ring_bits[self._ring_slots(channels)],
        }

    def restore(
        self, channels: NDArray[np.int32], block: Mapping[str, NDArray[np.generic]]
    ) -> None:
        """Take over a snapshot. A ring whose size the configuration has changed stays empty.

        An older version remembered no values: what repeats a time of its is taken for a duplicate.
        """
        sizes = np.asarray(block["recent_size"], np.int64)
        count = np.asarray(block["recent_count"], np.int64)
        is_size = (sizes >= _FEWEST) & (sizes <= _MOST) & (count >= 0) & (count <= NEVER_NS)
        if not is_size.all() or len(block["recent_ns"]) != sizes.sum():
            raise DataError("bad_record", "a ring of recent times has not the size it says")
        is_same = sizes == self._size[channels]
        rows = channels[is_same]
        self._count[rows] = count[is_same]
        self._newest_ns[rows] = block["recent_newest_ns"][is_same]
        slots, are_same = self._ring_slots(rows), np.repeat(is_same, sizes)
        self._ring[slots] = block["recent_ns"][are_same]
        if "recent_bits" in block:
            self._ring_bits[slots] = block["recent_bits"][are_same]

    def forget(self, channels: NDArray[np.int32]) -> None:
        """Empty the rings of these channels."""
        self._count[channels] = 0
        self._newest_ns[channels] = NO_TIME_NS
        slots = self._ring_slots(channels)
        self._ring[slots] = NO_TIME_NS
        self._ring_bits[slots] = _UNKNOWN

    def _ring_slots(self, channels: NDArray[np.int32]) -> NDArray[np.int64]:
        sizes = self._size[channels]
        slots: NDArray[np.int64] = np.repeat(self._first[channels], sizes) + ramp(sizes)
        return slots

    def _check_batch(
        self,
        groups: Groups,
        suspects: NDArray[np.intp],
        ordinal: NDArray[np.int64],
        is_again: NDArray[np.bool_],
        *columns: NDArray[np.int64],
    ) -> None:
        """Compare the readings of this batch with each other, in channels with suspects.

        Marks those that are the same in all of these columns as one of their channel before.
        """
        group = np.repeat(np.arange(len(groups.keys)), groups.lengths)
        is_concerned = np.zeros(len(groups.keys), np.bool_)
        is_concerned[group[suspects]] = True
        rows = np.flatnonzero(is_concerned[group])
        # Stable, so that the same readings stay in arrival order.
        rows = rows[np.lexsort((*(column[rows] for column in reversed(columns)), group[rows]))]
        starts, _ = runs(group[rows], *(column[rows] for column in columns))
        distance = np.diff(ordinal[rows], prepend=0)
        is_near = distance <= self._size[groups.keys[group[rows]]]
        is_near[starts] = False
        is_again[rows[is_near]] = True

    def _check_ring(
        self,
        groups: Groups,
        suspects: NDArray[np.intp],
        time_ns: NDArray[np.int64],
        bits: NDArray[np.int64],
        ordinal: NDArray[np.int64],
        is_repeated: NDArray[np.bool_],
        is_same: NDArray[np.bool_],
    ) -> None:
        """Compare suspects with what was there before this batch."""
        channel = np.repeat(groups.keys, groups.lengths)[suspects]
        for size in np.unique(self._size[channel]).tolist():
            of_size = self._size[channel] == size
            rows, channels = suspects[of_size], channel[of_size]
            slots = np.arange(size)
            step = _BLOCK_ELEMENTS // size
            for begin in range(0, len(rows), step):
                part, owner = rows[begin : begin + step], channels[begin : begin + step]
                count = self._count[owner][:, None]
                # Which reading of the channel stands in each slot, counted from its first.
                held = count - 1 - (count - 1 - slots) % size
                places = self._first[owner][:, None] + slots
                is_again = self._ring[places] == time_ns[part][:, None]
                is_again &= (held >= 0) & (ordinal[part][:, None] - held <= size)
                is_nothing = self._ring_bits[places] == _MISSING
                is_again &= ~is_nothing | (bits[part] == _MISSING)[:, None]
                found = is_again.any(axis=1)
                is_repeated[part[found]] = True
                known = self._ring_bits[places[found]]
                is_known = (known == bits[part[found]][:, None]) | (known == _UNKNOWN)
                is_same[part[found]] |= (is_again[found] & is_known).any(axis=1)


def _bits(value: NDArray[np.float64]) -> NDArray[np.int64]:
    """int64[n]: equal for equal values; NaN is equal to NaN, and 0 to -0."""
    bits: NDArray[np.int64] = (np.where(np.isnan(value), np.nan, value) + 0.0).view(np.int64)
    return bits
