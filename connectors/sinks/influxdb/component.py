"""InfluxDB as a kind of sink."""
# ruff: noqa: PLC0415  (a client that nobody asks for is not loaded)

from __future__ import annotations

from connectors.finding import Finding
from connectors.room import DISK_LIMIT_S
from connectors.sinks.influxdb.config import InfluxDbConfig
from connectors.sinks.sink import Probe, Sink, SinkComponent, SinkContext
from headgate.core.clock import NS_PER_S


def _make(table: InfluxDbConfig, context: SinkContext) -> Sink:
    from connectors.sinks.influxdb.sink import InfluxSink

    return InfluxSink(table, context.telemetry, context.name, context.key)


def _ask(table: InfluxDbConfig, context: SinkContext) -> Finding:
    from connectors.sinks.influxdb.sink import InfluxSink

    doubt = InfluxSink(table, context.telemetry, context.name, context.key).ask()
    if doubt:
        return Finding(context.key, "warning", f"{table.url}: {doubt}")
    text = f"{table.url}: takes points for bucket {table.bucket} of {table.org}"
    return Finding(context.key, "good", text)


INFLUXDB = SinkComponent(
    about="InfluxDB 2 or 3, or another store that speaks its v2 write API",
    table=InfluxDbConfig,
    make=_make,
    # A name that is looked up, and an answer that is waited for, twice.
    probe=Probe(_ask, lambda table: 2 * table.timeout / NS_PER_S + DISK_LIMIT_S),
)
