"""The one place that reads the computer's clocks.

Everything that needs the time takes a ``Clock``; tests hand in ``headgate.testing.ManualClock``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000

#: A clock that is set back by less than this is only being kept right, ns.
_SLACK_NS: Final = NS_PER_S

#: Times for which the clock was wrong, before the present one, that are remembered: messages that
#: arrived in earlier ones have long been written.
_MOST_ESTIMATES: Final = 8


class Clock(Protocol):
    """Tells the time, and nothing else."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 UTC. May jump when somebody sets the clock."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start. Never goes back; use it for timers."""
        ...

    def uptime(self) -> tuple[str, int]:
        """Which boot this is, and nanoseconds since it began, those in suspend included.

        All processes of a boot are told the same, whoever sets the clock.
        """
        ...


class SystemClock:
    """The operating system's clocks."""

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def uptime(self) -> tuple[str, int]:
        return _boot(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@cache
def _boot() -> str:
    """The kernel's name for this boot; the same for ever where it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


@cache
def built_ns() -> int:
    """A time that has surely been, ns since 1970 UTC: this program's own files are as old."""
    return Path(__file__).stat().st_mtime_ns


class ArrivalClock:
    """Wall time that never goes back: when things arrived, on a machine whose clock may be wrong.

    A box without a battery begins in 1970, and time servers set clocks back. Readings must be
    neither taken for readings from the future then, nor, where they have no time of their own, be
    stamped with one that has been. A clock that is behind a time that has surely been is not
    believed: time goes on from there at its own pace, and is *estimated*, until the wall clock has
    caught up. By how much it was wrong is known then.

    Args:
        clock: The machine's clocks.
        floor_ns: A time that has surely been, ns since 1970 UTC.
    """

    def __init__(self, clock: Clock, floor_ns: int = 0) -> None:
        self._clock = clock
        self._last_ns = floor_ns
        self._monotonic_ns = clock.monotonic_ns()
        # Estimated times: first, last, and what was to be added once that was known.
        self._estimates: list[tuple[int, int, int]] = []
        #: Whether the wall clock is not believed just now.
        self.is_estimating = False

    def has_been(self, time_ns: int) -> None:
        """Note a time that has surely been, such as that of a record in the log."""
        self._last_ns = max(self._last_ns, time_ns)

    def now_ns(self) -> int:
        """The time, ns since 1970 UTC."""
        monotonic_ns = self._clock.monotonic_ns()
        elapsed_ns = monotonic_ns - self._monotonic_ns
        self._monotonic_ns = monotonic_ns
        expected_ns, wall_ns = self._last_ns + elapsed_ns, self._clock.wall_ns()
        self._last_ns = wall_ns if wall_ns >= self._last_ns else expected_ns
        was_estimating = self.is_estimating
        self.is_estimating = wall_ns < expected_ns - _SLACK_NS
        if not self.is_estimating:
            if was_estimating:
                first_ns, last_ns, _ = self._estimates[-1]
                self._estimates[-1] = (first_ns, last_ns, max(0, wall_ns - expected_ns))
            return self._last_ns
        first_ns = self._estimates.pop()[0] if was_estimating else self._last_ns
        self._estimates = [*self._estimates[-_MOST_ESTIMATES:], (first_ns, self._last_ns, 0)]
        return self._last_ns

    @property
    def correction_ns(self) -> int:
        """What has to be added to the times that were estimated last; 0 while it is not known."""
        return self._estimates[-1][2] if self._estimates else 0

    def corrected(self, times_ns: Sequence[int]) -> list[int]:
        """Arrival times by what is known now; those that were estimated may have been wrong."""
        if not self._estimates:
            return list(times_ns)
        corrected = np.array(times_ns, np.int64)
        for first_ns, last_ns, add_ns in self._estimates:
            corrected[(corrected >= first_ns) & (corrected <= last_ns)] += add_ns
        result: list[int] = corrected.tolist()
        return result

    def estimated(self, times_ns: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Which arrival times are estimates that nothing is known of yet.

        Args:
            times_ns: int64[n], corrected.

        Returns:
            bool[n]; None when there have been no estimates at all.
        """
        if not self._estimates:
            return None
        is_estimated = np.zeros(len(times_ns), np.bool_)
        for first_ns, last_ns, _ in self._estimates:
            is_estimated |= (times_ns >= first_ns) & (times_ns <= last_ns)
        return is_estimated
