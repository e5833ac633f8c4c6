"""Holds the package's source to the laws of sources. Run as ``python source_laws.py FOLDER``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from headgate.testing.sources import hold_source


class Scene:
    """The folder that files are put into."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._away = folder / "drop", folder / "away"
        self._folder.mkdir()
        self._numbers = count()

    def tables(self) -> str:
        """See ``SourceScene``."""
        return 'folder = "drop"\n'

    def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        """See ``SourceScene``."""
        for payload in payloads:
            path = self._folder / f"{next(self._numbers):06d}"
            path.with_suffix(".new").write_bytes(topic.encode() + b"\n" + payload)
            path.with_suffix(".new").rename(path)

    def leave(self) -> None:
        """The disk that it is on is away."""
        self._folder.rename(self._away)

    def come_back(self) -> None:
        """See ``SourceScene``."""
        self._away.rename(self._folder)

    def close(self) -> None:
        """See ``SourceScene``."""


if __name__ == "__main__":
    asyncio.run(hold_source("drop", Scene, Path(sys.argv[1])))
