"""What tests of code that runs inside Headgate need; public, so that users' tests can use it.

- ``ManualClock`` here, and ``virtual_time``: an event loop and a clock that wait for nothing real;
- ``memory_log`` and ``memory_reader``: the log in memory, and what brings readings from it;
- ``scripted``: a source that brings what it is told to, and a sink that keeps what it is given;
- ``playing``: a whole gateway of these, which messages are played through; ``cases`` compares what
  comes out, which is ``headgate test``;
- ``formats``, ``sources``, ``sinks`` and ``stages``: the laws that components are held to.
"""

from __future__ import annotations

from itertools import count

from headgate.core.clock import NS_PER_S

#: Each clock is of a boot of its own.
_boots = count()


class ManualClock:
    """A clock that moves only when told to.

    Args:
        wall_ns: Wall time at the start, ns since 1970 UTC.
    """

    def __init__(self, wall_ns: int = 1_700_000_000 * NS_PER_S) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = 0
        self._boot = f"manual-{next(_boots)}"

    def wall_ns(self) -> int:
        return self._wall_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def uptime(self) -> tuple[str, int]:
        return self._boot, self._monotonic_ns

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        step_ns = round(seconds * NS_PER_S)
        self._wall_ns += step_ns
        self._monotonic_ns += step_ns

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back; the monotonic one goes on undisturbed."""
        self._wall_ns += round(seconds * NS_PER_S)
