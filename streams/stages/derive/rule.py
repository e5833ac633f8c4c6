"""One rule: when its condition begins an alarm at a place, and when that is over.

An alarm is open from the tick at which the condition has held for long enough to the one at which
it has been over for long enough, whatever is in between (a latch). What is not known neither begins
nor ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from headgate.config.derived import usual_age_ns
from headgate.config.feed import FeedConfig
from headgate.config.rule import RuleConfig
from headgate.core.clock import NS_PER_S
from headgate.core.expressions.nodes import Node
from headgate.core.expressions.pointwise import Values, compiled
from headgate.core.grown import grown
from headgate.core.stretches import Stretches
from streams.stages.arrays import NEVER_NS, NO_TIME_NS
from streams.stages.blocks import number_of
from streams.stages.derive.formula import Formula, Memory, Named, as_given
from streams.stages.derive.latch import Found, Latch, Turn
from streams.stages.derive.seen import Seen, nothing_seen
from streams.stages.derive.silence import Silence, Silencer
from streams.stages.derive.ticks import Ticks
from streams.stages.derive.timed import Passing, Standing, Timing, joined

_Any = TypeVar("_Any", bound=np.generic)

#: Of a channel's name, places, times, and for how long a value counts: what is known.
ValueAt: TypeAlias = Callable[[str, NDArray[np.int64], NDArray[np.int64], int], NDArray[np.float64]]

#: No ticks, and no places.
_NONE = np.empty(0, np.intp)
_NOWHERE = np.empty(0, np.int64)

#: A condition that never holds: with it, nothing is known of one that is switched off.
_NEVER = Node("<", (Node("number", number=1.0), Node("number", number=0.0)))


class Rule:
    """Works out one rule of one feed.

    Args:
        feed_name: The feed.
        feed: Its configuration.
        name: The rule.
        rule: What it says.
        looked_at: When it is looked at; None: always.
        silences: Whether its alarms silence other rules.
        silence: What silences it, of the same places; None: nothing.
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
        silence: Silence | None = None,
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
        self._condition_names = condition.names
        self._since = Node("since", (condition,))
        # What is over while nobody asks for how long needs no memory of when that began.
        self._over_since = Node("since", (rule.over,)) if rule.clear_for else None
        shown = [Node("name", name=each) for each in rule.shown]
        over_since = [] if self._over_since is None else [self._over_since]
        self.formula = Formula(
            feed,
            (feed_name, "rule", name, as_given(rule.max_age)),
            [condition, rule.over, self._since, *shown, *over_since],
            rule.lasts_ns(usual_age_ns(feed)),
        )
        #: Which alarms are open. What the rule says may change under them.
        self.latch = Latch(
            name,
            number_of(feed_name, "rule", name),
            {each: number_of(feed_name, "rule", name, "text", each) for each in rule.shown},
            silences=silences,
        )
        self._silence = silence
        self._timing = Timing(rule.for_, rule.clear_for, looked_at, silence)
        self._stands_ns = min(rule.stands_ns(feed), self.formula.lasts_ns)
        #: By place, when it must be looked at next though no reading comes; ``NEVER_NS``: never.
        self.due_ns = np.empty(0, np.int64)
        # The earliest of these, or earlier.
        self._first_due_ns = NEVER_NS
        # Places at which that may be another now.
        self._changed: list[NDArray[np.int64]] = []

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
        self.due_ns = grown(self.due_ns, len(devices), NEVER_NS)
        for _, memory in self.latch.memories():
            memory.grow(len(devices))

    def forget(self, places: NDArray[np.int64]) -> None:
        """Let nothing be known of these places."""
        self.due_ns[places] = NEVER_NS
        for _, memory in self.latch.memories():
            memory.forget(places)

    def go_back(self, places: NDArray[np.int64]) -> None:
        """Note that it is not known any more when anything was at these places."""
        self.due_ns[places] = NEVER_NS
        self.latch.go_back(places)

    def look_again(self, places: NDArray[np.int64]) -> None:
        """Note that what is remembered of these places has been changed from outside."""
        self._changed.append(places)
        self._is_busy[:] = True
        self._may_be_busy = True
        self.latch.look_again()

    def work_out(
        self,
        ticks: Ticks,
        named: Mapping[str, Named],
        known: Mapping[str, Memory],
        channel: NDArray[np.int32],
        passing: Passing,
        value_at: ValueAt,
    ) -> list[Turn]:
        """The turns that are taken at some ticks, and between them, by place and time.

        Args:
            ticks: All ticks at which one of ``names`` has a reading.
            named: What the channels that it names have there, and those of ``beside`` at each tick.
            known: What they had before.
            channel: int32[n], row of the channel that brought each tick about.
            passing: How time passes, there and at other places.
            value_at: Gives float64[n], what is known of a channel at n places and times, NaN where
                that is older than so many ns.
        """
        standing = self._before(ticks, known, passing) if self._timing.is_ever else []
        seen = nothing_seen(len(self._shown))
        if len(ticks):
            seen, over_ns = self._seen(ticks, named, known, channel)
            if self._timing.is_ever:
                standing += self._after(seen, over_ns, named, known, passing)
        found = seen.with_more(self._looks(joined(standing), value_at)) if standing else seen
        turns = self._turn(found if self._silence is None else self._silenced(found, self._silence))
        if self._holds is not None and len(ticks):
            places = ticks.places
            is_busy = self.latch.is_open[places] | seen.holds[ticks.last]
            self._is_busy[places] = is_busy
            self._may_be_busy = bool(self._is_busy.any())
            # Of what is over nothing needs to be known, nor to be written down.
            self.formula.forget(places[~is_busy])
        return turns

    def _seen(
        self,
        ticks: Ticks,
        named: Mapping[str, Named],
        known: Mapping[str, Memory],
        channel: NDArray[np.int32],
    ) -> tuple[Seen, NDArray[np.int64]]:
        """What is seen at ticks; and int64[n], since when it is over; ``NEVER_NS`` where not."""
        holds, over, since, *more = self.formula.work_out(ticks, named, known)
        holds = holds & self._is_for[ticks.place]
        over_ns = np.full(len(ticks), NEVER_NS)
        if self._over_since is not None:
            over_since_ns = _nanoseconds(more.pop())
            over_ns = np.where(over & ~holds, ticks.time_ns - over_since_ns, NEVER_NS)
            over = over & (over_since_ns >= self._timing.clear_for_ns)
        return Seen(ticks, holds, over, _nanoseconds(since), channel, more), over_ns

    def _passed(self, ticks: Ticks, passing: Passing) -> NDArray[np.int64]:
        """int64[p], rising: the places at which something may have happened without a reading."""
        places = ticks.places
        if self._first_due_ns < passing.latest_ns:
            due = np.flatnonzero(self.due_ns < passing.latest_ns)
            places = np.union1d(places, due[self.due_ns[due] < passing.until_of(due)])
            self._first_due_ns = int(self.due_ns.min())
        if self._silence is not None and self._silence.has_turned:
            held = np.flatnonzero(self.formula.since(self._since)[0] > NO_TIME_NS)
            places = np.union1d(places, held[passing.until_of(held) > NO_TIME_NS])
        self._changed.append(places)
        return places

    def _before(
        self, ticks: Ticks, known: Mapping[str, Memory], passing: Passing
    ) -> list[Standing]:
        """What was found before some ticks and counts until then; of places without, until now."""
        standing = self._remembered(self._passed(ticks, passing), passing)
        if not len(standing):
            return []
        place = standing.place
        if self._silence is not None:
            # What silenced it may be over by what came late: nobody has looked since then.
            after_ns = np.minimum(standing.after_ns, self._silence.turned_ns(place))
            standing = replace(standing, after_ns=np.maximum(standing.time_ns, after_ns))
        at = np.minimum(np.searchsorted(ticks.places, place), max(len(ticks.places) - 1, 0))
        is_seen = ticks.places[at] == place if len(ticks) else np.zeros(len(place), np.bool_)
        next_ns = passing.until_of(place)
        next_ns[is_seen] = ticks.time_ns[ticks.starts[at[is_seen]]]
        return self._lasting(standing.until(next_ns), lambda name: known[name]["time_ns"][place, 0])

    def _after(
        self,
        seen: Seen,
        over_ns: NDArray[np.int64],
        named: Mapping[str, Named],
        known: Mapping[str, Memory],
        passing: Passing,
    ) -> list[Standing]:
        """What is found at ticks and counts until the next one of the place, or until now."""
        if not seen.holds.any() and not (over_ns < NEVER_NS).any():
            return []
        ticks = seen.ticks
        begun_ns = np.where(seen.holds, ticks.time_ns - seen.since_ns, NEVER_NS)
        next_ns = np.empty(len(ticks), np.int64)
        next_ns[:-1] = ticks.time_ns[1:]
        next_ns[ticks.last] = passing.until_of(ticks.places)
        time_ns = ticks.time_ns
        standing = Standing(ticks.place, time_ns, time_ns, next_ns, begun_ns, over_ns, seen.channel)
        return self._lasting(
            standing,
            lambda name: ticks.latest_ns(named[name].is_new, known[name]["time_ns"][:, 0]),
        )

    def _remembered(self, places: NDArray[np.int64], passing: Passing) -> Standing:
        """What was found last at some places, and that the condition holds, or is over."""
        begun_ns, time_ns = (each[places] for each in self.formula.since(self._since))
        holds = (begun_ns > NO_TIME_NS) & self._is_for[places]
        over_ns = np.full(len(places), NEVER_NS)
        if self._over_since is not None:
            begun_over_ns, at_ns = (each[places] for each in self.formula.since(self._over_since))
            is_over = ~holds & (begun_over_ns > NO_TIME_NS) & self.latch.is_open[places]
            over_ns = np.where(is_over, begun_over_ns, NEVER_NS)
            time_ns = np.where(is_over, at_ns, time_ns)
        some = np.flatnonzero(holds | (over_ns < NEVER_NS))
        places, time_ns = places[some], time_ns[some]
        return Standing(
            places,
            time_ns,
            np.maximum(time_ns, passing.since_of(places) - 1),
            np.full(len(places), NEVER_NS),
            np.where(holds, begun_ns, NEVER_NS)[some],
            over_ns[some],
            passing.channel[places],
        )

    def _lasting(
        self, standing: Standing, latest_of: Callable[[str], NDArray[np.int64]]
    ) -> list[Standing]:
        """What stands, where anything may come of it, while it counts.

        Args:
            standing: n rows.
            latest_of: Gives int64[n], the times of what is known of a channel then.
        """
        rows = np.flatnonzero(self._timing.may_look(standing))
        if not len(rows):
            return []
        some = standing.take(rows)
        latest = (latest_of(name)[rows] for name in self.names)
        return [some.until(self._counts_until(some.time_ns, latest))]

    def _counts_until(
        self, time_ns: NDArray[np.int64], latest: Iterable[NDArray[np.int64]]
    ) -> NDArray[np.int64]:
        """int64[n]: before when what was found at some times counts.

        Args:
            time_ns: int64[n], the times.
            latest: Of each channel the times of what is known of it then.
        """
        lasts_ns = self.formula.lasts_ns
        until_ns = time_ns + self._stands_ns
        for latest_ns in latest:
            is_young = (latest_ns > NO_TIME_NS) & (time_ns - latest_ns <= lasts_ns)
            until_ns = np.where(is_young, np.minimum(until_ns, latest_ns + lasts_ns), until_ns)
        # At the last moment, too.
        return until_ns + 1

    def _looks(self, standing: Standing, value_at: ValueAt) -> Seen:
        """What is seen between readings."""
        rows, time_ns = self._timing.looks(standing)
        place, begun_ns = standing.place[rows], standing.begun_ns[rows]
        holds = begun_ns < NEVER_NS
        lasts_ns = self.formula.lasts_ns
        return Seen(
            Ticks(place, time_ns, lasts_ns),
            holds,
            ~holds,
            np.where(holds, time_ns - begun_ns, 0),
            standing.channel[rows],
            [value_at(name, place, time_ns, lasts_ns) for name in self._shown],
        )

    def look_ahead(self, known: Mapping[str, Memory], passing: Passing) -> None:
        """Find out when it must be looked at next though no reading comes.

        Args:
            known: What is known of the channels.
            passing: Since when time will pass.
        """
        if not self._timing.is_ever or not self._changed:
            return
        places = np.unique(np.concatenate(self._changed))
        self._changed = []
        self.due_ns[places] = NEVER_NS
        standing = self._remembered(places, passing)
        place = standing.place
        for some in self._lasting(standing, lambda name: known[name]["time_ns"][place, 0]):
            rows, time_ns = self._timing.looks(some)
            at, begun_ns = some.place[rows], some.begun_ns[rows]
            is_open = self.latch.is_open[at] & (time_ns < self.until_ns(at))
            opens = self._timing.opens(at, time_ns, begun_ns) & ~is_open
            turns = np.where(begun_ns < NEVER_NS, opens, is_open)
            np.minimum.at(self.due_ns, at[turns], time_ns[turns])
        if len(places):
            self._first_due_ns = min(self._first_due_ns, int(self.due_ns[places].min()))

    def _turn(self, seen: Seen) -> list[Turn]:
        """The turns that follow from what was seen."""
        ticks = seen.ticks
        if not len(ticks):
            return []
        may_open, since_ns = self._timing.at(ticks.place, ticks.time_ns, seen.since_ns)
        is_looked_at = may_open & self._is_for[ticks.place]
        opens = seen.holds & is_looked_at & (since_ns >= self._timing.for_ns)
        # What comes late, from before it opened, ends it by what it says alone.
        is_late = self.latch.is_late(ticks)
        ends = (seen.over & ~seen.holds) | (~is_looked_at & ~is_late)
        start_ns = ticks.time_ns - since_ns
        broken_ns = self._broken_ns(ticks, is_late)
        found = Found(opens, ends & ~opens, broken_ns, start_ns, seen.shown)
        return self.latch.go_on(ticks, found, seen.channel)

    def _silenced(self, seen: Seen, silence: Silence) -> Seen:
        """What was seen, and the times from which on it is silenced: an alarm ends there, too."""
        place, time_ns, channel = silence.begun()
        is_some = self.latch.is_open[place] | np.isin(place, seen.ticks.place)
        place, time_ns, channel = place[is_some], time_ns[is_some], channel[is_some]
        if not len(place):
            return seen
        none, unknown = np.zeros(len(place), np.bool_), np.full(len(place), np.nan)
        since_ns = np.zeros(len(place), np.int64)
        ticks = Ticks(place, time_ns, 0)
        # Where there is a reading at that time it is seen there.
        return seen.with_more(
            Seen(ticks, none, none, since_ns, channel, [unknown] * len(self._shown))
        )

    def _broken_ns(self, ticks: Ticks, is_late: NDArray[np.bool_]) -> NDArray[np.int64]:
        """int64[n]: when what was open before a tick has ended because the schedule has.

        ``NEVER_NS`` where it has not.
        """
        if self._looked_at is None:
            return np.full(len(ticks), NEVER_NS)
        time_ns = np.where(is_late, self.latch.opened_ns[ticks.place], ticks.time_ns)
        _, begin_ns, end_ns = self._looked_at.at(time_ns)
        # Before a place's first tick it is as it was when the alarm opened that is open there.
        _, opened_ns, until_ns = self._looked_at.at(self.latch.opened_ns[ticks.places])
        has_ended = _one_before(ticks, begin_ns, opened_ns) != begin_ns
        return np.where(has_ended, _one_before(ticks, end_ns, until_ns), NEVER_NS)

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

    def may_turn(self, passing: Passing) -> bool:
        """Whether an alarm may open, or be over, as time passes, or by what others do."""
        is_silenced_anew = self._silence is not None and self._silence.has_turned
        return self._first_due_ns < passing.latest_ns or is_silenced_anew

    @property
    def is_timed(self) -> bool:
        """Whether time may bring anything about."""
        return self._timing.is_ever

    def awaited(self) -> NDArray[np.int64]:
        """Places at which the condition holds."""
        places = len(self._is_for)
        return np.flatnonzero(self.formula.since(self._since)[0][:places] > NO_TIME_NS)

    @property
    def is_scheduled(self) -> bool:
        """Whether it is not always looked at."""
        return self._looked_at is not None

    @property
    def open_alarms(self) -> int:
        """How many are open."""
        return int(np.count_nonzero(self.latch.is_open))


def _nanoseconds(span_s: Values) -> NDArray[np.int64]:
    """Spans of time in nanoseconds."""
    found: NDArray[np.int64] = np.rint(span_s * NS_PER_S).astype(np.int64)
    return found


def _one_before(ticks: Ticks, value: NDArray[_Any], known: NDArray[_Any]) -> NDArray[_Any]:
    """[n]: what the tick before each has; of a place's first what is known of the place, [p]."""
    found = np.empty(len(ticks), value.dtype)
    found[1:] = value[:-1]
    found[ticks.starts] = known
    return found
