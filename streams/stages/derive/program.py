"""The derived channels of one feed, and then its rules, worked out one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.config.derived import in_order
from headgate.config.feed import FeedConfig
from headgate.config.rule import RuleConfig, silencers_first
from headgate.core.stretches import Stretches
from streams.stages.arrays import NO_TIME_NS
from streams.stages.blocks import number_of
from streams.stages.derive.formula import (
    Formula,
    Memory,
    Named,
    as_given,
    described,
)
from streams.stages.derive.latch import Turn
from streams.stages.derive.rule import Rule
from streams.stages.derive.silence import Silence
from streams.stages.derive.spans import Span
from streams.stages.derive.ticks import Ticks, latest_up_to
from streams.stages.derive.timed import Passing


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


class _DerivedChannel:
    """One derived channel.

    Args:
        feed_name: The feed.
        feed: Its configuration.
        name: The channel.
    """

    def __init__(self, feed_name: str, feed: FeedConfig, name: str) -> None:
        own = feed.derived[name]
        self.name = name
        whose = (feed_name, name, as_given(own.max_age))
        self.formula = Formula(feed, whose, [own.expression], own.lasts_ns(feed))
        self._scale, self._offset = (float(each) for each in own.to_kept)

    def work_out(
        self, ticks: Ticks, named: Mapping[str, Named], known: Mapping[str, Memory]
    ) -> NDArray[np.float64]:
        """float64[n]: its value at each tick, in the unit that is kept; NaN where it is missing."""
        (found,) = self.formula.work_out(ticks, named, known)
        # What is too large for a number is missing, and no news.
        with np.errstate(all="ignore"):
            value = found.astype(np.float64) * self._scale + self._offset + 0.0
        value[~np.isfinite(value)] = np.nan
        return value


class Program:
    """Works out all derived channels of a feed, and its rules.

    Args:
        feed_name: The feed.
        feed: Its configuration.
        rules: Those that are for it.
        looked_at: By rule, when it is looked at, of those that are not always.
    """

    def __init__(
        self,
        feed_name: str,
        feed: FeedConfig,
        rules: Mapping[str, RuleConfig],
        looked_at: Mapping[str, Stretches],
    ) -> None:
        order = in_order({name: each.expression for name, each in feed.derived.items()})
        self._derived = [_DerivedChannel(feed_name, feed, name) for name in order]
        silencing = {name for rule in rules.values() for name in rule.suppressed_by}
        by_name: dict[str, Rule] = {}
        for name in silencers_first({name: rule.suppressed_by for name, rule in rules.items()}):
            silencers = [by_name[each].silencer for each in rules[name].suppressed_by]
            by_name[name] = Rule(
                feed_name,
                feed,
                name,
                rules[name],
                looked_at.get(name),
                silences=name in silencing,
                silence=Silence(silencers) if silencers else None,
            )
        self.rules = list(by_name.values())
        self._formulas = [
            *(each.formula for each in self._derived),
            *(each.formula for each in self.rules),
        ]
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
        passing: Passing,
    ) -> tuple[list[Made], list[Turn]]:
        """Take readings in, and let time pass.

        Args:
            ticks: Their places and times.
            tick: intp[r], which of these each reading is of.
            number: int64[r], which of ``inputs`` it is of.
            value: float64[r], none of them missing. Of several of one tick and input the last
                counts.
            channel: int32[r], row of its channel.
            passing: How time passes.

        Returns:
            Values of derived channels; and the turns that rules take.
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
        for derived in self._derived if len(ticks) else ():
            names = derived.formula.names
            rows, part, its = _part_of(ticks, derived.formula, named)
            found = derived.work_out(part, its, self._known)
            why = _why(its, names, cause, rows)
            made.append(Made(derived.name, part.place, part.time_ns, found, why))
            if derived.name in self._known:
                # What is missing is new, too: the value before it must not stand in for it.
                named[derived.name] = new = Named(
                    np.zeros(len(ticks), np.bool_), np.full(len(ticks), np.nan)
                )
                new.is_new[rows] = True
                new.value[rows] = found
                cause[derived.name] = np.full(len(ticks), -1, np.int32)
                cause[derived.name][rows] = why
        turns = self._rules_on(ticks, named, cause, passing)
        for name, memory in self._known.items():
            rows = np.flatnonzero(named[name].is_new)
            ends = rows[ticks.ends(rows)]
            memory["number"][ticks.place[ends], 0] = named[name].value[ends]
            memory["time_ns"][ticks.place[ends], 0] = ticks.time_ns[ends]
        return made, turns

    def _rules_on(
        self,
        ticks: Ticks,
        named: Mapping[str, Named],
        cause: Mapping[str, NDArray[np.int32]],
        passing: Passing,
    ) -> list[Turn]:
        """The turns that rules take, once all channels are worked out."""

        def value_at(
            name: str, place: NDArray[np.int64], time_ns: NDArray[np.int64], lasts_ns: int
        ) -> NDArray[np.float64]:
            return _value_at(ticks, named[name], self._known[name], place, time_ns, lasts_ns)

        turns: list[Turn] = []
        looked_at: dict[tuple[tuple[str, ...], int], _LookedAt] = {}
        for rule in self.rules:
            rule.latch.begin()
            key = (rule.names, rule.formula.lasts_ns)
            if key not in looked_at:
                looked_at[key] = _LookedAt(ticks, *key, named, self._known)
            every = looked_at[key]
            involved = rule.involved(every.part, every.held)
            rows = every.rows if involved is None else every.rows[involved]
            if not len(rows) and not rule.may_turn(passing):
                continue
            part = Ticks(ticks.place[rows], ticks.time_ns[rows], rule.formula.lasts_ns)
            its = {name: named[name].take(rows) for name in rule.formula.names}
            whole = Ticks(ticks.place, ticks.time_ns, rule.formula.lasts_ns)
            its |= {name: self._beside(whole, named[name], name).take(rows) for name in rule.beside}
            why = _why(its, rule.names, cause, rows)
            turns += rule.work_out(part, its, self._known, why, passing, value_at)
        return turns

    def _beside(self, ticks: Ticks, new: Named, name: str) -> Named:
        """What is known of a channel at each tick, as if it were new there."""
        return Named(np.ones(len(ticks), np.bool_), _held(ticks, new, self._known[name]))

    def grow(self, devices: Sequence[str]) -> None:
        """Make room for places, of the devices of these names."""
        places = len(devices)
        for memory in self._known.values():
            memory.grow(places)
        for formula in self._formulas:
            formula.grow(places)
        for rule in self.rules:
            rule.grow(devices)

    def forget(self, places: NDArray[np.int64]) -> None:
        """Let nothing be known of these places, each once and rising."""
        for memory in self._known.values():
            memory.forget(places)
        for formula in self._formulas:
            formula.forget(places)
        for rule in self.rules:
            rule.forget(places)

    def look_again(self, places: NDArray[np.int64]) -> None:
        """Note that what is remembered of these places has been changed from outside."""
        for rule in self.rules:
            rule.look_again(places)

    def go_back(self, places: NDArray[np.int64]) -> None:
        """Forget when anything was at these places. What counters count stays, and open alarms."""
        for memory in self._known.values():
            memory.forget(places)
        for formula in self._formulas:
            formula.go_back(places)
        for rule in self.rules:
            rule.go_back(places)

    def may_turn(self, passing: Passing) -> bool:
        """Whether an alarm may open, or be over, as time passes."""
        return any(rule.may_turn(passing) for rule in self.rules)

    def look_ahead(self, passing: Passing) -> None:
        """Find out when rules must be looked at next though no reading comes.

        Args:
            passing: Since when time will pass.
        """
        for rule in self.rules:
            rule.look_ahead(self._known, passing)

    @property
    def open_alarms(self) -> int:
        """Alarms that are open."""
        return sum(rule.open_alarms for rule in self.rules)

    def memories(self) -> Iterator[tuple[int, Memory]]:
        """All that is remembered as a row for each place, by the number of its kind."""
        for name, memory in self._known.items():
            yield self._number[name], memory
        for formula in self._formulas:
            yield from formula.memories.items()
        for rule in self.rules:
            yield from rule.latch.memories()

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


def programs_of(
    feeds: Mapping[str, FeedConfig],
    rules: Mapping[str, RuleConfig],
    looked_at: Mapping[str, Stretches],
) -> dict[str, Program]:
    """By feed, those that have derived channels or rules."""
    of = {
        feed: {name: rule for name, rule in rules.items() if rule.when and feed in rule.feed}
        for feed in feeds
    }
    return {
        name: Program(name, feed, of[name], looked_at)
        for name, feed in feeds.items()
        if feed.derived or of[name]
    }


class _LookedAt:
    """The ticks at which some channels have a reading: what rules on these channels look at.

    Args:
        ticks: All ticks.
        names: The channels.
        lasts_ns: For how long a channel's value counts.
        named: What all channels have at all ticks.
        known: What they had before.
    """

    def __init__(
        self,
        ticks: Ticks,
        names: Sequence[str],
        lasts_ns: int,
        named: Mapping[str, Named],
        known: Mapping[str, Memory],
    ) -> None:
        self.rows = _rows_of(names, named)
        self.part = Ticks(ticks.place[self.rows], ticks.time_ns[self.rows], lasts_ns)
        self._named = named
        self._known = known
        self._held: dict[str, NDArray[np.float64]] = {}

    def held(self, name: str) -> NDArray[np.float64]:
        """float64[n]: what is known of a channel at each of these ticks; NaN where nothing is."""
        if name not in self._held:
            self._held[name] = _held(
                self.part, self._named[name].take(self.rows), self._known[name]
            )
        return self._held[name]


def _held(ticks: Ticks, new: Named, memory: Memory) -> NDArray[np.float64]:
    """float64[n]: what is known of a channel at each tick, whether it has a reading there or not.

    Args:
        ticks: The ticks.
        new: What it has there.
        memory: What it had before.
    """
    before, before_ns = memory["number"][:, 0], memory["time_ns"][:, 0]
    return ticks.held(new.is_new, new.value, before, before_ns)


def _value_at(
    ticks: Ticks,
    new: Named,
    memory: Memory,
    place: NDArray[np.int64],
    time_ns: NDArray[np.int64],
    lasts_ns: int,
) -> NDArray[np.float64]:
    """float64[n]: what is known of a channel at n places and times; NaN where that is too old.

    Args:
        ticks: All ticks.
        new: What it has there.
        memory: What it had before.
        place: int64[n].
        time_ns: int64[n].
        lasts_ns: For how long a value counts.
    """
    rows = np.flatnonzero(new.is_new)
    at = latest_up_to(ticks.place[rows], ticks.time_ns[rows], place, time_ns)
    found: NDArray[np.float64] = memory["number"][place, 0]
    found_ns = memory["time_ns"][place, 0]
    is_new = at >= 0
    found[is_new] = new.value[rows[at[is_new]]]
    found_ns[is_new] = ticks.time_ns[rows[at[is_new]]]
    found[(found_ns == NO_TIME_NS) | (time_ns - found_ns > lasts_ns)] = np.nan
    return found


def _rows_of(names: Sequence[str], named: Mapping[str, Named]) -> NDArray[np.intp]:
    """intp[n]: the ticks at which some channels have a reading."""
    return np.flatnonzero(np.logical_or.reduce([named[name].is_new for name in names]))


def _part_of(
    ticks: Ticks, formula: Formula, named: Mapping[str, Named]
) -> tuple[NDArray[np.intp], Ticks, dict[str, Named]]:
    """The ticks at which a formula's channels have a reading, and what they have there."""
    rows = _rows_of(formula.names, named)
    part = Ticks(ticks.place[rows], ticks.time_ns[rows], formula.lasts_ns)
    return rows, part, {name: named[name].take(rows) for name in formula.names}


def _why(
    its: Mapping[str, Named],
    names: Sequence[str],
    cause: Mapping[str, NDArray[np.int32]],
    rows: NDArray[np.intp],
) -> NDArray[np.int32]:
    """int32[n]: of each tick the channel that brought it about: of several the first named."""
    why = np.full(len(rows), -1, np.int32)
    for name in reversed(names):
        is_new = its[name].is_new
        why[is_new] = cause[name][rows[is_new]]
    return why
