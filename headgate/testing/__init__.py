"""Doubles for tests of code that runs inside Headgate; public, so users' tests can use them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from headgate.core.batch import Batch
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


class ListSource:
    """A source that yields scripted batches; an exception in the script is raised in its turn."""

    def __init__(self, script: Iterable[Batch | Exception]) -> None:
        self._script = list(script)

    def __iter__(self) -> Iterator[Batch]:
        for step in self._script:
            if isinstance(step, Exception):
                raise step
            yield step


class ListSink:
    """A sink that keeps what it is given; scripted failures are raised first, one a call."""

    def __init__(self, failures: Sequence[Exception] = ()) -> None:
        self.written: list[object] = []
        self._failures = list(failures)

    async def write(self, items: Sequence[object]) -> None:
        """Keep the items, or raise the next scripted failure and keep nothing."""
        if self._failures:
            raise self._failures.pop(0)
        self.written.extend(items)
