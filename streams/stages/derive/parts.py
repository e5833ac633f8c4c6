"""What a snapshot has of derived channels and rules, as columns of rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

#: What a snapshot has of memories, of values of spans, and of spans that had too many; by the
#: number of its kind, so that what is of another formula is not taken for one's own.
PARTS: Mapping[str, NDArray[np.generic]] = {
    "now_channel": np.empty(0, np.int32),
    "now_kind": np.empty(0, np.int64),
    "now_number": np.empty((0, 4), np.float64),
    "now_time_ns": np.empty((0, 2), np.int64),
    "span_channel": np.empty(0, np.int32),
    "span_kind": np.empty(0, np.int64),
    "span_step": np.empty(0, np.int64),
    "span_value": np.empty(0, np.float64),
    "lost_channel": np.empty(0, np.int32),
    "lost_kind": np.empty(0, np.int64),
    "lost_lost_ns": np.empty(0, np.int64),
}


def add_rows(
    parts: Mapping[str, list[NDArray[np.generic]]],
    part: str,
    channel: NDArray[np.int32],
    kind: int,
    rows: Mapping[str, NDArray[np.generic]],
) -> None:
    """Add rows of one kind to a part of a snapshot."""
    parts[f"{part}_channel"].append(channel)
    parts[f"{part}_kind"].append(np.full(len(channel), kind, np.int64))
    for name, column in rows.items():
        parts[f"{part}_{name}"].append(column)
