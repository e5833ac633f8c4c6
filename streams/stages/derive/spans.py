"""Values of the last minutes: what functions of a span of time look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headgate.core.errors import DataError
from headgate.core.expressions.nodes import MAX_SPAN_ROWS
from headgate.core.runs import runs
from streams.stages.arrays import NEVER_NS, NO_TIME_NS, ramp, stable_order
from streams.stages.columns import StateColumns
from streams.stages.derive.ticks import Ticks
from streams.stages.rowstore import Columns, RowStore

#: Readings that a span may have; with more its value is missing.
MAX_ROWS = MAX_SPAN_ROWS

#: Values that are looked at in one go: bounds memory where there are many ticks.
_AT_ONCE = 1 << 20

_Values: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class View:
    """What n ticks look back at.

    Attributes:
        value: float64[r], values.
        first: intp[n], where in these what a tick looks back at begins.
        length: intp[n], how many they are; 0 where they are too many.
        is_full: bool[n], where they are too many to be looked at.
    """

    value: _Values
    first: NDArray[np.intp]
    length: NDArray[np.intp]
    is_full: NDArray[np.bool_]

    def of(self, what: str) -> _Values:
        """float64[n]: what a function gives, such as ``mean``; NaN of nothing, or too much."""
        found = _worked_out(what, self.value, self.first, self.length)
        found[self.is_full] = np.nan
        return found


class Span:
    """The values of a span, by place: for all functions that look at it.

    Args:
        span_ns: The span: of ticks a tick looks back at, with itself and without its beginning.
    """

    def __init__(self, span_ns: int) -> None:
        self._span_ns = span_ns
        self.rows = RowStore(time_ns=np.int64, value=np.float64)
        #: By place: up to when readings were too many to be kept.
        self.lost = StateColumns(lost_ns=np.int64(NO_TIME_NS))

    def look_back(self, ticks: Ticks, rows: NDArray[np.intp], value: _Values) -> View:
        """Take new values in, and look back from each tick.

        Args:
            ticks: The ticks.
            rows: intp[r], rising: those at which there is a new value.
            value: float64[r], the values, none of them missing.
        """
        places = ticks.places
        place, known = self.rows.take(places)
        every = np.concatenate([place, ticks.place[rows]])
        order = stable_order(every)
        every = every[order]
        time_ns = np.concatenate([known["time_ns"], ticks.time_ns[rows]])[order]
        values = np.concatenate([known["value"], value])[order]
        begin = np.searchsorted(every, places)
        # Behind what was known the new ones: as many as there have been up to each tick.
        count = np.zeros(len(ticks), np.int64)
        count[rows] = 1
        np.cumsum(count, out=count)
        count -= np.repeat(count[ticks.starts] - np.isin(ticks.starts, rows), ticks.lengths)
        had = np.searchsorted(place, places, "right") - np.searchsorted(place, places)
        end = np.repeat(begin + had, ticks.lengths) + count
        since_ns = ticks.time_ns - self._span_ns
        of_place = np.repeat(np.arange(len(places)), ticks.lengths)
        first = _first_after(
            np.searchsorted(places, every), time_ns, of_place, since_ns, len(places)
        )
        length = np.maximum(end - np.maximum(first, np.repeat(begin, ticks.lengths)), 0)
        is_full = (length > MAX_ROWS) | (self.lost["lost_ns"][ticks.place] > since_ns)
        self._keep(ticks, every, {"time_ns": time_ns, "value": values})
        return View(values, end - length, np.where(is_full, 0, length), is_full)

    def forget(self, places: NDArray[np.int64]) -> None:
        """Let nothing be known of these places, each once and rising."""
        self.rows.take(places)
        self.lost.forget(places)

    def _keep(self, ticks: Ticks, place: NDArray[np.int64], rows: Columns) -> None:
        """Keep what later ticks can look back at, and no more than there may be."""
        at = np.searchsorted(ticks.places, place)
        is_kept = rows["time_ns"] > ticks.time_ns[ticks.last[at]] - self._span_ns
        place, at = place[is_kept], at[is_kept]
        rows = {name: each[is_kept] for name, each in rows.items()}
        ends = np.searchsorted(place, ticks.places, "right")
        is_lost = np.arange(len(place)) < ends[at] - MAX_ROWS
        if is_lost.any():
            np.maximum.at(self.lost["lost_ns"], place[is_lost], rows["time_ns"][is_lost])
            place = place[~is_lost]
            rows = {name: each[~is_lost] for name, each in rows.items()}
        self.rows.append(place, rows)


def steps_of(place: NDArray[np.int64], time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[n]: times as they are written down: less the one before of the same place.

    Steps are much the same, so they take hardly any room once they are compressed.
    """
    steps = time_ns.copy()
    steps[1:] -= np.where(place[1:] == place[:-1], time_ns[:-1], 0)
    return steps


def times_of(*place: NDArray[Any], steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[n]: the times that ``steps_of`` made steps of, by what tells their places apart.

    Raises:
        DataError: ``bad_record`` when there is one that no reading can have.
    """
    starts, lengths = runs(*place)
    # Sums of many times wrap around, and so do their differences, back to what they are.
    total = np.cumsum(steps)
    times: NDArray[np.int64] = total - np.repeat(total[starts] - steps[starts], lengths)
    if len(times) and (int(times.min()) < -NEVER_NS or int(times.max()) > NEVER_NS):
        raise DataError("bad_record", "span_step: a time is out of range")
    return times


def _first_after(
    group: NDArray[np.intp],
    time_ns: NDArray[np.int64],
    asked_group: NDArray[np.intp],
    asked_ns: NDArray[np.int64],
    groups: int,
) -> NDArray[np.intp]:
    """intp[n]: the first row of a group, or the row behind it, that is later than what is asked.

    Args:
        group: int64[r], rising.
        time_ns: int64[r], rising inside a group.
        asked_group: int64[n].
        asked_ns: int64[n].
        groups: How many there are.
    """
    every = np.concatenate([time_ns, asked_ns])
    if not len(every):
        return np.empty(0, np.intp)
    lowest = int(every.min())
    width = int(every.max()) - lowest + 1
    if width * groups >= 2**62:
        # Too wide to lie behind one another (a wild clock): the same on ranks, which always fit.
        distinct, every = np.unique(every, return_inverse=True)
        lowest, width = 0, len(distinct)
    known = every[: len(time_ns)] - lowest + group * width
    asked = every[len(time_ns) :] - lowest + asked_group * width
    return np.searchsorted(known, asked, "right")


def _worked_out(
    what: str, values: _Values, first: NDArray[np.intp], length: NDArray[np.intp]
) -> _Values:
    """float64[n]: what a function gives of ``length`` values from ``first`` on; NaN of none."""
    if what == "count":
        return length.astype(np.float64)
    found = np.full(len(first), np.nan)
    has = np.flatnonzero(length > 0)
    for part in _parts(length[has]):
        some = has[part]
        lengths = length[some]
        rows = np.repeat(first[some], lengths) + ramp(lengths)
        found[some] = _OF[what](values[rows], np.cumsum(lengths) - lengths, lengths)
    return found


def _parts(length: NDArray[np.intp]) -> Iterator[slice]:
    """Some after the other, so that no more values are looked at in one go than may be."""
    total = np.cumsum(length)
    start = 0
    while start < len(length):
        done = int(total[start - 1]) if start else 0
        stop = max(int(np.searchsorted(total, done + _AT_ONCE, "right")), start + 1)
        yield slice(start, stop)
        start = stop


def _mean(value: _Values, starts: NDArray[np.intp], lengths: NDArray[np.intp]) -> _Values:
    found: _Values = np.divide(np.add.reduceat(value, starts), lengths)
    is_number = np.isfinite(found)
    if is_number.all():
        return found
    # A sum that is too large for a number, of values that are not: by powers of two, which cost no
    # digit, they are made small first.
    power = _power(value, starts)
    small = np.ldexp(value, -np.repeat(power, lengths))
    scaled: _Values = np.ldexp(np.add.reduceat(small, starts) / lengths, power)
    return np.where(is_number, found, scaled)


def _power(value: _Values, starts: NDArray[np.intp]) -> NDArray[np.int32]:
    """int32[g]: of each group a power of two that none of its values is larger than."""
    power: NDArray[np.int32] = np.frexp(np.maximum.reduceat(np.abs(value), starts))[1]
    return power


def _least(value: _Values, starts: NDArray[np.intp], _: NDArray[np.intp]) -> _Values:
    return np.minimum.reduceat(value, starts)


def _most(value: _Values, starts: NDArray[np.intp], _: NDArray[np.intp]) -> _Values:
    return np.maximum.reduceat(value, starts)


def _std(value: _Values, starts: NDArray[np.intp], lengths: NDArray[np.intp]) -> _Values:
    away = value - np.repeat(_mean(value, starts, lengths), lengths)
    found: _Values = np.sqrt(np.add.reduceat(away * away, starts) / lengths)
    is_number = np.isfinite(found)
    if is_number.all():
        return found
    # Halved, because two values may lie further apart than a number is large.
    half = value / 2
    half -= np.repeat(_mean(half, starts, lengths), lengths)
    power = _power(half, starts)
    small = np.ldexp(half, -np.repeat(power, lengths))
    scaled: _Values = np.ldexp(np.sqrt(np.add.reduceat(small * small, starts) / lengths), power + 1)
    return np.where(is_number, found, scaled)


def _median(value: _Values, starts: NDArray[np.intp], lengths: NDArray[np.intp]) -> _Values:
    ordered = value[np.lexsort((value, np.repeat(np.arange(len(starts)), lengths)))]
    low, high = ordered[starts + (lengths - 1) // 2], ordered[starts + lengths // 2]
    found: _Values = np.where(low == high, low, low / 2 + high / 2)
    return found


_OF: Mapping[str, Callable[[_Values, NDArray[np.intp], NDArray[np.intp]], _Values]] = {
    "mean": _mean,
    "min": _least,
    "max": _most,
    "std": _std,
    "median": _median,
}
