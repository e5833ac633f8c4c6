"""What is remembered of commands over restarts and kills: a small file.

It is on the disk before a command is handed to the broker, so whoever is killed between the two
knows that it may have been, and hands it over no second time. At each step only what has changed is
written.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from connectors.actions.journal import Journal
from connectors.sinks.notifications.notification import Notification
from headgate.config.told import Window
from headgate.core.commands import Command
from headgate.core.errors import TransientError

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
        self._journal = Journal(path)
        #: By id, in the order in which they were asked for.
        self.entries: OrderedDict[str, Entry] = OrderedDict()
        self._ids: OrderedDict[str, None] = OrderedDict()
        # By action and what its commands are about: how that was last.
        self._last: OrderedDict[str, str] = OrderedDict()
        # By action, when it was there first, and how many there were in the present span.
        self._since: dict[str, int] = {}
        self._windows: dict[str, Window] = {}
        self._is_changed = False
        # Of what the file has, or is going to have once it is written: by id, each command; what
        # else there is of each action; and what was noted since, of which it has nothing.
        self._kept: dict[str, bytes] = {}
        self._kept_actions: dict[str, Any] = {}
        self._noted: list[tuple[str, str, str]] = []
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
        noted = command_id, f"{action} {told.identity}", told.word
        self._remember(*noted)
        self._noted.append(noted)
        self.touch()

    def _remember(self, command_id: str, thing: str, word: str) -> None:
        self._last[thing] = word
        self._last.move_to_end(thing)
        self._ids[command_id] = None
        for known in (self._last, self._ids):
            while len(known) > _MOST_KNOWN:
                known.popitem(last=False)

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
            known, changes = self._journal.read()
            # None of it counts unless all of it does.
            found = CommandMemory(self._journal.path)
            found._take(known)
            for each in changes:
                found._take_change(each)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            _logger.warning(
                "What is remembered of commands can't be read; what has opened by now commands "
                "nothing.",
                file=str(self._journal.path),
                error=str(error),
            )
            return
        self.entries, self._ids, self._last = found.entries, found._ids, found._last
        self._since, self._windows = found._since, found._windows

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
        is_change = self._journal.takes_changes
        write = self._journal.append if is_change else self._journal.write
        content = orjson.dumps(self._change() if is_change else self._written())
        self._writing = asyncio.ensure_future(asyncio.to_thread(write, content))
        try:
            await asyncio.shield(self._writing)
        except OSError as error:
            self._is_changed = True
            path = self._journal.path
            raise TransientError(f"{path}: {error.strerror or error}") from error
        self._writing = None

    def _change(self) -> dict[str, Any]:
        """What the file has not, which it has from now on; what it could not have it gets whole."""
        entries = {name: orjson.dumps(entry) for name, entry in self.entries.items()}
        actions = self._of_actions()
        change = {
            "entries": [
                orjson.Fragment(entry)
                for name, entry in entries.items()
                if self._kept.get(name) != entry
            ],
            "gone": [name for name in self._kept if name not in entries],
            "noted": self._noted,
            "actions": {
                name: each for name, each in actions.items() if self._kept_actions.get(name) != each
            },
        }
        self._kept, self._kept_actions, self._noted = entries, actions, []
        return change

    def _of_actions(self) -> dict[str, Any]:
        """By action, since when it is there, and how many commands of it there were."""
        return {
            name: [
                self._since.get(name),
                None if window is None else [window.begin_ns, window.count],
            ]
            for name in {**self._since, **self._windows}
            for window in [self._windows.get(name)]
        }

    def _written(self) -> dict[str, Any]:
        """All of it, which the file has from now on."""
        self._change()
        return {
            "entries": [orjson.Fragment(each) for each in self._kept.values()],
            "ids": list(self._ids),
            "last": list(self._last.items()),
            "since": self._since,
            "windows": {
                action: [each.begin_ns, each.count] for action, each in self._windows.items()
            },
        }

    def _take(self, written: Mapping[str, Any]) -> None:
        self._take_entries(written["entries"])
        self._ids = OrderedDict((str(each), None) for each in written["ids"])
        self._last = OrderedDict((str(key), str(word)) for key, word in written["last"])
        for action, ns in written["since"].items():
            self._since[str(action)] = int(ns)
        for action, window in written["windows"].items():
            self._take_window(action, window)

    def _take_change(self, change: Mapping[str, Any]) -> None:
        self._take_entries(change["entries"])
        for command_id in change["gone"]:
            del self.entries[command_id]
        for command_id, thing, word in change["noted"]:
            self._remember(str(command_id), str(thing), str(word))
        for action, (since_ns, window) in change["actions"].items():
            if since_ns is not None:
                self._since[str(action)] = int(since_ns)
            if window is not None:
                self._take_window(action, window)

    def _take_entries(self, written: Iterable[Mapping[str, Any]]) -> None:
        for each in map(_entry, written):
            self.entries[each.command.id] = each

    def _take_window(self, action: str, window: Sequence[int]) -> None:
        begin_ns, count = window
        self._windows[str(action)] = Window(int(begin_ns), int(count))


def _entry(written: Mapping[str, Any]) -> Entry:
    command = written["command"]
    tags = tuple((str(name), str(value)) for name, value in command["tags"])
    return Entry(**{**written, "command": Command(**{**command, "tags": tags})})
