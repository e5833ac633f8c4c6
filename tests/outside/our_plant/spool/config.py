"""``[sink.NAME]`` with ``type = "spool"``."""

from __future__ import annotations

from headgate.config.table import Table
from headgate.config.values import SecretFile, WritableFile


class SpoolConfig(Table):
    """A file a point."""

    #: Where the files go.
    folder: WritableFile
    #: What they are signed with.
    key_file: SecretFile
