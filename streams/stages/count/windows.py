"""What counters count, cut into windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headgate.core.counts import in_digits
from headgate.core.runs import runs
from streams.stages.rowstore import Columns


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted in windows that have closed, a row for each channel and window.

    Attributes:
        channel: int32[k], row of the ``ChannelTable``.
        start_ns: int64[k], event time of the window's start.
        window_ns: int64[k], its length.
        increase: float64[k], sum of the steps to the window's readings; NaN where none is known.
        increase_ns: int64[k], the time that these steps took.
        resets: int64[k], how often the count began anew.
    """

    channel: NDArray[np.int32]
    start_ns: NDArray[np.int64]
    window_ns: NDArray[np.int64]
    increase: NDArray[np.float64]
    increase_ns: NDArray[np.int64]
    resets: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.channel)


_NO_TIMES = np.empty(0, np.int64)

NOTHING_COUNTED: Final = Counted(
    np.empty(0, np.int32), _NO_TIMES, _NO_TIMES, np.empty(0), _NO_TIMES, _NO_TIMES
)

#: What is kept of a window that is open, and of the step to one reading, which is a part of one.
#: ``before`` and ``count``: what had been counted before it, and with it; ``lifted``: what falls
#: have to be made good by; ``steps``: how many are known.
PARTS: Final[Mapping[str, type[np.generic]]] = {
    "channel": np.int32,
    "start_ns": np.int64,
    "window_ns": np.int64,
    "before": np.float64,
    "count": np.float64,
    "lifted": np.float64,
    "largest": np.float64,
    "steps": np.int64,
    "resets": np.int64,
    "increase_ns": np.int64,
}


def joined_parts(parts: Sequence[Columns]) -> Columns:
    """Parts of windows, those of one window in their order, put together."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in PARTS}
    keys = ("channel", "window_ns", "start_ns")
    # Stable: what came before stands first.
    order = np.lexsort([columns[name] for name in reversed(keys)])
    columns = {name: column[order] for name, column in columns.items()}
    starts, lengths = runs(*(columns[name] for name in keys))
    if not len(starts):
        return columns
    # One after the other, wherever batches are cut: sums of floats depend on the order.
    lifted = np.zeros(len(starts))
    # Where a part does not go on from the one before, what is between them was not counted.
    between = np.roll(columns["count"], 1) - columns["before"]
    between[starts] = 0.0
    of = np.repeat(np.arange(len(starts)), lengths)
    np.add.at(lifted, of, columns["lifted"] + between)
    return {
        **{name: columns[name][starts] for name in (*keys, "before")},
        "count": columns["count"][starts + lengths - 1],
        "lifted": lifted,
        "largest": np.maximum.reduceat(columns["largest"], starts),
        **{
            name: np.add.reduceat(columns[name], starts)
            for name in ("steps", "resets", "increase_ns")
        },
    }


def counted_in(parts: Columns) -> Counted:
    """Windows that are over."""
    increase = parts["count"] - parts["before"] + parts["lifted"]
    increase = in_digits(increase, np.maximum(parts["largest"], np.abs(parts["lifted"])))
    return Counted(
        parts["channel"],
        parts["start_ns"],
        parts["window_ns"],
        np.where(parts["steps"] > 0, increase, np.nan),
        parts["increase_ns"],
        parts["resets"],
    )
