"""``[sink.NAME]`` with ``type = "file"``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headgate.config.table import Table
from headgate.config.values import Int, WritableFile
from headgate.core.units import DurationNs, SizeBytes, parse_duration_ns, parse_size_bytes


class FileConfig(Table):
    """Points as lines of a file, which is put aside for a new one by size and age."""

    path: WritableFile
    format: Literal["line_protocol", "json"] = "line_protocol"
    max_bytes: Annotated[SizeBytes, Field(ge=1)] = parse_size_bytes("64MiB")
    max_age: Annotated[DurationNs, Field(ge=1)] = parse_duration_ns("1d")
    #: Files that are put aside and kept; older ones are deleted.
    keep: Annotated[Int, Field(ge=1, le=100_000)] = 10
