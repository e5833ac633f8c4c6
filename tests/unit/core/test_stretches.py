"""Stretches of time: the same as looking at each moment by itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.stretches import Stretches
from tests.examples import tried

_PARTS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=6)

_Part = tuple[int, int]


def _of(parts: list[_Part]) -> Stretches:
    every = np.array(parts, np.int64).reshape(-1, 2)
    return Stretches.of(every[:, 0], every[:, 1])


def _has(parts: list[_Part], at: int) -> bool:
    return any(begin <= at < end for begin, end in parts)


@given(_PARTS, _PARTS, _PARTS)
@tried(200)
def test_they_are_put_together_moment_by_moment(
    one: list[_Part], other: list[_Part], left_out: list[_Part]
) -> None:
    """What begins is in, what ends is not; parts that touch are one stretch."""
    found = Stretches.any_of([_of(one), _of(other)]).without(_of(left_out))
    moments = range(-1, 22)
    expected = [(_has(one, at) or _has(other, at)) and not _has(left_out, at) for at in moments]

    is_in, since, until = found.at(np.array(moments, np.int64))
    assert is_in.tolist() == expected == [found.has(at) for at in moments]
    for at, inside, begin, end in zip(
        moments, expected, since.tolist(), until.tolist(), strict=True
    ):
        reached = [other for other in moments if expected[other + 1] != inside]
        assert begin == max((other + 1 for other in reached if other < at), default=-(2**62))
        assert end == min((other for other in reached if other > at), default=2**62)


def test_all_time_has_no_edge_anywhere_near() -> None:
    """And nothing is left of it without itself."""
    is_in, since, until = Stretches.always().at(np.array([0], np.int64))

    assert (is_in.tolist(), since.tolist(), until.tolist()) == ([True], [-(2**62)], [2**62])
    assert len(Stretches.always().without(Stretches.always())) == 0
