"""What is not told at once: in quiet hours, in a flood, and what is old when its turn comes.

It waits in boxes that the sink remembers, by what it is of, and in its newest state only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from connectors.sinks.notifications.notification import Notification
from headgate.config.rule import Severity
from headgate.config.table import Table
from headgate.core.results import severity_rank

#: Things that wait in a box at most; of more the oldest are counted only.
MOST_WAITING: Final = 5_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class QuietConfig(Table):
    """``quiet``: hours in which what comes waits."""

    from_: str = Field(alias="from")
    to: str
    zone: str = "UTC"
    #: What is so severe is told all the same.
    but: Severity = "critical"

    @field_validator("from_", "to")
    @classmethod
    def _is_time(cls, text: str) -> str:
        _minutes(text)
        return text

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError('expected the name of a time zone, such as "Europe/Berlin"') from None
        return zone

    @model_validator(mode="after")
    def _has_hours(self) -> Self:
        if _minutes(self.from_) == _minutes(self.to):
            raise ValueError("expected from and to to differ: no hours would be quiet")
        return self

    def is_quiet(self, now_ns: int) -> bool:
        """Whether it is quiet at this time, ns since 1970 UTC."""
        at = (_EPOCH + timedelta(microseconds=now_ns // 1000)).astimezone(ZoneInfo(self.zone))
        now, first, end = 60 * at.hour + at.minute, _minutes(self.from_), _minutes(self.to)
        return first <= now < end if first < end else now >= first or now < end

    def holds(self, told: Notification, now_ns: int) -> bool:
        """Whether this waits."""
        return told.rank < severity_rank(self.but) and self.is_quiet(now_ns)


class Box:
    """What waits for one reason."""

    def __init__(self) -> None:
        self.entries: OrderedDict[str, Notification] = OrderedDict()
        #: Notifications that will not be told by themselves any more.
        self.passed = 0
        #: When the last one came, by the wall clock, ns.
        self.put_ns = 0
        #: Whether there were more than it holds, so that newest states are among those.
        self.is_over_full = False

    def __bool__(self) -> bool:
        return bool(self.entries or self.passed)

    def put(self, told: Notification, now_ns: int) -> None:
        """Have it wait, in place of what waits of the same thing."""
        self.passed += self.entries.pop(told.identity, None) is not None
        self.entries[told.identity] = told
        while len(self.entries) > MOST_WAITING:
            self.entries.popitem(last=False)
            self.passed += 1
            self.is_over_full = True
        self.put_ns = now_ns

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        entries = [each.as_json() for each in self.entries.values()]
        return {
            "entries": entries,
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
        box.passed, box.put_ns = int(written["passed"]), int(written["put_ns"])
        box.is_over_full = bool(written["is_over_full"])
        return box


def _minutes(text: str) -> int:
    hours, mark, minutes = text.partition(":")
    is_time = mark and len(hours) == len(minutes) == 2 and f"{hours}{minutes}".isdecimal()
    if not is_time or int(hours) > 23 or int(minutes) > 59:
        raise ValueError('expected a time of day such as "22:00"')
    return 60 * int(hours) + int(minutes)
