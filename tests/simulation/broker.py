"""The broker of the simulation: the gateway's session, what it retains, and a connection."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from connectors.mqtt.packets import HEAD_BYTES
from connectors.mqtt.received import Received

if TYPE_CHECKING:
    from tests.simulation.world import Process

Message = tuple[bytes, bytes]


class Sent(NamedTuple):
    """A message on its way to the gateway.

    Attributes:
        topic: Its topic.
        payload: Its payload.
        is_retained: Whether it is a repetition, as every subscriber gets it.
    """

    topic: bytes
    payload: bytes
    is_retained: bool = False


@dataclass
class Broker:
    """Queues for the gateway, from before its first start on, and retains.

    What it retains it sends at each subscribing, as with MQTT 3.1.1.

    Attributes:
        unsent: What waits for the gateway.
        in_flight: What was sent over the present connection without an answer, by packet id.
        is_away: Nobody can connect.
        connection: The present one.
        retained: By topic, the payload that is sent to each new subscriber.
        repeated: Topics of which such a repetition was acknowledged.
        excused: How often each message may be in the log once more, because the gateway can't
            know that it had it: it was under way when a connection ended, or a process died before
            anything retained had come of its topic.
    """

    unsent: list[Sent] = field(default_factory=list)
    in_flight: dict[int, Sent] = field(default_factory=dict)
    is_away: bool = False
    connection: SimulatedConnection | None = None
    retained: dict[bytes, bytes] = field(default_factory=dict)
    repeated: set[bytes] = field(default_factory=set)
    excused: Counter[Message] = field(default_factory=Counter)

    def publish(self, message: Message, *, retain: bool = False) -> None:
        """A device publishes, and has the broker's word for it."""
        self.unsent.append(Sent(*message))
        if retain:
            self.retained[message[0]] = message[1]
        if self.connection is not None:
            self.connection.wake()

    def connected(self, connection: SimulatedConnection) -> None:
        """The gateway connects and subscribes."""
        self.disconnect()
        self.connection = connection
        self.unsent += [Sent(topic, payload, True) for topic, payload in self.retained.items()]

    def send(self, count: int, first_id: int) -> list[Sent]:
        """Take up to so many of what waits, with rising packet ids."""
        some, self.unsent[:count] = self.unsent[:count], []
        self.in_flight.update(enumerate(some, first_id))
        return some

    def acknowledged(self, packet_ids: Iterable[int]) -> None:
        """The gateway has them."""
        for packet_id in packet_ids:
            sent = self.in_flight.pop(packet_id, None)
            if sent is not None and sent.is_retained:
                self.repeated.add(sent.topic)

    def died(self) -> None:
        """The gateway's process has ended, whichever way."""
        self.excused.update(
            message for message in self.retained.items() if message[0] not in self.repeated
        )
        self.disconnect()

    def disconnect(self) -> None:
        """The connection ends; what was not acknowledged will be sent again, in order."""
        self.excused.update((each.topic, each.payload) for each in self.in_flight.values())
        self.unsent[:0] = self.in_flight.values()
        self.in_flight.clear()
        if self.connection is not None:
            self.connection.lost()
            self.connection = None


class SimulatedConnection:
    """Stands in for ``connectors.mqtt.connection.Connection``, with a simulated broker behind."""

    def __init__(
        self,
        process: Process,
        *,
        on_messages: Callable[[Received], None],
        max_payload_bytes: int,
        **_settings: object,
    ) -> None:
        self._process = process
        self._broker = process.world.broker
        self._random = process.world.random
        self._cut_bytes = max_payload_bytes + HEAD_BYTES
        self._on_messages = on_messages
        self._lost = asyncio.Event()
        self._woken = asyncio.Event()
        self._is_closing = False
        self._next_id = 1
        self.is_paused = False
        self.generation = 0
        self.trouble = "not connected yet"

    async def run(self) -> None:
        """Connect again and again; deliver what waits."""
        while not self._is_closing:
            await self._process.takes(0.3)
            if self._broker.is_away:
                continue
            self._broker.connected(self)
            self._lost.clear()
            self.generation += 1
            self.trouble = ""
            await self._deliver()
            self.trouble = "the connection ended"

    async def _deliver(self) -> None:
        while not self._lost.is_set() and not self._is_closing:
            if self.is_paused or not self._broker.unsent:
                self._woken.clear()
                await self._woken.wait()
                continue
            await self._process.takes(0.01)
            if self._lost.is_set():
                return
            sent = self._broker.send(self._random.randint(1, 20), self._next_id)
            self._next_id += len(sent)
            topics, payloads = [each.topic for each in sent], [each.payload for each in sent]
            cut = {at: len(of) for at, of in enumerate(payloads) if len(of) > self._cut_bytes}
            for at in cut:
                payloads[at] = payloads[at][:HEAD_BYTES]
            ids = list(range(self._next_id - len(sent), self._next_id))
            retained = [at for at, each in enumerate(sent) if each.is_retained]
            size_bytes = sum(map(len, payloads))
            self._on_messages(
                Received(topics, payloads, ids, [], self.generation, size_bytes, retained, cut)
            )

    def wake(self) -> None:
        """Something has changed."""
        self._woken.set()

    def lost(self) -> None:
        """The connection has ended."""
        self._lost.set()
        self._woken.set()

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        self._woken.set()

    def ack(self, received: Received) -> None:
        if received.connection == self.generation and not self._lost.is_set():
            self._broker.acknowledged(received.packet_ids)

    async def settle(self) -> None:
        await self._process.takes(0.01)

    def close(self) -> None:
        self._is_closing = True
        if self._broker.connection is self and self._process.is_alive:
            self._broker.disconnect()
        self._woken.set()
