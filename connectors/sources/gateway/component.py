"""The gateway itself as a kind of source."""

from __future__ import annotations

from connectors.sources.gateway.config import GatewaySourceConfig
from connectors.sources.source import Source, SourceComponent, SourceContext


def _make(table: GatewaySourceConfig, context: SourceContext) -> Source:
    from connectors.sources.gateway.source import GatewaySource  # noqa: PLC0415  (not by `check`)

    return GatewaySource(table, context)


GATEWAY = SourceComponent(
    about="the gateway itself: what waits, disk, CPU, memory, clock",
    table=GatewaySourceConfig,
    make=_make,
)
