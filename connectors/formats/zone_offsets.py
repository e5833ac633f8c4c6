"""Offsets of local times of one zone, many at once.

In a zone that changes its offset a local time has two, which differ in the hour that comes twice
and in the one that is left out (PEP 495). Changes are few: whole days between them are looked up
once.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S

#: Spans that are looked up as a whole, s: days, quarters of an hour in days with a change, seconds.
_SPANS_S = (86_400, 900, 1)

#: Local times from the year 2 to 9998: a zone's offset takes none of them out of all years.
_EARLIEST_S, _LATEST_S = -62_100_000_000, 253_300_000_000

#: So many spans of each length are remembered.
_MOST_SPANS = 20_000

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (local times)


class ZoneOffsets:
    """The offsets of one zone.

    Args:
        zone: The zone.
    """

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        # By length of a span and its number, both offsets in all of it; None: they change in it.
        self._known: dict[int, dict[int, tuple[int, int] | None]] = {each: {} for each in _SPANS_S}

    def of(self, local_s: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of local times, s since 1970, both offsets in ns; the first is that before a change."""
        first, second = np.empty_like(local_s), np.empty_like(local_s)
        self._fill(local_s, np.arange(len(local_s)), first, second, 0)
        return first, second

    def _fill(
        self,
        local_s: NDArray[np.int64],
        rows: NDArray[np.intp],
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        depth: int,
    ) -> None:
        span_s = _SPANS_S[depth]
        spans, which = np.unique(local_s[rows] // span_s, return_inverse=True)
        known = self._known[span_s]
        if len(known) > _MOST_SPANS:
            known.clear()
        found = [self._of_span(known, number, span_s) for number in spans.tolist()]
        plain = np.array([each or (0, 0) for each in found], np.int64).reshape(-1, 2)
        first[rows], second[rows] = plain[which, 0], plain[which, 1]
        changes = [place for place, each in enumerate(found) if each is None]
        if changes:
            self._fill(local_s, rows[np.isin(which, changes)], first, second, depth + 1)

    def _of_span(
        self, known: dict[int, tuple[int, int] | None], number: int, span_s: int
    ) -> tuple[int, int] | None:
        """Both offsets in a span, ns; None where they are not the same at both its ends."""
        if number not in known:
            begin = self._at(number * span_s)
            is_same = span_s == 1 or self._at((number + 1) * span_s - 1) == begin
            known[number] = begin if is_same else None
        return known[number]

    def _at(self, local_s: int) -> tuple[int, int]:
        moment = _EPOCH + timedelta(seconds=min(max(local_s, _EARLIEST_S), _LATEST_S))
        first = moment.replace(tzinfo=self._zone)
        return _ns(first.utcoffset()), _ns(first.replace(fold=1).utcoffset())


def _ns(offset: timedelta | None) -> int:
    return 0 if offset is None else offset // timedelta(microseconds=1) * (NS_PER_S // 10**6)
