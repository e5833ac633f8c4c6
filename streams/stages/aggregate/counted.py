"""What counters count, put to the windows of their readings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headgate.core.counts import COUNTS, no_counts
from headgate.core.results import STATISTICS, Aggregates
from headgate.core.runs import runs
from streams.stages.aggregate.joined import bare_windows, concat_aggregates
from streams.stages.count.windows import Counted


def with_counts(
    aggregates: Aggregates, counted: Counted, is_counter: NDArray[np.bool_]
) -> Aggregates:
    """Windows with what counters have of their own, and without what says nothing of a count.

    Args:
        aggregates: Closed windows, as if counts were numbers like others.
        counted: Of windows that closed at the same time.
        is_counter: bool[k], which of the windows are of counters.

    Returns:
        The windows; what was counted in one that is not among them follows in one of its own, in no
        order and with an ``expected`` of 0.
    """
    ours = np.flatnonzero(is_counter)
    if not len(ours) and not len(counted):
        return aggregates
    stats = {name: np.where(is_counter, np.nan, aggregates.stats[name]) for name in STATISTICS}
    stats["last"] = aggregates.stats["last"]
    keys, buckets = list(aggregates.sketch_keys), list(aggregates.sketch_counts)
    for at in ours.tolist():
        keys[at], buckets[at] = keys[at][:0], buckets[at][:0]
    row, lone = _places(aggregates, ours, counted)
    bare = bare_windows(
        np.stack([counted.channel, counted.start_ns, counted.window_ns], axis=1)[lone]
    )
    counts = no_counts(len(aggregates) + len(bare))
    counts["resets"][ours] = 0
    for name in COUNTS:
        counts[name][row] = getattr(counted, name)
    known = replace(aggregates, stats=stats, sketch_keys=keys, sketch_counts=buckets)
    return replace(concat_aggregates([known, bare]), counts=counts)


def _places(
    aggregates: Aggregates, ours: NDArray[np.intp], counted: Counted
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where what was counted belongs: rows of the windows, new ones behind the last.

    Returns:
        intp[c], a row for each; and which of ``counted`` have a new one.
    """
    size = len(ours)
    key = (
        np.concatenate([aggregates.window_ns[ours], counted.window_ns]),
        np.concatenate([aggregates.start_ns[ours], counted.start_ns]),
        np.concatenate([aggregates.channel[ours], counted.channel]),
    )
    # Stable: a window stands before what was counted in it.
    order = np.lexsort(key)
    starts, lengths = runs(*(column[order] for column in key))
    first = np.empty(len(order), np.intp)
    first[order] = np.repeat(order[starts], lengths)
    found = first[size:]
    row, lone = np.empty(len(counted), np.intp), np.flatnonzero(found >= size)
    has_window = found < size
    row[has_window] = ours[found[has_window]]
    row[lone] = len(aggregates) + np.arange(len(lone))
    return row, lone
