"""Closed windows put one after the other, and such as have no reading."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headgate.core.counts import joined_counts
from headgate.core.results import SIGNS, STATISTICS, Aggregates, joined_states


def concat_aggregates(parts: Sequence[Aggregates]) -> Aggregates:
    """Windows one after the other."""
    parts = [part for part in parts if len(part)]
    if len(parts) <= 1:
        return parts[0] if parts else bare_windows(np.empty((0, 3), np.int64))
    columns = ("channel", "start_ns", "window_ns", "n", "flagged", "expected")
    return Aggregates(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns},
        stats={name: np.concatenate([part.stats[name] for part in parts]) for name in STATISTICS},
        sketch_keys=[keys for part in parts for keys in part.sketch_keys],
        sketch_counts=[counts for part in parts for counts in part.sketch_counts],
        signs={name: np.concatenate([part.signs[name] for part in parts]) for name in SIGNS},
        spent=joined_states(parts),
        counts=joined_counts(parts),
    )


def bare_windows(places: NDArray[np.int64]) -> Aggregates:
    """Windows in which no reading is, which expect none.

    Args:
        places: int64[k, 3], of each its channel, its start and its length, ns.
    """
    nothing, rows = np.zeros(len(places), np.int64), len(places)
    return Aggregates(
        places[:, 0].astype(np.int32),
        places[:, 1],
        places[:, 2],
        nothing,
        nothing,
        nothing,
        stats={name: np.full(rows, np.nan) for name in STATISTICS},
        sketch_keys=[np.empty(0, np.int32)] * rows,
        sketch_counts=[np.empty(0, np.int64)] * rows,
        signs=dict.fromkeys(SIGNS, nothing),
    )
