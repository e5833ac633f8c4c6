"""Whether a condition can hold, and can fail to, whatever the channels are.

Each number that is compared with constants is taken for one that may be anything, and each other
part for one that may hold or not, all apart from one another. So what can't hold then never does;
that the other may really be is not said.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise, product
from math import inf, prod
from typing import Final

from headgate.core.expressions.nodes import Node

#: More ways in which all of it may be are not looked at.
_MOST_WAYS: Final = 1024

_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

_Ways = Mapping[str, float | bool]


def can_hold(*conditions: Node) -> bool:
    """Whether these may hold all at once; true where that would take too long to say."""
    every: dict[str, set[float | bool]] = {}
    for condition in conditions:
        for name, values in _parts(condition):
            every.setdefault(name, set()).update(values)
    choices = [_values(each) for each in every.values()]
    if prod(map(len, choices)) > _MOST_WAYS:
        return True
    ways = (dict(zip(every, each, strict=True)) for each in product(*choices))
    return any(all(_holds(each, way) for each in conditions) for way in ways)


def can_fail(condition: Node) -> bool:
    """Whether it may not hold; true where that would take too long to say."""
    return can_hold(Node("not", (condition,)))


def _values(found: set[float | bool]) -> list[float | bool]:
    """What a part may be: that it holds or not; or a number around each of some, and each."""
    if found == {True, False} and all(isinstance(each, bool) for each in found):
        return [False, True]
    edges = sorted(map(float, found))
    between = [one / 2 + other / 2 for one, other in pairwise(edges)]
    return [-inf, *edges, *between, inf]


def _parts(condition: Node) -> Iterator[tuple[str, tuple[float | bool, ...]]]:
    """What it depends on, by name, and what that is compared with."""
    op, args = condition.op, condition.args
    if op in ("and", "or", "not", "hold"):
        for each in args:
            yield from _parts(each)
        if op == "hold":
            yield str(condition), (False, True)
    elif op in _COMPARISONS or op == "between":
        yield from _compared(condition)
    else:
        yield str(condition), (False, True)


def _compared(condition: Node) -> Iterator[tuple[str, tuple[float | bool, ...]]]:
    names = [each for each in condition.args if each.op != "number"]
    constants = tuple(each.number for each in condition.args if each.op == "number")
    if len({*map(str, names)}) == 1:
        yield f"number {names[0]}", constants or (0.0,)
    elif names:
        yield str(condition), (False, True)


def _holds(condition: Node, way: _Ways) -> bool:
    op, args = condition.op, condition.args
    if op in ("and", "or", "not"):
        inner = [_holds(each, way) for each in args]
        return not inner[0] if op == "not" else all(inner) if op == "and" else any(inner)
    if op == "hold":
        return bool(way[str(condition)]) and _holds(args[0], way)
    if str(condition) in way:
        return bool(way[str(condition)])
    values = [each.number if each.op == "number" else way[f"number {each}"] for each in args]
    if op == "between":
        return values[1] <= values[0] <= values[2]
    return _COMPARISONS[op](values[0], values[1])
