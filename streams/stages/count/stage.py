"""Counting what counters count: how much more in each window, and how often they began anew.

A counter's step is from one reading to the next, in the order of their event times, and belongs to
the window of the later one: whatever falls between two windows, or into a silence, is counted once.
A counter is a field of a device in a unit: channels of it that differ in tags which tell no devices
apart are read as one, and a step belongs to that of its later reading.

Readings wait until their device's watermark has reached them, so neither their batches nor the
order in which they arrived make a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable, Tags
from headgate.core.errors import DataError
from headgate.core.grown import grown
from headgate.core.runs import runs
from headgate.core.stage import Selection, StateBlock
from streams.stages.aggregate.stage import WatermarkOf
from streams.stages.arrays import (
    NEVER_NS,
    NO_TIME_NS,
    position_of_channels,
)
from streams.stages.channel_rows import ChannelRows
from streams.stages.columns import StateColumns
from streams.stages.count.walk import Walk, steps_to
from streams.stages.count.windows import (
    NOTHING_COUNTED,
    PARTS,
    Counted,
    counted_in,
    joined_parts,
)
from streams.stages.rowstore import Columns
from streams.stages.watermark.outcome import NO_JUMPS

#: What tells counters apart: the device's row, measurement, field and unit, and tags.
_Counter: TypeAlias = tuple[int, str, str, str, Tags]


class Counters:
    """Counts what counters count. A stateful stage.

    Args:
        feeds: ``config.feed``: which channels are counters, and the lengths of the windows.
        channels: The pipeline's table.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], channels: ChannelTable) -> None:
        self._feeds = feeds
        self._channels = channels
        self._has_counters = any(feed.counters for feed in feeds.values())
        self._known = 0
        # Counters have slots: other channels take no room. By channel, its slot or -1; by slot, the
        # channel that was read last.
        self._slot = np.empty(0, np.int64)
        self._slot_of: dict[_Counter, int] = {}
        self._channel = np.empty(0, np.int32)
        self._lengths_ns: list[tuple[int, ...]] = []
        self._walks: list[Walk] = []
        # By what the numbers in the payload are multiplied.
        self._scale = np.empty(0, np.float64)
        # What is not a mere rise is gone through by a walk, and so is one this large.
        self._rise_back = np.empty(0, np.float64)
        # By slot: what has been counted, at which time it was read last, and how many readings in
        # a row have been below it, and the lowest of these.
        self._now = StateColumns(
            count=np.float64(np.nan),
            read_ns=np.int64(NO_TIME_NS),
            below=np.int64(0),
            lowest=np.float64(np.nan),
        )
        self._waiting = ChannelRows(channels, time_ns=np.int64, value=np.float64)
        self._open = ChannelRows(channels, **PARTS)
        # By device row: whether it has counters, and when there is something to do.
        self._is_ours = np.empty(0, np.bool_)
        self._due_ns = np.empty(0, np.int64)

    @property
    def fingerprint(self) -> str:
        """What the meaning of a snapshot depends on: not on the windows, so they may change.

        Nor on the scales: a snapshot says them, so that a counter goes on when another's changes.
        """
        return "count/2"

    def process(
        self, batch: Batch, watermark_of: WatermarkOf, jumps: NDArray[np.int64] = NO_JUMPS
    ) -> Counted:
        """Take readings in, and say what was counted in windows that are over.

        Args:
            batch: Readings as cleaning leaves them, by device. Those that are unusable, or made up,
                are passed over.
            watermark_of: Gives the devices' watermarks once this batch is in.
            jumps: int64[2, j], devices whose clocks jump in it, and up to where all is closed
                before that: the time that a step over that took is not known.
        """
        if not self._has_counters:
            return NOTHING_COUNTED
        self._extend()
        devices = np.unique(batch.device).astype(np.int64)
        devices = devices[self._is_ours[devices]]
        is_counted = (self._slot[batch.channel] >= 0) & batch.usable
        is_counted &= (batch.quality & np.uint16(Quality.IMPUTED)) == 0
        rows = batch.take(is_counted)
        self._wait(rows.channel, rows.time_ns, rows.value + 0.0)
        for row, closed_ns in jumps.T.tolist():
            channel = self._channel[self._slots_of(np.array([row]))]
            self._wait(channel, np.full(len(channel), closed_ns), np.full(len(channel), np.nan))
        return self._go_on(devices, watermark_of(devices.astype(np.int32)))

    def close(self, devices: NDArray[np.int32], watermark_of: WatermarkOf) -> Counted:
        """Say what follows from these devices' watermarks, which have moved without a reading."""
        if not self._has_counters:
            return NOTHING_COUNTED
        self._extend()
        ordered = np.sort(devices).astype(np.int64)
        ordered = ordered[self._is_ours[ordered]]
        return self._go_on(ordered, watermark_of(ordered.astype(np.int32)))

    def go_back(self, channels: NDArray[np.int32]) -> None:
        """Forget when these channels were read: their clock was set back. What they count stays."""
        if self._has_counters:
            self._extend()
            self._now["read_ns"][self._slots(channels)] = NO_TIME_NS

    def snapshot(self, selection: Selection) -> StateBlock:
        self._extend()
        position = position_of_channels(selection, len(self._channels))
        devices = np.sort(selection.devices)
        block: StateBlock = {}
        for prefix, store in self._stores():
            for name, column in store.snapshot(devices, position).items():
                block[f"{prefix}_{name}"] = column
        slots = self._slots(selection.channels)
        waiting = self._slot[self._waiting.peek(devices)[1]["channel"]]
        slots = slots[~np.isnan(self._now["count"][slots]) | np.isin(slots, waiting)]
        block["now_channel"] = position[self._channel[slots]]
        block["now_scale"] = self._scale[slots]
        return block | {f"now_{name}": column[slots] for name, column in self._now.items()}

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self.forget(selection)
        if not block:
            return
        # A channel that is no counter any more has nothing to go on with.
        now = self._ours(selection, _part(block, "now", ("channel", "scale", *self._now)))
        if len(np.unique(now["channel"])) < len(now["channel"]):
            raise DataError("bad_record", "a counter stands there twice")
        # Devices that are no longer told apart leave several to go on from: the newest counts.
        order = np.lexsort((now["read_ns"], self._slot[now["channel"]]))
        starts, lengths = runs(self._slot[now["channel"]][order])
        now = {name: each[order[starts + lengths - 1]] for name, each in now.items()}
        slots = self._slot[now["channel"]]
        # What was read with another scale is no number of these: there is no step from it.
        is_same = now["scale"] == self._scale[slots]
        for name, column in self._now.items():
            column[slots[is_same]] = now[name][is_same]
        self._channel[slots[is_same]] = now["channel"][is_same]
        for prefix, store in self._stores():
            columns = self._ours(selection, _part(block, prefix, store.empty()))
            if prefix == "open":
                columns = self._still_open(columns)
            else:
                is_other = np.isin(self._slot[columns["channel"]], slots[~is_same])
                columns = {name: each[~is_other] for name, each in columns.items()}
            store.keep(columns)
        self._expect(np.sort(selection.devices).astype(np.int64))

    def forget(self, selection: Selection) -> None:
        self._extend()
        owners = self._channels.device_of[selection.channels]
        devices = np.unique(np.concatenate([selection.devices, owners])).astype(np.int64)
        for _, store in self._stores():
            store.forget(selection)
        # Of a counter that is read by another channel now, what was counted stays.
        self._now.forget(np.flatnonzero(np.isin(self._channel, selection.channels)))
        self._expect(devices)

    def _stores(self) -> tuple[tuple[str, ChannelRows], ...]:
        return (("waiting", self._waiting), ("open", self._open))

    def _ours(self, selection: Selection, columns: Columns) -> Columns:
        """Rows of a snapshot that are of counters, with the channels' rows in this table."""
        columns["channel"] = selection.channels[columns["channel"].astype(np.intp)]
        is_ours = self._slot[columns["channel"]] >= 0
        return {name: each[is_ours] for name, each in columns.items()}

    def _still_open(self, columns: Columns) -> Columns:
        """Open windows of lengths that their feeds have still."""
        slots, window_ns = self._slot[columns["channel"]], columns["window_ns"]
        has = [
            length_ns in self._lengths_ns[slot]
            for slot, length_ns in zip(slots.tolist(), window_ns.tolist(), strict=True)
        ]
        is_kept = np.array(has, np.bool_) & (columns["start_ns"] % np.maximum(window_ns, 1) == 0)
        return {name: each[is_kept] for name, each in columns.items()}

    def _slots(self, channels: NDArray[np.int32]) -> NDArray[np.int64]:
        """The slots of those of these channels that have one, each once."""
        slots: NDArray[np.int64] = np.unique(self._slot[channels])
        return slots[slots >= 0]

    def _slots_of(self, devices: NDArray[np.int64]) -> NDArray[np.intp]:
        """The slots of all counters of these devices, rising."""
        is_asked = np.zeros(len(self._channels.devices), np.bool_)
        is_asked[devices] = True
        return np.flatnonzero(is_asked[self._channels.device_of[self._channel]])

    def _wait(
        self, channel: NDArray[np.int32], time_ns: NDArray[np.int64], value: NDArray[np.float64]
    ) -> None:
        self._waiting.keep({"channel": channel, "time_ns": time_ns, "value": value})
        np.minimum.at(self._due_ns, self._channels.device_of[channel], time_ns)

    def _go_on(self, devices: NDArray[np.int64], watermark_ns: NDArray[np.int64]) -> Counted:
        """Take what the watermarks of these devices, which rise, have reached."""
        is_due = self._due_ns[devices] <= watermark_ns
        devices, watermark_ns = devices[is_due], watermark_ns[is_due]
        if not len(devices):
            return NOTHING_COUNTED
        parts = joined_parts([self._open.take(devices)[1], *self._settle(devices, watermark_ns)])
        device = self._channels.device_of[parts["channel"]].astype(np.int64)
        end_ns = parts["start_ns"] + parts["window_ns"]
        is_closed = end_ns <= watermark_ns[np.searchsorted(devices, device)]
        self._open.keep({name: each[~is_closed] for name, each in parts.items()})
        self._expect(devices)
        return counted_in({name: each[is_closed] for name, each in parts.items()})

    def _settle(
        self, devices: NDArray[np.int64], watermark_ns: NDArray[np.int64]
    ) -> Iterator[Columns]:
        """The steps of readings that nothing can come before any more, by length of windows."""
        _, rows = self._waiting.take_until(devices, watermark_ns)
        # By counter and time; of one time the smallest first, and last what ends a span of time.
        order = np.lexsort((rows["value"], rows["time_ns"], self._slot[rows["channel"]]))
        rows = {name: each[order] for name, each in rows.items()}
        if not len(order):
            return
        steps = self._steps(rows["channel"], rows["time_ns"], rows["value"])
        slots = self._slot[steps["channel"]]
        by_lengths: dict[tuple[int, ...], list[int]] = {}
        for slot in np.unique(slots).tolist():
            by_lengths.setdefault(self._lengths_ns[slot], []).append(slot)
        for lengths_ns, members in by_lengths.items():
            some = np.isin(slots, members)
            ours = {name: each[some] for name, each in steps.items()}
            for length_ns in lengths_ns:
                start_ns = ours["start_ns"] // length_ns * length_ns
                window_ns = np.full(len(start_ns), length_ns, np.int64)
                yield {**ours, "start_ns": start_ns, "window_ns": window_ns}

    def _steps(
        self, channel: NDArray[np.int32], time_ns: NDArray[np.int64], value: NDArray[np.float64]
    ) -> Columns:
        """The step to each reading, as ``PARTS``, with its time for the window's start."""
        now, slot = self._now, self._slot[channel]
        is_end = np.isnan(value)
        starts, lengths = runs(slot)
        last = starts + lengths - 1
        read_ns = np.roll(np.where(is_end, NO_TIME_NS, time_ns), 1)
        read_ns[starts] = now["read_ns"][slot[starts]]
        now["read_ns"][slot[last]] = np.where(is_end[last], NO_TIME_NS, time_ns[last])
        is_read = ~is_end
        slot, time_ns, read_ns = slot[is_read], time_ns[is_read], read_ns[is_read]
        value, channel = value[is_read], channel[is_read]
        starts, lengths = runs(slot)
        of = slot[starts]
        self._channel[of] = channel[starts + lengths - 1]
        is_first = np.zeros(len(value), np.bool_)
        is_first[starts] = np.isnan(now["count"][of])
        rise_back = self._rise_back[of]
        steps = steps_to(value, (starts, lengths), of, now, rise_back, self._walks.__getitem__)
        took_ns = np.where(read_ns > NO_TIME_NS, np.maximum(time_ns - read_ns, 0), 0)
        return {
            "channel": channel,
            "start_ns": time_ns,
            "before": steps.before,
            "count": steps.count,
            "lifted": steps.lifted,
            "largest": np.maximum(np.abs(steps.before), np.abs(steps.count)),
            "steps": (~is_first).astype(np.int64),
            "resets": steps.resets,
            "increase_ns": np.where(is_first, 0, took_ns),
        }

    def _is_counter(self, channel: Channel) -> bool:
        feed = self._feeds.get(channel.feed)
        return feed is not None and feed.is_counter(channel)

    def _expect(self, devices: NDArray[np.int64]) -> None:
        """Find out when there is something to do of these devices."""
        self._due_ns[devices] = NEVER_NS
        device, rows = self._waiting.peek(devices)
        np.minimum.at(self._due_ns, device, rows["time_ns"])
        device, rows = self._open.peek(devices)
        np.minimum.at(self._due_ns, device, rows["start_ns"] + rows["window_ns"])

    def _extend(self) -> None:
        """Take in what the table has got since the last call."""
        table = self._channels
        self._is_ours = grown(self._is_ours, len(table.devices), fill=False)
        self._due_ns = grown(self._due_ns, len(table.devices), NEVER_NS)
        if len(table) == self._known:
            return
        self._slot = grown(self._slot, len(table), -1)
        new = range(self._known, len(table))
        self._known = len(table)
        ours = [row for row in new if self._is_counter(table.channels[row])]
        firsts, scales = [], []
        for row in ours:
            channel = table.channels[row]
            feed = self._feeds[channel.feed]
            self._slot[row] = self._slot_of.setdefault(
                _counter(int(table.device_of[row]), channel, feed), len(self._slot_of)
            )
            if self._slot[row] < len(self._walks):
                continue
            self._lengths_ns.append(tuple(each.window for each in feed.aggregates))
            self._walks.append(Walk.of(feed, channel.field))
            firsts.append(row)
            scales.append(feed.channel(channel.field).line()[0])
        self._channel = np.concatenate([self._channel, np.array(firsts, np.int32)])
        self._scale = np.concatenate([self._scale, np.array(scales, np.float64)])
        rises = np.array([each.rise_back for each in self._walks[len(self._rise_back) :]])
        self._rise_back = np.concatenate([self._rise_back, rises])
        self._now.grow(len(self._channel))
        self._is_ours[table.device_of[ours]] = True


def _counter(device: int, channel: Channel, feed: FeedConfig) -> _Counter:
    """What tells a channel's counter from others of its feed."""
    # What stands in the topic, or is a key, says which of several it is, be it a phase or a line.
    places = {*feed.placeholders, *feed.record_keys}
    tags = tuple(tag for tag in channel.tags if tag[0] in places)
    return device, channel.measurement, channel.field, channel.unit, tags


def _part(block: Mapping[str, NDArray[np.generic]], prefix: str, names: Iterable[str]) -> Columns:
    """The arrays of a part of a snapshot."""
    return {name: block[f"{prefix}_{name}"] for name in names}
