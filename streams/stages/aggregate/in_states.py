"""For how long text channels are in each state, put to the windows of their readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable
from headgate.core.results import STATISTICS, Aggregates
from headgate.core.runs import runs
from streams.stages.rowstore import Columns


@dataclass(frozen=True, slots=True)
class Spent:
    """States in windows, a row for each channel, window and state.

    Attributes:
        channel: int32[k], row of the ``ChannelTable``.
        start_ns: int64[k], event time of the window's start.
        window_ns: int64[k], its length.
        code: float64[k], of the state's text.
        spent_ns: int64[k], for how long of the window it was so.
        until_ns: int64[k], event time at which it was so last.
        is_alone: bool[k], whether the window may be there without a reading in it.
    """

    channel: NDArray[np.int32]
    start_ns: NDArray[np.int64]
    window_ns: NDArray[np.int64]
    code: NDArray[np.float64]
    spent_ns: NDArray[np.int64]
    until_ns: NDArray[np.int64]
    is_alone: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.channel)


_NO_TIMES = np.empty(0, np.int64)

NOTHING_SPENT: Final = Spent(
    np.empty(0, np.int32),
    _NO_TIMES,
    _NO_TIMES,
    np.empty(0),
    _NO_TIMES,
    _NO_TIMES,
    np.empty(0, np.bool_),
)


def joined_spans(parts: Sequence[Columns]) -> Columns:
    """Rows as ``Spent`` has them, but for ``is_alone``, one for each window and state."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    keys = ("channel", "window_ns", "start_ns", "code")
    order = np.lexsort([columns[name] for name in reversed(keys)])
    columns = {name: column[order] for name, column in columns.items()}
    starts, _ = runs(*(columns[name] for name in keys))
    if not len(starts):
        return columns
    return {
        **{name: columns[name][starts] for name in keys},
        "spent_ns": np.add.reduceat(columns["spent_ns"], starts),
        "until_ns": np.maximum.reduceat(columns["until_ns"], starts),
    }


@dataclass(slots=True)
class _Window:
    """What one window was in: for how long in each state, and in which one last."""

    spent: dict[float, int]
    last: float
    until_ns: int
    is_alone: bool


def with_states(aggregates: Aggregates, spent: Spent, channels: ChannelTable) -> Aggregates:
    """Windows with what text channels have of their own, and those that have nothing else.

    Args:
        aggregates: Closed windows, as if codes were numbers.
        spent: Of windows that closed at the same time.
        channels: The table.

    Returns:
        The windows, without those that are new in order, and ``expected`` 0 of these.
    """
    is_text = channels.is_text[aggregates.channel]
    if not is_text.any() and not len(spent):
        return aggregates
    windows = _windows(spent)
    stats = {name: np.where(is_text, np.nan, aggregates.stats[name]) for name in STATISTICS}
    stats["last"] = last = aggregates.stats["last"].copy()
    every: list[Mapping[float, int]] = [{}] * len(aggregates)
    keys, counts = list(aggregates.sketch_keys), list(aggregates.sketch_counts)
    places = (aggregates.channel, aggregates.start_ns, aggregates.window_ns)
    rows = list(zip(*(column.tolist() for column in places), strict=True))
    for at in np.flatnonzero(is_text).tolist():
        keys[at], counts[at] = keys[at][:0], counts[at][:0]
        window = windows.pop(rows[at], None)
        if window is not None:
            every[at] = window.spent
            last[at] = window.last if np.isnan(last[at]) else last[at]
    alone = {place: window for place, window in windows.items() if window.is_alone}
    more = len(alone)
    place = np.array([*alone], np.int64).reshape(-1, 3)
    nothing = np.zeros(more, np.int64)
    return Aggregates(
        channel=np.concatenate([aggregates.channel, place[:, 0].astype(np.int32)]),
        start_ns=np.concatenate([aggregates.start_ns, place[:, 1]]),
        window_ns=np.concatenate([aggregates.window_ns, place[:, 2]]),
        n=np.concatenate([aggregates.n, nothing]),
        flagged=np.concatenate([aggregates.flagged, nothing]),
        expected=np.concatenate([aggregates.expected, nothing]),
        stats={
            name: np.concatenate(
                [
                    column,
                    [each.last for each in alone.values()]
                    if name == "last"
                    else np.full(more, np.nan),
                ]
            )
            for name, column in stats.items()
        },
        sketch_keys=[*keys, *[np.empty(0, np.int32)] * more],
        sketch_counts=[*counts, *[np.empty(0, np.int64)] * more],
        signs={
            name: np.concatenate([column, np.zeros(more, column.dtype)])
            for name, column in aggregates.signs.items()
        },
        spent=[*every, *(each.spent for each in alone.values())],
    )


def _windows(spent: Spent) -> dict[tuple[int, int, int], _Window]:
    """By channel, start and length, what stands in the rows."""
    windows: dict[tuple[int, int, int], _Window] = {}
    columns = (spent.channel, spent.start_ns, spent.window_ns)
    values = (spent.code, spent.spent_ns, spent.until_ns, spent.is_alone)
    for *place, code, spent_ns, until_ns, is_alone in zip(
        *(column.tolist() for column in (*columns, *values)), strict=True
    ):
        channel, start_ns, window_ns = place
        window = windows.setdefault(
            (channel, start_ns, window_ns), _Window({}, code, until_ns, is_alone)
        )
        window.spent[code] = spent_ns
        if until_ns > window.until_ns:
            window.last, window.until_ns = code, until_ns
    return windows
