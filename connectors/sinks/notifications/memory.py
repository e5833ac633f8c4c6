"""What a sink that tells people remembers over restarts and kills: a small file.

It is written as a whole and put in the place of the one before, so it is there whole after a power
cut. What is told is noted after it was told: who is killed between the two tells it again, under
the same id.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from connectors.sinks.notifications.notification import Notification
from connectors.sinks.notifications.pacing import Box
from connectors.sinks.notifications.standing import Standings
from headgate.config.told import Window
from headgate.core.errors import TransientError
from headgate.core.folders import write_whole

_logger = structlog.get_logger()

#: Things of which it is remembered what was told last, and ids that were told; the oldest go first.
MOST_KNOWN: Final = 10_000


class Memory:
    """What was told, and what waits to be.

    Args:
        path: A file of its own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # By what it is of: how that was when it was told last, and how severe.
        self._last: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._boxes: dict[str, Box] = {}
        #: How many were told in the present span.
        self.window = Window()
        #: Alarms that are open, and what is shelved.
        self.standings = Standings()
        self._is_changed = False

    def box(self, why: str) -> Box:
        """What waits for this reason."""
        return self._boxes.setdefault(why, Box())

    def empty(self, why: str) -> None:
        """Nothing does any more."""
        self._boxes.pop(why, None)
        self.touch()

    def wait(self, why: str, told: Notification, now_ns: int) -> None:
        """It waits in the box of this reason."""
        before = self._told_before(told)
        self.box(why).put(told, now_ns, before)
        self.note(told)

    def waiting(self) -> list[Notification]:
        """All that waits in boxes."""
        return [told for box in self._boxes.values() for told in box.entries.values()]

    def take_out(self, told: Notification) -> bool:
        """The same thing waits in no box any more; whether it did."""
        before = self._told_before(told)
        found = [box.pop(told.identity) for box in self._boxes.values()]
        if any(found):
            # Nobody was told of what waited, but perhaps of what was before.
            self._last.pop(told.identity, None)
            if before is not None:
                self._last[told.identity] = before
            self.touch()
        return any(found)

    def is_told_before(self, told: Notification) -> bool:
        """Whether somebody has been told of the same thing, beside what waits in a box."""
        return self._told_before(told) is not None

    def _told_before(self, told: Notification) -> tuple[str, int] | None:
        """What was told last of the same thing, beside what waits in a box."""
        for box in self._boxes.values():
            if told.identity in box.entries:
                return box.before.get(told.identity)
        return self._last.get(told.identity)

    def touch(self) -> None:
        """It has changed."""
        self._is_changed = True

    def load(self) -> None:
        """Take up what the last process has left; what can't be read is told, and left."""
        try:
            self._take(orjson.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            _logger.warning(
                "What was told can't be read; some of it may be told again, under the same id.",
                file=str(self._path),
                error=str(error),
            )

    def save(self) -> None:
        """See it on the disk, if it has changed. Blocks.

        Raises:
            TransientError: It is not.
        """
        if not self._is_changed:
            return
        try:
            write_whole(self._path, orjson.dumps(self._written()))
        except OSError as error:
            raise TransientError(f"{self._path}: {error.strerror or error}") from error
        self._is_changed = False

    def has_dealt_with(self, told: Notification) -> bool:
        """Whether just this was told, or said nothing new, as far as is remembered."""
        return told.id in self._ids

    def says_nothing_new(self, told: Notification) -> bool:
        """Whether what was told last of the same thing says as much."""
        word, rank = self._last.get(told.identity, ("", 0))
        return word == told.word and told.rank <= rank

    def was_told_open(self, told: Notification) -> bool:
        """Whether what was told last of the same thing is that it is open."""
        return self._last.get(told.identity, ("", 0))[0] == "open"

    def note(self, told: Notification) -> None:
        """This was told."""
        self.note_id(told)
        self._last[told.identity] = (told.word, told.rank)
        self._last.move_to_end(told.identity)
        while len(self._last) > MOST_KNOWN:
            self._last.popitem(last=False)

    def note_id(self, told: Notification) -> None:
        """This was dealt with: it is not to be looked at again when it comes again."""
        self._ids[told.id] = None
        self._ids.move_to_end(told.id)
        while len(self._ids) > MOST_KNOWN:
            self._ids.popitem(last=False)
        self._is_changed = True

    def _written(self) -> dict[str, Any]:
        return {
            "ids": list(self._ids),
            "last": [[key, *each] for key, each in self._last.items()],
            "boxes": {why: box.as_json() for why, box in self._boxes.items() if box},
            "window": [self.window.begin_ns, self.window.count],
            "standings": self.standings.as_json(),
        }

    def _take(self, written: Mapping[str, Any]) -> None:
        ids = {str(each): None for each in written["ids"]}
        last = {str(key): (str(word), int(rank)) for key, word, rank in written["last"]}
        boxes = {str(why): Box.from_json(each) for why, each in written.get("boxes", {}).items()}
        standings = Standings.from_json(written.get("standings", {"alarms": (), "shelves": ()}))
        begin_ns, count = map(int, written.get("window", (0, 0)))
        self._ids, self._last = OrderedDict(ids), OrderedDict(last)
        self._boxes, self.window = boxes, Window(begin_ns, count)
        self.standings = standings
