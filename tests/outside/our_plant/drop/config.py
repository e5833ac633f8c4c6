"""``[source.NAME]`` with ``type = "drop"``."""

from __future__ import annotations

from headgate.config.source import SourceConfig
from headgate.config.values import FilePath


class DropConfig(SourceConfig):
    """A file a message: its topic, a line's end, its payload."""

    #: Where files get their names when they are complete, in the order of these.
    folder: FilePath
