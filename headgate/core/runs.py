"""Runs of equal rows, which is how grouped columns are worked on without a loop over rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def runs(*keys: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Starts and lengths of the runs of equal rows in key columns of equal length."""
    size = len(keys[0])
    if not size:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    if size == 1:
        return np.zeros(1, np.intp), np.ones(1, np.intp)
    is_start = np.zeros(size, np.bool_)
    is_start[0] = True
    for key in keys:
        is_start[1:] |= key[1:] != key[:-1]
    # Neither by numpy.flatnonzero nor by numpy.diff, which take several times as long for the few
    # runs of a small batch.
    starts = is_start.nonzero()[0]
    lengths = np.empty_like(starts)
    lengths[-1] = size - starts[-1]
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    return starts, lengths
