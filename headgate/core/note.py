"""A small file that tells the next process what this one was at when it died.

It needs to survive the process and not the machine, so nothing is synced, and writing it costs some
microseconds. What is in flight while a process dies is suspect, and its successors work on it piece
by piece; a piece on which processes died again and again while they had it alone is poison.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import structlog

_logger = structlog.get_logger()

#: Processes that may die on a piece which they have in flight alone, before it is poison.
TRIES_ALONE: Final = 3


class Note:
    """One such file.

    Args:
        path: A file of its own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def read(self) -> dict[str, Any]:
        """What the last process left behind; empty when that was nothing, or can't be read."""
        try:
            # A shorter note leaves the end of a longer one behind it when it is cut off there.
            content, _ = json.JSONDecoder().raw_decode(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write(self, note: Mapping[str, object]) -> None:
        """Put this in the place of what was there."""
        content = json.dumps(note).encode()
        try:
            if self._file is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o600)
            os.pwrite(self._file, content, 0)
            os.ftruncate(self._file, len(content))
        except OSError as error:
            # A full disk: the work goes on, and only poison would not be found.
            _logger.debug("The note of what is in flight can't be written.", error=str(error))
