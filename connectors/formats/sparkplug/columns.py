"""Metrics of many messages to readings: the numbers that they are, and their order."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectors.formats.sparkplug.fields import (
    BOOLEAN,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    STRING,
    Columns,
)
from connectors.formats.sparkplug.values import DATA_SET, SIGNED_BITS, TEMPLATE, UNKNOWN

#: In place of a channel's: the metric is nobody's, or its message must be read by itself.
NOBODYS: Final = -1
ODD: Final = -2

#: By data type, how far a number is moved to the left and back, so that its sign is seen; and from
#: which one on none is.
_MOST_TYPES = 40
_SHIFTS = np.zeros(_MOST_TYPES + 1, np.uint64)
for _type, _bits in SIGNED_BITS.items():
    _SHIFTS[_type] = 64 - _bits


class Kinds(NamedTuple):
    """Which places are those of channels of texts, and of metrics that no channel names.

    Attributes:
        first_text: From this one on channels are texts.
        first_other: From this one on it is a metric that is not listed.
    """

    first_text: int
    first_other: int


class Numbers(NamedTuple):
    """What metrics are as numbers.

    Attributes:
        value: float64[n], NaN for null, and for what is of a channel of texts.
        is_odd: bool[n], of which the message must be looked at.
        is_text: bool[n], metrics that are not listed, and are texts.
    """

    value: NDArray[np.float64]
    is_odd: NDArray[np.bool_]
    is_text: NDArray[np.bool_]


def numbers_of(
    found: Columns,
    which: NDArray[np.intp],
    types: NDArray[np.int64],
    takes_truth: NDArray[np.bool_],
    kinds: Kinds,
) -> Numbers:
    """What metrics are as numbers.

    Args:
        found: The metrics.
        which: intp[n], their channels, ``NOBODYS`` or ``ODD``.
        types: int64[n], their data types.
        takes_truth: By channel, whether true and false are numbers; then of all that are not
            listed.
        kinds: Which places are which.
    """
    rows = np.flatnonzero(which >= 0)
    channel, kind, bits, its_types = which[rows], found.kind[rows], found.bits[rows], types[rows]
    is_null = found.is_null[rows] | (kind == 0)
    number = np.full(len(rows), np.nan)
    # What is null has no value, whatever stands there. Of some types a birth may only say the form.
    is_odd = is_null & ((its_types == DATA_SET) | (its_types == TEMPLATE))
    for of_kind, as_number in _AS_NUMBER.items():
        those = np.flatnonzero((kind == of_kind) & ~is_null)
        if len(those):
            # Some of what is not a number is told of as it becomes one of more bits.
            with np.errstate(invalid="ignore"):
                number[those] = as_number(bits[those], its_types[those])
    is_text = (channel >= kinds.first_other) & (kind == STRING) & ~is_null
    is_other = channel >= kinds.first_text
    is_other &= channel < kinds.first_other
    is_odd |= ~is_null & ~np.isfinite(number) & ~is_text & ~is_other
    is_odd |= (kind == BOOLEAN) & ~takes_truth[np.minimum(channel, kinds.first_other)]
    is_odd |= found.is_set_apart[rows] | (found.time_ms[rows] < 0)
    number[is_other] = np.nan
    value, is_bad = np.full(len(which), np.nan), which == ODD
    value[rows] = number
    is_bad[rows] |= is_odd
    is_text_of_all = np.zeros(len(which), np.bool_)
    is_text_of_all[rows] = is_text
    return Numbers(value, is_bad, is_text_of_all)


def _whole(bits: NDArray[np.uint64], types: NDArray[np.int64]) -> NDArray[np.float64]:
    """Whole numbers, as their data types have them; NaN where nobody said that."""
    shift = _SHIFTS[np.minimum(types, _MOST_TYPES)]
    signed = (bits << shift).view(np.int64) >> shift.view(np.int64)
    number = np.where(shift == 0, bits.astype(np.float64), signed.astype(np.float64))
    is_long = types == _LONG
    number[is_long] = bits[is_long].view(np.int64)
    number[types == UNKNOWN] = np.nan
    return number


#: The signed type that is moved by no bits.
_LONG = next(each for each, bits in SIGNED_BITS.items() if bits == 64)

_AS_NUMBER = {
    DOUBLE: lambda bits, _: bits.view(np.float64),
    FLOAT: lambda bits, _: bits.astype(np.uint32).view(np.float32),
    BOOLEAN: lambda bits, _: bits != 0,
    INT: _whole,
    LONG: _whole,
}


def in_order(
    found: Columns, which: NDArray[np.intp], is_taken: NDArray[np.bool_], first_other: int
) -> NDArray[np.intp]:
    """The readings of messages, in the order in which they come one by one.

    That is by time, each when it is first met, and then by channel; behind those come the metrics
    that are not listed, as they stand in the message.

    Args:
        found: The metrics.
        which: intp[n], their channels, below 0 for none.
        is_taken: bool[payload], the messages; those are taken out in which a channel has two values
            of one time.
        first_other: From this one on channels are not listed.
    """
    rows = np.flatnonzero((which >= 0) & is_taken[found.owner])
    owner, place = found.owner[rows], which[rows]
    time_ms = found.time_ms[rows]
    is_same = owner[1:] == owner[:-1]
    is_one_time = not (is_same & (time_ms[1:] != time_ms[:-1])).any()
    if is_one_time and not (is_same & (place[1:] <= place[:-1])).any():
        return rows
    by_time = np.lexsort((time_ms, owner))
    begins = np.ones(len(rows), np.bool_)
    begins[1:] = np.diff(owner[by_time]).astype(np.bool_) | np.diff(time_ms[by_time]).astype(
        np.bool_
    )
    # Of each the place of the first that has its time: sorting leaves equal ones in their order.
    first = np.empty(len(rows), np.intp)
    first[by_time] = by_time[np.flatnonzero(begins)[np.cumsum(begins) - 1]]
    order = np.lexsort((place, first))
    is_twice = np.zeros(len(rows), np.bool_)
    is_twice[1:] = (np.diff(place[order]) == 0) & (np.diff(first[order]) == 0)
    twice = owner[order[is_twice]]
    if (place >= first_other).any():
        order = np.lexsort((np.minimum(place, first_other), first))
    rows = rows[order]
    if len(twice):
        is_taken[twice] = False
        rows = rows[is_taken[found.owner[rows]]]
    return rows
