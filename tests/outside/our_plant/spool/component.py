"""The spool as a kind of sink."""

from __future__ import annotations

from connectors.sinks.sink import Sink, SinkComponent, SinkContext

from .config import SpoolConfig


def _make(table: SpoolConfig, context: SinkContext) -> Sink:
    from .sink import Spool

    folder = context.config.data_path(table.folder)
    return Spool(folder, table.key_file, context.name, context.telemetry)


SPOOL = SinkComponent(
    about="a signed file a point, in a folder that something else empties",
    table=SpoolConfig,
    make=_make,
)
