"""The last event times of every channel, with their values: what duplicates are found by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headgate.core.errors import DataError
from headgate.core.runs import runs
from headgate.core.stage import StateBlock
from streams.stages.arrays import NEVER_NS, NO_TIME_NS, Groups, max_before, ramp
from streams.stages.columns import StateColumns

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
        # All rings one after the other; by channel, where its ring begins and how long it is.
        self._rings = StateColumns(recent_ns=np.int64(NO_TIME_NS), recent_bits=_UNKNOWN)
        self._place = StateColumns(first=np.int64(0), size=np.int64(_FEWEST))
        # By channel: how many times were ever put in, and the newest of them.
        self._known = StateColumns(recent_count=np.int64(0), recent_newest_ns=np.int64(NO_TIME_NS))

    def add(self, in_grace: int) -> None:
        """Make room for one more channel, with ``in_grace`` readings within its grace."""
        row = self._channels
        self._channels += 1
        size = min(max(2 * in_grace + 2, _FEWEST), _MOST)
        self._place.grow(self._channels)
        self._place["first"][row], self._place["size"][row] = self._slots, size
        self._known.grow(self._channels)
        self._slots += size
        self._rings.grow(self._slots)

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
        (ring_ns, ring_bits), (count, newest_ns) = self._rings.values(), self._known.values()
        ordinal = groups.rank + np.repeat(count[channels], groups.lengths)
        before_ns = max_before(time_ns, groups.starts, groups.lengths, newest_ns[channels])
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
        newest_ns[channels] = np.maximum(before_ns[ends], time_ns[ends])
        count[channels] += groups.lengths
        sizes = np.repeat(self._place["size"][channels], groups.lengths)
        fits = ordinal >= np.repeat(count[channels], groups.lengths) - sizes
        slot = np.repeat(self._place["first"][channels], groups.lengths) + ordinal % sizes
        ring_ns[slot[fits]] = time_ns[fits]
        ring_bits[slot[fits]] = bits[fits]
        return is_repeated, is_same

    def snapshot(self, channels: NDArray[np.int32]) -> StateBlock:
        """Copy out the rings of these channels."""
        block = self._known.snapshot(channels) | self._rings.snapshot(self._ring_slots(channels))
        block["recent_size"] = self._place["size"][channels]
        return block

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
        is_same = sizes == self._place["size"][channels]
        rows, are_same = channels[is_same], np.repeat(is_same, sizes)
        self._known.restore(rows, {name: block[name][is_same] for name in self._known})
        rings = {name: block[name][are_same] for name in self._rings if name in block}
        self._rings.restore(self._ring_slots(rows), rings, may_lack=True)

    def forget(self, channels: NDArray[np.int32]) -> None:
        """Empty the rings of these channels."""
        self._known.forget(channels)
        self._rings.forget(self._ring_slots(channels))

    def _ring_slots(self, channels: NDArray[np.int32]) -> NDArray[np.int64]:
        sizes = self._place["size"][channels]
        slots: NDArray[np.int64] = np.repeat(self._place["first"][channels], sizes) + ramp(sizes)
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
        is_near = distance <= self._place["size"][groups.keys[group[rows]]]
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
        (ring_ns, ring_bits), sizes = self._rings.values(), self._place["size"][channel]
        for size in np.unique(sizes).tolist():
            of_size = sizes == size
            rows, channels = suspects[of_size], channel[of_size]
            slots = np.arange(size)
            step = _BLOCK_ELEMENTS // size
            for begin in range(0, len(rows), step):
                part, owner = rows[begin : begin + step], channels[begin : begin + step]
                count = self._known["recent_count"][owner][:, None]
                # Which reading of the channel stands in each slot, counted from its first.
                held = count - 1 - (count - 1 - slots) % size
                places = self._place["first"][owner][:, None] + slots
                is_again = ring_ns[places] == time_ns[part][:, None]
                is_again &= (held >= 0) & (ordinal[part][:, None] - held <= size)
                is_nothing = ring_bits[places] == _MISSING
                is_again &= ~is_nothing | (bits[part] == _MISSING)[:, None]
                found = is_again.any(axis=1)
                is_repeated[part[found]] = True
                known = ring_bits[places[found]]
                is_known = (known == bits[part[found]][:, None]) | (known == _UNKNOWN)
                is_same[part[found]] |= (is_again[found] & is_known).any(axis=1)


def _bits(value: NDArray[np.float64]) -> NDArray[np.int64]:
    """int64[n]: equal for equal values; NaN is equal to NaN, and 0 to -0."""
    bits: NDArray[np.int64] = (np.where(np.isnan(value), np.nan, value) + 0.0).view(np.int64)
    return bits
