"""Hands over what the supervisor has seen of the gateway, once for each look of it.

Unlike what devices send, nobody keeps what was not acknowledged: it was of its moment, and the next
look tells of the next. So there is never more than one reading of it on the way, and it neither
fills what waits nor stops anything while the log is away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from connectors.sources.gateway.config import GatewaySourceConfig
from connectors.sources.gateway.file import GaugesFile
from connectors.sources.source import SourceContext
from headgate.core.beat import until_beat
from headgate.core.clock import NS_PER_S

#: Between two looks at whether there is something new, s.
_LOOK_INTERVAL_S = 1.0

#: What is older was left behind by a supervisor that is gone, or is from before the machine was
#: started, ns.
_STALE_NS = 10 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Gauged:
    """One message."""

    topics: list[bytes]
    payloads: list[bytes]
    size_bytes: int
    connection: int
    cut: Mapping[int, int] = field(default_factory=dict)


class GatewaySource:
    """A source of the ingest lane; see the contract for what the methods are."""

    trouble = ""
    connection = 1
    has_kept = False

    def __init__(self, table: GatewaySourceConfig, context: SourceContext) -> None:
        self.is_paused = False
        self._topic = table.own_topic.encode()
        self._context = context
        self._file = GaugesFile(context.config.gateway.data_dir)
        # What stands there already has been handed over, or was of another run.
        before = self._file.read()
        self._last_ns = None if before is None else before.at_ns
        self._on_its_way = 0
        self._is_closed = asyncio.Event()

    async def run(self) -> None:
        """Look for something new until it is closed."""
        while not self._is_closed.is_set():
            self.look()
            closing = asyncio.create_task(self._is_closed.wait())
            pause = asyncio.create_task(until_beat(_LOOK_INTERVAL_S))
            await asyncio.wait({closing, pause}, return_when="FIRST_COMPLETED")
            for task in (closing, pause):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def look(self) -> None:
        """Hand over what is new, unless something is on its way, or nothing is wanted."""
        if self.is_paused or self._on_its_way:
            return
        seen = self._file.read()
        if seen is None or seen.at_ns == self._last_ns:
            return
        self._last_ns = seen.at_ns
        if abs(self._context.clock.monotonic_ns() - seen.at_ns) > _STALE_NS:
            return
        self._on_its_way += 1
        size_bytes = len(self._topic) + len(seen.payload)
        self._context.on_messages(
            Gauged([self._topic], [seen.payload], size_bytes, self.connection)
        )

    def pause(self) -> None:
        """Take nothing more."""
        self.is_paused = True

    def resume(self) -> None:
        """Go on."""
        self.is_paused = False

    async def acknowledge(self, received: Sequence[Gauged]) -> None:
        """The next may follow."""
        self._on_its_way -= len(received)

    def say(self, topic: str, payload: bytes) -> None:
        """Nobody listens."""

    async def settle(self) -> None:
        """There is nobody to know of it."""

    async def close(self, *, is_all_safe: bool) -> None:
        """End ``run``."""
        del is_all_safe
        self._is_closed.set()
