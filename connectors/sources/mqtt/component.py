"""MQTT as a kind of source."""
# ruff: noqa: PLC0415  (a client that nobody asks for is not loaded)

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from connectors.mqtt.config import FormerMqttConfig, MqttConfig
from connectors.sources.source import Source, SourceComponent, SourceContext, SourceProbe

if TYPE_CHECKING:
    from connectors.finding import Finding
    from headgate.config.schema import Config
    from headgate.core.clock import Clock


def _make(table: MqttConfig, context: SourceContext) -> Source:
    from connectors.sources.mqtt.source import MqttSource

    return MqttSource(table, context)


def _ask(
    table: MqttConfig, name: str, key: str, config: Config, clock: Clock, wait_s: float
) -> Sequence[Finding]:
    from connectors.mqtt.probe import BrokerProbe

    return BrokerProbe(table, name, key, config, clock, wait_s).run()


MQTT = SourceComponent(
    about="an MQTT broker that devices publish to",
    table=MqttConfig,
    make=_make,
    former=FormerMqttConfig,
    # Looking a name up, connecting twice, subscribing.
    probe=SourceProbe(_ask, 50.0),
)
