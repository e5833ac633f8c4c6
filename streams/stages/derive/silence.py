"""When other rules' alarms silence a rule: while one of them is open at a place.

Both are worked out of the same readings up to the same watermark, the others before it. So it does
not matter how readings are cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.core.stretches import Stretches
from streams.stages.arrays import NEVER_NS, NO_TIME_NS
from streams.stages.derive.latch import Latch
from streams.stages.derive.ticks import latest_up_to

_NOWHERE = np.empty(0, np.int64)
_NO_ROWS = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class Silencer:
    """A rule whose alarms silence another.

    Attributes:
        latch: Its alarms.
        looked_at: When it is looked at; None: always.
    """

    latch: Latch
    looked_at: Stretches | None

    def at(
        self, place: NDArray[np.int64], time_ns: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Whether an alarm of it is open at n places and times; see ``Silence.at``."""
        is_open = self.latch.is_open[place]
        since_ns = np.where(is_open, self.latch.opened_ns[place], self.latch.over_ns[place])
        turns = self.latch.turned
        if turns is not None:
            at = latest_up_to(turns.place, turns.time_ns, place, time_ns)
            # Before the first of a place's turns it is as that has found it.
            first = np.searchsorted(turns.place, place)
            is_turned = first < len(turns.place)
            first = np.where(is_turned, first, 0)
            is_turned &= turns.place[first] == place
            is_open = np.where(is_turned, ~turns.is_open[first], is_open)
            since_ns = np.where(is_turned, turns.before_ns[first], since_ns)
            is_open = np.where(at < 0, is_open, turns.is_open[at])
            since_ns = np.where(at < 0, since_ns, turns.time_ns[at])
        if self.looked_at is not None:
            # It is over when its schedule is, though that may not have been said yet.
            is_in, _, until_ns = self.looked_at.at(since_ns)
            has_ended = is_open & is_in & (until_ns <= time_ns)
            is_open = is_open & ~has_ended
            since_ns = np.where(has_ended, until_ns, since_ns)
        return is_open, since_ns

    def ended(
        self, places: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Where and when alarms of it are over; see ``Silence.ended``."""
        is_open = self.latch.is_open[places]
        yield places[~is_open], self.latch.over_ns[places[~is_open]]
        if self.looked_at is not None:
            is_in, _, until_ns = self.looked_at.at(self.latch.opened_ns[places])
            yield places[is_open & is_in], until_ns[is_open & is_in]
        turns = self.latch.turned
        if turns is not None:
            is_asked = np.isin(turns.place, places)
            time_ns = np.where(turns.is_open, turns.before_ns, turns.time_ns)
            yield turns.place[is_asked], time_ns[is_asked]


class Silence:
    """What silences one rule.

    Args:
        silencers: The rules whose alarms do.
    """

    def __init__(self, silencers: Sequence[Silencer]) -> None:
        self._silencers = silencers

    def at(
        self, place: NDArray[np.int64], time_ns: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """How it is at n places and times.

        Returns:
            bool[n], whether it is silenced; and int64[n], where it is not, since when it is not any
            more; ``NO_TIME_NS`` where it never was.
        """
        is_silenced = np.zeros(len(place), np.bool_)
        free_ns = np.full(len(place), NO_TIME_NS)
        for each in self._silencers:
            is_open, since_ns = each.at(place, time_ns)
            is_silenced |= is_open
            # Of a clock that was set back it is not known when that was.
            is_known = ~is_open & (since_ns <= time_ns)
            np.maximum(free_ns, np.where(is_known, since_ns, NO_TIME_NS), out=free_ns)
        return is_silenced, free_ns

    @property
    def has_turned(self) -> bool:
        """Whether any of them has turned since it was last asked what happens."""
        return any(each.latch.turned is not None for each in self._silencers)

    def turned_ns(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[p]: when the first of them has turned now at these places; ``NEVER_NS``: none."""
        found = np.full(len(places), NEVER_NS)
        for turns in (each.latch.turned for each in self._silencers):
            if turns is not None:
                first = np.minimum(np.searchsorted(turns.place, places), len(turns.place) - 1)
                is_one = turns.place[first] == places
                found[is_one] = np.minimum(found[is_one], turns.time_ns[first[is_one]])
        return found

    def ended(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where and when one of them is over that may silence it no more then; in any order.

        Args:
            places: int64[p], rising, at which this is asked.
        """
        found = [part for each in self._silencers for part in each.ended(places)]
        return (
            np.concatenate([_NOWHERE, *(place for place, _ in found)]),
            np.concatenate([_NOWHERE, *(time_ns for _, time_ns in found)]),
        )

    def begun(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Where and when it is silenced by what has come last; places, times, and channels' rows.

        Each place and time once, by place and time.
        """
        parts = [each.latch.turned for each in self._silencers]
        turned = [part for part in parts if part is not None]
        place = np.concatenate([_NOWHERE, *(each.place[each.is_open] for each in turned)])
        time_ns = np.concatenate([_NOWHERE, *(each.time_ns[each.is_open] for each in turned)])
        channel = np.concatenate([_NO_ROWS, *(each.channel[each.is_open] for each in turned)])
        order = np.lexsort((time_ns, place))
        place, time_ns, channel = place[order], time_ns[order], channel[order]
        is_new = np.ones(len(place), np.bool_)
        is_new[1:] = (place[1:] != place[:-1]) | (time_ns[1:] != time_ns[:-1])
        return place[is_new], time_ns[is_new], channel[is_new]
