"""The one place that reads the computer's clocks.

Everything that needs the time takes a ``Clock``; tests hand in ``headgate.testing.ManualClock``.
"""

from __future__ import annotations

import time
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


class SystemClock:
    """The operating system's clocks."""

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()
