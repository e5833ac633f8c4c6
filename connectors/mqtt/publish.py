"""Publishing results to MQTT, for devices and local screens."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from connectors.mqtt.config import MqttConfig
from connectors.mqtt.connection import Connection
from connectors.mqtt.session import results_client_id
from headgate.core.clock import Clock
from headgate.core.errors import TransientError

#: How long the broker may take to acknowledge, s.
_TIMEOUT_S = 10.0


class ResultsPublisher:
    """A connection of its own, so that a slow reader of results never holds up ingest.

    Args:
        settings: Which broker.
        key: Where the configuration has them.
        gateway: The gateway's name.
        clock: Source of time.
        suffix: What tells its client id from those of the gateway's other connections.
    """

    def __init__(
        self,
        settings: MqttConfig,
        key: str,
        gateway: str,
        clock: Clock,
        suffix: str = "results",
    ) -> None:
        self._settings = settings
        self._key = key
        self._gateway = gateway
        self._suffix = suffix
        self._clock = clock
        self._connection: Connection | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to connect; does not wait for it."""
        client_id = results_client_id(self._settings, self._gateway, self._suffix)
        self._connection = Connection(self._settings, client_id, self._clock, key=self._key)
        self._running = asyncio.create_task(self._connection.run(), name="mqtt-results")

    async def stop(self) -> None:
        """Disconnect."""
        if self._connection is not None and self._running is not None:
            self._connection.close()
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def publish(self, topic: str, payload: bytes, *, retain: bool = True) -> None:
        """Publish with QoS 1; returns once the broker has acknowledged.

        Raises:
            TransientError: It has not; try again later.
        """
        if self._connection is None:
            raise TransientError("the publisher has not been started")
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await self._connection.publish(topic, payload, retain=retain)
        except (ConnectionError, TimeoutError) as error:
            raise TransientError(f"can't publish to MQTT: {str(error) or 'no answer'}") from error
