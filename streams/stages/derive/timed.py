"""Times at which a rule is looked at though no reading comes: where ``for`` or ``clear_for`` ends.

What was found at a reading counts until the next one, while the values are young enough. So a door
that says "open" once has been open for five minutes five minutes later, and that is the alarm's
time, whether the device says anything then or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headgate.core.stretches import Stretches
from streams.stages.arrays import NEVER_NS, ramp
from streams.stages.derive.silence import Silence
from streams.stages.derive.ticks import latest_up_to

#: Gives int64[p], times at these places.
TimeOf: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.int64]]

#: Rows of what stands, and times.
_Looks: TypeAlias = tuple[NDArray[np.intp], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Standing:
    """What was found at n times, each of which counts until the next of its place.

    Attributes:
        place: int64[n], rising.
        time_ns: int64[n], when it was found, rising inside a place.
        after_ns: int64[n], after when it says anything new.
        until_ns: int64[n], before when it counts.
        begun_ns: int64[n], since when the condition has held; ``NEVER_NS`` where it does not.
        over_ns: int64[n], since when it is over; ``NEVER_NS`` where it is not.
        channel: int32[n], row of a channel of the place.
    """

    place: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    after_ns: NDArray[np.int64]
    until_ns: NDArray[np.int64]
    begun_ns: NDArray[np.int64]
    over_ns: NDArray[np.int64]
    channel: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.time_ns)

    def take(self, rows: NDArray[np.intp]) -> Standing:
        """Some of it."""
        return Standing(
            self.place[rows],
            self.time_ns[rows],
            self.after_ns[rows],
            self.until_ns[rows],
            self.begun_ns[rows],
            self.over_ns[rows],
            self.channel[rows],
        )

    def until(self, until_ns: NDArray[np.int64]) -> Standing:
        """The same, as far as it counts before these times."""
        return replace(self, until_ns=np.minimum(self.until_ns, until_ns))


@dataclass(frozen=True, slots=True)
class Passing:
    """How time passes at places.

    Attributes:
        since_of: Gives since when: what was before has been looked at.
        until_of: Gives before when nothing can come any more; ``NO_TIME_NS`` where it does not
            pass now.
        latest_ns: The latest of these times.
        channel: int32[places], row of a channel of each place.
    """

    since_of: TimeOf
    until_of: TimeOf
    latest_ns: int
    channel: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Timing:
    """When an alarm may open, or be over, between two readings.

    Attributes:
        for_ns: For how long its condition must have held, ns.
        clear_for_ns: For how long it must have been over, ns.
        looked_at: When its rule is looked at; None: always.
        silence: What silences it; None: nothing.
    """

    for_ns: int
    clear_for_ns: int
    looked_at: Stretches | None
    silence: Silence | None

    @property
    def is_ever(self) -> bool:
        """Whether there is any such time."""
        return bool(self.for_ns or self.clear_for_ns or self.looked_at is not None)

    def may_look(self, standing: Standing) -> NDArray[np.bool_]:
        """bool[n]: where ``looks`` may find anything."""
        holds = standing.begun_ns < NEVER_NS
        if self.silence is not None and self.for_ns:
            return holds | self._is_between(standing)
        may = self._is_between(standing)
        if self.looked_at is not None:
            first, end = self._begins(standing, self.looked_at)
            may |= holds & (first < end)
        return may

    def looks(self, standing: Standing) -> _Looks:
        """When it must be looked at: where an alarm may open, and where it may be over.

        Returns:
            intp[m], rows of what stands then, by place and time; int64[m], the times, each of a
            place once.
        """
        rows = np.flatnonzero(self._is_between(standing))
        time_ns = self._next_ns(standing)[rows]
        if self.looked_at is None and self.silence is None:
            return rows, time_ns
        every = [(rows, time_ns), *self._openings(standing)]
        rows = np.concatenate([each for each, _ in every])
        time_ns = np.concatenate([each for _, each in every])
        is_one = (standing.after_ns[rows] < time_ns) & (time_ns < standing.until_ns[rows])
        rows, time_ns = rows[is_one], time_ns[is_one]
        order = np.lexsort((time_ns, rows))
        rows, time_ns = rows[order], time_ns[order]
        is_new = np.ones(len(rows), np.bool_)
        is_new[1:] = (rows[1:] != rows[:-1]) | (time_ns[1:] != time_ns[:-1])
        return rows[is_new], time_ns[is_new]

    def _next_ns(self, standing: Standing) -> NDArray[np.int64]:
        """int64[n]: when what holds has held for long enough, and what is over was so."""
        return np.minimum(standing.begun_ns + self.for_ns, standing.over_ns + self.clear_for_ns)

    def _is_between(self, standing: Standing) -> NDArray[np.bool_]:
        """bool[n]: whether that is while it stands."""
        next_ns = self._next_ns(standing)
        is_one: NDArray[np.bool_] = standing.after_ns < next_ns
        is_one &= next_ns < standing.until_ns
        return is_one

    def _begins(
        self, standing: Standing, looked_at: Stretches
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """intp[n] each: the first of its beginnings by which one may open, and behind the last."""
        begins, _ = looked_at.parts
        return (
            np.searchsorted(begins, standing.after_ns - self.for_ns, "right"),
            np.searchsorted(begins, standing.until_ns - self.for_ns, "left"),
        )

    def _openings(self, standing: Standing) -> Iterator[_Looks]:
        """Where something holds when a schedule begins, and when a silence ends."""
        holding = np.flatnonzero(standing.begun_ns < NEVER_NS)
        if self.looked_at is not None:
            first, end = (each[holding] for each in self._begins(standing, self.looked_at))
            counts = np.maximum(end - first, 0)
            begins, _ = self.looked_at.parts
            begin_ns = begins[np.repeat(first, counts) + ramp(counts)]
            yield np.repeat(holding, counts), begin_ns + self.for_ns
        if self.silence is not None and self.for_ns:
            # Where nothing must hold for a while the next reading says how it is without what
            # has silenced it: it may be another already.
            place, free_ns = self.silence.ended(np.unique(standing.place[holding]))
            time_ns = free_ns + self.for_ns
            known = standing.place[holding], standing.time_ns[holding]
            rows = latest_up_to(*known, place, time_ns - 1)
            is_one = rows >= 0
            yield holding[rows[is_one]], time_ns[is_one]

    def opens(
        self, place: NDArray[np.int64], time_ns: NDArray[np.int64], begun_ns: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """bool[n]: whether what has held since then opens an alarm there."""
        may_open, since_ns = self.at(place, time_ns, time_ns - begun_ns)
        return may_open & (since_ns >= self.for_ns)

    def at(
        self, place: NDArray[np.int64], time_ns: NDArray[np.int64], since_ns: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """How it is at n places and times.

        Args:
            place: int64[n].
            time_ns: int64[n].
            since_ns: int64[n], for how long the condition has held.

        Returns:
            bool[n], whether it is looked at; and int64[n], for how long the condition has held
            while it was: it is as if nobody had looked before.
        """
        is_looked_at = np.ones(len(place), np.bool_)
        if self.looked_at is not None:
            is_looked_at, begin_ns, _ = self.looked_at.at(time_ns)
            since_ns = np.minimum(since_ns, time_ns - begin_ns)
        if self.silence is not None:
            is_silenced, free_ns = self.silence.at(place, time_ns)
            is_looked_at = is_looked_at & ~is_silenced
            since_ns = np.minimum(since_ns, time_ns - free_ns)
        return is_looked_at, since_ns


def joined(parts: Sequence[Standing]) -> Standing:
    """What stands, of several parts, by place and time."""
    every = Standing(
        *(
            np.concatenate([getattr(each, column.name) for each in parts])
            for column in fields(Standing)
        )
    )
    return every.take(np.lexsort((every.time_ns, every.place)))
