"""Which sinks the configuration asks for."""
# ruff: noqa: PLC0415  (a sink that is not configured is not loaded)

from __future__ import annotations

from connectors.sinks.points import Kind
from connectors.sinks.sink import Sink
from headgate.config.schema import Config
from headgate.core.clock import Clock
from headgate.core.telemetry import Telemetry


def configured_sinks(config: Config) -> dict[str, tuple[Kind, ...]]:
    """By name of each configured sink, the kinds of points that it takes; nothing is loaded."""
    kinds: dict[str, tuple[Kind, ...]] = {}
    if config.influxdb is not None:
        kinds["influxdb"] = ("anomalies", "aggregates")
    if config.local_store is not None:
        kinds["local_store"] = ("anomalies", "aggregates")
    if config.mqtt.publish_anomalies:
        kinds["mqtt"] = ("anomalies",)
    return kinds


def open_sinks(config: Config, clock: Clock, telemetry: Telemetry) -> list[Sink]:
    """The configured sinks, not started yet."""
    sinks: list[Sink] = []
    if config.influxdb is not None:
        from connectors.sinks.influxdb.sink import InfluxSink

        sinks.append(InfluxSink(config.influxdb, telemetry))
    if config.local_store is not None:
        from connectors.sinks.local_store.store import LocalStore

        settings = config.local_store
        path = config.data_path(settings.path)
        sinks.append(LocalStore(path, settings.retention, settings.max_bytes, clock, telemetry))
    if config.mqtt.publish_anomalies:
        from connectors.sinks.mqtt.sink import MqttResults

        sinks.append(MqttResults(config, clock, telemetry))
    return sinks
