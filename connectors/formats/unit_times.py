"""Times that are numbers of units, to whole nanoseconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.formats.numbers import number_text, shown
from headgate.core.errors import DataError

#: By name of a unit of times.
NS_PER_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1} | {
    "100ns": 100,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
    "w": 7 * 86_400 * 10**9,
}

#: How .NET writes milliseconds since 1970; the offset is where somebody stood and means nothing.
_NET_DATE = re.compile(r"\\?/Date\((-?\d{1,18})(?:[+-]\d{4})?\)\\?/", re.ASCII)

#: So many digits are a number that int64 holds.
_LONGEST_DIGITS = 18

#: An impossible time.
NO_TIME_NS = -(2**63)


def number_to_ns(value: object, ns_per_unit: int) -> int:
    """A number of units since 1970, whole or not, or such a number as a text, in ns.

    A fraction is taken as it was written, not as its nearest binary fraction: 0.1 s is 100 ms to
    the nanosecond.

    Raises:
        DataError: ``bad_time`` for what is no finite number.
    """
    found_ns = number_ns(value, ns_per_unit)
    if found_ns is None:
        raise no_number(value)
    return found_ns


def no_number(value: object) -> DataError:
    """What is said of a time that is no number."""
    return DataError("bad_time", f"expected a number, got {shown(value)}")


def number_ns(value: object, ns_per_unit: int) -> int | None:
    """What ``number_to_ns`` gives; None for what is no finite number."""
    if type(value) is int:
        return value * ns_per_unit
    if type(value) is float and value - value == 0:
        return int(Decimal(repr(value)) * ns_per_unit)
    if type(value) is str:
        if ns_per_unit == NS_PER_UNIT["ms"] and (found := _NET_DATE.fullmatch(value)):
            return int(found[1]) * ns_per_unit
        number = number_text(value)
        # No larger than a float is, and no smaller: else its digits would be without end.
        if number is not None and 1e-300 < abs(float(number)) < 1e300:
            return int(Decimal(number) * ns_per_unit)
    return None


def whole_numbers(values: Sequence[Any]) -> NDArray[np.int64] | None:
    """Whole numbers, all of them written as such or all as digits in texts; None: they are not.

    Raises:
        OverflowError: One is too large.
    """
    kinds = set(map(type, values))
    if kinds <= {int}:
        return np.array(values, np.int64)
    if kinds != {str} or max(map(len, values)) > _LONGEST_DIGITS:
        return None
    digits = "".join(values)
    if "" in values or not (digits.isascii() and digits.isdigit()):
        return None
    numbers = np.array(list(map(int, values)), np.int64)
    # Nought is no time in a text.
    return numbers if numbers.all() else None


def multiplied(times: NDArray[np.int64], ns_per_unit: int) -> NDArray[np.int64]:
    """Times in ns; what does not fit is an impossible time, as it should be."""
    most = (2**63 - 1) // ns_per_unit
    return np.where(np.abs(times) <= most, times * ns_per_unit, NO_TIME_NS)
