"""What operators and functions of one time work out, for many times at once.

A number that is missing is NaN, and so is what has no value: a division by zero, the root of a
negative number, what is larger than a number can be. It makes missing what is worked out from it.
A comparison with it is false.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headgate.core.expressions.nodes import Node

#: float64[n], or bool[n] for conditions; a number alone has the shape ().
Values: TypeAlias = NDArray[Any]


def work_out(op: str, args: tuple[Values, ...]) -> Values:
    """What one operator or function gives.

    Args:
        op: Its name, as in ``Node.op``.
        args: float64[n] or bool[n] each, as it takes them.

    Returns:
        float64[n], nowhere infinite; or bool[n].
    """
    with np.errstate(all="ignore"):
        found: Values = _FUNCTIONS[op](*args)
        if found.dtype == np.float64:
            found = np.where(np.isfinite(found), found, np.nan)
        return found


def compiled(node: Node) -> Callable[[Mapping[str, Values]], Values] | None:
    """What works out an expression of one time, given the values of the channels in it.

    Returns:
        None where some part of it looks at what was before.
    """
    if node.op == "number":
        number = np.array(node.number)
        return lambda _: number
    if node.op == "name":
        return lambda values: values[node.name]
    parts = [compiled(each) for each in node.args]
    args = [each for each in parts if each is not None]
    if node.op not in _FUNCTIONS or len(args) < len(parts):
        return None
    if node.op in _SIMPLE and len(args) == 2:
        # Nothing can go wrong in it, and nothing comes of it that is no number.
        function, (one, other) = _FUNCTIONS[node.op], args
        return lambda values: function(one(values), other(values))
    return lambda values: work_out(node.op, tuple(each(values) for each in args))


def _chain(operator: Callable[[Values, Values], Values]) -> Callable[..., Values]:
    """One operator several times, from the left: once infinite, nothing makes it finite again."""
    return lambda *numbers: reduce(operator, numbers)


def _unequal(one: Values, other: Values) -> Values:
    return (one < other) | (one > other)


def _all(*conditions: Values) -> Values:
    return reduce(np.logical_and, conditions)


def _any(*conditions: Values) -> Values:
    return reduce(np.logical_or, conditions)


def _least(*numbers: Values) -> Values:
    found: Values = np.minimum.reduce(np.broadcast_arrays(*numbers))
    return found


def _most(*numbers: Values) -> Values:
    found: Values = np.maximum.reduce(np.broadcast_arrays(*numbers))
    return found


def _clip(number: Values, low: Values, high: Values) -> Values:
    return np.minimum(np.maximum(number, low), high)


def _between(number: Values, low: Values, high: Values) -> Values:
    return (number >= low) & (number <= high)


def _round(number: Values, digits: Values | None = None) -> Values:
    if digits is None:
        return np.rint(number)
    return np.round(number, int(digits.flat[0]) if digits.size else 0)


def _power(base: Values, power: Values) -> Values:
    # Unlike in numpy nothing that is missing comes to be something: 1 ** NaN, NaN ** 0.
    found = np.power(base, power)
    return np.where(np.isnan(base) | np.isnan(power), np.nan, found)


def _same(number: Values) -> Values:
    return number


#: What gives a condition of two parts.
_SIMPLE = frozenset(("<", "<=", ">", ">=", "==", "and", "or"))

_FUNCTIONS: Mapping[str, Callable[..., Values]] = {
    "+": _chain(np.add),
    "-": _chain(np.subtract),
    "*": _chain(np.multiply),
    "/": _chain(np.divide),
    "%": np.mod,
    "**": _power,
    "negative": np.negative,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": _unequal,
    "and": _all,
    "or": _any,
    "not": np.logical_not,
    "if": np.where,
    "abs": np.abs,
    "min": _least,
    "max": _most,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "round": _round,
    "clip": _clip,
    "between": _between,
    "isnan": np.isnan,
    "number": _same,
}
