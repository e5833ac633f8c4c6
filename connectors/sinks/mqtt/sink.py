"""What is told of devices, back to MQTT for local screens: alarms, anomalies, health and states."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import orjson

from connectors.mqtt.config import MqttConfig
from connectors.mqtt.publish import ResultsPublisher
from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused
from connectors.sources.configured import source_key
from headgate.config.schema import Config
from headgate.core.clock import Clock
from headgate.core.errors import ConfigError
from headgate.core.telemetry import Telemetry

#: What has the time from which on it is so.
_FROM_START = ("anomalies", "alarms")

#: What each feed tells by itself of a device that several have.
_OF_FEED = ("device_state", "channel_state", "alarms", "alarm_notes", "commands")

#: Tags that are levels of the topic, where a point has them.
_OF_OTHERS = ("channel", "rule")
_OF_COMMANDS = ("channel", "rule", "model", "action")


class MqttResults:
    """A sink of the forward lane: JSON, QoS 1, retained.

    Anomalies go to ``{prefix}/{gateway}/anomalies/{device}``, a sensor's health to
    ``{prefix}/{gateway}/sensor_health/{device}/{channel}``, whether a device is there to
    ``{prefix}/{gateway}/device_state/{feed}/{device}``: one device of two feeds may be there by one
    of them only; and what a text channel says to
    ``{prefix}/{gateway}/channel_state/{feed}/{device}/{channel}``. Alarms go to
    ``{prefix}/{gateway}/alarms/{feed}/{device}/{rule}``, and what becomes of commands to
    ``{prefix}/{gateway}/commands/{feed}/{device}/{rule or model}/{action}``. Where devices are told
    apart by more than their names, a level with the value of each such tag follows, in the order of
    the tags' names. Characters that a topic level can't hold are percent-encoded in names.

    Args:
        config: The whole configuration; its sources say where brokers are.
        clock: Source of time.
        telemetry: Counts bytes.
        name: The sink's.
        prefix: What the topics begin with.
        source: The source whose broker it is; None for the first of type "mqtt".

    Raises:
        ConfigError: There is no such source.
    """

    kinds: tuple[Kind, ...] = ("anomalies",)
    max_points = 500
    max_wait_s = 0.0

    def __init__(
        self,
        config: Config,
        clock: Clock,
        telemetry: Telemetry,
        name: str = "mqtt",
        prefix: str = "headgate",
        source: str | None = None,
    ) -> None:
        self.name = name
        self._prefix = prefix
        self._gateway = config.gateway.name
        # The first one has the client id that it always had.
        suffix = "results" if name == "mqtt" else f"results-{name}"
        settings, key = _broker(config, source)
        self._publisher = ResultsPublisher(settings, key, self._gateway, clock, suffix)
        self._telemetry = telemetry

    async def start(self) -> None:
        await self._publisher.start()

    async def stop(self) -> None:
        await self._publisher.stop()

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        for point in points:
            time = "start_ns" if point.measurement in _FROM_START else "time_ns"
            tags = {"tags": dict(point.device_tags)} if point.device_tags else {}
            payload = orjson.dumps(
                {**dict(point.tags), time: point.time_ns, **point.fields, **tags}
            )
            await self._publisher.publish(self._topic(point), payload, retain=True)
            self._telemetry.uplink_bytes.labels(self.name).inc(len(payload))
        return []

    def _topic(self, point: Point) -> str:
        levels = [self._prefix, self._gateway, point.measurement]
        if point.measurement in _OF_FEED:
            levels.append(_level(point.tag("feed")))
        levels.append(_level(point.tag("device")))
        names = _OF_COMMANDS if point.measurement == "commands" else _OF_OTHERS
        levels += [_level(name) for each in names if (name := point.tag(each))]
        levels += [_level(value) for _, value in point.device_tags]
        return "/".join(levels)


def _broker(config: Config, source: str | None) -> tuple[MqttConfig, str]:
    """A broker, and where the configuration has it."""
    for name, chosen in config.source.items():
        if isinstance(chosen.table, MqttConfig) and source in (None, name):
            return chosen.table, source_key(config, name)
    raise ConfigError(
        f'sink: results go back over MQTT, so expected a source of type "mqtt"'
        f"{'' if source is None else f' and the name {source}'}, found none"
    )


def _level(name: str) -> str:
    return quote(name, safe=" !$&'()*,:;=@[]\"<>\\^`{|}~")
