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


def _chain(operator: Callable[[Values, Values], Values]) -> Callable[..., Values]:
    """One operator several times, from the left: once infinite, nothing makes it finite again."""
    return lambda *numbers: reduce(operator, numbers)


def _unequal(one: Values, other: Values) -> Values:
    return (one < other) | (one > other)


def _all(*conditions: Values) -> Values:
    found: Values = np.logical_and.reduce(np.broadcast_arrays(*conditions))
    return found


def _any(*conditions: Values) -> Values:
    found: Values = np.logical_or.reduce(np.broadcast_arrays(*conditions))
    return found


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
