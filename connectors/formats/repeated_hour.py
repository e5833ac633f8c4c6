"""The hour that comes twice in autumn: of which of the two a reading is whose time has no offset.

A text can't say it. What a device sent before can: readings go on from there, be they sent live,
from a buffer, or out of a recording. By how much later than they were they arrive changes little
from one to the next, and by an hour if the wrong one is taken.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, tzinfo
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from connectors.formats.columns import Decoded
from headgate.core.channels import ChannelTable, Remaining
from headgate.core.clock import NS_PER_S
from headgate.core.grown import grown

#: Clocks are set at no finer times than at each quarter of an hour.
_QUARTER_NS = 900 * NS_PER_S

#: Of a device that nothing is known of, no clock is so far ahead: what would be is an hour older.
_AHEAD_NS = 60 * NS_PER_S

#: That nothing was heard of a device yet.
_UNHEARD = np.iinfo(np.int64).min


class RepeatedHour:
    """Holds readings of one feed, taken for the later of the two, against those before them.

    Args:
        zone: Of the feed's times.
        channels: The table that the readings point into.
    """

    def __init__(self, zone: tzinfo, channels: ChannelTable) -> None:
        self._zone = zone
        self._channels = channels
        # By device row, how much later than it was its newest reading arrived, ns.
        self._lag_ns = np.zeros(0, np.int64)

    def settle(self, decoded: Decoded, arrival_ns: NDArray[np.int64], *, is_met: bool) -> Decoded:
        """The readings with their times.

        Args:
            decoded: Readings of a run of messages, in the order in which they arrived.
            arrival_ns: int64[m], when each message of the run arrived, ns since 1970 UTC.
            is_met: Whether any of them may be of such an hour.
        """
        self._lag_ns = self._lags_ns()
        device = self._channels.device_of[decoded.channel]
        said_ns = decoded.time_ns
        if decoded.later_ns is not None:
            # Of several that count from one time, that is which of the two it is.
            said_ns = said_ns - decoded.later_ns
        lag_ns = arrival_ns[decoded.owner] - said_ns
        if not is_met:
            # Of several of a device the last one stays.
            self._lag_ns[device] = lag_ns
            return decoded
        # Readings of one record, which have one time, are of one hour.
        is_first = np.ones(len(device), np.bool_)
        for each in (device, said_ns, lag_ns):
            is_first[1:] &= each[1:] == each[:-1]
        is_first[1:] = ~is_first[1:]
        firsts = np.flatnonzero(is_first)
        moved_ns = np.zeros(len(firsts), np.int64)
        rows = zip(
            device[firsts].tolist(), said_ns[firsts].tolist(), lag_ns[firsts].tolist(), strict=True
        )
        for at, (row, second_ns, later_lag_ns) in enumerate(rows):
            lag, apart_ns = later_lag_ns, _apart_ns(self._zone, second_ns // _QUARTER_NS)
            if apart_ns and self._is_earlier(int(self._lag_ns[row]), later_lag_ns, apart_ns):
                lag = later_lag_ns + apart_ns
                moved_ns[at] = apart_ns
            self._lag_ns[row] = lag
        time_ns = decoded.time_ns - np.repeat(moved_ns, np.diff(np.append(firsts, len(device))))
        return replace(decoded, time_ns=time_ns)

    def keep(self, remaining: Remaining) -> None:
        """Forget all but what remains of the table, which takes its place."""
        self._lag_ns = self._lags_ns()[np.flatnonzero(remaining.devices >= 0)]
        self._channels = remaining.table

    def _is_earlier(self, known_ns: int, later_lag_ns: int, apart_ns: int) -> bool:
        """Whether a reading is of the first of the two hours.

        Args:
            known_ns: How late the device's reading before it was.
            later_lag_ns: How late it is if it is of the second one.
            apart_ns: How far the two are apart.
        """
        if known_ns == _UNHEARD:
            # One that is on its way for longer than an hour is from a buffer, which begins before.
            return later_lag_ns >= apart_ns or later_lag_ns < -_AHEAD_NS
        return abs(later_lag_ns + apart_ns - known_ns) < abs(later_lag_ns - known_ns)

    def _lags_ns(self) -> NDArray[np.int64]:
        return grown(self._lag_ns, len(self._channels.devices), _UNHEARD)


@lru_cache(maxsize=1024)
def _apart_ns(zone: tzinfo, quarter: int) -> int:
    """How far apart the two times are that have one local time, ns; 0 where it is not the later."""
    try:
        second = datetime.fromtimestamp(quarter * 900, zone)
    except (OverflowError, ValueError, OSError):
        return 0
    if not second.fold:
        return 0
    offsets = (second.replace(fold=0).utcoffset(), second.utcoffset())
    if offsets[0] is None or offsets[1] is None:
        return 0
    return round((offsets[0] - offsets[1]).total_seconds()) * NS_PER_S
