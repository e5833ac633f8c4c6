"""Expressions over many times at once, and what they remember."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.expressions.nodes import OF_CONDITION, OVER_SPAN, OVER_TIME, Node
from headgate.core.expressions.pointwise import Values, work_out
from headgate.core.runs import runs
from streams.stages.arrays import NO_TIME_NS
from streams.stages.blocks import number_of
from streams.stages.columns import StateColumns
from streams.stages.count.walk import Walk, steps_to
from streams.stages.derive.spans import Span, View
from streams.stages.derive.ticks import Ticks, seconds

#: Names of functions of a span, as a node has them.
_OVER = tuple(f"{each} over" for each in OVER_SPAN)

#: Of what is remembered, by place: the latest value, or what a counter counts, how many readings
#: in a row have been below that, and the lowest of them; a sum; and what came of it all.
_VALUE, _BELOW, _LOWEST, _RESULT = range(4)
_SUM = _BELOW

#: The time of the latest value, or since when a condition holds; and of the latest tick.
_AT, _TICK = range(2)


@dataclass(frozen=True, slots=True)
class Named:
    """What is known of a channel that formulas name.

    Attributes:
        is_new: bool[n], ticks at which it has a reading.
        value: float64[n], the value there; NaN where that of a derived channel is missing.
    """

    is_new: NDArray[np.bool_]
    value: NDArray[np.float64]

    def take(self, rows: NDArray[np.intp]) -> Named:
        """The same at some of the ticks."""
        return Named(self.is_new[rows], self.value[rows])


class Memory(StateColumns):
    """What a channel, or a part of an expression, is remembered by; a row for each place."""

    def __init__(self) -> None:
        super().__init__(number=np.full(4, np.nan), time_ns=np.full(2, NO_TIME_NS, np.int64))


@dataclass(frozen=True, slots=True)
class _Part:
    """What was worked out of a part of an expression.

    Attributes:
        value: float64[n] or bool[n]; one for all where it is the same.
        is_new: bool[n], ticks at which something new came into it.
    """

    value: Values
    is_new: NDArray[np.bool_]


_Function: TypeAlias = Callable[[Node, Ticks, _Part], Values]


class Formula:
    """Works out some expressions at the same times.

    Args:
        feed: The feed whose channels they name.
        whose: What tells what they remember from what other formulas do.
        expressions: What is worked out.
        lasts_ns: For how long a channel's value counts.
    """

    def __init__(
        self, feed: FeedConfig, whose: Sequence[str], expressions: Sequence[Node], lasts_ns: int
    ) -> None:
        #: The channels that they name, each once.
        self.names = tuple(dict.fromkeys(name for each in expressions for name in each.names))
        self.lasts_ns = lasts_ns
        self._expressions = tuple(expressions)
        self._walks = {
            each: Walk.of(feed, each)
            for each in self.names
            if each in feed.channels and feed.channels[each].counter is not None
        }
        #: By the numbers of their kind, what parts of the expression remember.
        self.memories: dict[int, Memory] = {}
        self.spans: dict[int, Span] = {}
        self._number: dict[Node, int] = {}
        # By the number of a span, what the ticks at hand look back at.
        self._views: dict[int, View] = {}
        for part in (part for each in self._expressions for part in each.walk()):
            if part.op not in (*OVER_TIME, *OF_CONDITION, *_OVER) or part in self._number:
                continue
            # Functions of the same values over the same span look at one memory.
            form = f"{part.args[0]} over {part.span_ns}" if part.op in _OVER else str(part)
            what = [*whose, form, *described(feed, *part.names)]
            self._number[part] = number = number_of(*what)
            if part.op in _OVER:
                self.spans.setdefault(number, Span(part.span_ns))
            else:
                self.memories[number] = Memory()
        steps: Mapping[str, _Function] = dict.fromkeys(("previous", "delta", "rate"), self._step)
        self._functions: dict[str, _Function] = {
            **steps,
            "integral": self._integral,
            "age": self._age,
            "since": self._since,
            "hold": self._since,
            **dict.fromkeys(_OVER, self._over),
        }

    def work_out(
        self, ticks: Ticks, named: Mapping[str, Named], known: Mapping[str, Memory]
    ) -> list[Values]:
        """What the expressions give at each tick.

        Args:
            ticks: All ticks at which something happens that they look at.
            named: What the channels that they name have there.
            known: What they had before.

        Returns:
            float64[n] or bool[n] for each; numbers are NaN where they are missing.
        """
        done: dict[Node, _Part] = {}
        self._views.clear()
        # What is too large for a number is missing, and no news.
        with np.errstate(all="ignore"):
            parts = [self._part(each, ticks, named, known, done) for each in self._expressions]
        self._views.clear()
        return [np.broadcast_to(part.value, len(ticks)) for part in parts]

    def since(self, node: Node) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Since when a condition holds, of which it works that out, and when that was last seen.

        Returns:
            int64[places] each; ``NO_TIME_NS`` where it does not hold.
        """
        memory = self.memories[self._number[node]]["time_ns"]
        return memory[:, _AT], memory[:, _TICK]

    def grow(self, places: int) -> None:
        """Make room for so many places."""
        for memory in self.memories.values():
            memory.grow(places)
        for span in self.spans.values():
            span.lost.grow(places)

    def forget(self, places: NDArray[np.int64]) -> None:
        """Let nothing be known of these places, each once and rising."""
        for memory in self.memories.values():
            memory.forget(places)
        for span in self.spans.values():
            span.forget(places)

    def go_back(self, places: NDArray[np.int64]) -> None:
        """Forget when anything was at these places. What counters count stays."""
        counts = {
            number: memory["number"][places]
            for part, number in self._number.items()
            if self._walk(part) is not None and (memory := self.memories[number])
        }
        self.forget(places)
        for number, count in counts.items():
            self.memories[number]["number"][places, : _LOWEST + 1] = count[:, : _LOWEST + 1]

    def _part(
        self,
        node: Node,
        ticks: Ticks,
        named: Mapping[str, Named],
        known: Mapping[str, Memory],
        done: dict[Node, _Part],
    ) -> _Part:
        """What a part of the expression gives, worked out once however often it stands there."""
        if node in done:
            return done[node]
        if node.op == "name":
            new, memory = named[node.name], known[node.name]
            before, before_ns = memory["number"][:, _VALUE], memory["time_ns"][:, _AT]
            held = ticks.held(new.is_new, new.value, before, before_ns)
            found = _Part(held, new.is_new)
        elif node.op == "number":
            found = _Part(np.array(node.number), np.zeros(len(ticks), np.bool_))
        else:
            args = [self._part(each, ticks, named, known, done) for each in node.args]
            is_new = np.logical_or.reduce([each.is_new for each in args])
            function = self._functions.get(node.op)
            if function is None:
                found = _Part(work_out(node.op, tuple(each.value for each in args)), is_new)
            else:
                value = function(node, ticks, args[0])
                is_always = node.op in ("age", *OF_CONDITION)
                found = _Part(value, np.ones_like(is_new) if is_always else is_new)
        done[node] = found
        return found

    def _walk(self, node: Node) -> Walk | None:
        """How it is gone over a counter's readings, where the steps of one are asked for."""
        is_step = node.op in ("delta", "rate") and node.args[0].op == "name"
        return self._walks.get(node.args[0].name) if is_step else None

    def _step(self, node: Node, ticks: Ticks, part: _Part) -> Values:
        """Of the latest value, the one before, what it is more, or that a second."""
        value, rows = _values(ticks, part)
        memory, place = self.memories[self._number[node]], ticks.place[rows]
        before_ns = _before(ticks, rows, ticks.time_ns[rows], memory["time_ns"][:, _AT])
        walk = self._walk(node)
        result = memory["number"][:, _RESULT].copy()
        if walk is None:
            before = _before(ticks, rows, value, memory["number"][:, _VALUE])
            found = before if node.op == "previous" else value - before
        else:
            found = _counted(walk, memory, place, value)
        if node.op == "rate":
            took_ns = np.where(before_ns > NO_TIME_NS, ticks.time_ns[rows] - before_ns, 0)
            found = found / np.where(took_ns > 0, seconds(took_ns), np.nan)
        if walk is None:
            ends = ticks.ends(rows)
            memory["number"][place[ends], _VALUE] = value[ends]
        return _hold(ticks, rows, found, result, memory)

    def _integral(self, node: Node, ticks: Ticks, part: _Part) -> Values:
        """The sum of the area below the values; a gap longer than values count adds nothing.

        Nor does what would make it larger than a number can be: there it is missing.
        """
        value, rows = _values(ticks, part)
        memory, place = self.memories[self._number[node]], ticks.place[rows]
        before = _before(ticks, rows, value, memory["number"][:, _VALUE])
        before_ns = _before(ticks, rows, ticks.time_ns[rows], memory["time_ns"][:, _AT])
        has_before = before_ns > NO_TIME_NS
        took_ns = np.where(has_before, ticks.time_ns[rows] - before_ns, 0)
        is_bridged = has_before & (took_ns <= self.lasts_ns)
        area = np.where(is_bridged, (before / 2 + value / 2) * seconds(took_ns), 0.0)
        starts, lengths = runs(place)
        result = memory["number"][:, _RESULT].copy()
        total = memory["number"][place[starts], _SUM]
        found, total = _sums(area, starts, lengths, np.where(np.isnan(total), 0.0, total))
        ends = starts + lengths - 1
        memory["number"][place[ends], _VALUE] = value[ends]
        memory["number"][place[ends], _SUM] = total
        return _hold(ticks, rows, found, result, memory)

    def _age(self, node: Node, ticks: Ticks, part: _Part) -> Values:
        """Seconds since the latest value."""
        _, rows = _values(ticks, part)
        at_ns = self.memories[self._number[node]]["time_ns"][:, _AT]
        is_row = np.zeros(len(ticks), np.bool_)
        is_row[rows] = True
        latest = ticks.latest(is_row)
        latest_ns = np.where(latest < 0, at_ns[ticks.place], ticks.time_ns[latest])
        at_ns[ticks.places] = latest_ns[ticks.last]
        age_ns = np.where(latest_ns > NO_TIME_NS, ticks.time_ns - latest_ns, 0)
        return np.where(latest_ns > NO_TIME_NS, seconds(age_ns), np.nan)

    def _since(self, node: Node, ticks: Ticks, part: _Part) -> Values:
        """For how many seconds a condition holds; or whether it has for a span."""
        holds = np.broadcast_to(part.value, len(ticks))
        memory = self.memories[self._number[node]]["time_ns"]
        held = ticks.one_before(holds, memory[:, _AT] > NO_TIME_NS)
        before_ns = ticks.one_before(ticks.time_ns, memory[:, _TICK])
        is_gap = ticks.time_ns - np.maximum(before_ns, NO_TIME_NS) > self.lasts_ns
        begun = ticks.latest(holds & (~held | is_gap))
        begun_ns = np.where(begun < 0, memory[ticks.place, _AT], ticks.time_ns[begun])
        span_ns = np.where(holds, ticks.time_ns - begun_ns, 0)
        last = ticks.last
        memory[ticks.places, _AT] = np.where(holds[last], begun_ns[last], NO_TIME_NS)
        # What does not hold has no gap: nothing is remembered of it.
        memory[ticks.places, _TICK] = np.where(holds[last], ticks.time_ns[last], NO_TIME_NS)
        return holds & (span_ns >= node.span_ns) if node.op == "hold" else seconds(span_ns)

    def _over(self, node: Node, ticks: Ticks, part: _Part) -> Values:
        """What a function gives of the values of a span."""
        number = self._number[node]
        if number not in self._views:
            value, rows = _values(ticks, part)
            self._views[number] = self.spans[number].look_back(ticks, rows, value)
        found = self._views[number].of(node.op.removesuffix(" over"))
        return np.where(np.isfinite(found), found, np.nan)


def as_given(max_age: int | None) -> str:
    """A ``max_age`` as it was given.

    A window more or less, which what is not given follows from, makes no new formula.
    """
    return "" if max_age is None else str(max_age)


def described(feed: FeedConfig, *names: str) -> list[str]:
    """What the values of channels mean: what is remembered of others is not taken up.

    Of derived ones that is what they are worked out from, too, down to what devices send.
    """
    found: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        own = feed.derived.get(name)
        if own is None:
            channel = feed.channel(name)
            found[name] = f"{channel.line()} {channel.kept_unit} {channel.counter}"
        else:
            found[name] = f"{own.expression} {own.unit} {own.to}"
            waiting += own.expression.names
    return [part for each in found.items() for part in each]


def _values(ticks: Ticks, part: _Part) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The new values of a part, and the ticks at which they are."""
    value = np.broadcast_to(part.value, len(ticks))
    rows = np.flatnonzero(part.is_new & ~np.isnan(value))
    return value[rows], rows


def _before(ticks: Ticks, rows: NDArray[np.intp], value: Values, known: Values) -> Values:
    """[r]: of each of these ticks what the one before it has; of a place's first what is known."""
    at = ticks.before(rows)
    found: Values = np.where(at < 0, known[ticks.place[rows]], value[at] if len(at) else value)
    return found


def _counted(
    walk: Walk, memory: Memory, place: NDArray[np.int64], value: NDArray[np.float64]
) -> NDArray[np.float64]:
    """float64[n]: how much more a counter has counted at each of its readings."""
    starts, lengths = runs(place)
    numbers = memory["number"]
    slots = place[starts]
    numbers[slots, _BELOW] = np.nan_to_num(numbers[slots, _BELOW])
    now = {
        "count": numbers[:, _VALUE],
        "below": numbers[:, _BELOW],
        "lowest": numbers[:, _LOWEST],
    }
    is_first = np.zeros(len(place), np.bool_)
    is_first[starts] = np.isnan(numbers[slots, _VALUE])
    rise_back = np.full(len(slots), walk.rise_back)
    steps = steps_to(value, (starts, lengths), slots, now, rise_back, lambda _: walk)
    found = steps.count - steps.before + steps.lifted
    found[is_first] = np.nan
    return found


def _hold(
    ticks: Ticks,
    rows: NDArray[np.intp],
    found: NDArray[np.float64],
    result: NDArray[np.float64],
    memory: Memory,
) -> NDArray[np.float64]:
    """float64[n]: what was found at some ticks as it counts at all of them; and remember it."""
    is_row = np.zeros(len(ticks), np.bool_)
    is_row[rows] = True
    every = np.full(len(ticks), np.nan)
    every[rows] = np.where(np.isfinite(found), found, np.nan)
    held = ticks.held(is_row, every, result, memory["time_ns"][:, _AT])
    ends = rows[ticks.ends(rows)]
    memory["number"][ticks.place[ends], _RESULT] = every[ends]
    memory["time_ns"][ticks.place[ends], _AT] = ticks.time_ns[ends]
    return held


def _sums(
    value: NDArray[np.float64],
    starts: NDArray[np.intp],
    lengths: NDArray[np.intp],
    initial: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Running sums of groups, each added one by one, so that no cut changes them.

    Returns:
        float64[n], the sum at each value; NaN where that is not added because it would be no
        number any more. And float64[g], the sum in the end.
    """
    found = np.empty(len(value))
    total = initial.copy()
    if len(starts) and len(starts) < int(lengths.max()):
        for at, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
            part = value[start : start + length]
            found[start : start + length], total[at] = _running_sum(part, float(total[at]))
        return found, total
    for rank in range(int(lengths.max()) if len(lengths) else 0):
        has = np.flatnonzero(lengths > rank)
        more = total[has] + value[starts[has] + rank]
        is_number = np.isfinite(more)
        total[has] = np.where(is_number, more, total[has])
        found[starts[has] + rank] = np.where(is_number, more, np.nan)
    return found, total


def _running_sum(value: NDArray[np.float64], total: float) -> tuple[NDArray[np.float64], float]:
    """One group of ``_sums``."""
    found = np.cumsum(np.concatenate([[total], value]))[1:]
    if np.isfinite(found).all():
        return found, float(found[-1])
    for at, each in enumerate(value.tolist()):
        more = total + each
        is_number = math.isfinite(more)
        total = more if is_number else total
        found[at] = more if is_number else math.nan
    return found, total
