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
from headgate.core.lookup import ByChannel
from headgate.core.stage import Selection, StateBlock
from streams.stages.arrays import NO_TIME_NS
from streams.stages.columns import StateColumns


class HeldValues:
    """Remembers the last value of each channel that holds a state. A stateful stage.

    Args:
        feeds: ``config.feed``.
        channels: The pipeline's table.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], channels: ChannelTable) -> None:
        self._feeds = {name for name, feed in feeds.items() if feed.handles_retained == "state"}
        self._channels = channels
        self._is_state = ByChannel(channels, np.bool_, lambda each: each.feed in self._feeds)
        # By channel row.
        self._held = StateColumns(
            channel_value=np.float64(np.nan),
            channel_time_ns=np.int64(NO_TIME_NS),
            channel_is_reading=np.False_,
        )

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
        self._held.grow(len(self._channels))
        value, time_ns, is_reading = self._held.values()
        is_newer = batch.time_ns >= time_ns[batch.channel]
        if are_readings:
            is_newer |= ~is_reading[batch.channel]
        rows = np.flatnonzero(self._is_state[batch.channel] & is_newer)
        rows = rows[np.lexsort((batch.time_ns[rows], batch.channel[rows]))]
        is_last = np.append(np.diff(batch.channel[rows]) != 0, True)[: len(rows)]
        rows = np.sort(rows[is_last])
        channel = batch.channel[rows]
        value[channel] = batch.value[rows]
        time_ns[channel] = batch.time_ns[rows]
        is_reading[channel] = are_readings
        return batch.take(rows)

    def snapshot(self, selection: Selection) -> StateBlock:
        self._held.grow(len(self._channels))
        time_ns = self._held["channel_time_ns"][selection.channels]
        position = np.flatnonzero(time_ns > NO_TIME_NS)
        held = self._held.snapshot(selection.channels[position])
        return {"channel": position.astype(np.int32), **held}

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self.forget(selection)
        if block:
            rows = selection.channels[np.asarray(block["channel"], np.intp)]
            self._held.restore(rows, block)

    def forget(self, selection: Selection) -> None:
        self._held.grow(len(self._channels))
        self._held.forget(selection.channels)
