"""What a gateway tells over MQTT of whether devices are there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from tests.mosquitto import Mosquitto


class Told:
    """Listens to all that is told of the states of devices."""

    def __init__(self, broker: Mosquitto) -> None:
        #: By topic, without what all have in common, the last state and its cause.
        self.states: dict[str, tuple[str, str]] = {}
        #: All that was told, in order, but for repetitions.
        self.every: list[tuple[str, str, str]] = []
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._take
        # Anew after each connection: the broker may be another one.
        self._client.on_connect = lambda *_: self._client.subscribe(
            "headgate/test/device_state/#", qos=1
        )
        self._port = broker.port

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def count(self, state: str) -> int:
        """How many devices are so."""
        return sum(each == state for each, _ in [*self.states.values()])

    def wait_for(self, condition: Callable[[], bool], within_s: float = 60) -> None:
        """Wait for a condition."""
        start = time.perf_counter()
        while not condition():
            assert time.perf_counter() - start < within_s, self.every
            time.sleep(0.05)

    def _take(self, _client: Client, _data: Any, message: MQTTMessage) -> None:  # noqa: ANN401
        content = json.loads(message.payload)
        name = message.topic.removeprefix("headgate/test/device_state/")
        state = (content["state"], content["cause"])
        if self.states.get(name) != state:
            self.every.append((name, *state))
        self.states[name] = state
