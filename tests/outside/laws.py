"""Holds the package's sink to the laws of sinks. Run as ``python laws.py FOLDER``."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from connectors.sinks.points import Point
from headgate.testing.sinks import StoredPoint, hold_sink

_LINE = re.compile(r"[0-9a-f]{64} (\w+),device=((?:\\.|[^,])+),\S+ x=(\S+) (\d+)\n")


class Scene:
    """The folder that is written to."""

    overwrites = True
    refused: Point | None = None

    def __init__(self, folder: Path) -> None:
        self._key = folder / "key"
        self._key.write_text("a key of theirs")
        self._data = folder / "data"

    def tables(self) -> str:
        """See ``SinkScene``."""
        return f'folder = "spool"\nkey_file = "{self._key}"\n'

    def leave(self) -> None:
        """Without its key nothing is written."""
        self._key.rename(self._key.with_suffix(".away"))

    def come_back(self) -> None:
        """See ``SinkScene``."""
        self._key.with_suffix(".away").rename(self._key)

    def stored(self) -> list[StoredPoint]:
        """See ``SinkScene``; a kill may leave a file that has not got its name yet."""
        found = []
        for path in (self._data / "spool").glob("*"):
            if path.suffix != ".new":
                match = _LINE.fullmatch(path.read_text())
                assert match is not None, path.read_text()
                name, device, value, time_ns = match.groups()
                found.append(StoredPoint(name, device, int(time_ns), float(value)))
        return found

    def close(self) -> None:
        """See ``SinkScene``."""


if __name__ == "__main__":
    asyncio.run(hold_sink("spool", Scene, Path(sys.argv[1])))
