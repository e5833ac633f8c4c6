"""The array helpers, against plain Python."""

from __future__ import annotations

from itertools import accumulate, groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.runs import runs
from streams.stages.arrays import group_by, ramp, running_max, stable_order

_KEYS = st.lists(st.integers(0, 5) | st.integers(0, 2**62), max_size=40)


@given(_KEYS)
def test_groups_keep_arrival_order(keys: list[int]) -> None:
    """Keys rise, and rows of one key stay in the order they came in."""
    groups = group_by(np.array(keys, np.int64))

    expected = sorted(range(len(keys)), key=keys.__getitem__)
    assert groups.order.tolist() == expected
    assert groups.keys.tolist() == sorted(set(keys))
    assert groups.lengths.tolist() == [keys.count(key) for key in sorted(set(keys))]
    assert groups.rank.tolist() == [keys[:row].count(keys[row]) for row in expected]


def test_sorted_keys_are_left_in_place() -> None:
    """The common case, and the empty one."""
    assert stable_order(np.array([1, 1, 2])).tolist() == [0, 1, 2]
    assert stable_order(np.array([], np.int64)).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-(2**62), 2**62)), max_size=30))
def test_the_running_maximum_begins_anew_in_each_group(rows: list[tuple[int, int]]) -> None:
    """However far apart the numbers are."""
    rows.sort(key=lambda row: row[0])
    starts, lengths = runs(np.array([row[0] for row in rows], np.int64))

    found = running_max(np.array([row[1] for row in rows], np.int64), starts, lengths)

    assert found.tolist() == [
        highest
        for _, group in groupby(rows, key=lambda row: row[0])
        for highest in accumulate((row[1] for row in group), max)
    ]


def test_runs_end_where_any_key_changes() -> None:
    """Two columns together say what is one run."""
    starts, lengths = runs(np.array([1, 1, 1, 2]), np.array([5, 5, 6, 6]))

    assert starts.tolist() == [0, 2, 3]
    assert lengths.tolist() == [2, 1, 1]


def test_ramps_count_up_to_each_length() -> None:
    """Lengths of zero take no room."""
    assert ramp(np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]
    assert ramp(np.array([], np.int64)).tolist() == []
