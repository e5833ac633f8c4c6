"""Numbers that stand for many readings, and putting such numbers together.

A ``Summary`` has one row for each span of time of one channel. Joining them is order-sensitive in
the last bit, as all floating-point sums are, so spans are always joined from left to right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from headgate.core.batch import UNUSABLE, Quality
from headgate.core.runs import runs
from headgate.core.sketch import Buckets, bucket_keys, count_buckets
from streams.stages.rowstore import Columns


@dataclass(frozen=True, slots=True)
class Moments:
    """s spans, ordered by channel and start.

    Where ``n`` is 0, ``mean``, ``squares`` and ``last`` are 0, and ``low``/``high`` are ±infinity.

    Attributes:
        channel: int32[s].
        start_ns: int64[s], start of the span.
        n: int64[s], usable readings.
        flagged: int64[s], unusable ones.
        mean: float64[s].
        squares: float64[s], sum of the squared distances from the mean.
        low: float64[s], the smallest value.
        high: float64[s], the largest value.
        last: float64[s], the value of the newest reading.
        spikes: int64[s], readings of ``flagged`` that are spikes.
        stuck: int64[s], readings of ``n`` that are flagged as stuck.
        jumps: float64[s], sum of the squared differences of readings in a row.
        lone: float64[s], the most that one reading stands off both its neighbours.
        first: float64[s], the value of the oldest reading.
        first_jump: float64[s], the difference of the second reading from it; 0 without one.
        last_jump: float64[s], the difference of the newest reading from the one before, likewise.
    """

    channel: NDArray[np.int32]
    start_ns: NDArray[np.int64]
    n: NDArray[np.int64]
    flagged: NDArray[np.int64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    last: NDArray[np.float64]
    spikes: NDArray[np.int64]
    stuck: NDArray[np.int64]
    jumps: NDArray[np.float64]
    lone: NDArray[np.float64]
    first: NDArray[np.float64]
    first_jump: NDArray[np.float64]
    last_jump: NDArray[np.float64]

    def __len__(self) -> int:
        """Number of spans."""
        return len(self.channel)

    def columns(self) -> Columns:
        """The columns by name; shared, not copied."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Moments:
        """The spans at these positions, or under this mask."""
        return Moments(**{name: column[rows] for name, column in self.columns().items()})


@dataclass(frozen=True, slots=True)
class Summary:
    """Spans with their sketches; ``buckets.cell`` is a position in ``moments``."""

    moments: Moments
    buckets: Buckets

    def take(self, is_wanted: NDArray[np.bool_]) -> Summary:
        """The spans under this mask, with their sketches."""
        position = np.cumsum(is_wanted) - 1
        rows = is_wanted[self.buckets.cell]
        cell = position[self.buckets.cell[rows]]
        return Summary(
            self.moments.take(is_wanted),
            Buckets(cell, self.buckets.key[rows], self.buckets.count[rows]),
        )


def summarize(rows: Columns, span_ns: int) -> Summary:
    """Summarize readings by channel and span.

    The order of the rows makes no difference, to the last bit.

    Args:
        rows: Columns ``channel``, ``time_ns``, ``value`` and ``quality``.
        span_ns: Length of a span; spans start at whole multiples of it.
    """
    order = _time_order(rows)
    channel, time_ns = rows["channel"][order], rows["time_ns"][order]
    quality = rows["quality"][order]
    is_usable = (quality & np.uint16(UNUSABLE)) == 0
    # Adding 0 turns -0.0 into 0.0: equal values must be equal in every bit.
    value = rows["value"][order][is_usable] + 0.0
    start_ns = time_ns - time_ns % span_ns
    starts, total = runs(channel, start_ns)
    if not len(starts):
        return Summary(_no_moments(starts), count_buckets(starts, starts.astype(np.int32)))
    n = np.add.reduceat(is_usable, starts, dtype=np.int64)
    moments = _no_moments(starts)
    is_filled = n > 0
    counts = n[is_filled]
    firsts = np.cumsum(counts) - counts
    # Sums of the largest floats overflow; the mean is then an end of the range, std infinite.
    with np.errstate(over="ignore", invalid="ignore"):
        if len(value):
            mean = np.add.reduceat(value, firsts) / counts
            # The quotient may miss an end of the range by its last bit, when all are equal.
            low, high = np.minimum.reduceat(value, firsts), np.maximum.reduceat(value, firsts)
            mean = np.clip(mean, low, high)
            distance = value - np.repeat(mean, counts)
            moments.mean[is_filled] = mean
            moments.squares[is_filled] = np.add.reduceat(distance * distance, firsts)
            moments.low[is_filled], moments.high[is_filled] = low, high
            moments.last[is_filled] = value[firsts + counts - 1]
            moments.first[is_filled] = value[firsts]
            for name, figure in _restlessness(value, firsts, counts).items():
                getattr(moments, name)[is_filled] = figure
    cell = np.repeat(np.flatnonzero(is_filled), counts)
    return Summary(
        Moments(
            channel[starts],
            start_ns[starts],
            n,
            total - n,
            moments.mean,
            moments.squares,
            moments.low,
            moments.high,
            moments.last,
            _count(quality, Quality.SPIKE, starts),
            _count(quality, Quality.STUCK, starts),
            moments.jumps,
            moments.lone,
            moments.first,
            moments.first_jump,
            moments.last_jump,
        ),
        count_buckets(cell, bucket_keys(value)),
    )


def join(parts: Summary, window_ns: int, earlier: Summary) -> Summary:
    """Join spans into the windows they lie in.

    Args:
        parts: Spans that divide the window.
        window_ns: Length of a window.
        earlier: What was made of the spans before these by this function, by window.

    Returns:
        One row for each window that has any span.
    """
    every = concat_summaries([earlier, parts])
    moments, buckets = every.moments, every.buckets
    window_start_ns = moments.start_ns - moments.start_ns % window_ns
    is_part = np.arange(len(moments)) >= len(earlier.moments)
    # What came before stands first, then the spans by time.
    order = np.lexsort((moments.start_ns, is_part, window_start_ns, moments.channel))
    moments = replace(moments, start_ns=window_start_ns).take(order)
    starts, lengths = runs(moments.channel, moments.start_ns)
    joined = moments.take(starts)
    for step in range(1, int(lengths.max(initial=0))):
        longer = np.flatnonzero(lengths > step)
        _add(joined, longer, moments.take(starts[longer] + step))
    window = np.empty(len(order), np.int64)
    window[order] = np.repeat(np.arange(len(starts)), lengths)
    return Summary(joined, count_buckets(window[buckets.cell], buckets.key, buckets.count))


def concat_summaries(parts: Sequence[Summary]) -> Summary:
    """The spans of all parts, one after the other."""
    columns = [part.moments.columns() for part in parts]
    firsts = accumulate((len(part.moments) for part in parts[:-1]), initial=0)
    cells = [part.buckets.cell + first for part, first in zip(parts, firsts, strict=True)]
    return Summary(
        Moments(**{name: np.concatenate([each[name] for each in columns]) for name in columns[0]}),
        Buckets(
            np.concatenate(cells),
            np.concatenate([part.buckets.key for part in parts]),
            np.concatenate([part.buckets.count for part in parts]),
        ),
    )


def _add(to: Moments, rows: NDArray[np.intp], more: Moments) -> None:
    """Join later spans to ``to``'s rows, in place (Chan, Golub, LeVeque 1983)."""
    n, more_n = to.n[rows], more.n
    total = n + more_n
    share = more_n / np.maximum(total, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        step = np.where((n > 0) & (more_n > 0), more.mean - to.mean[rows], 0.0)
        mean = np.where(n > 0, to.mean[rows] + step * share, more.mean)
        squares = to.squares[rows] + more.squares + step * step * n * share
        jump = np.where((n > 0) & (more_n > 0), more.first - to.last[rows], 0.0)
        to.jumps[rows] += jump * jump + more.jumps
    to.n[rows] = total
    to.flagged[rows] += more.flagged
    to.mean[rows] = mean
    to.squares[rows] = squares
    to.low[rows] = np.minimum(to.low[rows], more.low)
    to.high[rows] = np.maximum(to.high[rows], more.high)
    lone = np.maximum(_standing_off(to.last_jump[rows], jump), _standing_off(jump, more.first_jump))
    to.lone[rows] = np.maximum(np.maximum(to.lone[rows], more.lone), lone)
    newest_jump = np.where(more_n > 1, more.last_jump, jump)
    to.last_jump[rows] = np.where(more_n > 0, newest_jump, to.last_jump[rows])
    to.last[rows] = np.where(more_n > 0, more.last, to.last[rows])
    to.spikes[rows] += more.spikes
    to.stuck[rows] += more.stuck


def _count(
    quality: NDArray[np.uint16], flag: Quality, starts: NDArray[np.intp]
) -> NDArray[np.int64]:
    """int64[s]: readings with this flag in each span."""
    has_flag = (quality & np.uint16(flag)) != 0
    counts: NDArray[np.int64] = np.add.reduceat(has_flag, starts, dtype=np.int64)
    return counts


def _restlessness(
    value: NDArray[np.float64], firsts: NDArray[np.intp], counts: NDArray[np.int64]
) -> Columns:
    """What ``Moments`` says of the differences in spans that begin at these positions."""
    jump = np.diff(value, prepend=value[:1])
    jump[firsts] = 0.0
    onward = np.append(jump[1:], 0.0)
    return {
        "jumps": np.add.reduceat(jump * jump, firsts),
        "lone": np.maximum.reduceat(_standing_off(jump, onward), firsts),
        "first_jump": onward[firsts],
        "last_jump": jump[firsts + counts - 1],
    }


def _standing_off(jump: NDArray[np.float64], onward: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[n]: how far a reading stands off both its neighbours, by the differences."""
    there_and_back = (jump > 0) & (onward < 0) | (jump < 0) & (onward > 0)
    return np.where(there_and_back, np.minimum(np.abs(jump), np.abs(onward)), 0.0)


def _time_order(rows: Columns) -> NDArray[np.intp]:
    """Positions that sort rows by channel, time and value."""
    channel, time_ns = rows["channel"], rows["time_ns"]
    if not len(channel):
        return np.empty(0, np.intp)
    earliest = int(time_ns.min())
    span_ns = int(time_ns.max()) - earliest + 1
    if span_ns * (int(channel.max()) + 1) < 2**62:
        packed = channel.astype(np.int64) * span_ns + (time_ns - earliest)
        order = np.argsort(packed)
        ordered = packed[order]
        if (ordered[1:] != ordered[:-1]).all():
            return order
    # Several readings of one time, or times too far apart for one integer.
    return np.lexsort((rows["value"], rows["quality"], time_ns, channel))


def _no_moments(like: NDArray[np.intp]) -> Moments:
    """As many empty spans as ``like`` is long."""
    zeros, size = np.zeros(len(like), np.int64), len(like)
    return Moments(
        zeros.astype(np.int32),
        zeros,
        zeros.copy(),
        zeros.copy(),
        np.zeros(size),
        np.zeros(size),
        np.full(size, np.inf),
        np.full(size, -np.inf),
        np.zeros(size),
        zeros.copy(),
        zeros.copy(),
        np.zeros(size),
        np.zeros(size),
        np.zeros(size),
        np.zeros(size),
        np.zeros(size),
    )
