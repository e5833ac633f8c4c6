"""A device that takes commands by a client of its own, and answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.processes import until


@dataclass(frozen=True)
class Taken:
    """A command as it came."""

    topic: str
    payload: bytes
    retain: bool
    properties: dict[str, Any] = field(default_factory=dict)

    @property
    def json(self) -> dict[str, Any]:
        """What it says."""
        said: dict[str, Any] = json.loads(self.payload)
        return said


#: Says to which topic, and what, and with which correlation data, a command is answered, and how
#: often.
Answers = Callable[[Taken], list[tuple[str, bytes, bytes]]]


class CommandedDevice:
    """It listens to a topic filter with QoS 2, and to nothing else.

    Args:
        port: The broker's.
        wanted: What it subscribes to.
        answers: What it says to a command.
    """

    def __init__(
        self,
        port: int,
        wanted: str = "cmd/#",
        answers: Answers = lambda _taken: [],
    ) -> None:
        self.taken: list[Taken] = []
        self.answers = answers
        self._port = port
        #: Whether it listens.
        self.is_there = False
        self._client = Client(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5, client_id="device"
        )
        self._client.on_message = self._take
        self._client.on_subscribe = self._subscribed
        self._client.on_disconnect = self._left
        self._client.on_connect = lambda *_: self._client.subscribe(
            wanted, options=SubscribeOptions(2)
        )

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        until(lambda: self.is_there, "the device's subscription")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say(
        self, topic: str, payload: bytes, correlation: bytes = b"", *, retain: bool = False
    ) -> None:
        """Publish something."""
        properties = Properties(PacketTypes.PUBLISH)
        if correlation:
            properties.CorrelationData = correlation
        self._client.publish(topic, payload, 1, retain, properties)

    def _subscribed(self, *_: object) -> None:
        self.is_there = True

    def _left(self, *_: object) -> None:
        self.is_there = False

    def _take(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        properties = {} if message.properties is None else message.properties.json()
        taken = Taken(message.topic, message.payload, message.retain, properties)
        self.taken.append(taken)
        for answer in self.answers(taken):
            self.say(*answer)
