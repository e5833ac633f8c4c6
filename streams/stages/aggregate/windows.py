"""Open windows of one or more lengths that share their panes.

A pane is a slice of time that divides all of the windows. Readings wait as they are until the
watermark has passed their pane; only then is the pane summarized, from its readings in order of
event time, and joined to its windows. So what a window says depends on its readings alone, and not
on the order or the batches they came in.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headgate.core.batch import UNUSABLE, Quality
from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError
from headgate.core.grown import grown
from headgate.core.runs import runs
from headgate.core.sketch import KEY_LIMIT, Buckets
from headgate.core.stage import Selection, StateBlock
from streams.stages.aggregate.summary import Moments, Summary, concat_summaries, join, summarize
from streams.stages.arrays import NEVER_NS, position_of_channels, stable_order
from streams.stages.channel_rows import ChannelRows
from streams.stages.rowstore import Columns

#: More readings than any window has.
_MOST_READINGS = 1 << 48

#: Readings of closing panes summarized at once, and those of one more device.
_ROWS_CLOSED_AT_ONCE = 1 << 16


class _Open:
    """Windows of one length that hold some of their panes already: one for a channel at most."""

    def __init__(self, window_ns: int, channels: ChannelTable) -> None:
        self.window_ns = window_ns
        self.moments = ChannelRows(
            channels,
            start_ns=np.int64,
            n=np.int64,
            flagged=np.int64,
            mean=np.float64,
            squares=np.float64,
            low=np.float64,
            high=np.float64,
            last=np.float64,
            spikes=np.int64,
            stuck=np.int64,
            jumps=np.float64,
            lone=np.float64,
            first=np.float64,
            first_jump=np.float64,
            last_jump=np.float64,
        )
        self.sketches = ChannelRows(channels, key=np.int32, count=np.int64)

    def take(self, devices: NDArray[np.int64]) -> Summary:
        """The windows of these devices, which are then no longer kept."""
        moments = Moments(**self.moments.take(devices)[1])
        moments = moments.take(np.argsort(moments.channel))
        _, sketches = self.sketches.take(devices)
        cell = np.searchsorted(moments.channel, sketches["channel"])
        return Summary(moments, Buckets(cell, sketches["key"], sketches["count"]))

    def put(self, summary: Summary) -> None:
        """Keep these windows."""
        moments, buckets = summary.moments, summary.buckets
        self.moments.keep(moments.columns())
        channel = moments.channel[buckets.cell]
        self.sketches.keep({"channel": channel, "key": buckets.key, "count": buckets.count})


class Windows:
    """The open windows of devices, by event time.

    Args:
        pane_ns: Length of a pane.
        lengths_ns: Lengths of the windows, multiples of the pane, rising.
        channels: The pipeline's table.
    """

    def __init__(self, pane_ns: int, lengths_ns: tuple[int, ...], channels: ChannelTable) -> None:
        self._pane_ns = pane_ns
        self._channels = channels
        self._rows = ChannelRows(channels, time_ns=np.int64, value=np.float64, quality=np.uint16)
        # A window as long as its pane is never kept open.
        self._open = {length: _Open(length, channels) for length in lengths_ns}
        # By device row: the earliest end of its open panes and windows.
        self._due_ns = np.empty(0, np.int64)

    def add(
        self,
        device: NDArray[np.int64],
        rows: Columns,
        devices: NDArray[np.int64],
        watermark_ns: NDArray[np.int64],
    ) -> dict[int, Summary]:
        """Take readings in, and close the windows that the watermark has passed.

        Args:
            device: Device row of each reading, rising.
            rows: The readings: ``channel``, ``time_ns``, ``value``, ``quality``.
            devices: The devices to look at, rising, each once; all of ``device`` among them.
            watermark_ns: Their watermarks once these readings are in.

        Returns:
            Closed windows by length.
        """
        if not len(devices):
            return {}
        self._due_ns = grown(self._due_ns, int(devices.max()) + 1, NEVER_NS)
        self._expect(device, self._pane_end_ns(rows["time_ns"]))
        is_due = self._due_ns[devices] <= watermark_ns
        if not is_due.any():
            self._rows.append(device, rows)
            return {}
        position = np.searchsorted(devices, device)
        waits = ~is_due[position]
        self._rows.append(device[waits], {name: column[waits] for name, column in rows.items()})
        ours = {name: column[~waits] for name, column in rows.items()}
        return self._close_all(devices[is_due], watermark_ns[is_due], device[~waits], ours)

    def waiting(self, devices: NDArray[np.int32], length_ns: int) -> NDArray[np.int64]:
        """int64[d]: readings in open windows of this length, by device (each once)."""
        order = np.argsort(devices)
        device, windows = self._open[length_ns].moments.peek(devices[order])
        position = order[np.searchsorted(devices[order], device)]
        in_windows = np.bincount(position, windows["n"] + windows["flagged"], len(devices))
        return self._rows.count(devices) + in_windows.astype(np.int64)

    def snapshot(self, selection: Selection) -> StateBlock:
        """Copy out what these devices have open; names are unique for this object's lengths."""
        devices = np.sort(selection.devices)
        position = position_of_channels(selection, len(self._channels))
        block: StateBlock = {}
        for name, store in self._stores().items():
            for column, values in store.snapshot(devices, position).items():
                block[f"{name}_{column}"] = values
        return block

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a snapshot; of lengths it does not hold there are no open windows then."""
        self.forget(selection)
        for name, store in self._stores().items():
            if f"{name}_channel" not in block:
                continue
            columns = _columns(block, name, store.empty())
            if not _is_sound(name, columns, block):
                raise DataError("bad_record", f"{name}: no readings, or no windows")
            columns["channel"] = selection.channels[columns["channel"]]
            store.keep(columns)
        devices = np.sort(selection.devices)
        if not len(devices):
            return
        owner, rows = self._rows.peek(devices)
        self._expect(owner, self._pane_end_ns(rows["time_ns"]))
        for length_ns, windows in self._open.items():
            owner, moments = windows.moments.peek(devices)
            self._expect(owner, moments["start_ns"] + length_ns)

    def forget(self, selection: Selection) -> None:
        """Drop what these devices have open."""
        devices = np.sort(selection.devices)
        for store in self._stores().values():
            store.take(devices)
        if len(devices):
            self._due_ns = grown(self._due_ns, int(devices[-1]) + 1, NEVER_NS)
            self._due_ns[devices] = NEVER_NS

    def _stores(self) -> dict[str, ChannelRows]:
        stores = {f"pane_{self._pane_ns}": self._rows}
        for length, windows in self._open.items():
            stores[f"window_{length}"] = windows.moments
            stores[f"sketch_{length}"] = windows.sketches
        return stores

    def _close_all(
        self,
        devices: NDArray[np.int64],
        watermark_ns: NDArray[np.int64],
        device: NDArray[np.int64],
        rows: Columns,
    ) -> dict[int, Summary]:
        """Close what is due, a bounded number of readings at a time.

        Devices in step have their windows end together: a whole fleet's would need many times the
        memory that the gateway needs otherwise.

        Args:
            devices: The devices that have something due, rising.
            watermark_ns: Their watermarks.
            device: Device row of each new reading, rising.
            rows: The new readings.
        """
        part = np.cumsum(self._rows.count(devices)) // _ROWS_CLOSED_AT_ONCE
        starts, lengths = runs(part)
        closed: dict[int, list[Summary]] = {length_ns: [] for length_ns in self._open}
        for start, end in zip(starts.tolist(), (starts + lengths).tolist(), strict=True):
            some = devices[start:end]
            waiting_device, waiting = self._rows.take(some)
            new = slice(*np.searchsorted(device, [some[0], some[-1] + 1]))
            every = {
                name: np.concatenate([waiting[name], column[new]]) for name, column in rows.items()
            }
            every_device = np.concatenate([waiting_device, device[new]])
            parts = self._close(some, watermark_ns[start:end], every_device, every)
            for length_ns, summary in parts.items():
                closed[length_ns].append(summary)
        return {length_ns: concat_summaries(parts) for length_ns, parts in closed.items()}

    def _close(
        self,
        devices: NDArray[np.int64],
        watermark_ns: NDArray[np.int64],
        device: NDArray[np.int64],
        rows: Columns,
    ) -> dict[int, Summary]:
        """Summarize the panes behind the watermark; ``rows`` is all that these devices have."""
        self._due_ns[devices] = NEVER_NS
        end_ns = self._pane_end_ns(rows["time_ns"])
        is_behind = end_ns <= watermark_ns[np.searchsorted(devices, device)]
        ahead = np.flatnonzero(~is_behind)
        ahead = ahead[stable_order(device[ahead])]
        self._rows.append(device[ahead], {name: column[ahead] for name, column in rows.items()})
        self._expect(device[ahead], end_ns[ahead])
        panes = summarize({name: column[is_behind] for name, column in rows.items()}, self._pane_ns)
        closed: dict[int, Summary] = {}
        for length_ns, windows in self._open.items():
            if length_ns == self._pane_ns:
                closed[length_ns] = panes
                continue
            joined = join(panes, length_ns, windows.take(devices))
            of = self._channels.device_of[joined.moments.channel].astype(np.int64)
            window_end_ns = joined.moments.start_ns + length_ns
            is_closed = window_end_ns <= watermark_ns[np.searchsorted(devices, of)]
            closed[length_ns] = joined.take(is_closed)
            windows.put(joined.take(~is_closed))
            order = stable_order(of[~is_closed])
            self._expect(of[~is_closed][order], window_end_ns[~is_closed][order])
        return closed

    def _pane_end_ns(self, time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        return time_ns - time_ns % self._pane_ns + self._pane_ns

    def _expect(self, device: NDArray[np.int64], end_ns: NDArray[np.int64]) -> None:
        """Note that something of these devices (rising) is to be closed at these times."""
        starts, _ = runs(device)
        if len(starts):
            devices = device[starts]
            first_ns = np.minimum.reduceat(end_ns, starts)
            self._due_ns[devices] = np.minimum(self._due_ns[devices], first_ns)


def _is_sound(name: str, columns: Columns, block: Mapping[str, NDArray[np.generic]]) -> bool:
    """Whether a store's columns can be joined and summarized."""
    channel = columns["channel"]
    if "quality" in columns:
        is_of_use = columns["quality"] & np.uint16(UNUSABLE) == 0
        return bool((np.isfinite(columns["value"]) | ~is_of_use).all())
    if "key" in columns:
        key, count = columns["key"], columns["count"]
        is_key = (key > -KEY_LIMIT) & (key < KEY_LIMIT) & (count > 0) & (count < _MOST_READINGS)
        windows = block.get(name.replace("sketch_", "window_") + "_channel", channel[:0])
        return bool(is_key.all() and np.isin(channel, windows).all())
    counts = [columns[each] for each in ("n", "flagged", "spikes", "stuck")]
    is_count = [bool(((each >= 0) & (each < _MOST_READINGS)).all()) for each in counts]
    return all(is_count) and len(np.unique(channel)) == len(channel)


def _columns(block: Mapping[str, NDArray[np.generic]], store: str, empty: Columns) -> Columns:
    """A store's columns in a snapshot, which an older version may have made."""
    size = len(block[f"{store}_channel"])
    columns: Columns = {
        column: block.get(f"{store}_{column}", np.zeros(size, dtype.dtype))
        for column, dtype in empty.items()
    }
    usable = block.get(f"{store}_is_usable")
    if usable is not None:
        # Which flag it was is not known; that the reading is of no use is what counts.
        columns["quality"] = np.where(usable, 0, Quality.MISSING).astype(np.uint16)
    return columns
