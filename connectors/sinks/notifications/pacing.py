"""What is not told at once: in quiet hours, in a flood, and what is old when its turn comes.

It waits in boxes that the sink remembers, by what it is of, and in its newest state only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from connectors.sinks.notifications.notification import Notification
from headgate.config.rule import Severity
from headgate.config.schedule import Schedules
from headgate.config.table import Table, as_table

#: Things that wait in a box at most; of more the oldest are counted only.
MOST_WAITING: Final = 5_000


class QuietConfig(Table):
    """``quiet``: hours in which what comes waits."""

    #: Schedules, of which any says that it is quiet.
    during: Annotated[Schedules, Field(min_length=1)]
    #: What is so severe is told all the same.
    but: Severity = "critical"

    @model_validator(mode="before")
    @classmethod
    def _is_table(cls, value: object) -> object:
        return as_table(value, '{ during = "nights", but = "critical" }')


class Box:
    """What waits for one reason."""

    def __init__(self) -> None:
        self.entries: OrderedDict[str, Notification] = OrderedDict()
        #: By what waits: how that was when it was told last, and how severe; none where never.
        self.before: dict[str, tuple[str, int]] = {}
        #: Notifications that will not be told by themselves any more.
        self.passed = 0
        #: When the last one came, by the wall clock, ns.
        self.put_ns = 0
        #: Whether there were more than it holds, so that newest states are among those.
        self.is_over_full = False

    def __bool__(self) -> bool:
        return bool(self.entries or self.passed)

    def put(self, told: Notification, now_ns: int, before: tuple[str, int] | None = None) -> None:
        """Have it wait, in place of what waits of the same thing.

        Args:
            told: What waits.
            now_ns: By the wall clock, ns.
            before: What had been told of the same thing when it began to wait.
        """
        self.passed += self.pop(told.identity)
        self.entries[told.identity] = told
        if before is not None:
            self.before[told.identity] = before
        while len(self.entries) > MOST_WAITING:
            self.pop(next(iter(self.entries)))
            self.passed += 1
            self.is_over_full = True
        self.put_ns = now_ns

    def pop(self, identity: str) -> bool:
        """It waits no more; whether it did."""
        self.before.pop(identity, None)
        return self.entries.pop(identity, None) is not None

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        entries = [each.as_json() for each in self.entries.values()]
        return {
            "entries": entries,
            "before": {key: [*each] for key, each in self.before.items()},
            "passed": self.passed,
            "put_ns": self.put_ns,
            "is_over_full": self.is_over_full,
        }

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Box:
        """What ``as_json`` was of.

        Raises:
            KeyError: It was none.
            TypeError: Likewise.
            ValueError: Likewise.
        """
        box = cls()
        for each in map(Notification.from_json, written["entries"]):
            box.entries[each.identity] = each
        for key, (word, rank) in written.get("before", {}).items():
            box.before[str(key)] = (str(word), int(rank))
        box.passed, box.put_ns = int(written["passed"]), int(written["put_ns"])
        box.is_over_full = bool(written["is_over_full"])
        return box
