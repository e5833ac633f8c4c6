"""Anomalies back to MQTT, retained, for devices and local screens."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import orjson

from connectors.mqtt.publish import ResultsPublisher
from connectors.points import Kind, Point
from connectors.sink import Refused
from headgate.config.schema import Config
from headgate.core.clock import Clock
from headgate.core.telemetry import Telemetry


class MqttResults:
    """A sink of the forward lane: ``headgate/{gateway}/anomalies/{device}``, JSON, QoS 1.

    Characters that a topic level can't hold are percent-encoded in the device's name.
    """

    name = "mqtt"
    kinds: tuple[Kind, ...] = ("anomalies",)
    max_points = 500
    max_wait_s = 0.0

    def __init__(self, config: Config, clock: Clock, telemetry: Telemetry) -> None:
        self._gateway = config.gateway.name
        self._publisher = ResultsPublisher(config, clock)
        self._telemetry = telemetry

    async def start(self) -> None:
        await self._publisher.start()

    async def stop(self) -> None:
        await self._publisher.stop()

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        for point in points:
            payload = orjson.dumps({**dict(point.tags), "start_ns": point.time_ns, **point.fields})
            await self._publisher.publish(self._topic(point), payload, retain=True)
            self._telemetry.uplink_bytes.labels(self.name).inc(len(payload))
        return []

    def _topic(self, point: Point) -> str:
        device = quote(point.tag("device"), safe=" !$&'()*,:;=@[]\"<>\\^`{|}~")
        return f"headgate/{self._gateway}/anomalies/{device}"
