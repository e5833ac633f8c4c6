"""The one place that reads the computer's clocks.

Everything that needs the time takes a ``Clock``; tests hand in ``headgate.testing.ManualClock``.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Protocol

NS_PER_S = 1_000_000_000


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
    stamped with one that has been. A clock that is set back is not believed: time goes on from
    where it was, at its own pace, until the wall clock has caught up.

    Args:
        clock: The machine's clocks.
        floor_ns: A time that has surely been, ns since 1970 UTC.
    """

    def __init__(self, clock: Clock, floor_ns: int = 0) -> None:
        self._clock = clock
        self._last_ns = floor_ns
        self._monotonic_ns = clock.monotonic_ns()

    def has_been(self, time_ns: int) -> None:
        """Note a time that has surely been, such as that of a record in the log."""
        self._last_ns = max(self._last_ns, time_ns)

    def now_ns(self) -> int:
        """The time, ns since 1970 UTC."""
        monotonic_ns = self._clock.monotonic_ns()
        elapsed_ns = monotonic_ns - self._monotonic_ns
        self._monotonic_ns = monotonic_ns
        wall_ns = self._clock.wall_ns()
        self._last_ns = wall_ns if wall_ns >= self._last_ns else self._last_ns + elapsed_ns
        return self._last_ns
