"""What channels hold whose topics hold a state: their last value, whoever asks for it.

It is what a broker had retained, until a reading says something else. Only channels of feeds with
``retained = "state"`` are remembered here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Quality
from headgate.core.channels import ChannelTable
from headgate.core.stage import Selection, StateBlock
from streams.stages.arrays import NO_TIME_NS


class HeldValues:
    """Remembers the last value of each channel that holds a state. A stateful stage.

    Args:
        feeds: ``config.feed``.
        channels: The pipeline's table.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], channels: ChannelTable) -> None:
        self._feeds = {name for name, feed in feeds.items() if feed.handles_retained == "state"}
        self._channels = channels
        # By channel row.
        self._is_state = np.empty(0, np.bool_)
        self._value = np.empty(0, np.float64)
        self._time_ns = np.empty(0, np.int64)
        self._is_reading = np.empty(0, np.bool_)

    @property
    def fingerprint(self) -> str:
        """What the meaning of a snapshot depends on: nothing that may change."""
        return ""

    def process(self, batch: Batch) -> None:
        """Take note of readings, as cleaning leaves them: those that count, and were measured."""
        if self._feeds and len(batch):
            is_made_up = (batch.quality & np.uint16(Quality.IMPUTED)) != 0
            self.hold(batch.take(batch.usable & ~is_made_up), are_readings=True)

    def hold(self, batch: Batch, *, are_readings: bool = False) -> Batch:
        """Take note of values; of several of one channel the newest, and of equal times the last.

        A reading takes the place of what was retained in any case: that may have no time but that
        of its arrival.

        Returns:
            Those that count now.
        """
        if not self._feeds or not len(batch):
            return batch.take(np.empty(0, np.intp))
        self._extend()
        is_newer = batch.time_ns >= self._time_ns[batch.channel]
        if are_readings:
            is_newer |= ~self._is_reading[batch.channel]
        rows = np.flatnonzero(self._is_state[batch.channel] & is_newer)
        rows = rows[np.lexsort((batch.time_ns[rows], batch.channel[rows]))]
        is_last = np.append(np.diff(batch.channel[rows]) != 0, True)[: len(rows)]
        rows = np.sort(rows[is_last])
        channel = batch.channel[rows]
        self._value[channel] = batch.value[rows]
        self._time_ns[channel] = batch.time_ns[rows]
        self._is_reading[channel] = are_readings
        return batch.take(rows)

    def snapshot(self, selection: Selection) -> StateBlock:
        self._extend()
        position = np.flatnonzero(self._time_ns[selection.channels] > NO_TIME_NS)
        rows = selection.channels[position]
        return {
            "channel": position.astype(np.int32),
            "channel_value": self._value[rows],
            "channel_time_ns": self._time_ns[rows],
            "channel_is_reading": self._is_reading[rows],
        }

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self.forget(selection)
        if block:
            rows = selection.channels[np.asarray(block["channel"], np.intp)]
            self._value[rows] = block["channel_value"]
            self._time_ns[rows] = block["channel_time_ns"]
            self._is_reading[rows] = block["channel_is_reading"]

    def forget(self, selection: Selection) -> None:
        self._extend()
        self._value[selection.channels] = np.nan
        self._time_ns[selection.channels] = NO_TIME_NS
        self._is_reading[selection.channels] = False

    def _extend(self) -> None:
        known, every = len(self._value), len(self._channels)
        if every > known:
            new = [each.feed in self._feeds for each in self._channels.channels[known:]]
            self._is_state = np.concatenate([self._is_state, np.array(new, np.bool_)])
            self._value = np.concatenate([self._value, np.full(every - known, np.nan)])
            self._time_ns = np.concatenate([self._time_ns, np.full(every - known, NO_TIME_NS)])
            self._is_reading = np.concatenate([self._is_reading, np.zeros(every - known, np.bool_)])
