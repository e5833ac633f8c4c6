"""The watermark: how far each device's event time has come, and which readings are too late.

A device's watermark is the newest event time it has sent less its feed's grace, so it depends on
the device's own readings only: a backlog played as a burst meets the same watermarks as the same
readings live. The clock is used for one thing: a device that has gone silent never moves its own
watermark again, so after a while its open windows are given up waiting for.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headgate.config.schema import Feed
from headgate.core.batch import Batch, Quality
from headgate.core.channels import ChannelTable
from headgate.core.stage import Output, Rejected, Selection, StateBlock
from streams.arrays import NO_TIME_NS, group_by, grown, running_max
from streams.presence import Presence, presence

#: Arrival time of devices that have not sent anything since they were restored.
_NOT_SEEN = np.int64(-1)


class Watermarks:
    """Rejects late readings and keeps every device's watermark. A stateful stage.

    Args:
        feeds: ``config.feed``: grace and aggregate windows by feed.
        channels: The pipeline's table.
    """

    def __init__(self, feeds: Mapping[str, Feed], channels: ChannelTable) -> None:
        self._feeds = feeds
        self._channels = channels
        self._feed_names = list(feeds)
        self._known = 0
        # By device row. A feed number of -1: the feed is not in the configuration.
        self._feed = np.empty(0, np.int32)
        self._grace_ns = np.empty(0, np.int64)
        self._newest_ns = np.empty(0, np.int64)
        self._floor_ns = np.empty(0, np.int64)
        self._arrival_ns = np.empty(0, np.int64)
        self._is_silent = np.empty(0, np.bool_)

    def process(self, batch: Batch, now_ns: int) -> Output:
        """Move the watermarks by these readings, and reject the late ones.

        A reading is late when it is older than its device's watermark at its turn, in arrival
        order; one exactly on the watermark is on time. Readings of feeds that are not in the
        configuration are rejected as ``"unknown_feed"``.

        Args:
            batch: Readings in arrival order.
            now_ns: Monotonic time, for noticing silence.
        """
        if not len(batch):
            return Output(batch)
        self._extend()
        groups = group_by(batch.device)
        devices = groups.keys
        time_ns = running_max(batch.time_ns[groups.order], groups.starts, groups.lengths)
        newest_ns = np.maximum(time_ns, np.repeat(self._newest_ns[devices], groups.lengths))
        limit_ns = np.maximum(
            newest_ns - np.repeat(self._grace_ns[devices], groups.lengths),
            np.repeat(self._floor_ns[devices], groups.lengths),
        )
        is_late = np.empty(len(batch), np.bool_)
        is_late[groups.order] = batch.time_ns[groups.order] < limit_ns
        self._newest_ns[devices] = newest_ns[groups.starts + groups.lengths - 1]
        # Only readings that count keep a device from being silent: one whose clock was set back
        # sends nothing but late ones, and its windows must still close.
        is_alive = ~np.logical_and.reduceat(is_late[groups.order], groups.starts)
        self._arrival_ns[devices[is_alive]] = now_ns
        self._is_silent[devices[is_alive]] = False
        return self._output(batch, is_late)

    def watermark_ns(self, devices: NDArray[np.int32]) -> NDArray[np.int64]:
        """int64[d]: no older reading of these devices will be accepted; far past when unseen."""
        self._extend()
        event_time_ns: NDArray[np.int64] = self._newest_ns[devices] - self._grace_ns[devices]
        return np.maximum(event_time_ns, self._floor_ns[devices])

    def quiet(self, now_ns: int, silent_after_ns: int) -> NDArray[np.int32]:
        """The devices that count as silent from now on, unless something speaks for waiting.

        After a restore silence is counted from the first call.

        Args:
            now_ns: Monotonic time, of the same clock as in ``process``.
            silent_after_ns: Silence that long means silent.
        """
        self._extend()
        known = slice(0, self._known)
        arrival_ns = self._arrival_ns[known]
        arrival_ns[arrival_ns == _NOT_SEEN] = now_ns
        is_quiet = (
            ~self._is_silent[known]
            & (self._newest_ns[known] > NO_TIME_NS)
            & (now_ns - arrival_ns >= silent_after_ns)
        )
        return np.flatnonzero(is_quiet).astype(np.int32)

    def keep_waiting(self, devices: NDArray[np.int32], heard_ns: int) -> None:
        """Count the silence of these devices from this monotonic time on, if it is later."""
        self._arrival_ns[devices] = np.maximum(self._arrival_ns[devices], heard_ns)

    def silent(self, now_ns: int, silent_after_ns: int) -> NDArray[np.int32]:
        """The devices that have gone silent since the last call, their watermarks moved on.

        A silent device's watermark goes to the end of the longest aggregate window that holds
        its newest reading, so all of its windows close; what it sends later and is older than
        that is late. The arguments are those of ``quiet``.
        """
        devices = self.quiet(now_ns, silent_after_ns)
        self._is_silent[devices] = True
        for number, name in enumerate(self._feed_names):
            of_feed = devices[self._feed[devices] == number]
            for aggregate in self._feeds[name].aggregates:
                window_ns = aggregate.window
                end_ns = (self._newest_ns[of_feed] // window_ns + 1) * window_ns
                self._floor_ns[of_feed] = np.maximum(self._floor_ns[of_feed], end_ns)
        return devices

    def catch_up(self, devices: NDArray[np.int32], leaders: NDArray[np.int32]) -> None:
        """Let the watermarks of devices be no earlier than those of others.

        Args:
            devices: int32[b], rows; one may stand more than once.
            leaders: int32[b], for each a row whose watermark it must not be behind.
        """
        self._extend()
        watermark_ns, newest_ns = self.watermark_ns(leaders), self._newest_ns[leaders]
        np.maximum.at(self._floor_ns, devices, watermark_ns)
        # Without this a device that never sends again would keep open what it has open.
        np.maximum.at(self._newest_ns, devices, newest_ns)

    def presence(self, now_ns: int) -> Mapping[str, Presence]:
        """By feed, how many devices are silent, and for how long.

        Args:
            now_ns: Monotonic time, of the same clock as in ``process``.
        """
        self._extend()
        known = slice(0, self._known)
        arrival_ns = self._arrival_ns[known]
        return presence(
            self._channels.devices,
            self._feed[known],
            self._feed_names,
            np.where(arrival_ns == _NOT_SEEN, 0, now_ns - arrival_ns),
            self._is_silent[known],
            self._newest_ns[known] > NO_TIME_NS,
        )

    def snapshot(self, selection: Selection) -> StateBlock:
        self._extend()
        devices = selection.devices
        return {
            "newest_ns": self._newest_ns[devices],
            # The watermark itself and not only what it follows from: it must not go back when
            # the process comes back with a longer grace.
            "watermark_ns": self.watermark_ns(devices),
            "is_silent": self._is_silent[devices],
        }

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self.forget(selection)
        devices = selection.devices
        self._newest_ns[devices] = block["newest_ns"]
        self._floor_ns[devices] = block["watermark_ns"]
        self._is_silent[devices] = block["is_silent"]

    def forget(self, selection: Selection) -> None:
        self._extend()
        devices = selection.devices
        self._newest_ns[devices] = NO_TIME_NS
        self._floor_ns[devices] = NO_TIME_NS
        self._arrival_ns[devices] = _NOT_SEEN
        self._is_silent[devices] = False

    def _output(self, batch: Batch, is_late: NDArray[np.bool_]) -> Output:
        is_unknown = self._feed[batch.device] < 0
        is_rejected = is_late | is_unknown
        if not is_rejected.any():
            return Output(batch)
        rejected = []
        if is_unknown.any():
            rejected.append(Rejected("unknown_feed", batch.take(is_unknown)))
        is_late &= ~is_unknown
        if is_late.any():
            late = batch.take(is_late)
            rejected.append(Rejected("late", late.flagged(np.arange(len(late)), Quality.LATE)))
        return Output(batch.take(~is_rejected), tuple(rejected))

    def _extend(self) -> None:
        """Make room for the devices that the table has got since the last call."""
        new = self._channels.devices[self._known :]
        if not new:
            return
        known = self._known + len(new)
        numbers = {name: number for number, name in enumerate(self._feed_names)}
        self._feed = grown(self._feed, known, -1)
        self._grace_ns = grown(self._grace_ns, known, 0)
        self._newest_ns = grown(self._newest_ns, known, NO_TIME_NS)
        self._floor_ns = grown(self._floor_ns, known, NO_TIME_NS)
        self._arrival_ns = grown(self._arrival_ns, known, _NOT_SEEN)
        self._is_silent = grown(self._is_silent, known, fill=False)
        self._feed[self._known : known] = [numbers.get(each.feed, -1) for each in new]
        self._grace_ns[self._known : known] = [
            self._feeds[each.feed].grace if each.feed in self._feeds else 0 for each in new
        ]
        self._known = known
