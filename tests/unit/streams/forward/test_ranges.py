"""Sets of offsets, held against Python's own sets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streams.forward.ranges import Range, fewer, overlap, united, without

_ranges = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


def _set(ranges: list[Range]) -> set[int]:
    return {offset for first, end in ranges for offset in range(first, end)}


@given(_ranges)
def test_united_ranges_hold_the_same_offsets_in_few_pieces(ranges: list[Range]) -> None:
    """Sorted, disjoint, and none touches the next."""
    result = united(ranges)

    assert _set(result) == _set(ranges)
    assert all(first < end for first, end in result)
    assert all(one[1] < two[0] for one, two in pairwise(result))


@given(_ranges, st.tuples(st.integers(0, 40), st.integers(0, 40)))
def test_taking_out_and_overlapping_are_those_of_sets(ranges: list[Range], other: Range) -> None:
    """Whatever the ranges look like."""
    ranges = united(ranges)

    assert _set(without(ranges, other)) == _set(ranges) - _set([other])
    assert overlap(ranges, other) == len(_set(ranges) & _set([other]))


@given(_ranges, st.integers(1, 5))
def test_fewer_ranges_hold_the_same_offsets_and_few_others(ranges: list[Range], most: int) -> None:
    """None is left out, and no gap is closed before a narrower one."""
    ranges = united(ranges)
    result = fewer(ranges, most)

    assert len(result) <= most
    assert _set(result) >= _set(ranges)
    closed = _set(result) - _set(ranges)
    open_gaps = [two[0] - one[1] for one, two in pairwise(result)]
    closed_gaps = [
        two[0] - one[1] for one, two in pairwise(ranges) if closed & {*range(one[1], two[0])}
    ]
    assert min(open_gaps, default=99) >= max(closed_gaps, default=0)
