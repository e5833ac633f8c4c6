"""Noticing by its progress that a lane hangs: each operation that must end says by when.

Lag proves nothing: a lane that commits what it never worked on has none. What is watched is
whether each single operation ends, so a lane that waits for a log that is away, and says so, is
not mistaken for one that hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from headgate.core.clock import NS_PER_S, Clock

#: A pause this long between two looks, s, means that the whole process stood still (it was
#: stopped, or the machine slept): that time is nobody's fault.
_STANDSTILL_S = 5.0


class Watchdog:
    """Knows the operations under way and how long each may take.

    Args:
        clock: Only its monotonic side is used.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # By number: what it is, when it began or the process last stood still, and its limit.
        self._running: dict[int, tuple[str, int, int]] = {}
        self._count = 0
        self._looked_ns: int | None = None

    @contextmanager
    def limit(self, what: str, seconds: float) -> Iterator[Callable[[], None]]:
        """Watch the body: an operation of this name (``"the pipeline"``) that may take so long.

        What it is given says that it has made progress: its time begins anew.
        """
        self._count += 1
        number = self._count

        def begin() -> None:
            now_ns = self._clock.monotonic_ns()
            self._running[number] = (what, now_ns, round(seconds * NS_PER_S))

        begin()
        try:
            yield begin
        finally:
            del self._running[number]

    def slow(self) -> str:
        """Which operation has used up half of its time; empty when none has."""
        return self._longer_than(0.5)

    def overdue(self) -> str:
        """Which operation should have ended by now; empty when none should. Call it often."""
        now_ns = self._clock.monotonic_ns()
        looked_ns, self._looked_ns = self._looked_ns, now_ns
        if looked_ns is not None and now_ns - looked_ns > _STANDSTILL_S * NS_PER_S:
            self._running = {
                number: (what, start_ns + now_ns - looked_ns, limit_ns)
                for number, (what, start_ns, limit_ns) in self._running.items()
            }
        return self._longer_than(1.0)

    def _longer_than(self, part: float) -> str:
        now_ns = self._clock.monotonic_ns()
        for what, start_ns, limit_ns in self._running.values():
            elapsed_ns = now_ns - start_ns
            if elapsed_ns > part * limit_ns:
                return f"{what} has made no progress for {elapsed_ns / NS_PER_S:.0f} s"
        return ""
