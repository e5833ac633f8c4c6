"""Alarms that are open, as far as a sink has heard of them, and which of them are shelved.

While a place (a rule at a device) is on the shelf, what its alarms say is kept here in its newest
state and not told. It is as much a part of the sink's memory as what waits in boxes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from connectors.sinks.notifications.notification import Notification, digest
from connectors.sinks.points import Point

#: Alarms that are kept at most, and places on the shelf; the oldest go first.
MOST_STANDING: Final = 5_000
MOST_SHELVED: Final = 5_000


@dataclass(slots=True)
class Standing:
    """An alarm.

    Attributes:
        place: Where it is.
        told: Its newest state. It is over only while somebody is still to be told of that.
        is_hidden: Whether that state is not told because it is shelved.
        due_ns: When it is to be told, or told again, if nobody has acknowledged it by then, by the
            wall clock, ns; 0: never.
        is_acknowledged: Whether somebody has.
        calls: How often it has been told for that reason.
        is_pending: Whether it has not been told for that reason, and is to be.
        heard_ns: When it was heard of first, by the wall clock, ns.
    """

    place: str
    told: Notification
    is_hidden: bool = False
    due_ns: int = 0
    is_acknowledged: bool = False
    calls: int = 0
    is_pending: bool = False
    heard_ns: int = 0

    @property
    def is_owed(self) -> bool:
        """Whether somebody may still have to be told of its present state."""
        return self.is_hidden or (self.is_pending and not self.is_acknowledged)

    def is_due(self, now_ns: int) -> bool:
        """Whether somebody is to be told of it now because nobody has acknowledged it."""
        is_so = self.told.state == "open" and not (self.is_hidden or self.is_acknowledged)
        return is_so and 0 < self.due_ns <= now_ns


@dataclass(slots=True)
class Shelf:
    """That a place is on the shelf.

    Attributes:
        id: The id of what was said, so that what is told at its end has one of its own.
        until_ns: Until when, by the wall clock, ns.
    """

    id: str
    until_ns: int


class Standings:
    """What a sink knows of alarms and shelves."""

    def __init__(self) -> None:
        self._alarms: OrderedDict[str, Standing] = OrderedDict()
        self._shelves: OrderedDict[str, Shelf] = OrderedDict()

    @property
    def hidden(self) -> int:
        """Alarms that are open and not told because they are shelved."""
        alarms = self._alarms.values()
        return sum(each.is_hidden and each.told.state == "open" for each in alarms)

    def put(
        self,
        place: str,
        told: Notification,
        *,
        is_hidden: bool = False,
        due_ns: int = 0,
        is_pending: bool = False,
        heard_ns: int = 0,
    ) -> Standing | None:
        """This is how an alarm is now; returns one that is owed and nothing is known of any more.

        Args:
            place: Where it is.
            told: What is to be said of it.
            is_hidden: Whether it is not, for now.
            due_ns: As in ``Standing``; 0 where it is as it was.
            is_pending: As in ``Standing``.
            heard_ns: As in ``Standing``, if it is heard of for the first time.
        """
        known = self._alarms.setdefault(told.identity, Standing(place, told))
        known.told, known.is_hidden, known.due_ns = told, is_hidden, due_ns or known.due_ns
        known.is_pending, known.heard_ns = is_pending, known.heard_ns or heard_ns
        if len(self._alarms) <= MOST_STANDING:
            return None
        # What has been told is the least to miss: it would only be told again.
        others = (key for key, each in self._alarms.items() if not each.is_owed)
        lost = self._alarms.pop(next(others, next(iter(self._alarms))))
        return lost if lost.is_owed else None

    def get(self, identity: str) -> Standing | None:
        """The alarm of this identity."""
        return self._alarms.get(identity)

    def forget(self, identity: str) -> bool:
        """It is over, or all that is to be said of it is said; whether it was known."""
        return self._alarms.pop(identity, None) is not None

    def at(self, place: str) -> list[Standing]:
        """The alarms of a place, the oldest first."""
        return [each for each in self._alarms.values() if each.place == place]

    def acknowledge(self, place: str, start_ns: int) -> list[Standing]:
        """Somebody has seen to the alarm of a place that began then, which is returned if known."""
        found = [each for each in self.at(place) if each.told.start_ns == start_ns]
        for each in found:
            each.is_acknowledged = True
        return found

    def due(self, now_ns: int) -> Iterator[Standing]:
        """Those that nobody has acknowledged in time, as ``Standing.is_due`` says."""
        return (each for each in [*self] if each.is_due(now_ns))

    def shelve(self, place: str, shelf: Shelf) -> None:
        """A place is on the shelf from now on, in place of how it was before."""
        self._shelves.pop(place, None)
        self._shelves[place] = shelf
        if len(self._shelves) > MOST_SHELVED:
            next(iter(self._shelves.values())).until_ns = 0  # told at once is better than never
        for each in self.at(place):
            each.is_hidden = True

    def unshelve(self, place: str, at_ns: int) -> None:
        """It is on it no more."""
        shelf = self._shelves.get(place)
        if shelf is not None:
            shelf.until_ns = min(shelf.until_ns, at_ns)

    def is_shelved(self, place: str, changed_ns: int, now_ns: int) -> bool:
        """Whether what changed at a place at this time is not told now.

        What changed while it was on the shelf, and comes later, goes with the rest of it.
        """
        shelf = self._shelves.get(place)
        return shelf is not None and min(now_ns, changed_ns) < shelf.until_ns

    def ended(self, now_ns: int) -> Iterator[tuple[str, Shelf]]:
        """The places that were on the shelf until now, ready to be taken off it."""
        for place, shelf in [*self._shelves.items()]:
            if shelf.until_ns <= now_ns:
                yield place, shelf

    def take_off(self, place: str) -> None:
        """All that is to be said at the end of a shelf is said."""
        del self._shelves[place]

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        alarms = [
            {
                **{name: getattr(each, name) for name in Standing.__slots__},
                "told": each.told.as_json(),
            }
            for each in self
        ]
        shelves = [[place, each.id, each.until_ns] for place, each in self._shelves.items()]
        return {"alarms": alarms, "shelves": shelves}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Standings:
        """What ``as_json`` was of.

        Raises:
            KeyError: It was none.
            TypeError: Likewise.
            ValueError: Likewise.
        """
        standings = cls()
        for each in written["alarms"]:
            told = Notification.from_json(each["told"])
            standings._alarms[told.identity] = Standing(**{**each, "told": told})
        for place, name, until_ns in written["shelves"]:
            standings._shelves[str(place)] = Shelf(str(name), int(until_ns))
        return standings

    def __iter__(self) -> Iterator[Standing]:
        return iter(self._alarms.values())


def place_of(point: Point) -> str:
    """Where an alarm is, or one of which something is said: what its start does not tell apart."""
    return digest("place", point.tags)
