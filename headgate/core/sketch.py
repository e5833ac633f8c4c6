"""Quantiles of many sets of numbers at once, mergeable, to 1 % of the value.

This is DDSketch (Masson, Rim, Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with
Relative-Error Guarantees", VLDB 2019) with its logarithmic mapping and unbounded buckets, as in
the authors' ``ddsketch`` library, which takes values one by one. The sets are called cells.

A bucket's key is an int32 that rises with the value. With ``i = ceil(log_gamma |x|)``, which is
within ±35,500 for every float64, the key of x is

- ``i + 65536`` for positive x,
- ``0`` for zero and what is too small to be told from it,
- ``-(i + 65536)`` for negative x.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.core.runs import runs

#: A quantile read from a sketch is off by at most this part of its value.
RELATIVE_ACCURACY = 0.01

_GAMMA = (1 + RELATIVE_ACCURACY) / (1 - RELATIVE_ACCURACY)
_BUCKETS_PER_OCTAVE = math.log(2) / math.log1p(2 * RELATIVE_ACCURACY / (1 - RELATIVE_ACCURACY))
_SMALLEST = sys.float_info.min * _GAMMA

#: Added to a bucket's index so that all keys of positive values are above 0.
_KEY_OFFSET = 1 << 16

#: Keys are within plus or minus this.
KEY_LIMIT = 1 << 17


@dataclass(frozen=True, slots=True)
class Buckets:
    """Counted values, ordered by cell and key, each pair once.

    Attributes:
        cell: int64[b], number of the cell.
        key: int32[b], key of the bucket.
        count: int64[b], values in the bucket, at least 1.
    """

    cell: NDArray[np.int64]
    key: NDArray[np.int32]
    count: NDArray[np.int64]


def bucket_keys(value: NDArray[np.float64]) -> NDArray[np.int32]:
    """int32[n]: the key of the bucket each finite value belongs to."""
    size = np.abs(value)
    is_zero = size <= _SMALLEST
    index = np.ceil(np.log2(np.where(is_zero, 1.0, size)) * _BUCKETS_PER_OCTAVE)
    key = np.where(is_zero, 0.0, np.copysign(index + _KEY_OFFSET, value))
    return key.astype(np.int32)


def bucket_values(key: NDArray[np.int32]) -> NDArray[np.float64]:
    """float64[b]: the value that stands for each bucket."""
    index = np.abs(key.astype(np.int64)) - _KEY_OFFSET
    # The outermost bucket reaches past what a float64 holds.
    with np.errstate(over="ignore"):
        size = np.exp2(index / _BUCKETS_PER_OCTAVE) * (2 / (1 + _GAMMA))
    return np.where(key == 0, 0.0, np.copysign(size, key))


def count_buckets(
    cell: NDArray[np.int64],
    key: NDArray[np.int32],
    count: NDArray[np.int64] | None = None,
) -> Buckets:
    """Put values, or buckets that were counted before, together.

    The order of the rows makes no difference, so sketches merge in any order.

    Args:
        cell: int64[n], not negative and below 2**44.
        key: int32[n].
        count: int64[n], how many values each row stands for; 1 when not given.
    """
    # One sortable number for both; keys are within ±KEY_LIMIT.
    packed = (cell << 18) + (key.astype(np.int64) + (1 << 17))
    if count is None:
        packed.sort()
        starts, lengths = runs(packed)
        total = lengths.astype(np.int64)
    else:
        order = np.argsort(packed)
        packed = packed[order]
        starts, _ = runs(packed)
        total = np.add.reduceat(count[order], starts) if len(starts) else count[:0]
    packed = packed[starts]
    return Buckets(packed >> 18, ((packed & ((1 << 18) - 1)) - (1 << 17)).astype(np.int32), total)


def quantiles(buckets: Buckets, cells: int, wanted: Sequence[float]) -> NDArray[np.float64]:
    """float64[cells, wanted]: quantiles of the cells 0 … cells-1; NaN for those without values.

    A quantile q of n values is the one with floor(q·(n-1)) values below it.
    """
    count = np.bincount(buckets.cell, buckets.count, cells).astype(np.int64)
    below = np.cumsum(count) - count
    share = np.asarray(wanted, np.float64)
    rank = np.floor(share * np.maximum(count - 1, 0)[:, None]).astype(np.int64)
    bucket = np.searchsorted(np.cumsum(buckets.count), below[:, None] + rank, side="right")
    result = np.full(bucket.shape, np.nan)
    is_filled = count > 0
    result[is_filled] = bucket_values(buckets.key[bucket[is_filled]])
    return result
