"""How long each device lets one wait, learned from its own readings.

Two things are learned of a device: its *pace*, by how much its newest event time moves on from one
arrival to the next, and its *delay*, the time that the readings of one arrival cover. A sensor that
sends each reading by itself has no delay; one that sends a minute's readings together has one of a
minute. Nothing is learned from what comes much faster or later than it was measured: that is a
backlog, and says how it was kept and not how it is made.

What counts is the longest of the last few, because waiting too briefly loses readings and waiting
too long only tells late that a device is gone: an arrival may raise what is remembered to its own,
and eight of them halve it. So a device that was off for a day is known again as what it is after
some dozens of readings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S
from headgate.core.stage import StateBlock
from streams.stages.arrays import NO_TIME_NS
from streams.stages.columns import StateColumns

#: Nothing longer is learned: a device is not waited for longer than some multiple of this.
LONGEST_PACE_NS = 86_400 * NS_PER_S

#: What comes by itself is not overtaken by what was made this much earlier, ns, where the grace is
#: shorter: messages of one moment.
_LEAST_WAIT_NS = NS_PER_S

#: A device whose next reading is this many waits away need not be waited for.
_SELDOM = 2

#: An arrival takes this part off what is remembered.
_FORGOTTEN = 12


@dataclass(frozen=True, slots=True)
class Expected:
    """Before when nothing is expected of d devices any more. What comes all the same is accepted.

    Of those that send often, or of which not much is known, the next reading says so. Those that
    send seldom have been waited for as long as readings may be late, and as an arrival's readings
    cover.

    Attributes:
        settled_ns: int64[d], of what they have sent: their watermarks at least.
        reached_ns: int64[d], of anything, by the clock; ``NO_TIME_NS`` where that is not so, or not
            yet.
        is_by_clock: bool[d], whether it is so of a device, now or later.
    """

    settled_ns: NDArray[np.int64]
    reached_ns: NDArray[np.int64]
    is_by_clock: NDArray[np.bool_]


class Pace:
    """Pace and delay, ns, by device row; 0 while nothing has been learned."""

    def __init__(self) -> None:
        self._known = StateColumns(pace_ns=np.int64(0), delay_ns=np.int64(0))

    @property
    def pace_ns(self) -> NDArray[np.int64]:
        """int64[d]: by how much a device's newest event time moves on with an arrival."""
        return self._known["pace_ns"]

    @property
    def delay_ns(self) -> NDArray[np.int64]:
        """int64[d]: the time that the readings of one arrival cover."""
        return self._known["delay_ns"]

    def grow(self, rows: int) -> None:
        """Make room for so many devices."""
        self._known.grow(rows)

    def learn(
        self,
        devices: NDArray[np.int64],
        moved_ns: NDArray[np.int64],
        covered_ns: NDArray[np.int64],
        elapsed_ns: NDArray[np.int64],
    ) -> None:
        """Take note of an arrival of each of these devices.

        Args:
            devices: Device rows, each once.
            moved_ns: int64[d], by how much the newest event time has moved on with it.
            covered_ns: int64[d], what its readings cover.
            elapsed_ns: int64[d], how long ago the arrival before it was; negative when that is
                not known.
        """
        is_live = (moved_ns > 0) & (elapsed_ns >= 0)
        is_live &= (2 * elapsed_ns + NS_PER_S >= moved_ns) & (elapsed_ns <= 2 * moved_ns + NS_PER_S)
        live = devices[is_live]
        for what, found_ns in ((self.pace_ns, moved_ns), (self.delay_ns, covered_ns)):
            kept_ns = what[live] - what[live] // _FORGOTTEN
            what[live] = np.maximum(kept_ns, np.minimum(found_ns[is_live], LONGEST_PACE_NS))

    def expected(
        self,
        devices: NDArray[np.int32],
        *,
        watermark_ns: NDArray[np.int64],
        newest_ns: NDArray[np.int64],
        elapsed_ns: NDArray[np.int64],
        grace_ns: NDArray[np.int64],
        is_certain: NDArray[np.bool_],
        is_silent: NDArray[np.bool_],
    ) -> Expected:
        """What is expected of devices after so long a time without a reading.

        Args:
            devices: int32[d], rows.
            watermark_ns: int64[d], before when nothing is accepted of them.
            newest_ns: int64[d], event times of their newest readings.
            elapsed_ns: int64[d], how long ago these arrived.
            grace_ns: int64[d], by how much readings may be late.
            is_certain: bool[d], whether their clocks are beyond doubt.
            is_silent: bool[d], whether they are waited for no longer.
        """
        pace_ns = self.pace_ns[devices]
        wait_ns = np.maximum(np.maximum(grace_ns, self.delay_ns[devices]), _LEAST_WAIT_NS)
        sends_seldom = pace_ns >= _SELDOM * wait_ns
        is_over = is_certain & (newest_ns > NO_TIME_NS) & (elapsed_ns >= wait_ns)
        is_seldom = is_over & sends_seldom
        # One of which not much is known is as one that sends seldom once it is silent.
        is_once = is_over & (pace_ns == 0) & is_silent & (watermark_ns > newest_ns)
        reached_ns = newest_ns + elapsed_ns - wait_ns + 1
        return Expected(
            np.where(is_seldom, np.maximum(newest_ns + 1, watermark_ns), watermark_ns),
            np.where(is_seldom | is_once, reached_ns, NO_TIME_NS),
            sends_seldom | (pace_ns == 0),
        )

    def snapshot(self, devices: NDArray[np.int32]) -> StateBlock:
        """Copy out what is known of these devices."""
        return self._known.snapshot(devices)

    def restore(self, devices: NDArray[np.int32], block: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a snapshot; an older version's says nothing of this."""
        self._known.restore(devices, block, may_lack=True)

    def forget(self, devices: NDArray[np.int32]) -> None:
        """Drop what is known of these devices."""
        self._known.forget(devices)
