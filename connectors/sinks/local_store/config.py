"""``[sink.NAME]`` with ``type = "local_store"``."""

from __future__ import annotations

from pathlib import Path

from headgate.config.table import Table
from headgate.config.values import WritableFile
from headgate.core.units import DurationNs, SizeBytes, parse_duration_ns, parse_size_bytes


class LocalStoreConfig(Table):
    """The same points in a SQLite file on the gateway."""

    path: WritableFile = Path("points.db")
    retention: DurationNs = parse_duration_ns("30d")
    max_bytes: SizeBytes = parse_size_bytes("1GiB")
