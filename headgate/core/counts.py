"""What windows of counters have of their own: how much was counted, and how often it began anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

#: Names of ``Aggregates.counts``, each with its type and what stands there of other channels.
COUNTS: Final[Mapping[str, np.generic]] = {
    "increase": np.float64(np.nan),
    "increase_ns": np.int64(0),
    "resets": np.int64(-1),
}

#: Digits that a float surely has.
_DIGITS = 15

Counts = dict[str, NDArray[Any]]


class _Counted(Protocol):
    """Rows that may have counts."""

    @property
    def counts(self) -> Counts: ...

    def __len__(self) -> int: ...


def no_counts(rows: int) -> Counts:
    """Counts of so many windows of channels that are no counters."""
    return {name: np.full(rows, nothing) for name, nothing in COUNTS.items()}


def joined_counts(parts: Sequence[_Counted]) -> Counts:
    """``Aggregates.counts`` of windows one after the other; none at all where no part has any."""
    if not any(part.counts for part in parts):
        return {}
    every = [part.counts or no_counts(len(part)) for part in parts]
    return {name: np.concatenate([each[name] for each in every]) for name in COUNTS}


def in_digits(value: NDArray[np.float64], largest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences of floats without digits that the floats themselves don't have.

    1234.7 less 1234.5 is 0.2, and no float that ends in 455.

    Args:
        value: float64[n], the differences.
        largest: float64[n], the largest that a number has been that went into each.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        whole = np.floor(np.log10(np.abs(largest))) + 1
        # Larger ones have no digits behind the point, or they are too small to be told from 0.
        places = np.clip(np.nan_to_num(_DIGITS - whole, posinf=0, neginf=0), 0, 300)
        power = 10.0**places
        rounded = np.round(value * power) / power
    return np.where(np.isfinite(rounded), rounded, value)
