"""The Hampel identifier, causal and for many channels at once.

A reading is a spike when it lies further than ``threshold`` scaled MADs from the median of the
last ``window`` readings before it (Hampel 1974; the factor 1.4826 makes the MAD of a normal
distribution its standard deviation). Whether a reading goes into the window of the next one
depends on whether it is a spike itself. So a stretch of readings is judged as though it held no
spike, its answers are taken up to the first spike in each channel, and the rest is judged anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.stages.arrays import ramp
from streams.stages.columns import StateColumns

_MAD_TO_SIGMA = 1.4826

#: Window elements judged in one go: 2 MiB of float64, which a small box's cache can hold.
_BLOCK_ELEMENTS = 1 << 18

#: A stretch is never cut shorter than this when spikes are many: below, the fixed cost of a
#: round is more than the work thrown away.
_MIN_STRETCH = 32


@dataclass(slots=True)
class _Cursor:
    """What is left to judge of the channels in a call.

    Attributes:
        group: intp[a], the groups with readings left.
        first: intp[a], position of the group's next reading.
        left: intp[a], readings left in the group.
    """

    group: NDArray[np.intp]
    first: NDArray[np.intp]
    left: NDArray[np.intp]


class Hampel:
    """Spike detection with one window length; channels are numbered by slots.

    Args:
        window: Readings that the median is taken of.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        #: By slot. ``recent`` is filled from the right; NaN where there is no reading yet.
        self.state = StateColumns(recent=np.full(window, np.nan), outliers=np.int64(0))
        self._limits = StateColumns(threshold=np.float64(0), min_scale=np.float64(0))
        self._slots = 0

    def add(self, threshold: float, min_scale: float) -> int:
        """Make a slot for one more channel, and return its number."""
        slot = self._slots
        self._slots += 1
        self.state.grow(self._slots)
        self._limits.grow(self._slots)
        self._limits["threshold"][slot] = threshold
        self._limits["min_scale"][slot] = min_scale
        return slot

    def judge(
        self,
        slots: NDArray[np.intp],
        starts: NDArray[np.intp],
        lengths: NDArray[np.intp],
        value: NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        """Tell which readings are spikes, and take the others into the windows.

        Nothing is judged before half a window of readings has been seen, nor while the scale is
        0, which means that more than half of the window's readings are equal and no ``min_scale``
        says how far one may differ. After ``window // 2`` spikes in a row the next outlier is
        taken as a new level: it is not flagged, and the window begins anew with it.

        Args:
            slots: intp[g], each once.
            starts: intp[g], where each slot's readings begin in ``value``.
            lengths: intp[g], how many readings it has.
            value: float64[n], finite, in arrival order for each slot.
        """
        is_spike = np.zeros(len(value), np.bool_)
        cursor = _Cursor(np.arange(len(slots)), starts.copy(), lengths.copy())
        stretch = _BLOCK_ELEMENTS
        while len(cursor.group):
            fits = max(1, _BLOCK_ELEMENTS // (self._window * len(cursor.group)))
            stretch = min(stretch, fits, int(cursor.left.max()))
            met_outlier = self._judge_stretch(slots, cursor, stretch, value, is_spike)
            stretch = max(_MIN_STRETCH, stretch // 4) if met_outlier else 2 * stretch
        return is_spike

    def _judge_stretch(
        self,
        slots: NDArray[np.intp],
        cursor: _Cursor,
        stretch: int,
        value: NDArray[np.float64],
        is_spike: NDArray[np.bool_],
    ) -> bool:
        window, slot = self._window, slots[cursor.group]
        recent, outliers = self.state.values()
        take = np.minimum(cursor.left, stretch)
        # Transposed, so that the long way is the contiguous one.
        readings = np.full((window + stretch, len(slot)), np.nan)
        readings[:window] = recent[slot].T
        rows = np.repeat(np.arange(len(slot)), take)
        columns = ramp(take)
        readings[window + columns, rows] = value[np.repeat(cursor.first, take) + columns]

        # Differences of the largest floats overflow to infinity, which compares as it should.
        with np.errstate(over="ignore", invalid="ignore"):
            is_outlier = self._outliers(slot, readings)
        first = is_outlier.argmax(axis=0)
        has_outlier = is_outlier[first, np.arange(len(slot))]
        # Readings whose windows hold no spike: up to and including the first outlier.
        passed = np.where(has_outlier, first, take)
        behind = passed + np.arange(window)[:, None]
        recent[slot] = np.take_along_axis(readings, behind, axis=0).T
        outliers[slot[passed > 0]] = 0

        outlier = np.flatnonzero(has_outlier)
        at = slot[outlier]
        is_new_level = outliers[at] >= window // 2
        is_spike[(cursor.first[outlier] + first[outlier])[~is_new_level]] = True
        outliers[at] += 1
        level = at[is_new_level]
        recent[level, :-1] = np.nan
        recent[level, -1] = readings[window + first[outlier], outlier][is_new_level]
        outliers[level] = 0

        done = passed + has_outlier
        cursor.first += done
        cursor.left -= done
        if not cursor.left.all():
            rest = cursor.left > 0
            cursor.group = cursor.group[rest]
            cursor.first = cursor.first[rest]
            cursor.left = cursor.left[rest]
        return len(outlier) > 0

    def _outliers(self, slot: NDArray[np.intp], readings: NDArray[np.float64]) -> NDArray[np.bool_]:
        """bool[stretch, slots]: outliers against the window just before each reading.

        Args:
            slot: intp[slots].
            readings: float64[window + stretch, slots], NaN where there is none.
        """
        window = self._window
        threshold, min_scale = self._limits["threshold"][slot], self._limits["min_scale"][slot]
        value = readings[window:]
        low, high = _extremes(readings[:-1], window)
        # The median lies between the window's extremes, and the scale is min_scale at least: what
        # is near enough to both extremes is no outlier. That is nearly all, and cheap to tell.
        limit = threshold * min_scale
        is_outlier: NDArray[np.bool_] = (value - low > limit) | (high - value > limit)
        column, row = np.nonzero(is_outlier)
        if not len(row):
            return is_outlier
        windows = readings[column[:, None] + np.arange(window), row[:, None]]
        count = window - np.isnan(windows).sum(axis=1)
        center = _median(windows, count)
        scale = _MAD_TO_SIGMA * _median(np.abs(windows - center[:, None]), count)
        scale = np.maximum(scale, min_scale[row])
        distance = np.abs(value[column, row] - center)
        is_far = distance > threshold[row] * scale
        is_outlier[column, row] = is_far & (scale > 0) & (2 * count >= window)
        return is_outlier


def _extremes(
    readings: NDArray[np.float64], window: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The smallest and the largest of each ``window`` rows in a row; NaN only where all are."""
    low = high = readings
    length = 1
    while length < window:
        # Two stretches that overlap or touch cover the longer one.
        step = min(length, window - length)
        low = np.fmin(low[:-step], low[step:])
        high = np.fmax(high[:-step], high[step:])
        length += step
    return low, high


def _median(windows: NDArray[np.float64], count: NDArray[np.intp]) -> NDArray[np.float64]:
    """Median of the ``count`` numbers in each window; the others are NaN, which sorts last."""
    ordered = np.sort(windows, axis=-1)
    row = np.arange(len(ordered))
    upper = ordered[row, (count // 2).clip(max=windows.shape[-1] - 1)]
    lower = ordered[row, np.maximum(count - 1, 0) // 2]
    # Half of each, not half of the sum, which would overflow for the largest floats.
    median: NDArray[np.float64] = lower / 2 + upper / 2
    return median
