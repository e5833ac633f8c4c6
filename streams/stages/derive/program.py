"""The derived channels of one feed, worked out one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.config.derived import in_order
from headgate.config.feed import FeedConfig
from streams.stages.arrays import NO_TIME_NS
from streams.stages.derive.formula import Formula, Memory, Named, described, number_of
from streams.stages.derive.spans import Span
from streams.stages.derive.ticks import Ticks


@dataclass(frozen=True, slots=True)
class Made:
    """Values of one derived channel.

    Attributes:
        name: The channel.
        place: int64[n], of which place each is.
        time_ns: int64[n], its event time.
        value: float64[n], NaN where it is missing.
        channel: int32[n], row of the channel whose reading brought it about.
    """

    name: str
    place: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    channel: NDArray[np.int32]


class Program:
    """Works out all derived channels of a feed.

    Args:
        feed_name: The feed.
        feed: Its configuration.
    """

    def __init__(self, feed_name: str, feed: FeedConfig) -> None:
        order = in_order({name: each.expression for name, each in feed.derived.items()})
        self._formulas = [Formula(feed_name, feed, name) for name in order]
        named = dict.fromkeys(name for each in self._formulas for name in each.names)
        #: Channels that devices send, in the order in which they are numbered in ``work_out``.
        self.inputs = tuple(name for name in named if name not in feed.derived)
        # By name, the latest value of what is named.
        self._known = {name: Memory() for name in named}
        self._number = {
            name: number_of(feed_name, "channel", name, *described(feed, name)) for name in named
        }

    def work_out(
        self,
        ticks: Ticks,
        tick: NDArray[np.intp],
        number: NDArray[np.int64],
        value: NDArray[np.float64],
        channel: NDArray[np.int32],
    ) -> list[Made]:
        """Take readings in.

        Args:
            ticks: Their places and times.
            tick: intp[r], which of these each reading is of.
            number: int64[r], which of ``inputs`` it is of.
            value: float64[r], none of them missing. Of several of one tick and input the last
                counts.
            channel: int32[r], row of its channel.
        """
        named: dict[str, Named] = {}
        cause: dict[str, NDArray[np.int32]] = {}
        for at, name in enumerate(self.inputs):
            rows = np.flatnonzero(number == at)
            named[name] = new = Named(np.zeros(len(ticks), np.bool_), np.full(len(ticks), np.nan))
            new.is_new[tick[rows]] = True
            new.value[tick[rows]] = value[rows]
            cause[name] = np.full(len(ticks), -1, np.int32)
            cause[name][tick[rows]] = channel[rows]
        made = []
        for formula in self._formulas:
            some = np.logical_or.reduce([named[name].is_new for name in formula.names])
            rows = np.flatnonzero(some)
            part = Ticks(ticks.place[rows], ticks.time_ns[rows], formula.lasts_ns)
            its = {name: named[name].take(rows) for name in formula.names}
            found = formula.work_out(part, its, self._known)
            why = np.full(len(rows), -1, np.int32)
            for name in reversed(formula.names):
                is_new = its[name].is_new
                why[is_new] = cause[name][rows[is_new]]
            made.append(Made(formula.name, part.place, part.time_ns, found, why))
            if formula.name in self._known:
                # What is missing is new, too: the value before it must not stand in for it.
                named[formula.name] = new = Named(
                    np.zeros(len(ticks), np.bool_), np.full(len(ticks), np.nan)
                )
                new.is_new[rows] = True
                new.value[rows] = found
                cause[formula.name] = np.full(len(ticks), -1, np.int32)
                cause[formula.name][rows] = why
        for name, memory in self._known.items():
            rows = np.flatnonzero(named[name].is_new)
            ends = rows[ticks.ends(rows)]
            memory["number"][ticks.place[ends], 0] = named[name].value[ends]
            memory["time_ns"][ticks.place[ends], 0] = ticks.time_ns[ends]
        return made

    def grow(self, places: int) -> None:
        """Make room for so many places."""
        for memory in self._known.values():
            memory.grow(places)
        for formula in self._formulas:
            formula.grow(places)

    def forget(self, places: NDArray[np.int64]) -> None:
        """Let nothing be known of these places, each once and rising."""
        for memory in self._known.values():
            memory.forget(places)
        for formula in self._formulas:
            formula.forget(places)

    def go_back(self, places: NDArray[np.int64]) -> None:
        """Forget when anything was at these places. What counters count stays."""
        for memory in self._known.values():
            memory.forget(places)
        for formula in self._formulas:
            formula.go_back(places)

    def memories(self) -> Iterator[tuple[int, Memory]]:
        """All that is remembered as a row for each place, by the number of its kind."""
        for name, memory in self._known.items():
            yield self._number[name], memory
        for formula in self._formulas:
            yield from formula.memories.items()

    def spans(self) -> Iterator[tuple[int, Span]]:
        """All that is remembered as values of a span, by the number of its kind."""
        for formula in self._formulas:
            yield from formula.spans.items()


def is_untouched(memory: Memory, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool[p]: places of which a memory has nothing."""
    nothing: NDArray[np.bool_] = np.isnan(memory["number"][places]).all(axis=1) & (
        memory["time_ns"][places] == NO_TIME_NS
    ).all(axis=1)
    return nothing


def programs_of(feeds: Mapping[str, FeedConfig]) -> dict[str, Program]:
    """By feed, those that have derived channels."""
    return {name: Program(name, feed) for name, feed in feeds.items() if feed.derived}
