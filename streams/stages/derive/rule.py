"""One rule: when its condition begins an alarm at a place, and when that is over.

An alarm is open from the tick at which the condition has held for long enough to the one at which
it has been over for long enough, whatever is in between (a latch). What is not known neither begins
nor ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.config.derived import usual_age_ns
from headgate.config.feed import FeedConfig
from headgate.config.rule import RuleConfig
from headgate.core.clock import NS_PER_S
from headgate.core.expressions.nodes import Node
from headgate.core.expressions.pointwise import compiled
from headgate.core.grown import grown
from streams.stages.arrays import NO_TIME_NS
from streams.stages.blocks import number_of
from streams.stages.derive.formula import Formula, Memory, Named, as_given
from streams.stages.derive.ticks import Ticks

#: Of what is remembered, by place: whether an alarm is open; since when what it tells of has been
#: so, and when it opened.
_OPEN = 0
_START, _OPENED = range(2)

#: No ticks.
_NONE = np.empty(0, np.intp)

#: Of what is remembered of a channel in the text: its value.
_VALUE = 0

#: A condition that never holds: with it, nothing is known of one that is switched off.
_NEVER = Node("<", (Node("number", number=1.0), Node("number", number=0.0)))


@dataclass(frozen=True, slots=True)
class Turn:
    """An alarm of one place that opens or is over.

    Attributes:
        rule: The rule.
        place: The place.
        channel: Row of the channel whose reading brought it about.
        time_ns: Event time of that reading.
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


class Rule:
    """Works out one rule of one feed.

    Args:
        feed_name: The feed.
        feed: Its configuration.
        name: The rule.
        rule: What it says.
    """

    def __init__(self, feed_name: str, feed: FeedConfig, name: str, rule: RuleConfig) -> None:
        #: Channels whose readings are looked at.
        self.names = rule.names
        #: Channels that only its text has.
        self.beside = tuple(name for name in rule.shown if name not in rule.names)
        condition = rule.condition if rule.enabled else Node("and", (rule.condition, _NEVER))
        self._is_on = rule.is_of if rule.enabled else lambda _: False
        # By place, whether alarms may open there: the rule is for it, and is not switched off. And
        # whether an alarm is open there, or the condition holds, as far as it is known.
        self._is_for = np.empty(0, np.bool_)
        self._is_busy = np.empty(0, np.bool_)
        self._may_be_busy = False
        # Works out the condition where neither that nor what ends the alarm looks at what was
        # before. Places that are not busy, and at which it does not hold, need nothing else then:
        # no alarm opens, none is over, since when it holds begins when it does, and how long it has
        # been over counts from when an alarm is open. Where ``clear`` has to hold for a while that
        # may have begun before.
        self._holds = compiled(condition)
        if compiled(rule.over) is None or (rule.clear is not None and rule.clear_for):
            self._holds = None
        self._name = name
        self._shown = rule.shown
        self._for_ns = rule.for_
        self._condition_names = condition.names
        over = rule.over
        if rule.clear_for:
            over = Node("hold", (over,), span_ns=rule.clear_for)
        since = Node("since", (condition,))
        shown = [Node("name", name=each) for each in self._shown]
        self.formula = Formula(
            feed,
            (feed_name, "rule", name, as_given(rule.max_age)),
            [condition, over, since, *shown],
            rule.lasts_ns(usual_age_ns(feed)),
        )
        #: Whether alarms are open, by place. What the rule says may change under them.
        self.state = Memory()
        self.number = number_of(feed_name, "rule", name)
        #: By the numbers of their kind, the value that each channel in its text had then.
        self.values = {
            number_of(feed_name, "rule", name, "text", each): Memory() for each in self._shown
        }

    def involved(
        self, ticks: Ticks, held: Callable[[str], NDArray[np.float64]]
    ) -> NDArray[np.intp] | None:
        """Which of some ticks are of places at which anything may happen.

        Args:
            ticks: All ticks at which one of ``names`` has a reading.
            held: Gives by name what is known of a channel at each of these ticks.

        Returns:
            intp[m], rising; None: all of them.
        """
        is_for = self._is_for[ticks.place]
        if self._holds is None:
            is_open = self.state["number"][ticks.place, _OPEN] == 1
            return None if is_for.all() else np.flatnonzero(is_for | is_open)
        holds = self._holds({name: held(name) for name in self._condition_names}) & is_for
        if not holds.any() and not (self._may_be_busy and self._is_busy[ticks.place].any()):
            return _NONE
        self._is_busy[ticks.place[holds]] = True
        return np.flatnonzero(self._is_busy[ticks.place])

    def grow(self, devices: Sequence[str]) -> None:
        """Make room for places, of the devices of these names."""
        more = [self._is_on(name) for name in devices[len(self._is_for) :]]
        self._is_for = np.concatenate([self._is_for, np.array(more, np.bool_)])
        self._is_busy = grown(self._is_busy, len(devices), fill=False)
        for _, memory in self.memories():
            memory.grow(len(devices))

    def forget(self, places: NDArray[np.int64]) -> None:
        """Let nothing be known of these places."""
        for _, memory in self.memories():
            memory.forget(places)

    def look_again(self) -> None:
        """Note that what is remembered has been changed from outside."""
        self._is_busy[:] = True
        self._may_be_busy = True

    def work_out(
        self,
        ticks: Ticks,
        named: Mapping[str, Named],
        known: Mapping[str, Memory],
        channel: NDArray[np.int32],
    ) -> Iterator[Turn]:
        """The turns that are taken at some ticks, by place and time.

        Args:
            ticks: All ticks at which one of ``names`` has a reading.
            named: What the channels that it names have there, and those of ``beside`` at each tick.
            known: What they had before.
            channel: int32[n], row of the channel that brought each tick about.
        """
        holds, over, since, *shown = self.formula.work_out(ticks, named, known)
        since_ns = np.rint(since * NS_PER_S).astype(np.int64)
        is_on = self._is_for[ticks.place]
        holds = holds & is_on
        held = holds & (since_ns >= self._for_ns)
        over = (over & ~holds) | ~is_on
        number, time_ns = self.state["number"], self.state["time_ns"]
        said = ticks.latest(held | over)
        was_open = number[:, _OPEN] == 1
        is_open = np.where(said < 0, was_open[ticks.place], held[said])
        before = ticks.one_before(is_open, was_open)
        opens = is_open & ~before
        start_ns = ticks.time_ns - since_ns
        opened = ticks.latest(opens)
        is_known = opened < 0
        start_ns = np.where(is_known, time_ns[ticks.place, _START], start_ns[opened])
        opened_ns = np.where(is_known, time_ns[ticks.place, _OPENED], ticks.time_ns[opened])
        last, places = ticks.last, ticks.places
        values = [memory["number"] for memory in self.values.values()]
        shown = [
            np.where(is_known, before_it[ticks.place, _VALUE], each[opened])
            for before_it, each in zip(values, shown, strict=True)
        ]
        for value, each in zip(values, shown, strict=True):
            value[places, _VALUE] = np.where(is_open[last], each[last], np.nan)
        number[places, _OPEN] = np.where(is_open[last], 1.0, np.nan)
        time_ns[places, _START] = np.where(is_open[last], start_ns[last], NO_TIME_NS)
        time_ns[places, _OPENED] = np.where(is_open[last], opened_ns[last], NO_TIME_NS)
        if self._holds is not None:
            is_busy = is_open[last] | holds[last]
            self._is_busy[places] = is_busy
            self._may_be_busy = bool(self._is_busy.any())
            # Of what is over nothing needs to be known, nor to be written down.
            self.formula.forget(places[~is_busy])
        for at in np.flatnonzero(is_open != before).tolist():
            texts = {name: float(each[at]) for name, each in zip(self._shown, shown, strict=True)}
            yield Turn(
                self._name,
                int(ticks.place[at]),
                int(channel[at]),
                int(ticks.time_ns[at]),
                bool(is_open[at]),
                int(start_ns[at]),
                int(opened_ns[at]),
                texts,
            )

    @property
    def open_alarms(self) -> int:
        """How many are open."""
        return int(np.count_nonzero(self.state["number"][:, _OPEN] == 1))

    def memories(self) -> Iterator[tuple[int, Memory]]:
        """What is remembered of alarms, by the number of its kind."""
        yield self.number, self.state
        yield from self.values.items()
