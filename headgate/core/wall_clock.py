"""When the clocks of a time zone show a time, for many times at once.

Where clocks are put back an hour comes twice, and where they are put forward one is left out. A
time of day is reached when clocks first show it, or a later one.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S

#: The days that are known of, as counted from 1970: up to the year 2100.
FIRST_DAY: Final = 0
LAST_DAY: Final = (date(2101, 1, 1) - date(1970, 1, 1)).days

DAY_S: Final = 86_400
DAY_NS: Final = DAY_S * NS_PER_S

#: Zones whose changes are remembered.
_MOST_ZONES: Final = 64

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class WallClock:
    """The clocks of one zone, from 1970 to 2100.

    Args:
        zone: The zone.
    """

    def __init__(self, zone: tzinfo) -> None:
        since_s, offset_s = _changes(zone)
        #: From when on an offset counts, and which: ns, the first one from the beginning of time.
        self._since_ns = np.array(since_s, np.int64) * NS_PER_S
        self._offset_ns = np.array(offset_s, np.int64) * NS_PER_S
        # What clocks show when an offset counts no longer. One that is put back shows again what
        # it has shown, which is not reached a second time.
        self._until_ns = self._since_ns[1:] + self._offset_ns[:-1]

    def reached_ns(self, local_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[n]: when clocks first show these times, or later ones; ns since 1970 UTC.

        Args:
            local_ns: int64[n], times as clocks show them, ns since what they call 1970.
        """
        at = np.searchsorted(self._until_ns, local_ns, "right")
        found = local_ns - self._offset_ns[at]
        is_skipped = (at > 0) & (found < self._since_ns[at])
        return np.where(is_skipped, self._since_ns[at], found)


@lru_cache(maxsize=_MOST_ZONES)
def wall_clock(zone: tzinfo) -> WallClock:
    """The clocks of a zone."""
    return WallClock(zone)


def _changes(zone: tzinfo) -> tuple[list[int], list[int]]:
    """From when on each offset of a zone counts, s since 1970 UTC, and the offset, s."""
    first_s, last_s = (FIRST_DAY - 1) * DAY_S, (LAST_DAY + 1) * DAY_S
    since, offsets = [first_s], [_offset_s(zone, first_s)]
    for day_s in range(first_s, last_s, DAY_S):
        low_s, high_s = day_s, day_s + DAY_S
        if _offset_s(zone, high_s) == offsets[-1]:
            continue
        # A zone changes once in a day at most.
        while high_s - low_s > 1:
            middle_s = (low_s + high_s) // 2
            is_before = _offset_s(zone, middle_s) == offsets[-1]
            low_s, high_s = (middle_s, high_s) if is_before else (low_s, middle_s)
        since.append(high_s)
        offsets.append(_offset_s(zone, high_s))
    return since, offsets


def _offset_s(zone: tzinfo, at_s: int) -> int:
    offset = (_EPOCH + timedelta(seconds=at_s)).astimezone(zone).utcoffset()
    return 0 if offset is None else offset // timedelta(seconds=1)
