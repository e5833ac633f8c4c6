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

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S
from headgate.core.stage import StateBlock
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

    def is_settled(
        self,
        devices: NDArray[np.int32],
        elapsed_ns: NDArray[np.int64],
        grace_ns: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """bool[d]: whether what these devices have sent last will not be overtaken any more.

        Of those that send often, or of which not much is known, the next reading says so. Those
        that send seldom have been waited for as long as readings may be late, and as an arrival's
        readings cover.

        Args:
            devices: int32[d], rows.
            elapsed_ns: int64[d], how long ago their newest readings arrived.
            grace_ns: int64[d], by how much readings may be late.
        """
        pace_ns = self.pace_ns[devices]
        wait_ns = np.maximum(np.maximum(grace_ns, self.delay_ns[devices]), _LEAST_WAIT_NS)
        are_settled: NDArray[np.bool_] = (pace_ns >= _SELDOM * wait_ns) & (elapsed_ns >= wait_ns)
        return are_settled

    def snapshot(self, devices: NDArray[np.int32]) -> StateBlock:
        """Copy out what is known of these devices."""
        return self._known.snapshot(devices)

    def restore(self, devices: NDArray[np.int32], block: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a snapshot; an older version's says nothing of this."""
        self._known.restore(devices, block, may_lack=True)

    def forget(self, devices: NDArray[np.int32]) -> None:
        """Drop what is known of these devices."""
        self._known.forget(devices)
