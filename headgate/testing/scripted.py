"""The edges of a gateway in a test: a source that brings what it is told to, and a sink that keeps.

Both keep the contracts of ``connectors.sources.source`` and ``connectors.sinks.sink``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from connectors.mqtt.packets import HEAD_BYTES
from connectors.mqtt.received import Received
from connectors.mqtt.session import BrokerSession
from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused
from connectors.sources.source import SourceContext
from headgate.core.channels import Tags
from headgate.core.properties import NOTHING, Asked, Properties


class ScriptedConnection:
    """In the place of ``connectors.mqtt.connection.Connection``, with a test for the broker.

    ``MqttSource(table, context, connect=ScriptedConnection)`` is the MQTT source as it is, with all
    that it knows of sessions and of what is retained. As a broker does, it keeps what is published
    while it is away or paused, and brings again over its next connection what was not acknowledged.

    Args:
        on_messages: Takes what comes.
        max_payload_bytes: Of a larger payload only the beginning is handed over.
        session: Is told that the broker knows nothing of us yet.
        asked: What of properties is handed over; None for nothing.

    Attributes:
        acknowledged: How many messages have been acknowledged.
        said: Topics and payloads that were to be published.
    """

    def __init__(
        self,
        *,
        on_messages: Callable[[Received], None],
        max_payload_bytes: int,
        session: BrokerSession | None = None,
        asked: Asked | None = None,
        **_settings: object,
    ) -> None:
        self._on_messages = on_messages
        self._most_bytes = max_payload_bytes + HEAD_BYTES
        self._session = session
        self._asked = asked
        self._closed = asyncio.Event()
        self._unsent: list[Received] = []
        self._unacknowledged: dict[int, Received] = {}
        self._is_away = self._is_running = False
        self._next_id = 1
        self.is_paused = False
        self.generation = 0
        self.trouble = "not connected yet"
        self.acknowledged = 0
        self.said: list[tuple[str, bytes]] = []

    def publish(
        self,
        topic: bytes,
        payload: bytes,
        *,
        is_retained: bool = False,
        properties: Properties = NOTHING,
    ) -> None:
        """Bring a message; while it is paused or away, once it goes on.

        Args:
            topic: Its topic.
            payload: Its payload.
            is_retained: Whether it is one that the broker had kept for new subscribers.
            properties: What is said beside it, of which what is asked for is handed over.
        """
        said = _asked_of(properties, self._asked)
        cut = {}
        if len(payload) > self._most_bytes:
            cut, payload = {0: len(payload)}, payload[:HEAD_BYTES]
        self._unsent.append(
            Received(
                [topic],
                [payload],
                [self._next_id],
                [],
                self.generation,
                len(topic) + len(payload),
                [0] if is_retained else [],
                cut,
                {} if said == NOTHING else {0: said},
            )
        )
        self._next_id += 1
        self._send()

    async def run(self) -> None:
        """Be connected until it is closed, but while it is away."""
        self._is_running = True
        if not self._is_away:
            self._connect()
        await self._closed.wait()

    def leave(self) -> None:
        """Be away, with all that is published kept."""
        self._is_away = True
        self.trouble = "the other side is away"

    def come_back(self) -> None:
        """Be there again, over another connection."""
        self._is_away = False
        if self._is_running:
            self._connect()

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        self._send()

    def ack(self, received: Received) -> None:
        """Take note; of what came over a connection that has ended nobody is told any more."""
        if received.connection != self.generation or self._is_away:
            return
        self.acknowledged += len(received.packet_ids)
        for each in received.packet_ids:
            self._unacknowledged.pop(each, None)

    def say(self, topic: str, payload: bytes) -> None:
        """Keep what a device would get."""
        self.said.append((topic, payload))

    async def settle(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """End ``run``."""
        self._closed.set()

    def _connect(self) -> None:
        """Begin a connection, with what was not acknowledged over the one before."""
        if self._session is not None:
            self._session.connected(is_present=self.generation > 0)
        self.generation += 1
        self.trouble = ""
        again = [*self._unacknowledged.values(), *self._unsent]
        self._unacknowledged.clear()
        self._unsent = [replace(each, connection=self.generation) for each in again]
        self._send()

    def _send(self) -> None:
        while self._unsent and self.generation and not (self.is_paused or self._is_away):
            received = self._unsent.pop(0)
            self._unacknowledged.update(dict.fromkeys(received.packet_ids, received))
            self._on_messages(received)


def _asked_of(properties: Properties, asked: Asked | None) -> Properties:
    """What is asked for of what is said; of several of one name the last."""
    if asked is None:
        return NOTHING
    user = {name: value for name, value in properties.user if name in asked.user}
    content_type = properties.content_type if asked.content_type else b""
    return Properties(content_type, tuple(user.items()))


class ScriptedSource:
    """A source of whatever kind, with a test for the other side.

    Args:
        context: What surrounds it.
    """

    def __init__(self, context: SourceContext) -> None:
        self._other_side = ScriptedConnection(
            on_messages=context.on_messages,
            max_payload_bytes=context.config.ingest.max_payload,
            asked=context.asked,
        )
        self.publish = self._other_side.publish
        self.leave = self._other_side.leave
        self.come_back = self._other_side.come_back
        self.run = self._other_side.run
        self.pause = self._other_side.pause
        self.resume = self._other_side.resume
        self.say = self._other_side.say
        self.settle = self._other_side.settle

    @property
    def trouble(self) -> str:
        return self._other_side.trouble

    @property
    def connection(self) -> int:
        return self._other_side.generation

    @property
    def has_kept(self) -> bool:
        return self.connection > 1

    @property
    def is_paused(self) -> bool:
        return self._other_side.is_paused

    async def acknowledge(self, received: Sequence[Any]) -> None:
        for each in received:
            self._other_side.ack(each)

    async def close(self, *, is_all_safe: bool) -> None:  # noqa: ARG002  (nothing to remember)
        self._other_side.close()


class MemorySink:
    """A sink that keeps points by identity, as a time-series store does.

    What is written again overwrites the fields that it has; others of the same point stay.

    Args:
        name: Its name in the configuration.
        kinds: What it takes.
        failures: What the next calls raise, one each, instead of writing anything.

    Attributes:
        points: By measurement, tags and time.
    """

    max_points = 5000
    max_wait_s = 0.0

    def __init__(
        self,
        name: str,
        kinds: tuple[Kind, ...] = ("anomalies", "aggregates"),
        failures: Iterable[Exception] = (),
    ) -> None:
        self.name = name
        self.kinds = kinds
        self.points: dict[tuple[str, Tags, int], Point] = {}
        self._failures = list(failures)

    async def start(self) -> None:
        """Nothing to get ready."""

    async def stop(self) -> None:
        """Nothing to release."""

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        """Keep the points, all of them, or raise the next of the failures."""
        if self._failures:
            raise self._failures.pop(0)
        for point in points:
            key = point.measurement, point.tags, point.time_ns
            known = self.points.get(key, point)
            self.points[key] = replace(point, fields={**known.fields, **point.fields})
        return []
