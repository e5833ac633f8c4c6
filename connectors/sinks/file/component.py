"""Files of lines as a kind of sink."""
# ruff: noqa: PLC0415  (what nobody asks for is not loaded)

from __future__ import annotations

from connectors.finding import Finding
from connectors.room import DISK_LIMIT_S, file_with_room
from connectors.sinks.file.config import FileConfig
from connectors.sinks.sink import Probe, Sink, SinkComponent, SinkContext


def _make(table: FileConfig, context: SinkContext) -> Sink:
    from connectors.sinks.file.sink import FileSink

    path = context.config.data_path(table.path)
    return FileSink(table, path, context.name, context.clock, context.telemetry)


def _ask(table: FileConfig, context: SinkContext) -> Finding:
    from connectors.sinks.file.rotation import put_aside

    path = context.config.data_path(table.path)
    there = sum(each.stat().st_size for each in put_aside(path).values())
    most = (table.keep + 1) * table.max_bytes - there
    return file_with_room(context.key, path, most, f"{context.key}.keep")


FILE = SinkComponent(
    about="lines of a file, as line protocol or JSON, put aside by size and age",
    table=FileConfig,
    make=_make,
    probe=Probe(_ask, lambda _table: DISK_LIMIT_S),
)
