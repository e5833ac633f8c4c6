"""How long messages that have come wait for others, so that they share the cost of one write.

Decoding, appending and whatever follows cost nearly the same for one message as for a hundred. So
what comes slowly is waited for as long as the delay allows, and what comes fast only until there is
enough to be cheap. Nothing is waited for that can't come: a broker that lets few messages be
unacknowledged sends no more before it has an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headgate.core.clock import NS_PER_S

#: Messages of which more in a batch save next to nothing each.
_ENOUGH = 2000

#: Between two looks at what has come, s; longer than sources leave messages to gather.
_STEP_S = 0.03

#: When nothing has come for this part of the wait, or since the last look, no more is waited for.
_LULL = 0.25

#: Who may wait for longer, s, wants few writes and gets no more for messages that come slowly.
_SPARING_S = 0.25

#: So many batches in a row are taken to be all there is, before that is looked at again.
_TRUSTED = 200


class Gathering:
    """Waits for company.

    Args:
        wait_ns: The longest wait, ns.
        most: So many messages are not waited for any longer, if not fewer are enough.
    """

    def __init__(self, wait_ns: int, most: int) -> None:
        self._wait_s = wait_ns / NS_PER_S
        # A little less, because timers are not exact.
        part = 1 if self._wait_s > _SPARING_S else _LULL
        self._lull_s = 0.9 * max(part * self._wait_s, _STEP_S)
        self._enough = min(most, _ENOUGH)
        # Messages after which nothing came any more, the last time.
        self._ended_at = 0
        # The same, if it was so twice: then there won't be more.
        self._all_at = 0
        self._trusted = 0
        self._written_s = -self._lull_s

    async def wait(self, waiting: Callable[[], int]) -> None:
        """Return when what has come should be written.

        Args:
            waiting: Tells how many messages have come.
        """
        loop = asyncio.get_running_loop()
        came_s = loop.time()
        # One that comes so soon after one that was alone would have shared its write.
        if self._all_at == 1 and came_s - self._written_s < self._lull_s:
            self._forget()
        if self._trusted >= _TRUSTED:
            # Seen once more it is believed again.
            self._all_at = self._trusted = 0
        await self._gather(loop, came_s, waiting)
        self._trusted += self._all_at > 1
        self._written_s = loop.time()

    def _forget(self) -> None:
        self._ended_at = self._all_at = self._trusted = 0

    async def _gather(
        self, loop: asyncio.AbstractEventLoop, came_s: float, waiting: Callable[[], int]
    ) -> None:
        end_s = came_s + self._wait_s
        count = waiting()
        while count < self._enough and count != self._all_at:
            left_s = end_s - loop.time()
            if left_s <= 0:
                break
            await asyncio.sleep(min(left_s, _STEP_S))
            before, count = count, waiting()
            if count != before:
                came_s = loop.time()
            elif loop.time() - came_s >= self._lull_s:
                self._all_at = count if count == self._ended_at else 0
                self._ended_at = count
                return
        if count != self._all_at:
            self._forget()
