"""Derived channels worked out one reading after the other, by looking back at all there were."""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from typing import Any, TypeAlias

from headgate.config.derived import in_order
from headgate.config.feed import FeedConfig
from headgate.core.clock import NS_PER_S
from headgate.core.expressions.nodes import CHAINS, OVER_SPAN, Node

_NAN = math.nan

#: A number, or a condition.
_Value: TypeAlias = float | bool

#: (event time, value), the earliest first.
_History = list[tuple[int, float]]

_CONDITIONS: Mapping[str, Callable[..., Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": lambda one, other: one < other or one > other,
    "and": lambda *parts: all(parts),
    "or": lambda *parts: any(parts),
    "not": operator.not_,
    "isnan": math.isnan,
    "between": lambda value, low, high: low <= value <= high,
}

_NUMBERS: Mapping[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
    "**": operator.pow,
    "negative": operator.neg,
    "abs": abs,
    "min": min,
    "max": max,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "round": round,
    "clip": lambda value, low, high: min(max(value, low), high),
    "number": lambda value: value,
}


@dataclass
class Slowly:
    """One device.

    Attributes:
        feed: Its feed.
        most: Readings that a span may have.
    """

    feed: FeedConfig
    most: int
    channels: dict[str, _History] = field(default_factory=dict)
    parts: dict[tuple[str, Node], _History] = field(default_factory=dict)
    #: Of each condition what it was: (event time, whether it held).
    conditions: dict[tuple[str, Node], list[tuple[int, bool]]] = field(default_factory=dict)
    sums: dict[tuple[str, Node], float] = field(default_factory=dict)

    def take(self, time_ns: int, values: Mapping[str, float]) -> dict[str, float]:
        """What comes of the readings of one time, which is later than all before."""
        new = dict(values)
        for name, value in values.items():
            self.channels.setdefault(name, []).append((time_ns, value))
        found = {}
        for name in in_order({name: each.expression for name, each in self.feed.derived.items()}):
            own = self.feed.derived[name]
            if not set(own.expression.names) & new.keys():
                continue
            value = float(
                _One(self, name, own.lasts_ns(self.feed), time_ns, new).of(own.expression)
            )
            scale, offset = own.to_kept
            value = value * float(scale) + float(offset)
            found[name] = new[name] = value if math.isfinite(value) else _NAN
            self.channels.setdefault(name, []).append((time_ns, found[name]))
        return found


@dataclass
class _One:
    """Works out one channel at one time."""

    device: Slowly
    name: str
    lasts_ns: int
    time_ns: int
    new: Mapping[str, float]
    done: dict[Node, _Value] = field(default_factory=dict)

    def of(self, node: Node) -> _Value:
        """The value of a part."""
        if node not in self.done:
            self.done[node] = self._of(node)
        return self.done[node]

    def _of(self, node: Node) -> _Value:
        own: Mapping[str, Callable[[Node], _Value]] = {
            "number": lambda node: node.number,
            "name": lambda node: self._held(self.device.channels.get(node.name, [])),
            **{f"{each} over": self._over for each in OVER_SPAN},
            "previous": self._step,
            "delta": self._step,
            "rate": self._step,
            "integral": self._integral,
            "age": self._age,
            "since": self._since,
            "hold": self._since,
        }
        if node.op in own:
            return own[node.op](node)
        args = [self.of(each) for each in node.args]
        if node.op in _CONDITIONS:
            return bool(_CONDITIONS[node.op](*args))
        if node.op == "if":
            return args[1] if args[0] else args[2]
        if any(math.isnan(each) for each in args):
            return _NAN
        try:
            operation = _NUMBERS[node.op]
            found = reduce(operation, args) if node.op in CHAINS else operation(*args)
        except (ZeroDivisionError, ValueError, OverflowError):
            return _NAN
        return found if isinstance(found, float) and math.isfinite(found) else _NAN

    def _held(self, history: _History) -> float:
        if not history or self.time_ns - history[-1][0] > self.lasts_ns:
            return _NAN
        return history[-1][1]

    def _values(self, node: Node) -> _History:
        """The values that a part has had so far."""
        (part,) = node.args
        history = self.device.parts.setdefault((self.name, node), [])
        value = float(self.of(part))
        is_new = bool(set(part.names) & self.new.keys())
        if is_new and not math.isnan(value) and (not history or history[-1][0] < self.time_ns):
            history.append((self.time_ns, value))
        return history

    def _step(self, node: Node) -> float:
        history = self._values(node)
        if len(history) < 2 or math.isnan(self._held(history)):
            return _NAN
        (before_ns, before), (at_ns, value) = history[-2:]
        if node.op == "previous":
            return before
        if node.op == "delta":
            return value - before
        return (value - before) / ((at_ns - before_ns) / NS_PER_S)

    def _integral(self, node: Node) -> float:
        history = self._values(node)
        total = found = 0.0
        for (before_ns, before), (at_ns, value) in pairwise(history):
            area = 0.0
            if at_ns - before_ns <= self.lasts_ns:
                area = (before / 2 + value / 2) * ((at_ns - before_ns) / NS_PER_S)
            found = total + area if math.isfinite(total + area) else _NAN
            total = total if math.isnan(found) else found
        return _NAN if math.isnan(self._held(history)) else found

    def _age(self, node: Node) -> float:
        history = self._values(node)
        return (self.time_ns - history[-1][0]) / NS_PER_S if history else _NAN

    def _since(self, node: Node) -> _Value:
        known = self.device.conditions.setdefault((self.name, node), [])
        known.append((self.time_ns, bool(self.of(node.args[0]))))
        begin_ns = self.time_ns
        for at_ns, holds in reversed(known):
            if not holds or begin_ns - at_ns > self.lasts_ns:
                break
            begin_ns = at_ns
        span_ns = self.time_ns - begin_ns
        if node.op == "hold":
            return known[-1][1] and span_ns >= node.span_ns
        return span_ns / NS_PER_S

    def _over(self, node: Node) -> float:
        history = self._values(node)
        values = [value for at_ns, value in history if at_ns > self.time_ns - node.span_ns]
        what = node.op.removesuffix(" over")
        if len(values) > self.device.most:
            return _NAN
        if what == "count":
            return float(len(values))
        if not values:
            return _NAN
        of: Mapping[str, Callable[[list[float]], float]] = {
            "mean": statistics.mean,
            "min": min,
            "max": max,
            "std": statistics.pstdev,
            # The sum of the two in the middle may be too large for a number, though they are not.
            "median": lambda values: 2 * statistics.median(value / 2 for value in values),
        }
        return float(of[what](values))
