"""Our sketch is the DDSketch of its authors, for many cells at once."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ddsketch import LogCollapsingLowestDenseDDSketch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headgate.core.sketch import (
    RELATIVE_ACCURACY,
    bucket_keys,
    bucket_values,
    count_buckets,
    quantiles,
)

_SHARES = (0.0, 0.25, 0.5, 0.95, 0.99, 1.0)


def _quantiles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    buckets = count_buckets(np.zeros(len(values), np.int64), bucket_keys(values))
    found: NDArray[np.float64] = quantiles(buckets, 1, _SHARES)[0]
    return found


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_are_those_of_the_ddsketch_library(seed: int) -> None:
    """Value for value, with positive, negative and zero values, and few or many of them."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=10 ** (seed % 4) + 1) * 10.0 ** rng.integers(-3, 4)
    values[rng.random(len(values)) < 0.1] = 0.0
    theirs = LogCollapsingLowestDenseDDSketch(RELATIVE_ACCURACY, bin_limit=10**6)
    for value in values.tolist():
        theirs.add(value)

    expected = [theirs.get_quantile_value(share) for share in _SHARES]

    assert _quantiles(values) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=50))
def test_a_quantile_is_off_by_the_promised_accuracy_at_most(numbers: list[float]) -> None:
    """Compared with the exact quantile, whatever the values are."""
    values = np.array(numbers)

    exact = np.quantile(values, _SHARES, method="lower")

    found = _quantiles(values)
    bound = RELATIVE_ACCURACY * (1 + 1e-9) * np.abs(exact)
    assert (np.abs(found - exact) <= bound + 2 * sys.float_info.min).all()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=50))
def test_keys_rise_with_the_values(numbers: list[float]) -> None:
    """One signed key space orders negative, zero and positive buckets, up to the largest float."""
    values = np.sort(np.array(numbers, np.float64))

    keys = bucket_keys(values)

    assert (np.diff(keys) >= 0).all()
    assert (
        np.sign(keys) == np.where(np.abs(values) < 3e-308, np.sign(keys), np.sign(values))
    ).all()


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-1e6, 1e6)), max_size=40), st.data())
def test_sketches_merge_in_any_order(rows: list[tuple[int, float]], data: st.DataObject) -> None:
    """Counting parts and putting them together is counting all."""
    cell = np.array([row[0] for row in rows], np.int64)
    key = bucket_keys(np.array([row[1] for row in rows], np.float64))
    place = data.draw(st.integers(0, len(rows)))
    parts = [count_buckets(cell[span], key[span]) for span in (slice(place, None), slice(0, place))]

    merged = count_buckets(
        np.concatenate([part.cell for part in parts]),
        np.concatenate([part.key for part in parts]),
        np.concatenate([part.count for part in parts]),
    )

    whole = count_buckets(cell, key)
    np.testing.assert_array_equal(merged.cell, whole.cell)
    np.testing.assert_array_equal(merged.key, whole.key)
    np.testing.assert_array_equal(merged.count, whole.count)


def test_cells_are_kept_apart_and_empty_ones_have_no_quantiles() -> None:
    """Each cell has its own quantiles; NaN where nothing was counted."""
    cell = np.array([2, 0, 2, 0, 2], np.int64)
    buckets = count_buckets(cell, bucket_keys(np.array([-5.0, 1.0, 0.0, 3.0, 5.0])))

    found = quantiles(buckets, 4, (0.0, 0.5, 1.0))

    assert found[0] == pytest.approx([1, 1, 3], rel=0.01)
    assert found[2] == pytest.approx([-5, 0, 5], rel=0.01)
    assert np.isnan(found[[1, 3]]).all()


def test_keys_stand_for_values_within_the_accuracy() -> None:
    """From the smallest normal number to the largest."""
    values = np.array([3e-308, 1e-9, 1.0, 12345.678, 1.7e308])

    both = bucket_values(bucket_keys(np.concatenate([values, -values])))

    assert both == pytest.approx(np.concatenate([values, -values]), rel=0.0101)
