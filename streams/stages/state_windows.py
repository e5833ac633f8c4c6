"""Spans of time in which text channels are in one state, cut into windows.

The windows in which a span begins and ends may have readings in them, and are closed with these.
Those between have none, are in the one state all the time, and may be very many: they are kept as
rows of many, and given out some at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headgate.core.errors import DataError
from streams.stages.arrays import ramp
from streams.stages.rowstore import Columns

#: Windows between that are given out at a time, in all: a fleet that is heard again after hours
#: may have millions of them, and nothing else is done meanwhile.
MOST_AT_ONCE = 20_000


def windows_at_ends(
    channel: NDArray[np.int32],
    code: NDArray[np.float64],
    begin_ns: NDArray[np.int64],
    end_ns: NDArray[np.int64],
    length_ns: int,
) -> Columns:
    """The windows of a length in which spans of time begin, and those in which they end."""
    first, last = begin_ns // length_ns, (end_ns - 1) // length_ns
    further = np.flatnonzero(last > first)
    of = np.concatenate([np.arange(len(first)), further])
    start_ns = np.concatenate([first, last[further]]) * length_ns
    until_ns = np.minimum(end_ns[of], start_ns + length_ns)
    return {
        "channel": channel[of],
        "start_ns": start_ns,
        "window_ns": np.full(len(of), length_ns, np.int64),
        "code": code[of],
        "spent_ns": until_ns - np.maximum(begin_ns[of], start_ns),
        "until_ns": until_ns,
    }


def windows_between(
    channel: NDArray[np.int32],
    code: NDArray[np.float64],
    begin_ns: NDArray[np.int64],
    end_ns: NDArray[np.int64],
    length_ns: int,
    from_ns: NDArray[np.int64],
) -> Columns:
    """The windows between, from a time on: no reading is in them, or the span would end there."""
    first_ns = (begin_ns // length_ns + 1) * length_ns
    first_ns = np.maximum(first_ns, -(-from_ns // length_ns) * length_ns)
    last_ns = (end_ns - 1) // length_ns * length_ns
    some = np.flatnonzero(first_ns < last_ns)
    return {
        "channel": channel[some],
        "start_ns": first_ns[some],
        "end_ns": last_ns[some],
        "window_ns": np.full(len(some), length_ns, np.int64),
        "code": code[some],
    }


def count_between(rows: Columns) -> NDArray[np.int64]:
    """int64[n]: how many windows each row stands for."""
    counts: NDArray[np.int64] = (rows["end_ns"] - rows["start_ns"]) // rows["window_ns"]
    return counts


def given_out(
    rows: Columns, is_urgent: NDArray[np.bool_]
) -> tuple[Columns, Columns, NDArray[np.bool_]]:
    """The first ``MOST_AT_ONCE`` of the windows between, and those that are urgent.

    Args:
        rows: As ``windows_between`` gives them, the first to be given out first.
        is_urgent: bool[n].

    Returns:
        The windows, as ``windows_at_ends`` gives them; what is left, in as many rows as are true
        in the third, bool[n].
    """
    counts = count_between(rows)
    before = np.cumsum(np.minimum(counts, MOST_AT_ONCE)) - np.minimum(counts, MOST_AT_ONCE)
    given = np.minimum(counts, np.maximum(MOST_AT_ONCE - before, 0))
    given = np.where(is_urgent, counts, given)
    of, is_left = np.repeat(np.arange(len(given)), given), given < counts
    window_ns = rows["window_ns"][of]
    start_ns = rows["start_ns"][of] + ramp(given) * window_ns
    found = {
        "channel": rows["channel"][of],
        "start_ns": start_ns,
        "window_ns": window_ns,
        "code": rows["code"][of],
        "spent_ns": window_ns,
        "until_ns": start_ns + window_ns,
    }
    rest = {**rows, "start_ns": rows["start_ns"] + given * rows["window_ns"]}
    return found, {name: each[is_left] for name, each in rest.items()}, is_left


def check_between(rows: Columns) -> None:
    """Refuse rows that stand for no windows.

    Raises:
        DataError: ``bad_record``.
    """
    is_aligned = (rows["start_ns"] % rows["window_ns"] == 0) & (
        rows["end_ns"] % rows["window_ns"] == 0
    )
    if not (is_aligned & (count_between(rows) > 0)).all():
        raise DataError("bad_record", "windows that end before they begin")
