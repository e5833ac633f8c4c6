"""When readings were whose device says only how long it has been running.

An uptime and the time it arrives at say when the device was started, but for the delay on the way.
The least delay seen counts: no reading is from later than it arrives, and one that was held up says
nothing of the clock. So a device's readings keep the spacing it measured them with, and what it had
buffered lands where it was measured, if it was heard live before or the message has a reading of
now. As its clock is not exact, the start is moved up when nothing has come so soon for a while.

An uptime that falls back is that of a device that was started anew, if that can have been since its
newest reading; of a counter of 32 bits that has wrapped; or else of an older reading. A device that
sleeps starts anew for each message, after which its uptime is about what it was: equal, higher by
less than its pace though it comes much later, or higher after as long a silence as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from connectors.formats.columns import Decoded
from connectors.formats.recalled import Recalled
from headgate.core.batch import Batch, Quality
from headgate.core.channels import ChannelTable, Remaining
from headgate.core.clock import NS_PER_S

#: Numbers of 32 bits wrap here.
_WRAPS_AT = 1 << 32

#: The part of its numbers behind which a counter may wrap next, and within which it has wrapped.
_NEAR_PART = 4

#: A reading may seem to be from so much later than it arrives where a counter wraps, and a start
#: from before the reading before it, which was held up: ns.
_WITHIN_NS = NS_PER_S

#: The start is moved up once so many messages in so long a time were later by more than this.
_FEWEST, _LEAST_NS, _SLACK_NS = 16, 600 * NS_PER_S, 50_000_000

#: A device that starts anew for each message runs for no longer than this. One that has run for
#: longer and comes late has been cut off, and may repeat its last message before what it buffered.
_AWAKE_NS = 60 * NS_PER_S

_NEVER_NS = 1 << 62


@dataclass(slots=True)
class _Clock:
    """What is known of one device's.

    Attributes:
        start_ns: When it was started, ns since 1970 UTC, as far as is known; None before it is.
        up_ns: Its highest uptime since then.
        newest_ns: The time of its newest reading; 0 before any.
        pace_ns: What lies between its readings, usually; 0 while that is not known.
        sleep_ns: How long it had been silent before it was started last, where that is longer than
            it had been running; otherwise 0.
        is_sure: Whether the start follows from a message that had not waited.
        least_ns: The earliest start that recent messages would have.
        before_ns: The same of those before.
        count: How many recent messages there are.
        since_ns: Since when.
    """

    start_ns: int | None = None
    up_ns: int = 0
    newest_ns: int = 0
    pace_ns: int = 0
    sleep_ns: int = 0
    is_sure: bool = False
    least_ns: int = _NEVER_NS
    before_ns: int = _NEVER_NS
    count: int = 0
    since_ns: int = 0


class UptimeTimes:
    """Times of readings that have uptimes.

    Args:
        unit_ns: What one counts by which uptimes are told, ns; 0 where it never wraps.
        period_ns: The pace of a device of which nothing is known.
        channels: The table that the readings point into.
    """

    def __init__(self, unit_ns: int, period_ns: int, channels: ChannelTable) -> None:
        self._span_ns = _WRAPS_AT * unit_ns
        self._period_ns = period_ns
        self._channels = channels
        # By device row.
        self._clocks: dict[int, _Clock] = {}
        self._recalled = Recalled()

    def settle(
        self,
        decoded: Decoded,
        arrival_ns: NDArray[np.int64],
        unheard_ns: NDArray[np.int64] | None,
    ) -> Decoded:
        """The readings with their times, from uptimes as such. The arguments are those of
        ``Arrivals.settle``.
        """
        device = self._channels.device_of[decoded.channel]
        # Devices may take turns in a message, by record or by channel.
        order = np.lexsort((device, decoded.owner))
        owner, device = decoded.owner[order], device[order]
        up_ns, channel = decoded.time_ns[order], decoded.channel[order]
        # A record is what follows each other then of a message, a device and an uptime.
        is_start = np.ones(len(owner), np.bool_)
        is_start[1:] = (owner[1:] != owner[:-1]) | (device[1:] != device[:-1])
        is_start[1:] |= up_ns[1:] != up_ns[:-1]
        # In the next record the channels begin anew.
        is_start[1:] |= channel[1:] <= channel[:-1]
        starts = np.flatnonzero(is_start)
        rows = zip(
            owner[starts].tolist(),
            device[starts].tolist(),
            up_ns[starts].tolist(),
            strict=True,
        )
        times: list[int] = []
        guesses: list[bool] = []
        for (message, row), group in groupby(rows, key=lambda each: each[:2]):
            ups = [up for *_, up in group]
            waited_ns = 0 if unheard_ns is None else int(unheard_ns[message])
            clock = self._clock(row)
            times += self._date(clock, ups, int(arrival_ns[message]), waited_ns)
            guesses += [not clock.is_sure] * len(ups)
        lengths = np.diff(np.append(starts, len(owner)))
        flags = np.where(guesses, np.uint16(Quality.ESTIMATED_TIME), np.uint16(0))
        time_ns = np.empty_like(decoded.time_ns)
        time_ns[order] = np.repeat(np.array(times, np.int64), lengths)
        quality = decoded.quality.copy()
        quality[order] |= np.repeat(flags, lengths)
        return replace(decoded, time_ns=time_ns, quality=quality)

    def keep(self, remaining: Remaining) -> None:
        """Forget all but what remains of the table, which takes its place."""
        self._channels = remaining.table
        rows = remaining.devices.tolist()
        self._clocks = {rows[row]: each for row, each in self._clocks.items() if rows[row] >= 0}

    def recall(self, batch: Batch) -> None:
        """Learn from readings of earlier, of whichever devices, in a table of their own."""
        self._recalled.learn(batch)

    def _clock(self, row: int) -> _Clock:
        clock = self._clocks.get(row)
        if clock is None:
            newest_ns, pace_ns = self._recalled.take(self._channels.devices[row])
            clock = self._clocks[row] = _Clock(newest_ns=newest_ns, pace_ns=pace_ns)
        return clock

    def _date(
        self, clock: _Clock, ups: Sequence[int], arrived_ns: int, waited_ns: int
    ) -> list[int]:
        """Times of the readings of a message, of which a device has these uptimes."""
        # The newest of those in a row is from no later than now, and the others with it.
        highest = list(ups)
        for at in range(len(ups) - 2, -1, -1):
            if ups[at] <= ups[at + 1]:
                highest[at] = highest[at + 1]
        if clock.start_ns is None:
            self._begin(clock, max(ups), ups[0], arrived_ns, waited_ns)
        elif not clock.is_sure and not waited_ns:
            # It was a guess, and this is of now.
            self._begin(clock, max(ups), ups[0], arrived_ns, 0)
        # Where they fall back within the message, the first of them are of before that.
        rises = len(set(highest)) == 1
        if rises and self._has_slept(clock, ups[0], arrived_ns - highest[0], waited_ns):
            self._restart(clock, highest[0], ups[0], arrived_ns, waited_ns)
        times = [
            self._time(clock, up_ns, high_ns, arrived_ns, waited_ns)
            for up_ns, high_ns in zip(ups, highest, strict=True)
        ]
        self._follow(clock, arrived_ns - max(ups[-1], highest[-1]), arrived_ns)
        return times

    def _begin(
        self, clock: _Clock, high_ns: int, first_ns: int, arrived_ns: int, waited_ns: int
    ) -> None:
        """Take the device for one that was started so long ago."""
        start_ns = arrived_ns - high_ns
        if waited_ns:
            # It was published after the gateway had stopped listening, one after the last.
            pace_ns = clock.pace_ns or self._period_ns
            from_ns = max(clock.newest_ns, waited_ns - pace_ns)
            start_ns = min(start_ns, from_ns + pace_ns - first_ns)
        clock.start_ns, clock.up_ns, clock.is_sure = start_ns, 0, not waited_ns
        clock.least_ns = clock.before_ns = _NEVER_NS
        clock.count, clock.since_ns = 0, arrived_ns

    def _restart(
        self, clock: _Clock, high_ns: int, first_ns: int, arrived_ns: int, waited_ns: int
    ) -> None:
        """Take a known device for one that was started anew so long ago."""
        silence_ns = arrived_ns - high_ns - clock.newest_ns
        if not waited_ns:
            clock.sleep_ns = silence_ns if silence_ns > clock.up_ns else 0
        self._begin(clock, high_ns, first_ns, arrived_ns, waited_ns)

    def _has_slept(self, clock: _Clock, up_ns: int, latest_ns: int, waited_ns: int) -> bool:
        """Whether a message is of a new start, although its uptime has not fallen back.

        A message that is delivered twice may be taken for that; the next one that comes in time
        says when the device was started, as it cannot have been later.
        """
        step_ns = up_ns - clock.up_ns
        if step_ns < 0 or not 0 < up_ns < _AWAKE_NS or latest_ns <= clock.newest_ns:
            return False
        late_ns = latest_ns - (clock.start_ns or 0)
        if up_ns < clock.sleep_ns and late_ns > clock.sleep_ns // 2:
            return True
        # What has waited is late in any case.
        half_ns = (clock.pace_ns or self._period_ns) // 2
        return not step_ns or (not waited_ns and step_ns < half_ns < late_ns)

    def _time(
        self, clock: _Clock, up_ns: int, high_ns: int, arrived_ns: int, waited_ns: int
    ) -> int:
        """When a device had been running for so long."""
        start_ns = clock.start_ns or 0
        latest_ns = arrived_ns - high_ns
        is_older = up_ns < clock.up_ns
        if is_older and latest_ns >= clock.newest_ns - _WITHIN_NS:
            is_older = False
            if self._has_wrapped(clock, up_ns, arrived_ns):
                clock.start_ns, clock.up_ns = start_ns + self._span_ns, 0
            else:
                self._restart(clock, high_ns, up_ns, arrived_ns, waited_ns)
            start_ns = clock.start_ns or 0
        clock.start_ns = start_ns = min(start_ns, latest_ns)
        if is_older:
            return start_ns + up_ns
        time_ns = max(start_ns + up_ns, clock.newest_ns + 1)
        if clock.up_ns and up_ns > clock.up_ns:
            step_ns = up_ns - clock.up_ns
            known_ns = clock.pace_ns or step_ns
            clock.pace_ns = max(known_ns + (min(step_ns, 2 * known_ns) - known_ns) // 4, 1)
        clock.up_ns, clock.newest_ns = up_ns, time_ns
        return time_ns

    def _has_wrapped(self, clock: _Clock, up_ns: int, arrived_ns: int) -> bool:
        """Whether an uptime follows on the one before, in a counter that has begun anew."""
        near_ns = self._span_ns // _NEAR_PART
        is_near = self._span_ns - near_ns < clock.up_ns < self._span_ns
        ahead_ns = (clock.start_ns or 0) + self._span_ns + up_ns - arrived_ns
        return is_near and -near_ns < ahead_ns <= _WITHIN_NS

    def _follow(self, clock: _Clock, latest_ns: int, arrived_ns: int) -> None:
        """Move the start up where nothing has come as soon as it should for long."""
        clock.least_ns = min(clock.least_ns, latest_ns)
        clock.count += 1
        if clock.count < _FEWEST or arrived_ns - clock.since_ns < _LEAST_NS:
            return
        least_ns = min(clock.least_ns, clock.before_ns)
        if least_ns - (clock.start_ns or 0) > _SLACK_NS:
            clock.start_ns = least_ns
        clock.before_ns, clock.least_ns = clock.least_ns, _NEVER_NS
        clock.count, clock.since_ns = 0, arrived_ns
