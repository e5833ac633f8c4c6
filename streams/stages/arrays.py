"""Array helpers that the stages share: grouping rows, running maxima.

Rows are grouped by sorting integers, which keeps arrival order inside a group; nothing here loops
over rows in Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.core.runs import runs
from headgate.core.stage import Selection

#: Earlier than any event time, and far enough from int64's ends to be subtracted from.
NO_TIME_NS = -(2**62)

#: Later than any event time, with the same reserve.
NEVER_NS = 2**62


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows gathered by key, keys rising, arrival order kept inside a group.

    Attributes:
        order: intp[n], positions of the rows, group after group.
        keys: int64[g], the key of each group.
        starts: intp[g], where each group begins in ``order``.
        lengths: intp[g], rows in each group.
    """

    order: NDArray[np.intp]
    keys: NDArray[np.int64]
    starts: NDArray[np.intp]
    lengths: NDArray[np.intp]

    @property
    def rank(self) -> NDArray[np.intp]:
        """intp[n]: position inside its group of each row, in ``order``'s order."""
        return np.arange(len(self.order)) - np.repeat(self.starts, self.lengths)


def stable_order(key: NDArray[Any]) -> NDArray[np.intp]:
    """Positions that sort non-negative integer keys, equal ones in their order."""
    if (key[1:] >= key[:-1]).all():
        return np.arange(len(key))
    bits = len(key).bit_length()
    if int(key.max()) >= 1 << (62 - bits):
        return np.argsort(key, kind="stable")
    # Key and position in one integer: numpy sorts plain int64 with SIMD, and far faster than it
    # sorts positions stably.
    packed = (key.astype(np.int64) << bits) | np.arange(len(key))
    packed.sort()
    order: NDArray[np.intp] = packed & ((1 << bits) - 1)
    return order


def group_by(key: NDArray[Any]) -> Groups:
    """Group rows by a non-negative integer key."""
    order = stable_order(key)
    ordered = key[order]
    starts, lengths = runs(ordered)
    return Groups(order, ordered[starts].astype(np.int64), starts, lengths)


def ramp(lengths: NDArray[Any]) -> NDArray[np.intp]:
    """0, 1, … length-1 for each length, one after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    ramps: NDArray[np.intp] = np.arange(total) - np.repeat(ends - lengths, lengths)
    return ramps


def running_max(
    value: NDArray[np.int64], starts: NDArray[np.intp], lengths: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Largest value so far inside each group (int64[n]); groups lie one after the other."""
    if not len(value):
        return value
    lowest = int(value.min())
    span = int(value.max()) - lowest + 1
    if span * len(starts) < 2**62:
        # Lift each group above the one before it, so that one pass over all rows will do.
        lift = np.repeat(np.arange(len(starts)) * span - lowest, lengths)
        return np.maximum.accumulate(value + lift) - lift
    # Too wide for that (a device with a wild clock): the same on ranks, which always fit.
    distinct, rank = np.unique(value, return_inverse=True)
    lift = np.repeat(np.arange(len(starts)) * len(distinct), lengths)
    highest: NDArray[np.int64] = distinct[np.maximum.accumulate(rank + lift) - lift]
    return highest


def max_before(
    value: NDArray[np.int64],
    starts: NDArray[np.intp],
    lengths: NDArray[np.intp],
    initial: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Largest value before each row of its group, the group's ``initial`` (int64[g]) included."""
    before = np.empty_like(value)
    before[1:] = running_max(value, starts, lengths)[:-1]
    if len(starts):
        before[starts] = initial
    return np.maximum(before, np.repeat(initial, lengths))


def position_of(rows: NDArray[np.int32], size: int) -> NDArray[np.int32]:
    """int32[size]: where each of 0 … size-1 stands in ``rows``; -1 for those that do not."""
    position = np.full(size, -1, np.int32)
    position[rows] = np.arange(len(rows), dtype=np.int32)
    return position


def position_of_channels(selection: Selection, channels: int) -> NDArray[np.int32]:
    """int32[channels]: position in the selection of each channel row; -1 outside of it."""
    return position_of(selection.channels, channels)
