"""Results over MQTT as a kind of sink."""
# ruff: noqa: PLC0415  (a client that nobody asks for is not loaded)

from __future__ import annotations

from connectors.sinks.mqtt.config import MqttResultsConfig
from connectors.sinks.sink import Sink, SinkComponent, SinkContext


def _make(table: MqttResultsConfig, context: SinkContext) -> Sink:
    from connectors.sinks.mqtt.sink import MqttResults

    return MqttResults(
        context.config,
        context.clock,
        context.telemetry,
        context.name,
        table.topic_prefix,
        table.source,
    )


# Whether the broker lets it in is told of the source.
MQTT = SinkComponent(
    about="each device's newest anomaly, sensors' health and state, back to the broker",
    table=MqttResultsConfig,
    make=_make,
    kinds=("anomalies",),
)
