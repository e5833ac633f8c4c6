"""What is remembered of commands over restarts and kills: a small file.

It is on the disk before a command is handed to the broker, so whoever is killed between the two
knows that it may have been, and hands it over no second time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from connectors.sinks.notifications.notification import Notification
from headgate.config.told import Window
from headgate.core.commands import Command
from headgate.core.errors import TransientError
from headgate.core.folders import write_whole

_logger = structlog.get_logger()

#: Things of which it is remembered how they were last, and ids of commands; the oldest go first.
_MOST_KNOWN: Final = 20_000

#: Commands that are done with and still known by all that was said of them: an answer may be late.
_MOST_DONE: Final = 500


@dataclass(slots=True)
class Entry:
    """A command, and what else is to be known of it.

    Attributes:
        command: As it is now.
        is_sending: It may have been handed to the broker, and nobody knows yet what came of it.
        is_handed_over: It has been: a message may be its answer.
        is_done: Nothing more is expected of it.
        is_logged: The log has it as it is now.
        answer_topic: Where its answer is expected; empty where none is.
        needs_id: Whether only a message that has its id is its answer.
        deadline_ns: Until when that may come, ns since 1970 UTC.
        generation: Over which connection it was sent; -1: over one of another process.
    """

    command: Command
    is_sending: bool = False
    is_handed_over: bool = False
    is_done: bool = False
    is_logged: bool = False
    answer_topic: str = ""
    needs_id: bool = True
    deadline_ns: int = 0
    generation: int = 0


class CommandMemory:
    """Commands that are under way, those that were, and how many.

    Args:
        path: A file of its own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        #: By id, in the order in which they were asked for.
        self.entries: OrderedDict[str, Entry] = OrderedDict()
        self._ids: OrderedDict[str, None] = OrderedDict()
        # By action and what its commands are about: how that was last.
        self._last: OrderedDict[str, str] = OrderedDict()
        # By action, when it was there first, and how many there were in the present span.
        self._since: dict[str, int] = {}
        self._windows: dict[str, Window] = {}
        self._is_changed = False
        self._writing: asyncio.Future[None] | None = None

    def touch(self) -> None:
        """It has changed."""
        self._is_changed = True

    def since_ns(self, action: str, now_ns: int) -> int:
        """Since when there is an action of this name, ns since 1970 UTC."""
        if action not in self._since:
            self._since[action] = now_ns
            self.touch()
        return self._since[action]

    def window(self, action: str) -> Window:
        """How many commands of an action there were in the present span."""
        return self._windows.setdefault(action, Window())

    def is_known(self, command_id: str) -> bool:
        """Whether it was dealt with before."""
        return command_id in self._ids

    def says_nothing_new(self, action: str, told: Notification) -> bool:
        """Whether the last that the action heard of this thing was the same."""
        return self._last.get(f"{action} {told.identity}") == told.word

    def note(self, action: str, command_id: str, told: Notification) -> None:
        """It is dealt with, and what it is about is so now."""
        self._last[f"{action} {told.identity}"] = told.word
        self._last.move_to_end(f"{action} {told.identity}")
        self._ids[command_id] = None
        for known in (self._last, self._ids):
            while len(known) > _MOST_KNOWN:
                known.popitem(last=False)
        self.touch()

    def put(self, entry: Entry) -> None:
        """A command more."""
        self.entries[entry.command.id] = entry
        self.touch()

    def is_under_way(self) -> bool:
        """Whether it is still to be said of a command what becomes of it."""
        return any(not (each.is_done and each.is_logged) for each in self.entries.values())

    def unlogged(self) -> list[Entry]:
        """Those that the log has not as they are now."""
        return [entry for entry in self.entries.values() if not entry.is_logged]

    def logged(self, entries: Mapping[str, Command]) -> None:
        """The log has these as they were; those that are done with go, but for the newest."""
        for command_id, command in entries.items():
            entry = self.entries.get(command_id)
            if entry is not None and entry.command is command:
                entry.is_logged = True
                if entry.is_done and not entry.answer_topic:
                    del self.entries[command_id]
        done = [each for each in self.entries.values() if each.is_done and each.is_logged]
        for entry in done[: max(0, len(done) - _MOST_DONE)]:
            del self.entries[entry.command.id]
        self.touch()

    def load(self) -> None:
        """Take up what the last process has left; what can't be read is told, and left."""
        try:
            self._take(orjson.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            _logger.warning(
                "What is remembered of commands can't be read; what has opened by now commands "
                "nothing.",
                file=str(self._path),
                error=str(error),
            )

    async def save(self) -> None:
        """See it on the disk, if it has changed.

        Raises:
            TransientError: It is not.
        """
        if self._writing is not None:
            # Somebody was cancelled while he waited for it; two would write to one file.
            await asyncio.wait({self._writing})
            self._is_changed |= self._writing.exception() is not None
            self._writing = None
        if not self._is_changed:
            return
        self._is_changed = False
        # Put together here: while it is written it may change.
        content = orjson.dumps(self._written())
        writing = asyncio.to_thread(write_whole, self._path, content)
        self._writing = asyncio.ensure_future(writing)
        try:
            await asyncio.shield(self._writing)
        except OSError as error:
            self._is_changed = True
            raise TransientError(f"{self._path}: {error.strerror or error}") from error
        self._writing = None

    def _written(self) -> dict[str, Any]:
        return {
            "entries": [asdict(entry) for entry in self.entries.values()],
            "ids": list(self._ids),
            "last": list(self._last.items()),
            "since": self._since,
            "windows": {
                action: [each.begin_ns, each.count] for action, each in self._windows.items()
            },
        }

    def _take(self, written: Mapping[str, Any]) -> None:
        entries = [_entry(each) for each in written["entries"]]
        ids = {str(each): None for each in written["ids"]}
        last = {str(key): str(word) for key, word in written["last"]}
        since = {str(action): int(ns) for action, ns in written["since"].items()}
        windows = {
            str(action): Window(int(begin_ns), int(count))
            for action, (begin_ns, count) in written["windows"].items()
        }
        self.entries = OrderedDict((entry.command.id, entry) for entry in entries)
        self._ids, self._last = OrderedDict(ids), OrderedDict(last)
        self._since, self._windows = since, windows


def _entry(written: Mapping[str, Any]) -> Entry:
    command = written["command"]
    tags = tuple((str(name), str(value)) for name, value in command["tags"])
    return Entry(**{**written, "command": Command(**{**command, "tags": tags})})
