"""The file by which the supervisor, who sees all lanes, hands what it saw to the ingest lane.

Both run on one machine, so their monotonic clocks agree. It is written in place, as the heartbeats
are, so that it can be on a disk that is full.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

import structlog

_logger = structlog.get_logger()

#: Its name in ``gateway.data_dir``.
GAUGES_FILE: Final = "gauges"


class Seen(NamedTuple):
    """What was seen at a moment.

    Attributes:
        at_ns: When, by the monotonic clock.
        payload: JSON, as a message has it.
    """

    at_ns: int
    payload: bytes


class GaugesFile:
    """One end of the file; either side may be started first.

    Args:
        folder: ``gateway.data_dir``.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / GAUGES_FILE
        self._file: int | None = None

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def write(self, seen: Seen) -> None:
        """Put this in the place of what was there; where that can't be, nothing new is seen."""
        content = b"%d\n%b\n%d\n" % (seen.at_ns, seen.payload, seen.at_ns)
        try:
            if self._file is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o600)
            # What a longer one leaves behind it is past the third line, and not read.
            os.pwrite(self._file, content, 0)
        except OSError as error:
            _logger.debug("What is seen of the gateway can't be written.", error=str(error))

    def read(self) -> Seen | None:
        """What stands there; None where nothing does, or half of it."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except OSError:
            return None
        # Read while it is being written, it begins with one moment and ends with another.
        is_whole = len(lines) >= 3 and lines[0] == lines[2] and lines[0].isdigit()
        return Seen(int(lines[0]), lines[1]) if is_whole else None
