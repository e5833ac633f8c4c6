"""Sets of offsets as sorted, disjoint, half-open ranges that do not touch."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

Range = tuple[int, int]


def united(ranges: Iterable[Range]) -> list[Range]:
    """The same offsets in as few ranges as possible; empty ranges vanish."""
    result: list[Range] = []
    for first, end in sorted(ranges):
        if first >= end:
            continue
        if result and first <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((first, end))
    return result


def without(ranges: Iterable[Range], gone: Range) -> list[Range]:
    """What is left when a range is taken out."""
    first, end = gone
    left: list[Range] = []
    for begin, stop in ranges:
        left += [(begin, min(stop, first)), (max(begin, end), stop)]
    return united(left)


def overlap(ranges: Iterable[Range], other: Range) -> int:
    """How many offsets of another range are in these."""
    first, end = other
    return sum(max(0, min(stop, end) - max(begin, first)) for begin, stop in ranges)


def fewer(ranges: list[Range], most: int) -> list[Range]:
    """At most so many ranges with these offsets, and as few others as possible besides."""
    if len(ranges) <= most:
        return ranges
    gaps = sorted(b[0] - a[1] for a, b in pairwise(ranges))
    widest = gaps[len(ranges) - most - 1]
    joined = [ranges[0]]
    for first, end in ranges[1:]:
        if first - joined[-1][1] <= widest:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    return joined
