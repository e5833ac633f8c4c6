"""Gathering the events that Faust brings, so that many are worked on together.

Faust's own ``noack_take`` does this as well, and looks every ``within`` whether anything has come,
which is most of what an idle lane does.
"""

from __future__ import annotations

import asyncio

from streams.process.events import Event


class Take:
    """Events that have come and are not being worked on yet.

    Args:
        most: So many at a time; whoever brings more waits.
        within_s: How long the first may wait for others, s.
    """

    def __init__(self, most: int, within_s: float) -> None:
        self._most = most
        self._within_s = within_s
        self._events: list[Event] = []
        # When the first of them came, by the loop's time.
        self._first_s = 0.0
        self._has_first = asyncio.Event()
        self._is_full = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def put(self, event: Event) -> None:
        """Add an event; returns when there is room for the next."""
        if not self._events:
            self._first_s = asyncio.get_running_loop().time()
        self._events.append(event)
        self._has_first.set()
        if len(self._events) >= self._most:
            self._is_full.set()
            self._has_room.clear()
            await self._has_room.wait()

    async def next(self) -> list[Event]:
        """The next events, in order, once there are so many or the first has waited."""
        await self._has_first.wait()
        loop, end_s = asyncio.get_running_loop(), self._first_s + self._within_s
        if not self._is_full.is_set() and loop.time() < end_s:
            timer = loop.call_at(end_s, self._is_full.set)
            await self._is_full.wait()
            timer.cancel()
        events, self._events = self._events, []
        self._has_first.clear()
        self._is_full.clear()
        self._has_room.set()
        return events
