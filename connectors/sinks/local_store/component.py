"""The local store as a kind of sink."""
# ruff: noqa: PLC0415  (what nobody asks for is not loaded)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from connectors.finding import Finding
from connectors.room import DISK_LIMIT_S, file_with_room
from connectors.sinks.local_store.config import LocalStoreConfig
from connectors.sinks.sink import Probe, Sink, SinkComponent, SinkContext

if TYPE_CHECKING:
    from headgate.config.schema import Config


def _make(table: LocalStoreConfig, context: SinkContext) -> Sink:
    from connectors.sinks.local_store.store import LocalStore

    return LocalStore(
        _file(table, context.config),
        table.retention,
        table.max_bytes,
        context.clock,
        context.telemetry,
        context.name,
    )


def _file(table: LocalStoreConfig, config: Config) -> Path:
    return config.data_path(table.path)


def _ask(table: LocalStoreConfig, context: SinkContext) -> Finding:
    path, key = _file(table, context.config), f"{context.key}.max_bytes"
    return file_with_room(context.key, path, table.max_bytes, key)


LOCAL_STORE = SinkComponent(
    about="a SQLite file on this machine, bounded by age and size",
    table=LocalStoreConfig,
    make=_make,
    probe=Probe(_ask, lambda _table: DISK_LIMIT_S),
    points_file=_file,
)
