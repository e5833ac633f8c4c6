"""An event loop without a clock of its own: when nothing is ready, time jumps to the next timer.

Nothing waits for anything real, so an hour takes milliseconds and every run is the same. What asks
for the time asks ``VirtualClock``::

    loop = VirtualLoop()
    run(my_test(VirtualClock(loop)), loop)
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

from headgate.core.clock import NS_PER_S

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

#: What the wall clock shows when the world begins, if nothing else is said.
_START_NS = 1_750_000_000 * NS_PER_S


class Deadlock(Exception):  # noqa: N818  (a state of affairs)
    """Everybody waits and no timer runs: in the real world this hangs for ever."""


class _NoSockets(selectors.SelectSelector):
    """Waits by letting time pass."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock
        if timeout > 0:
            self.loop.now_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. Sockets and other processes are not of its world: nothing may wait for them.

    Attributes:
        now_s: Its time.
    """

    def __init__(self) -> None:
        self.now_s = 1.0
        selector = _NoSockets()
        selector.loop = self
        super().__init__(selector)
        # What the killed had asked for is never answered, and nobody is told.
        self.set_exception_handler(lambda _loop, _context: None)

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002  (asyncio's signature)
        func: Callable[[*_Ts], _T],
        *args: *_Ts,
    ) -> asyncio.Future[_T]:
        """Call at once: a thread would take time that is not this world's."""
        answer = self.create_future()
        try:
            answer.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  (for whoever waits for it)
            answer.set_exception(error)
        return answer

    def time(self) -> float:
        """Virtual seconds since the world began."""
        return self.now_s


class VirtualClock:
    """The loop's time as a ``Clock``, with a wall clock that can be set wrong.

    Args:
        loop: Whose time it is.
        start_ns: What the wall clock shows when the loop's time is 0, ns since 1970 UTC.
    """

    def __init__(self, loop: VirtualLoop, start_ns: int = _START_NS) -> None:
        self._loop = loop
        self._start_ns = start_ns
        self._skipped_ns = 0
        #: How much the wall clock is ahead, s.
        self.offset_s = 0.0

    def wall_ns(self) -> int:
        passed_ns = round((self._loop.now_s + self.offset_s) * NS_PER_S)
        return self._start_ns + self._skipped_ns + passed_ns

    def monotonic_ns(self) -> int:
        return self._skipped_ns + round(self._loop.now_s * NS_PER_S)

    def uptime(self) -> tuple[str, int]:
        return "simulated", self.monotonic_ns()

    def skip(self, seconds: float) -> None:
        """Let so much time pass at once; whoever sleeps sleeps on for as long as he meant to."""
        self._skipped_ns += round(seconds * NS_PER_S)

    def set_wall(self, wall_ns: int) -> None:
        """Have the wall clock show this time now, ns since 1970 UTC, to the nanosecond."""
        self._start_ns += wall_ns - self.wall_ns()


def run(main: Coroutine[Any, Any, _T], loop: VirtualLoop) -> _T:
    """Run to the end, then drop whatever is still under way, and close the loop.

    Raises:
        Deadlock: What is run waits for something that nobody will do.
    """
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        while asyncio.all_tasks(loop):
            loop.run_until_complete(asyncio.sleep(0))
        asyncio.set_event_loop(None)
        loop.close()
