"""Whether an alarm is open at each place: from the tick that opens it to the one that ends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.stages.arrays import NEVER_NS, NO_TIME_NS
from streams.stages.derive.formula import Memory
from streams.stages.derive.ticks import Ticks

#: Of what is remembered, by place: whether an alarm is open, and whether the clock has been set
#: back since; since when what it tells of has been so, and when it opened.
_OPEN, _FORMER = range(2)
_START, _OPENED = range(2)

#: Of what is remembered of a channel in the text: its value.
_VALUE = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """An alarm of one place that opens or is over.

    Attributes:
        rule: The rule.
        place: The place.
        channel: Row of the channel whose reading brought it about.
        time_ns: Event time at which it opens or is over.
        is_open: Whether it opens.
        start_ns: Since when the condition has held.
        opened_ns: Event time at which the alarm has opened.
        shown: By name, the values that the rule's text has, those at which it opened; NaN where one
            is missing.
    """

    rule: str
    place: int
    channel: int
    time_ns: int
    is_open: bool
    start_ns: int
    opened_ns: int
    shown: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found at n ticks.

    Attributes:
        opens: bool[n], ticks at which an alarm opens where none is open.
        ends: bool[n], those at which the one is over that is; none of them opens any.
        broken_ns: int64[n], when what was open before a tick has ended by itself, whether another
            opens there or not; ``NEVER_NS`` where it has not.
        start_ns: int64[n], since when what an alarm would tell of has been so.
        shown: float64[n] each, the values that its text would have.
    """

    opens: NDArray[np.bool_]
    ends: NDArray[np.bool_]
    broken_ns: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    shown: list[NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Turned:
    """Turns that were taken, by place and time.

    Attributes:
        place: int64[t].
        time_ns: int64[t].
        channel: int32[t], row of the channel that brought each about.
        is_open: bool[t], whether an alarm opens.
        before_ns: int64[t], when the one that is over opened; of one that opens when the one before
            it was over, as far as that was before all of these.
    """

    place: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    channel: NDArray[np.int32]
    is_open: NDArray[np.bool_]
    before_ns: NDArray[np.int64]


class Latch:
    """The alarms of one rule.

    Args:
        rule: The rule's name.
        number: The number of the kind of what is remembered, in a snapshot.
        shown: By the name of a channel in the rule's text, likewise of its value.
        silences: Whether others ask when it was open: it is remembered then when it was over.
    """

    def __init__(
        self, rule: str, number: int, shown: Mapping[str, int], *, silences: bool = False
    ) -> None:
        self._silences = silences
        #: What has been taken since ``begin``, where others ask for it; None: nothing.
        self.turned: Turned | None = None
        self._rule = rule
        self._number = number
        self._names = tuple(shown)
        self._state = Memory()
        self._values = {number: Memory() for number in shown.values()}
        #: Whether an alarm may be open anywhere.
        self.has_open = False

    def begin(self) -> None:
        """Forget which turns were taken."""
        self.turned = None

    @property
    def over_ns(self) -> NDArray[np.int64]:
        """int64[p]: when the last one was over, of places at which none is open."""
        over_ns: NDArray[np.int64] = self._state["time_ns"][:, _START]
        return over_ns

    def look_again(self) -> None:
        """Note that what is remembered has been changed from outside."""
        self.has_open = True
        self.turned = None

    def go_back(self, places: NDArray[np.int64]) -> None:
        """Note that the clocks of these places are set back: what is open opened by another."""
        open_there = places[self.is_open[places]]
        self._state["number"][open_there, _FORMER] = 1.0

    def is_late(self, ticks: Ticks) -> NDArray[np.bool_]:
        """bool[n]: which ticks are from before the alarm that is open there has opened.

        It has opened by the clock then, and something comes late. What is of a clock that was set
        back is not.
        """
        is_former = self._state["number"][ticks.place, _FORMER] == 1
        is_late: NDArray[np.bool_] = self.is_open[ticks.place] & ~is_former
        is_late &= ticks.time_ns < self.opened_ns[ticks.place]
        return is_late

    def memories(self) -> Iterator[tuple[int, Memory]]:
        """What is remembered of alarms, by the number of its kind."""
        yield self._number, self._state
        yield from self._values.items()

    @property
    def is_open(self) -> NDArray[np.bool_]:
        """bool[p]: places at which an alarm is open."""
        is_open: NDArray[np.bool_] = self._state["number"][:, _OPEN] == 1
        return is_open

    @property
    def opened_ns(self) -> NDArray[np.int64]:
        """int64[p]: when it opened, by place."""
        opened_ns: NDArray[np.int64] = self._state["time_ns"][:, _OPENED]
        return opened_ns

    def go_on(self, ticks: Ticks, found: Found, channel: NDArray[np.int32]) -> list[Turn]:
        """Take in what was found.

        Args:
            ticks: Where.
            found: What.
            channel: int32[n], row of the channel that brought each tick about.

        Returns:
            The turns that are taken, by place and time.
        """
        number, time_ns = self._state["number"], self._state["time_ns"]
        values = [memory["number"] for memory in self._values.values()]
        is_broken = found.broken_ns < NEVER_NS
        said = ticks.latest(found.opens | found.ends | is_broken)
        was_open = self.is_open
        is_open = np.where(said < 0, was_open[ticks.place], found.opens[said])
        before = ticks.one_before(is_open, was_open)
        opens = is_open & (~before | is_broken)
        opened = ticks.latest(opens)
        is_known = opened < 0
        start_ns = np.where(is_known, time_ns[ticks.place, _START], found.start_ns[opened])
        opened_ns = np.where(is_known, time_ns[ticks.place, _OPENED], ticks.time_ns[opened])
        shown = [
            np.where(is_known, before_it[ticks.place, _VALUE], each[opened])
            for before_it, each in zip(values, found.shown, strict=True)
        ]
        ends = before & (is_broken | ~is_open)
        turns: list[Turn] = []
        if (opens | ends).any():
            opened_before_ns = ticks.one_before(opened_ns, time_ns[:, _OPENED])
            start_before_ns = ticks.one_before(start_ns, time_ns[:, _START])
            over_ns = np.minimum(ticks.time_ns, found.broken_ns)
            # What had opened by the clock is not over before that, whatever comes late.
            is_late = self.is_late(ticks) & ticks.one_before(is_known, np.ones(len(was_open), bool))
            over_ns[is_late] = opened_before_ns[is_late]
            over = _Alarms(
                ends,
                over_ns,
                start_before_ns,
                opened_before_ns,
                [
                    ticks.one_before(each, known[:, _VALUE])
                    for each, known in zip(shown, values, strict=True)
                ],
            )
            new = _Alarms(opens, ticks.time_ns, start_ns, opened_ns, shown)
            turns = list(self._turns(ticks, channel, over, new))
            if self._silences:
                self.turned = _turned(turns, self.over_ns)
        last, places = ticks.last, ticks.places
        is_left = is_open[last]
        for known, each in zip(values, shown, strict=True):
            known[places, _VALUE] = np.where(is_left, each[last], np.nan)
        number[places, _OPEN] = np.where(is_left, 1.0, np.nan)
        number[places[~(is_left & is_known[last])], _FORMER] = np.nan
        over_ns = np.full(len(places), NO_TIME_NS)
        if self._silences:
            over_ns = _last_over(ticks, was_open, self.over_ns, turns)
        time_ns[places, _START] = np.where(is_left, start_ns[last], over_ns)
        time_ns[places, _OPENED] = np.where(is_left, opened_ns[last], NO_TIME_NS)
        if turns:
            self.has_open = bool(self.is_open.any())
        return turns

    def _turns(
        self, ticks: Ticks, channel: NDArray[np.int32], over: _Alarms, new: _Alarms
    ) -> Iterator[Turn]:
        for at in np.flatnonzero(over.is_one | new.is_one).tolist():
            # One that ends at a tick does so before another opens there.
            for each, opens in ((over, False), (new, True)):
                if each.is_one[at]:
                    yield Turn(
                        self._rule,
                        int(ticks.place[at]),
                        int(channel[at]),
                        int(each.time_ns[at]),
                        opens,
                        int(each.start_ns[at]),
                        int(each.opened_ns[at]),
                        {
                            name: float(value[at])
                            for name, value in zip(self._names, each.shown, strict=True)
                        },
                    )


@dataclass(frozen=True, slots=True)
class _Alarms:
    """Alarms that turn at some of n ticks.

    Attributes:
        is_one: bool[n], where one does.
        time_ns: int64[n], when.
        start_ns: int64[n], since when what they tell of has been so.
        opened_ns: int64[n], when they opened.
        shown: float64[n] each, the values in their text.
    """

    is_one: NDArray[np.bool_]
    time_ns: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    opened_ns: NDArray[np.int64]
    shown: list[NDArray[np.float64]]


def _turned(turns: list[Turn], over_ns: NDArray[np.int64]) -> Turned:
    """Turns as columns.

    Args:
        turns: By place and time.
        over_ns: int64[places], when the last one before them was over.
    """
    return Turned(
        np.array([each.place for each in turns], np.int64),
        np.array([each.time_ns for each in turns], np.int64),
        np.array([each.channel for each in turns], np.int32),
        np.array([each.is_open for each in turns], np.bool_),
        np.array(
            [over_ns[each.place] if each.is_open else each.opened_ns for each in turns], np.int64
        ),
    )


def _last_over(
    ticks: Ticks, was_open: NDArray[np.bool_], over_ns: NDArray[np.int64], turns: list[Turn]
) -> NDArray[np.int64]:
    """int64[p]: when the last alarm at each of the ticks' places was over, before and by turns."""
    places = ticks.places
    found = np.where(was_open[places], NO_TIME_NS, over_ns[places])
    for each in turns:
        if not each.is_open:
            found[np.searchsorted(places, each.place)] = each.time_ns
    return found
