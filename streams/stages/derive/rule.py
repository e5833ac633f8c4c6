"""One rule: when its condition begins an alarm at a place, and when that is over.

An alarm is open from the tick at which the condition has held for long enough to the one at which
it has been over for long enough, whatever is in between (a latch). What is not known neither begins
nor ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from headgate.config.derived import usual_age_ns
from headgate.config.feed import FeedConfig
from headgate.config.rule import RuleConfig
from headgate.core.clock import NS_PER_S
from headgate.core.expressions.nodes import Node
from headgate.core.expressions.pointwise import compiled
from headgate.core.grown import grown
from headgate.core.stretches import Stretches
from streams.stages.arrays import NEVER_NS
from streams.stages.blocks import number_of
from streams.stages.derive.formula import Formula, Memory, Named, as_given
from streams.stages.derive.latch import Found, Latch, Turn
from streams.stages.derive.silence import Silence, Silencer
from streams.stages.derive.ticks import Ticks

_Any = TypeVar("_Any", bound=np.generic)

#: No ticks.
_NONE = np.empty(0, np.intp)

#: A condition that never holds: with it, nothing is known of one that is switched off.
_NEVER = Node("<", (Node("number", number=1.0), Node("number", number=0.0)))


@dataclass(frozen=True, slots=True)
class _Seen:
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


class Rule:
    """Works out one rule of one feed.

    Args:
        feed_name: The feed.
        feed: Its configuration.
        name: The rule.
        rule: What it says.
        looked_at: When it is looked at; None: always.
        silences: Whether its alarms silence other rules.
    """

    def __init__(
        self,
        feed_name: str,
        feed: FeedConfig,
        name: str,
        rule: RuleConfig,
        looked_at: Stretches | None = None,
        *,
        silences: bool = False,
    ) -> None:
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
        self._looked_at = looked_at
        self._shown = rule.shown
        self._for_ns = rule.for_
        self._condition_names = condition.names
        over = rule.over
        if rule.clear_for:
            over = Node("hold", (over,), span_ns=rule.clear_for)
        since = Node("since", (condition,))
        shown = [Node("name", name=each) for each in rule.shown]
        self.formula = Formula(
            feed,
            (feed_name, "rule", name, as_given(rule.max_age)),
            [condition, over, since, *shown],
            rule.lasts_ns(usual_age_ns(feed)),
        )
        #: Which alarms are open. What the rule says may change under them.
        self.latch = Latch(
            name,
            number_of(feed_name, "rule", name),
            {each: number_of(feed_name, "rule", name, "text", each) for each in rule.shown},
            silences=silences,
        )
        #: What silences it, of the same places; None: nothing.
        self.silence: Silence | None = None

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
            if is_for.all():
                return None
            return np.flatnonzero(is_for | self.latch.is_open[ticks.place])
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
        for _, memory in self.latch.memories():
            memory.grow(len(devices))

    def forget(self, places: NDArray[np.int64]) -> None:
        """Let nothing be known of these places."""
        for _, memory in self.latch.memories():
            memory.forget(places)

    def look_again(self) -> None:
        """Note that what is remembered has been changed from outside."""
        self._is_busy[:] = True
        self._may_be_busy = True
        self.latch.look_again()

    def work_out(
        self,
        ticks: Ticks,
        named: Mapping[str, Named],
        known: Mapping[str, Memory],
        channel: NDArray[np.int32],
    ) -> list[Turn]:
        """The turns that are taken at some ticks, by place and time.

        Args:
            ticks: All ticks at which one of ``names`` has a reading.
            named: What the channels that it names have there, and those of ``beside`` at each tick.
            known: What they had before.
            channel: int32[n], row of the channel that brought each tick about.
        """
        found = _Seen(ticks, np.empty(0, np.bool_), np.empty(0, np.bool_), _NONE, channel, [])
        if len(ticks):
            holds, over, since, *shown = self.formula.work_out(ticks, named, known)
            holds = holds & self._is_for[ticks.place]
            since_ns = np.rint(since * NS_PER_S).astype(np.int64)
            found = _Seen(ticks, holds, over, since_ns, channel, shown)
        turns = self._turn(found if self.silence is None else self._silenced(found, self.silence))
        if self._holds is not None and len(ticks):
            places = ticks.places
            is_busy = self.latch.is_open[places] | found.holds[ticks.last]
            self._is_busy[places] = is_busy
            self._may_be_busy = bool(self._is_busy.any())
            # Of what is over nothing needs to be known, nor to be written down.
            self.formula.forget(places[~is_busy])
        return turns

    def _turn(self, seen: _Seen) -> list[Turn]:
        """The turns that follow from what was seen."""
        ticks, since_ns = seen.ticks, seen.since_ns
        if not len(ticks):
            return []
        is_looked_at, broken_ns = self._is_for[ticks.place], np.full(len(ticks), NEVER_NS)
        if self._looked_at is not None:
            is_in, begin_ns, broken_ns = self._schedule(self._looked_at, ticks)
            is_looked_at = is_looked_at & is_in
            # It is as if nobody had looked before.
            since_ns = np.minimum(since_ns, ticks.time_ns - begin_ns)
        if self.silence is not None:
            is_silenced, free_ns = self.silence.at(ticks.place, ticks.time_ns)
            is_looked_at = is_looked_at & ~is_silenced
            since_ns = np.minimum(since_ns, ticks.time_ns - free_ns)
        opens = seen.holds & is_looked_at & (since_ns >= self._for_ns)
        ends = (seen.over & ~seen.holds) | ~is_looked_at
        found = Found(opens, ends & ~opens, broken_ns, ticks.time_ns - since_ns, seen.shown)
        return self.latch.go_on(ticks, found, seen.channel)

    def _silenced(self, seen: _Seen, silence: Silence) -> _Seen:
        """What was seen, and the times from which on it is silenced: an alarm ends there, too."""
        place, time_ns, channel = silence.begun()
        is_some = self.latch.is_open[place] | np.isin(place, seen.ticks.place)
        place, time_ns, channel = place[is_some], time_ns[is_some], channel[is_some]
        if not len(place):
            return seen
        ticks = seen.ticks
        every, every_ns = (
            np.concatenate([ticks.place, place]),
            np.concatenate([ticks.time_ns, time_ns]),
        )
        is_more = np.arange(len(every)) >= len(ticks)
        order = np.lexsort((is_more, every_ns, every))
        every, every_ns, is_more = every[order], every_ns[order], is_more[order]
        # Where there is a reading at that time it is seen there.
        is_kept = np.ones(len(every), np.bool_)
        is_kept[1:] = (every[1:] != every[:-1]) | (every_ns[1:] != every_ns[:-1])
        order = order[is_kept]

        def with_more(own: NDArray[_Any], more: NDArray[_Any]) -> NDArray[_Any]:
            found: NDArray[_Any] = np.concatenate([own, more])[order]
            return found

        none, zero = np.zeros(len(place), np.bool_), np.zeros(len(place), np.int64)
        unknown = np.full(len(place), np.nan)
        return _Seen(
            Ticks(every[is_kept], every_ns[is_kept], ticks.lasts_ns),
            with_more(seen.holds, none),
            with_more(seen.over, none),
            with_more(seen.since_ns, zero),
            with_more(seen.channel, channel),
            [with_more(each, unknown) for each in seen.shown] or [unknown for _ in self._shown],
        )

    def _schedule(
        self, looked_at: Stretches, ticks: Ticks
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
        """How the schedule is at some ticks.

        Returns:
            bool[n], whether it is looked at there; int64[n], since when that is so or not; and
            int64[n], when what was open before a tick has ended because the schedule has;
            ``NEVER_NS`` where it has not.
        """
        is_in, begin_ns, end_ns = looked_at.at(ticks.time_ns)
        # Before a place's first tick it is as it was when the alarm opened that is open there.
        _, opened_ns, until_ns = looked_at.at(self.latch.opened_ns[ticks.places])
        has_ended = _one_before(ticks, begin_ns, opened_ns) != begin_ns
        until_ns = _one_before(ticks, end_ns, until_ns)
        return is_in, begin_ns, np.where(has_ended, until_ns, NEVER_NS)

    def until_ns(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[p]: when the alarms that are open there end by the schedule; NEVER_NS for none."""
        found = np.full(len(places), NEVER_NS)
        if self._looked_at is not None:
            is_in, _, end_ns = self._looked_at.at(self.latch.opened_ns[places])
            has_end = is_in & self.latch.is_open[places]
            found[has_end] = np.minimum(end_ns[has_end], NEVER_NS)
        return found

    def end_until(
        self, places: NDArray[np.int64], passed_ns: NDArray[np.int64], channel: NDArray[np.int32]
    ) -> list[Turn]:
        """End what the schedule has ended.

        Args:
            places: int64[p], rising.
            passed_ns: int64[p], up to when nothing can come any more there.
            channel: int32[p], row of a channel of each.
        """
        until_ns = self.until_ns(places)
        some = np.flatnonzero((until_ns <= passed_ns) & (until_ns < NEVER_NS))
        if not len(some):
            return []
        ticks = Ticks(places[some], until_ns[some], 0)
        none, all_ = np.zeros(len(some), np.bool_), np.ones(len(some), np.bool_)
        nothing = [np.full(len(some), np.nan) for _ in self._shown]
        found = Found(none, all_, np.full(len(some), NEVER_NS), until_ns[some], nothing)
        return self.latch.go_on(ticks, found, channel[some])

    @property
    def silencer(self) -> Silencer:
        """What it is to rules that its alarms silence."""
        return Silencer(self.latch, self._looked_at)

    def may_be_silenced(self) -> bool:
        """Whether an alarm that is open may end by what others have brought about."""
        return (
            self.silence is not None and self.latch.has_open and bool(len(self.silence.begun()[0]))
        )

    @property
    def is_scheduled(self) -> bool:
        """Whether it is not always looked at."""
        return self._looked_at is not None

    @property
    def open_alarms(self) -> int:
        """How many are open."""
        return int(np.count_nonzero(self.latch.is_open))


def _one_before(ticks: Ticks, value: NDArray[_Any], known: NDArray[_Any]) -> NDArray[_Any]:
    """[n]: what the tick before each has; of a place's first what is known of the place, [p]."""
    found = np.empty(len(ticks), value.dtype)
    found[1:] = value[:-1]
    found[ticks.starts] = known
    return found
