"""The other side of each kind of sink: a module a kind, called as the kind is.

A new kind of sink needs a module here with a class ``Scene``, as ``headgate.testing.sinks`` has it,
and, where that needs a service, a ``MARK``; ``tests/contract/test_sinks.py`` finds it.
"""

from __future__ import annotations

from pathlib import Path

from connectors.sinks.points import Point


class OnDisk:
    """A sink that writes below ``data_dir``; it is away while a file stands in place of that."""

    refused: Point | None = None

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self._moved = folder / "moved"

    def leave(self) -> None:
        """See ``SinkScene``."""
        self.data.rename(self._moved)
        self.data.touch()

    def come_back(self) -> None:
        """See ``SinkScene``."""
        self.data.unlink()
        self._moved.rename(self.data)

    def close(self) -> None:
        """See ``SinkScene``."""
