"""What a rule sees at some times, most of which are those of readings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from streams.stages.derive.ticks import Ticks

_Any = TypeVar("_Any", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen at n ticks.

    Attributes:
        ticks: The ticks.
        holds: bool[n], whether the condition holds.
        over: bool[n], whether it is over, as far as that is known.
        since_ns: int64[n], for how long the condition has held.
        channel: int32[n], row of the channel that brought each tick about.
        shown: float64[n] each, the values that the text would have.
    """

    ticks: Ticks
    holds: NDArray[np.bool_]
    over: NDArray[np.bool_]
    since_ns: NDArray[np.int64]
    channel: NDArray[np.int32]
    shown: list[NDArray[np.float64]]

    def with_more(self, more: Seen) -> Seen:
        """With what is seen at other times; where both have the same of a place, this counts."""
        ticks = self.ticks
        place = np.concatenate([ticks.place, more.ticks.place])
        time_ns = np.concatenate([ticks.time_ns, more.ticks.time_ns])
        is_more = np.arange(len(place)) >= len(ticks)
        order = np.lexsort((is_more, time_ns, place))
        place, time_ns = place[order], time_ns[order]
        is_kept = np.ones(len(place), np.bool_)
        is_kept[1:] = (place[1:] != place[:-1]) | (time_ns[1:] != time_ns[:-1])
        order = order[is_kept]

        def both(own: NDArray[_Any], other: NDArray[_Any]) -> NDArray[_Any]:
            found: NDArray[_Any] = np.concatenate([own, other])[order]
            return found

        return Seen(
            Ticks(place[is_kept], time_ns[is_kept], ticks.lasts_ns),
            both(self.holds, more.holds),
            both(self.over, more.over),
            both(self.since_ns, more.since_ns),
            both(self.channel, more.channel),
            [both(*each) for each in zip(self.shown, more.shown, strict=True)],
        )


def nothing_seen(shown: int) -> Seen:
    """What is seen at no ticks, of a rule whose text has so many values."""
    none = np.empty(0, np.int64)
    no, row = np.empty(0, np.bool_), np.empty(0, np.int32)
    return Seen(Ticks(none, none, 0), no, no, none, row, [np.empty(0)] * shown)
