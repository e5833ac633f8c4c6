"""What sinks that tell people do alike: one notification after the other, each until it is taken.

A kind of them says only how a notification is sent (``Teller``).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from connectors.sinks.notifications.config import NotificationsConfig
from connectors.sinks.notifications.memory import Memory
from connectors.sinks.notifications.notification import Notification, notification
from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused, SinkContext
from headgate.core.errors import PermanentError, TransientError

#: Why something was not told by itself: nobody asked for it, or it says nothing that is new.
NOT_ASKED_FOR, NOTHING_NEW = "not_asked_for", "nothing_new"


class Teller(Protocol):
    """Sends notifications."""

    async def send(self, told: Notification) -> int:
        """Send one; returns once it is taken, with the bytes that were sent.

        Raises:
            TransientError: Not now.
            PermanentError: It will never be taken. The message holds no secret.
        """
        ...


class NotificationSink:
    """A sink of the forward lane.

    Args:
        settings: Its table.
        teller: Sends.
        context: What the sink is made with.
    """

    kinds: tuple[Kind, ...] = ("anomalies",)
    #: So few that a call ends in time though each may take as long as it is allowed to.
    max_points = 16
    max_wait_s = 0.0

    def __init__(self, settings: NotificationsConfig, teller: Teller, context: SinkContext) -> None:
        self.name = context.name
        self._settings = settings
        self._teller = teller
        self._telemetry = context.telemetry
        folder = context.config.gateway.data_dir
        self._memory = Memory(folder / f"forward-{context.name}.told")

    async def start(self) -> None:
        await asyncio.to_thread(self._memory.load)

    async def stop(self) -> None:
        """Nothing is kept open between two notifications."""

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        refused: list[Refused] = []
        passed_over: Counter[str] = Counter()
        try:
            for point in points:
                told = notification(point)
                if not self._settings.wants(told):
                    passed_over[NOT_ASKED_FOR] += 1
                elif self._memory.has_dealt_with(told):
                    continue  # before something of the same call was not taken, or in another life
                elif self._memory.says_nothing_new(told):
                    passed_over[NOTHING_NEW] += 1
                    self._memory.note_id(told)
                else:
                    try:
                        await self._tell(told)
                    except PermanentError as error:
                        refused.append(Refused(point, str(error)))
        except TransientError:
            # What was told of it all the same is not to be told again.
            await asyncio.to_thread(self._memory.save)
            raise
        await asyncio.to_thread(self._memory.save)
        for reason, count in passed_over.items():
            self._telemetry.passed_over.labels(self.name, reason).inc(count)
        return refused

    async def _tell(self, told: Notification) -> None:
        sent = await self._teller.send(told)
        self._telemetry.uplink_bytes.labels(self.name).inc(sent)
        self._memory.note(told)
