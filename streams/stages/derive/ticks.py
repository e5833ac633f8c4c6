"""The times at which a derived channel is worked out, and what was known at each of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S
from headgate.core.runs import runs
from streams.stages.arrays import NO_TIME_NS

_Any = TypeVar("_Any", bound=np.generic)


@dataclass(frozen=True)
class Ticks:
    """n times of some places, by place and time, each time of a place once.

    A place is what has values of its own: a device, or a part of one that a tag tells apart.

    Attributes:
        place: int64[n], rising: the place's number.
        time_ns: int64[n], event time, rising inside a place.
        lasts_ns: For how long a value counts after its reading.
    """

    place: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    lasts_ns: int

    def __len__(self) -> int:
        return len(self.time_ns)

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """intp[p]: where each place begins."""
        return runs(self.place)[0]

    @cached_property
    def lengths(self) -> NDArray[np.intp]:
        """intp[p]: how many ticks it has."""
        return runs(self.place)[1]

    @cached_property
    def last(self) -> NDArray[np.intp]:
        """intp[p]: its last tick."""
        return self.starts + self.lengths - 1

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """int64[p]: the places, each once."""
        return self.place[self.starts]

    @cached_property
    def first(self) -> NDArray[np.intp]:
        """intp[n]: the first tick of each tick's place."""
        return np.repeat(self.starts, self.lengths)

    def latest(self, is_one: NDArray[np.bool_]) -> NDArray[np.intp]:
        """intp[n]: the latest of these ticks up to each tick of the same place; -1 for none."""
        at = np.where(is_one, np.arange(len(self)), -1)
        np.maximum.accumulate(at, out=at)
        at[at < self.first] = -1
        return at

    def latest_ns(
        self, is_new: NDArray[np.bool_], known_ns: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """int64[n]: the time of the latest of these ticks up to each tick.

        Args:
            is_new: bool[n], which ticks these are.
            known_ns: int64[places], by place the time of the latest before all of them.
        """
        at = self.latest(is_new)
        return np.where(at < 0, known_ns[self.place], self.time_ns[at])

    def one_before(self, value: NDArray[_Any], known: NDArray[_Any]) -> NDArray[_Any]:
        """[n]: what the tick before each tick has; of a place's first what is known by place.

        Args:
            value: [n], what ticks have.
            known: [places], by place what it had before all of these.
        """
        found = np.empty(len(self), value.dtype)
        found[1:] = value[:-1]
        found[self.starts] = known[self.places]
        return found

    def before(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """intp[r]: of each of these ticks, which rise, the position of the one before it in them.

        -1 where the one before is of another place.
        """
        positions = np.arange(-1, len(rows) - 1)
        if len(rows):
            positions[1:][self.place[rows[1:]] != self.place[rows[:-1]]] = -1
        return positions

    def ends(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """intp[p]: positions in these ticks, which rise, of the last of each place."""
        starts, lengths = runs(self.place[rows])
        return starts + lengths - 1

    def held(
        self,
        is_new: NDArray[np.bool_],
        value: NDArray[np.float64],
        known: NDArray[Any],
        known_ns: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """float64[n]: the latest value at each tick, NaN where that is too old.

        Args:
            is_new: bool[n], ticks at which there is a new one.
            value: float64[n], the value there.
            known: float64[places], by place the value before all of these.
            known_ns: int64[places], and its time.
        """
        at = self.latest(is_new)
        is_before = at < 0
        found = np.where(is_before, known[self.place], value[at])
        found_ns = self.latest_ns(is_new, known_ns)
        is_old = (found_ns == NO_TIME_NS) | (self.time_ns - found_ns > self.lasts_ns)
        found[is_old] = np.nan
        return found


def seconds(span_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Spans of time in seconds."""
    return span_ns / NS_PER_S


def latest_up_to(
    place: NDArray[np.int64],
    time_ns: NDArray[np.int64],
    asked: NDArray[np.int64],
    asked_ns: NDArray[np.int64],
) -> NDArray[np.intp]:
    """intp[n]: the latest of some rows, by place and time, up to each place and time asked for.

    -1 where there is none of the place.
    """
    known = len(place)
    every = np.concatenate([place, asked])
    is_asked = np.arange(len(every)) >= known
    order = np.lexsort((is_asked, np.concatenate([time_ns, asked_ns]), every))
    at = np.maximum.accumulate(np.where(order < known, order, -1))
    found = np.empty(len(every), np.intp)
    found[order] = at
    found = found[known:]
    is_other = (found >= 0) & (place[found] != asked) if known else np.zeros(len(asked), np.bool_)
    return np.where(is_other, -1, found)
