"""Files of a folder as messages; they are deleted when the log has what they hold."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from connectors.sources.source import SourceContext

#: Between two looks, s.
_PAUSE_S = 0.05

#: Files that are handed over at once.
_MOST = 500

#: What a file is called until it is complete.
_UNFINISHED = ".new"


@dataclass(frozen=True, slots=True)
class Dropped:
    """Messages that were found together, and the files that hold them."""

    topics: list[bytes]
    payloads: list[bytes]
    size_bytes: int
    cut: Mapping[int, int]
    connection: int
    files: list[Path]


class Drop:
    """A source of the ingest lane: a connection is a time in which the folder is there."""

    has_kept = True

    def __init__(self, folder: Path, context: SourceContext) -> None:
        self.trouble = "not looked at yet"
        self.connection = 0
        self.is_paused = False
        self._folder = folder
        self._context = context
        self._most_bytes = context.config.ingest.max_payload
        self._handed_over: set[Path] = set()
        self._is_closed = asyncio.Event()

    async def run(self) -> None:
        """See the contract."""
        while not self._is_closed.is_set():
            if not self.is_paused:
                await self._look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_closed.wait(), _PAUSE_S)

    async def _look(self) -> None:
        try:
            files = await asyncio.to_thread(self._files)
        except OSError as error:
            self.trouble = str(error)
            # What was not acknowledged is handed over once more.
            self._handed_over.clear()
            return
        if self.trouble:
            self.connection += 1
            self.trouble = ""
        if new := [path for path in files if path not in self._handed_over][:_MOST]:
            with contextlib.suppress(FileNotFoundError):
                dropped = await asyncio.to_thread(self._read, new)
                self._handed_over.update(new)
                self._context.on_messages(dropped)

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.iterdir() if path.suffix != _UNFINISHED)

    def _read(self, files: list[Path]) -> Dropped:
        topics, payloads, cut = [], [], {}
        for at, path in enumerate(files):
            with path.open("rb") as file:
                topics.append(file.readline().rstrip(b"\n"))
                payloads.append(file.read(self._most_bytes + 1))
                rest = len(file.read())
            if rest:
                cut[at] = len(payloads[-1]) + rest
        size_bytes = sum(map(len, topics)) + sum(map(len, payloads))
        return Dropped(topics, payloads, size_bytes, cut, self.connection, files)

    def pause(self) -> None:
        """See the contract."""
        self.is_paused = True

    def resume(self) -> None:
        """See the contract."""
        self.is_paused = False

    async def acknowledge(self, received: Sequence[Dropped]) -> None:
        """See the contract."""
        files = [path for each in received for path in each.files]
        with contextlib.suppress(OSError):  # the folder is away: they come again
            await asyncio.to_thread(_delete, files)
            self._handed_over.difference_update(files)

    def say(self, topic: str, payload: bytes) -> None:
        """Nobody listens at a folder."""

    async def settle(self) -> None:
        """What is deleted is known to be."""

    async def close(self, *, is_all_safe: bool) -> None:
        """See the contract."""
        del is_all_safe
        self._is_closed.set()


def _delete(files: Sequence[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
