"""Telling the falls of a counter apart: wraps, jitter, and resets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig

#: The largest part of a register that one step may go through its end.
_WRAP_PART = 1 / 4

#: A count that falls by no more than this part goes on: Home Assistant has the same.
_JITTER_PART = 1 / 10

#: Readings in a row below what had been counted, after which the count goes on from there.
_SETTLED = 10


@dataclass(slots=True)
class Walk:
    """Goes over a counter's readings one by one, where one of them is below the one before.

    A fall is through the register's end where the step through that is a small part of the
    register, and back through it where a rise is almost all of the register. It is jitter where the
    count falls by little: then nothing is counted until the count is beyond what it had been, or
    has been below for so long that it goes on from there, which is a reset as well. All other falls
    are resets, and what stands there then has been counted since.

    Attributes:
        wraps_at: What the count is 0 at again, in the unit that is kept; NaN where it never is.
        jitter: By how much it may fall; NaN: by a part of what it is.
        count: What has been counted; NaN where nothing has.
        below: So many readings in a row have been below that.
        lowest: The lowest of these.
    """

    wraps_at: float
    jitter: float
    count: float = np.nan
    below: int = 0
    lowest: float = np.nan

    @property
    def rise_back(self) -> float:
        """How large a rise may be one back through the register's end; inf where none is."""
        return np.inf if np.isnan(self.wraps_at) else self.wraps_at * (1 - _WRAP_PART)

    @classmethod
    def of(cls, feed: FeedConfig, name: str) -> Walk:
        """That of a counter of a feed."""
        channel = feed.channel(name)
        counter = channel.counter
        wraps_at, jitter = (None, None) if counter is None else (counter.wraps_at, counter.jitter)
        return cls(
            np.nan if wraps_at is None else wraps_at * channel.line()[0],
            np.nan if jitter is None else jitter,
        )

    def begin(self, count: float, below: int, lowest: float) -> None:
        """Go on from where the counter had been."""
        self.count, self.below, self.lowest = float(count), int(below), float(lowest)

    def over(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64[4, n]: what was counted before each of these, with it, lifted by it, resets."""
        return np.array([self._take(value) for value in values.tolist()]).T

    def _take(self, value: float) -> tuple[float, float, float, int]:
        before = value if np.isnan(self.count) else self.count
        lifted, is_reset = self._lift(before, value)
        if self.below:
            return before, before, 0.0, 0
        self.count = value
        return before, value, lifted, is_reset

    def _lift(self, before: float, value: float) -> tuple[float, int]:
        """By how much a fall is to be made good, and whether it is a reset."""
        below, lowest = self.below, self.lowest
        self.below, self.lowest = 0, np.nan
        is_back = self._is_back(before, value)
        if not is_back:
            if value >= before:
                return 0.0, 0
            if 0 <= value - before + self.wraps_at <= self.wraps_at * _WRAP_PART:
                return self.wraps_at, 0
            if before - value > self._may_fall(before):
                # All that stands there has been counted since; nothing of it where it is below 0.
                return before - min(value, 0.0), 1
        # As if there were numbers below the register's first.
        level = value - self.wraps_at if is_back else value
        lowest = min(level, lowest) if below else level
        if below + 1 >= _SETTLED:
            return before - lowest + level - value, 1
        self.below, self.lowest = below + 1, lowest
        return 0.0, 0

    def _is_back(self, before: float, value: float) -> bool:
        """Whether a rise is a count that falls by little, back through the register's end."""
        if not value - before >= self.rise_back:
            return False
        # What it was with all of the register that it has gone through.
        return before + self.wraps_at - value <= self._may_fall(before + self.wraps_at)

    def _may_fall(self, before: float) -> float:
        """By how much a count may fall and goes on."""
        return abs(before) * _JITTER_PART if np.isnan(self.jitter) else self.jitter


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps to some readings of counters.

    Attributes:
        before: float64[n], what had been counted before each.
        count: float64[n], and with it.
        lifted: float64[n], how much more than their difference the step is.
        resets: int64[n], how often the count began anew.
    """

    before: NDArray[np.float64]
    count: NDArray[np.float64]
    lifted: NDArray[np.float64]
    resets: NDArray[np.int64]


def steps_to(
    value: NDArray[np.float64],
    runs_of: tuple[NDArray[np.intp], NDArray[np.intp]],
    slots: NDArray[np.int64],
    now: Mapping[str, NDArray[Any]],
    rise_back: NDArray[np.float64],
    walk_of: Callable[[int], Walk],
) -> Steps:
    """Go from where counters are over readings of them.

    Args:
        value: float64[n], the readings, counter by counter, in the order of their times.
        runs_of: intp[c], where each counter's begin, and intp[c], how many it has; one at least.
        slots: int64[c], each counter's slot.
        now: By slot, ``count``, ``below`` and ``lowest`` as in ``Walk``. They are moved on.
        rise_back: float64[c], from where on a rise is gone over as what is no mere rise is.
        walk_of: By its slot, how a counter is gone over then.
    """
    starts, lengths = runs_of
    count, lifted = value.copy(), np.zeros(len(value))
    resets = np.zeros(len(value), np.int64)
    before = np.roll(value, 1)
    before[starts] = now["count"][slots]
    is_odd = (value < before) | (value - before >= np.repeat(rise_back, lengths))
    is_odd_run = np.maximum.reduceat(is_odd, starts) if len(starts) else starts > 0
    # The first of all has nothing before it.
    is_first = np.isnan(before)
    before[is_first] = value[is_first]
    for at in np.flatnonzero(is_odd_run | (now["below"][slots] > 0)).tolist():
        rows = slice(starts[at], starts[at] + lengths[at])
        walk = walk_of(int(slots[at]))
        walk.begin(*(now[name][slots[at]] for name in ("count", "below", "lowest")))
        before[rows], count[rows], lifted[rows], resets[rows] = walk.over(value[rows])
        now["below"][slots[at]], now["lowest"][slots[at]] = walk.below, walk.lowest
    now["count"][slots] = count[starts + lengths - 1]
    return Steps(before, count, lifted, resets)
