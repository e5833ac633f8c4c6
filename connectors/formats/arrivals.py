"""What the gateway's own clock has to say of a feed's readings: which are ahead of it, and when
those were that have no time of their own.

A reading without a time gets the time it arrives at. What the broker had kept while the gateway was
away comes all at once, though, and so do the records of one message; then the times are estimated:
a device's readings follow each other at its pace from where it was last heard, up to now. The pace
is what it has when it is heard live, or the feed's period while that is not known.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from connectors.formats.columns import Decoded
from connectors.formats.recalled import Recalled
from connectors.formats.repeated_hour import RepeatedHour
from connectors.formats.unit_times import NS_PER_UNIT
from connectors.formats.uptimes import UptimeTimes
from headgate.config.event_time import zone_of
from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Quality
from headgate.core.channels import ChannelTable, Remaining
from headgate.core.grown import grown
from headgate.core.runs import runs

#: What readings are marked with whose device has no clock yet.
_CLOCKLESS = int(Quality.ARRIVAL_TIME | Quality.ESTIMATED_TIME)


class Arrivals:
    """Holds one feed's readings against the times they arrived at.

    Args:
        feed: Its configuration.
        channels: The table that its readings point into.
    """

    def __init__(self, feed: FeedConfig, channels: ChannelTable) -> None:
        # With half of the grace to spare, a device that is ahead makes nobody's readings late.
        self._tolerance_ns = feed.grace // 2
        time = feed.time
        # Elements of arrays follow each other more quickly than messages.
        step_ns = None if feed.arrays is None else feed.arrays.step
        pace_ns = step_ns or feed.period
        self._times = ArrivalTimes(pace_ns, channels) if time.may_be_arrival else None
        self._has_times = time.path is not None
        self._uptimes: UptimeTimes | None = None
        if time.is_uptime:
            # Several numbers that are added up wrap each by itself, and so not at all.
            unit_ns = NS_PER_UNIT[time.units[0]] if time.is_plain else 0
            self._uptimes = UptimeTimes(unit_ns, pace_ns, channels)
        self._hours = None if time.zone is None else RepeatedHour(zone_of(time.zone), channels)

    def settle(
        self,
        decoded: Decoded,
        arrival_ns: NDArray[np.int64],
        unheard_ns: NDArray[np.int64] | None = None,
        *,
        is_repeated: bool = False,
    ) -> Decoded:
        """Mark readings that are ahead; find out when those were that have no time.

        It is done where they arrive, and kept with them: afterwards nobody could tell.

        Args:
            decoded: Readings of a run of messages.
            arrival_ns: int64[m], when each message of the run arrived, ns since 1970 UTC.
            unheard_ns: int64[m], for each message that may have waited at the broker, since when
                nobody had listened to it; 0 for the others. None: for all of them.
            is_repeated: Whether some may be of an hour that comes twice.
        """
        if not len(decoded.time_ns):
            return decoded
        if self._uptimes is not None:
            return self._uptimes.settle(decoded, arrival_ns, unheard_ns)
        if self._hours is not None:
            decoded = self._hours.settle(decoded, arrival_ns, is_met=is_repeated)
        time_ns = decoded.time_ns
        if self._times is not None and not self._has_times:
            return self._times.settle(decoded, arrival_ns, unheard_ns)
        if self._times is not None:
            decoded = self._settle_clockless(self._times, decoded, arrival_ns, unheard_ns)
            time_ns = decoded.time_ns
        if unheard_ns is not None and unheard_ns.any():
            # What says how long ago it was tells that from when it was sent, and that is not when
            # it has arrived.
            has_waited = unheard_ns[decoded.owner] > 0
            has_waited &= (decoded.quality & np.uint16(Quality.ARRIVAL_TIME)) > 0
            flags = np.where(has_waited, np.uint16(Quality.ESTIMATED_TIME), np.uint16(0))
            decoded = replace(decoded, quality=decoded.quality | flags)
        if time_ns.max() <= arrival_ns.min() + self._tolerance_ns:
            return decoded
        is_ahead = time_ns > arrival_ns[decoded.owner] + self._tolerance_ns
        quality = decoded.quality | np.where(is_ahead, np.uint16(Quality.AHEAD), np.uint16(0))
        return replace(decoded, quality=quality)

    def _settle_clockless(
        self,
        times: ArrivalTimes,
        decoded: Decoded,
        arrival_ns: NDArray[np.int64],
        unheard_ns: NDArray[np.int64] | None,
    ) -> Decoded:
        """The readings with times of those whose device had no clock."""
        rows = np.flatnonzero((decoded.quality & np.uint16(_CLOCKLESS)) == _CLOCKLESS)
        if not len(rows):
            return decoded
        of_them = replace(
            decoded,
            owner=decoded.owner[rows],
            time_ns=decoded.time_ns[rows],
            channel=decoded.channel[rows],
            value=decoded.value[rows],
            quality=decoded.quality[rows],
        )
        time_ns = decoded.time_ns.copy()
        time_ns[rows] = times.settle(of_them, arrival_ns, unheard_ns).time_ns
        return replace(decoded, time_ns=time_ns)

    def placed(self, decoded: Decoded, arrival_ns: NDArray[np.int64]) -> Decoded:
        """What is no reading, with the time it arrived at where it has an uptime."""
        if self._uptimes is None:
            return decoded
        return replace(decoded, time_ns=arrival_ns[decoded.owner])

    @property
    def has_caught_up(self) -> bool:
        """Whether what was settled last had not waited, for the most part, after all."""
        return self._times is not None and self._times.has_caught_up

    def keep(self, remaining: Remaining) -> None:
        """Forget all but what remains of the table, which takes its place."""
        if self._hours is not None:
            self._hours.keep(remaining)
        for times in (self._times, self._uptimes):
            if times is not None:
                times.keep(remaining)

    def recall(self, batch: Batch) -> None:
        """Learn from readings of earlier when the devices were last heard, and at what pace.

        Args:
            batch: Readings of this feed. They point into another table than what is settled.
        """
        for times in (self._times, self._uptimes):
            if times is not None:
                times.recall(batch)


class ArrivalTimes:
    """Times of readings that have none: strictly rising by device.

    Args:
        period_ns: The pace of a device of which nothing is known.
        channels: The table that the readings point into.
    """

    def __init__(self, period_ns: int, channels: ChannelTable) -> None:
        self.has_caught_up = False
        self._period_ns = period_ns
        self._channels = channels
        # By device row: the newest time given, and the pace; 0 while there is none.
        self._last_ns = np.zeros(0, np.int64)
        self._pace_ns = np.zeros(0, np.int64)
        self._known = 0
        self._recalled = Recalled()

    def settle(
        self,
        decoded: Decoded,
        arrival_ns: NDArray[np.int64],
        unheard_ns: NDArray[np.int64] | None,
    ) -> Decoded:
        """The readings with their times. The arguments are those of ``Arrivals.settle``."""
        self._grow()
        owner, channel = decoded.owner, decoded.channel
        device = self._channels.device_of[channel]
        # A record is what lies together of a message and a device; in the next one of the same
        # message the channels begin anew.
        is_start = np.ones(len(owner), np.bool_)
        is_start[1:] = (owner[1:] != owner[:-1]) | (device[1:] != device[:-1])
        is_start[1:] |= channel[1:] <= channel[:-1]
        starts = np.flatnonzero(is_start)
        order = np.argsort(device[starts], kind="stable")
        of_device, of_message = device[starts][order], owner[starts][order]
        kept_ns = None if unheard_ns is None else unheard_ns[of_message]
        time_ns, is_estimated = self._times_of(
            of_device, of_message, arrival_ns[of_message], kept_ns
        )
        lengths = np.diff(np.append(starts, len(owner)))
        rows_ns, is_marked = np.empty_like(time_ns), np.empty_like(is_estimated)
        rows_ns[order], is_marked[order] = time_ns, is_estimated
        quality = decoded.quality
        if is_estimated.any():
            flag = np.where(np.repeat(is_marked, lengths), int(Quality.ESTIMATED_TIME), 0)
            quality = quality | flag.astype(np.uint16)
        return replace(decoded, time_ns=np.repeat(rows_ns, lengths), quality=quality)

    def keep(self, remaining: Remaining) -> None:
        """Forget all but what remains of the table, which takes its place."""
        self._grow()
        kept = np.flatnonzero(remaining.devices >= 0)
        self._channels = remaining.table
        self._last_ns, self._pace_ns = self._last_ns[kept], self._pace_ns[kept]
        self._known = len(kept)

    def recall(self, batch: Batch) -> None:
        """Learn from readings of earlier, of whichever devices, in a table of their own."""
        self._recalled.learn(batch)
        self._known = 0

    def _times_of(
        self,
        device: NDArray[np.int32],
        message: NDArray[np.intp],
        arrived_ns: NDArray[np.int64],
        kept_ns: NDArray[np.int64] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Of records ordered by device, when each was, and whether that is an estimate."""
        starts, lengths = runs(device)
        rows = device[starts]
        last_ns, pace_ns = self._last_ns[rows], self._pace_ns[rows]
        pace_ns = np.where(pace_ns > 0, pace_ns, self._period_ns)
        rank = np.arange(len(device)) - np.repeat(starts, lengths)
        ends = starts + lengths - 1
        wanted_ns = arrived_ns
        self.has_caught_up = False
        is_kept = np.zeros(len(starts), np.bool_)
        if kept_ns is not None and kept_ns.any():
            is_kept = np.maximum.reduceat(kept_ns, starts) > 0
            # What has waited was not published before the gateway had stopped listening.
            from_ns = np.maximum(last_ns, kept_ns[starts] - pace_ns)
            room_ns = np.maximum(arrived_ns[ends] - from_ns, 0) // lengths
            step_ns = np.minimum(pace_ns, room_ns)
            guess_ns = np.repeat(from_ns, lengths) + np.repeat(step_ns, lengths) * (rank + 1)
            # What would come now comes now.
            is_now = arrived_ns - guess_ns < np.repeat(step_ns, lengths) // 2
            guess_ns = np.where(is_now, arrived_ns, np.minimum(guess_ns, arrived_ns))
            wanted_ns = np.where(np.repeat(is_kept, lengths), guess_ns, arrived_ns)
            self.has_caught_up = bool(2 * np.count_nonzero(is_now[ends][is_kept]) > is_kept.sum())
        firsts, counts = runs(device, message)
        if len(firsts) < len(device):
            # Several records in a message: the last one is of now, the others from before it.
            size = np.repeat(counts, counts)
            before = size - 1 - (np.arange(len(device)) - np.repeat(firsts, counts))
            since_ns = np.repeat(np.where(last_ns > 0, last_ns, 0), lengths)
            room_ns = np.maximum(wanted_ns - since_ns, 0) // size
            step_ns = np.minimum(np.repeat(pace_ns, lengths), room_ns)
            is_alone = np.repeat(is_kept, lengths)
            wanted_ns = np.where(is_alone, wanted_ns, wanted_ns - step_ns * before)
        time_ns = _rising(np.maximum(wanted_ns - rank, np.repeat(last_ns + 1, lengths)), starts)
        time_ns += rank
        self._last_ns[rows] = time_ns[ends]
        is_learned = ~is_kept & (last_ns > 0)
        step_ns = (time_ns[ends] - last_ns) // lengths
        known_ns = self._pace_ns[rows]
        usual_ns = known_ns + (np.minimum(step_ns, 2 * known_ns) - known_ns) // 4
        learned_ns = np.where(known_ns > 0, usual_ns, step_ns)
        self._pace_ns[rows[is_learned]] = np.maximum(learned_ns[is_learned], 1)
        return time_ns, wanted_ns < arrived_ns

    def _grow(self) -> None:
        devices = self._channels.devices
        self._last_ns = grown(self._last_ns, len(devices), 0)
        self._pace_ns = grown(self._pace_ns, len(devices), 0)
        if self._recalled:
            for row in range(self._known, len(devices)):
                last_ns, pace_ns = self._recalled.take(devices[row])
                self._last_ns[row] = max(self._last_ns[row], last_ns)
                self._pace_ns[row] = pace_ns or self._pace_ns[row]
        self._known = len(devices)


def _rising(value: NDArray[np.int64], starts: NDArray[np.intp]) -> NDArray[np.int64]:
    """The largest value so far in each group; groups lie one after the other."""
    if len(starts) == len(value):
        return value
    is_first = np.zeros(len(value), np.bool_)
    is_first[starts] = True
    # On ranks, which can be lifted above the group before without leaving int64.
    distinct, rank = np.unique(value, return_inverse=True)
    lift = (np.cumsum(is_first) - 1) * len(distinct)
    highest: NDArray[np.int64] = distinct[np.maximum.accumulate(rank.reshape(-1) + lift) - lift]
    return highest
