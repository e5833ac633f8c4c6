"""Merging aggregates of short windows into longer ones, when there is no room for all of them.

A backlog that is thinned still spans the whole outage. Counts, minima, maxima, means and standard
deviations of the long windows are those of their readings; quantiles come from the merged sketches
and are as good as those of any window. What counters count is added up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.channels import ChannelTable
from headgate.core.counts import Counts, in_digits, joined_counts
from headgate.core.results import STATISTICS, Aggregates, joined_states
from headgate.core.runs import runs
from headgate.core.sketch import count_buckets, quantiles

_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def source_windows(
    feeds: Mapping[str, FeedConfig], targets: Sequence[int], target_ns: int
) -> dict[str, int | None]:
    """By feed, the window length that windows of ``target_ns`` are merged from.

    It is the longest below the target that divides it: of the feed's own, and of the targets that
    its windows have been merged into before. 0 says that the feed has windows of that length
    itself, so shorter ones can go; None that there is nothing to merge from.
    """
    sources: dict[str, int | None] = {}
    for name, feed in feeds.items():
        windows = {aggregate.window for aggregate in feed.aggregates}
        if target_ns in windows:
            sources[name] = 0
            continue
        known = windows | {each for each in targets if each < target_ns}
        fitting = [each for each in known if each < target_ns and target_ns % each == 0]
        sources[name] = max(fitting, default=None)
    return sources


def thin(
    rows: Aggregates,
    channels: ChannelTable,
    target_ns: int,
    sources: Mapping[str, int | None],
    feeds: Mapping[str, FeedConfig],
) -> tuple[Aggregates, Aggregates]:
    """Merge windows into windows of a length that is a multiple of theirs.

    Only long windows of which no more rows can follow are merged: those before the channel's newest
    row. Rows that are shorter than what a long window is merged from go with it, because it stands
    for the same readings.

    Args:
        rows: Windows of each channel in order of time.
        channels: The table they point into.
        target_ns: Length of the long windows.
        sources: Of ``source_windows``.
        feeds: The feeds, by name.

    Returns:
        The merged windows with all rows that are long enough already, and the rows that have to
        wait for more.
    """
    source_ns = _by_channel(rows, channels, sources)
    period_ns = {name: feed.period for name, feed in feeds.items()}
    is_short = (rows.window_ns < target_ns) & (source_ns >= 0)
    begin_ns = rows.start_ns // target_ns * target_ns
    newest_ns = np.full(len(channels), np.iinfo(np.int64).min)
    np.maximum.at(newest_ns, rows.channel, rows.start_ns + rows.window_ns)
    is_complete = begin_ns + target_ns <= newest_ns[rows.channel]
    is_merged = is_short & is_complete & (rows.window_ns == source_ns)
    short = rows.take(np.flatnonzero(is_merged))
    merged = _merge(short, target_ns, _by_channel(short, channels, period_ns))
    long_enough = rows.take(np.flatnonzero(~is_short))
    waiting = rows.take(np.flatnonzero(is_short & ~is_complete))
    return concat([merged, long_enough]), waiting


def _by_channel(
    rows: Aggregates, channels: ChannelTable, of_feed: Mapping[str, int | None]
) -> NDArray[np.int64]:
    """int64[k]: what stands for each row's feed, -1 where there is nothing."""
    of_channel = np.full(len(channels), -1, np.int64)
    for row in np.unique(rows.channel).tolist():
        value = of_feed.get(channels.channels[row].feed)
        if value is not None:
            of_channel[row] = value
    return of_channel[rows.channel]


def _merge(rows: Aggregates, target_ns: int, period_ns: NDArray[np.int64]) -> Aggregates:
    """Long windows of all of these rows, of feeds with these periods, int64[k]."""
    if not len(rows):
        return rows
    begin_ns = rows.start_ns // target_ns * target_ns
    order = np.lexsort((rows.start_ns, begin_ns, rows.channel))
    rows, period_ns = rows.take(order), period_ns[order]
    begin_ns = rows.start_ns // target_ns * target_ns
    starts, lengths = runs(rows.channel, begin_ns)
    group = np.repeat(np.arange(len(starts)), lengths)
    n = np.add.reduceat(rows.n, starts)
    filled = rows.n > 0

    def of_filled(name: str) -> NDArray[np.float64]:
        return np.where(filled, rows.stats[name], 0.0)

    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.add.reduceat(rows.n * of_filled("mean"), starts) / n
        # Chan, Golub, LeVeque: "Algorithms for Computing the Sample Variance", 1983, (2.1).
        apart = np.where(filled, of_filled("mean") - mean[group], 0.0)
        squares = np.add.reduceat(rows.n * (of_filled("std") ** 2 + apart**2), starts)
        std = np.sqrt(squares / n)
    # Of a text channel also windows without a reading have a last text.
    has_last = np.isfinite(rows.stats["last"])
    newest = np.maximum.reduceat(np.where(has_last, np.arange(len(rows)), -1), starts)
    buckets = count_buckets(
        np.repeat(group, [len(keys) for keys in rows.sketch_keys]),
        _joined(rows.sketch_keys, np.int32),
        _joined(rows.sketch_counts, np.int64),
    )
    cut = np.searchsorted(buckets.cell, np.arange(1, len(starts)))
    lowest = np.fmin.reduceat(rows.stats["min"], starts)
    highest = np.fmax.reduceat(rows.stats["max"], starts)
    # A bucket may reach past the readings in it.
    shares = quantiles(buckets, len(starts), list(_QUANTILES.values()))
    shares = np.clip(shares, lowest[:, None], highest[:, None])
    stats = {
        "mean": mean,
        "min": lowest,
        "max": highest,
        "std": std,
        "last": np.where(newest >= 0, rows.stats["last"][newest], np.nan),
        **dict(zip(_QUANTILES, shares.T, strict=True)),
    }
    return Aggregates(
        channel=rows.channel[starts],
        start_ns=begin_ns[starts],
        window_ns=np.full(len(starts), target_ns),
        n=n,
        flagged=np.add.reduceat(rows.flagged, starts),
        expected=_expected(rows, target_ns, period_ns, starts),
        stats=stats,
        sketch_keys=np.split(buckets.key, cut),
        sketch_counts=np.split(buckets.count, cut),
        spent=_spent(rows, group, len(starts)),
        counts=_counts(rows, starts),
    )


def _counts(rows: Aggregates, starts: NDArray[np.intp]) -> Counts:
    """What counters have counted in the long windows."""
    if not rows.counts:
        return {}
    increase, resets = rows.counts["increase"], rows.counts["resets"]
    is_known = ~np.isnan(increase)
    total = np.add.reduceat(np.where(is_known, increase, 0.0), starts)
    largest = np.fmax.reduceat(np.fmax(np.abs(rows.stats["last"]), np.abs(increase)), starts)
    is_counter = resets >= 0
    return {
        "increase": np.where(
            np.logical_or.reduceat(is_known, starts), in_digits(total, largest), np.nan
        ),
        "increase_ns": np.add.reduceat(rows.counts["increase_ns"], starts),
        "resets": np.where(
            np.logical_or.reduceat(is_counter, starts),
            np.add.reduceat(np.where(is_counter, resets, 0), starts),
            -1,
        ),
    }


def _spent(rows: Aggregates, group: NDArray[np.intp], count: int) -> list[Mapping[float, int]]:
    """For how long text channels were in each state in the long windows."""
    if not rows.spent:
        return []
    sums: list[dict[float, int]] = [{} for _ in range(count)]
    for at, spent in zip(group.tolist(), rows.spent, strict=True):
        for code, spent_ns in spent.items():
            sums[at][code] = sums[at].get(code, 0) + spent_ns
    return [*sums]


def _expected(
    rows: Aggregates, target_ns: int, period_ns: NDArray[np.int64], starts: NDArray[np.intp]
) -> NDArray[np.int64]:
    """As many as each long window should have, whether each short one was there or not."""
    of_short = np.maximum.reduceat(rows.expected, starts)
    of_period = (target_ns + period_ns[starts] // 2) // period_ns[starts]
    # One is expected of a short window however long the period is.
    return np.where(
        of_short > 1,
        of_short * (target_ns // rows.window_ns[starts]),
        np.maximum(of_period, 1),
    )


def concat(parts: Sequence[Aggregates]) -> Aggregates:
    """Rows of one table, one after the other."""
    return Aggregates(
        channel=_joined([part.channel for part in parts], np.int32),
        start_ns=_joined([part.start_ns for part in parts], np.int64),
        window_ns=_joined([part.window_ns for part in parts], np.int64),
        n=_joined([part.n for part in parts], np.int64),
        flagged=_joined([part.flagged for part in parts], np.int64),
        expected=_joined([part.expected for part in parts], np.int64),
        stats={
            name: _joined([part.stats[name] for part in parts], np.float64) for name in STATISTICS
        },
        sketch_keys=[keys for part in parts for keys in part.sketch_keys],
        sketch_counts=[counts for part in parts for counts in part.sketch_counts],
        spent=joined_states(parts),
        counts=joined_counts(parts),
    )


def _joined(parts: Sequence[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.empty(0, dtype)
