"""Tumbling event-time windows over each channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Quality
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.lookup import ByChannel, ByDevice
from headgate.core.results import SIGNS, STATISTICS, Aggregates
from headgate.core.sketch import quantiles
from headgate.core.stage import Selection, StateBlock
from streams.stages.aggregate.counted import with_counts
from streams.stages.aggregate.in_states import NOTHING_SPENT, Spent, with_states
from streams.stages.aggregate.joined import concat_aggregates
from streams.stages.aggregate.summary import Moments, Summary, concat_summaries
from streams.stages.aggregate.windows import Windows
from streams.stages.arrays import group_by
from streams.stages.count.windows import NOTHING_COUNTED, Counted
from streams.stages.rowstore import Columns

#: Gives the watermark of each of some device rows, ns since 1970 UTC.
WatermarkOf: TypeAlias = Callable[[NDArray[np.int32]], NDArray[np.int64]]

#: Longest slice of time whose readings are kept as they are: longer means more memory, shorter
#: more work for joining slices.
_LONGEST_PANE_NS = 10 * NS_PER_S

#: Readings of a channel in a pane, about, where they come fast. A fleet whose windows close
#: together also has less to do at that moment then.
_PANE_READINGS = 100

#: Names of the quantiles, and the quantiles.
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class Aggregator:
    """Counts, moments and quantiles of every channel by window. A stateful stage.

    The same readings give the same windows to the last bit, in whatever order (within the grace)
    and batches they arrive. Unusable readings are counted and otherwise left out; imputed ones are
    left out altogether. Windows without any reading give nothing.

    Args:
        feeds: ``config.feed``: period and aggregates of each feed.
        channels: The pipeline's table.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], channels: ChannelTable) -> None:
        self._channels = channels
        self._order = _NameOrder(channels)
        numbers = {name: number for number, name in enumerate(feeds)}
        # By feed number; the last entry stands for feeds that are not in the configuration.
        self._period_ns = np.array([*(feed.period for feed in feeds.values()), 1], np.int64)
        self._shortest_ns = [
            min((aggregate.window for aggregate in feed.aggregates), default=0)
            for feed in feeds.values()
        ]
        # By the length of their panes, and of their windows.
        self._plans: dict[tuple[int, tuple[int, ...]], _Plan] = {}
        for number, feed in enumerate(feeds.values()):
            for pane_ns, lengths_ns in _panes(feed).items():
                if (pane_ns, lengths_ns) not in self._plans:
                    serves = np.zeros(len(feeds) + 1, np.bool_)
                    windows = Windows(pane_ns, lengths_ns, channels)
                    self._plans[pane_ns, lengths_ns] = _Plan(serves, windows)
                self._plans[pane_ns, lengths_ns].serves[number] = True
        self._has_counters = any(feed.counters for feed in feeds.values())
        self._is_counter = ByChannel(
            channels,
            np.bool_,
            lambda each: each.feed in feeds and feeds[each.feed].is_counter(each),
        )
        # By device row: the number of its feed, or -1.
        self._feed = ByDevice(channels, np.int32, lambda device: numbers.get(device.feed, -1))

    @property
    def fingerprint(self) -> str:
        """What the meaning of a snapshot depends on: which lengths the windows have."""
        return repr(sorted(self._plans))

    def process(
        self,
        batch: Batch,
        watermark_of: WatermarkOf,
        spent: Spent = NOTHING_SPENT,
        counted: Counted = NOTHING_COUNTED,
    ) -> Aggregates:
        """Take readings in, and close windows.

        Args:
            batch: Readings that were on time, none of them older than its device's watermark
                was at its turn.
            watermark_of: Gives the devices' watermarks once this batch is in.
            spent: For how long text channels were in each state, of windows that close with this.
            counted: What was counted by counters, likewise.

        Returns:
            The closed windows, ordered by end, device, field and length.
        """
        is_measured = (batch.quality & np.uint16(Quality.IMPUTED)) == 0
        if not is_measured.all():
            batch = batch.take(is_measured)
        groups = group_by(batch.device)
        order = groups.order
        rows: Columns = {
            "channel": batch.channel[order],
            "time_ns": batch.time_ns[order],
            "value": batch.value[order],
            "quality": batch.quality[order],
        }
        device = np.repeat(groups.keys, groups.lengths)
        closed = self._add(device, rows, groups.keys, watermark_of)
        return self._with_others(closed, spent, counted)

    def close(
        self,
        devices: NDArray[np.int32],
        watermark_of: WatermarkOf,
        spent: Spent = NOTHING_SPENT,
        counted: Counted = NOTHING_COUNTED,
        made: Batch | None = None,
    ) -> Aggregates:
        """Close the windows of these devices that their watermarks have passed.

        For devices that have gone silent: their watermarks move without a reading.

        Args:
            devices: The devices.
            watermark_of: Gives their watermarks.
            spent: As in ``process``.
            counted: As in ``process``.
            made: Readings of derived channels of these devices, by device; None for none.
        """
        made = Batch.empty(self._channels) if made is None else made
        rows: Columns = {
            "channel": made.channel,
            "time_ns": made.time_ns,
            "value": made.value,
            "quality": made.quality,
        }
        ordered = np.sort(devices).astype(np.int64)
        closed = self._add(made.device.astype(np.int64), rows, ordered, watermark_of)
        return self._with_others(closed, spent, counted)

    def pending(self, selection: Selection) -> NDArray[np.int64]:
        """int64[d]: readings in open windows, of the shortest length that the feed has."""
        count = np.zeros(len(selection.devices), np.int64)
        feed = self._feed[selection.devices]
        for number in np.unique(feed[feed >= 0]).tolist():
            positions = np.flatnonzero(feed == number)
            shortest_ns = self._shortest_ns[number]
            for (_, lengths_ns), plan in self._plans.items():
                if shortest_ns in lengths_ns and plan.serves[number]:
                    devices = selection.devices[positions]
                    count[positions] = plan.windows.waiting(devices, shortest_ns)
        return count

    def snapshot(self, selection: Selection) -> StateBlock:
        return {
            f"{_prefix(key)}{name}": array
            for key, plan in self._plans.items()
            for name, array in plan.windows.snapshot(selection).items()
        }

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        for key, plan in self._plans.items():
            prefix = _prefix(key)
            part = {
                name.removeprefix(prefix): array
                for name, array in block.items()
                if name.startswith(prefix)
            }
            plan.windows.restore(selection, part)

    def forget(self, selection: Selection) -> None:
        for plan in self._plans.values():
            plan.windows.forget(selection)

    def _add(
        self,
        device: NDArray[np.int64],
        rows: Columns,
        devices: NDArray[np.int64],
        watermark_of: WatermarkOf,
    ) -> Aggregates:
        watermark_ns = watermark_of(devices.astype(np.int32))
        closed: list[tuple[int, Summary]] = []
        for plan in self._plans.values():
            is_ours = plan.serves[self._feed[devices]]
            if is_ours.all():
                closed += plan.windows.add(device, rows, devices, watermark_ns).items()
                continue
            mask = plan.serves[self._feed[device]]
            ours = {name: column[mask] for name, column in rows.items()}
            closed += plan.windows.add(
                device[mask], ours, devices[is_ours], watermark_ns[is_ours]
            ).items()
        return self._aggregates([(length, part) for length, part in closed if len(part.moments)])

    def _aggregates(self, closed: list[tuple[int, Summary]]) -> Aggregates:
        if not closed:
            return concat_aggregates([])
        every = concat_summaries([part for _, part in closed])
        moments, buckets = every.moments, every.buckets
        window_ns = np.repeat(
            np.array([length for length, _ in closed], np.int64),
            [len(part.moments) for _, part in closed],
        )
        order = self._in_order(moments.channel, moments.start_ns, window_ns)
        moments, window_ns = moments.take(order), window_ns[order]
        ends = np.cumsum(np.bincount(buckets.cell, minlength=len(order)))
        spans = list(
            zip(np.append(0, ends[:-1])[order].tolist(), ends[order].tolist(), strict=True)
        )
        return Aggregates(
            channel=moments.channel,
            start_ns=moments.start_ns,
            window_ns=window_ns,
            n=moments.n,
            flagged=moments.flagged,
            expected=self._expected(moments.channel, window_ns),
            stats=_statistics(
                moments, quantiles(buckets, len(order), list(_QUANTILES.values()))[order]
            ),
            sketch_keys=[buckets.key[first:end] for first, end in spans],
            sketch_counts=[buckets.count[first:end] for first, end in spans],
            signs={name: getattr(moments, name) for name in SIGNS},
        )

    def _in_order(
        self,
        channel: NDArray[np.int32],
        start_ns: NDArray[np.int64],
        window_ns: NDArray[np.int64],
    ) -> NDArray[np.intp]:
        return np.lexsort((window_ns, self._order.ranks(channel), start_ns + window_ns))

    def _expected(
        self, channel: NDArray[np.int32], window_ns: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        period_ns = self._period_ns[self._feed[self._channels.device_of[channel]]]
        # A window that is shorter than the period is only there when a reading fell into it.
        expected: NDArray[np.int64] = np.maximum((window_ns + period_ns // 2) // period_ns, 1)
        return expected

    def _with_others(self, closed: Aggregates, spent: Spent, counted: Counted) -> Aggregates:
        """The windows with what text channels and counters have of their own."""
        every = closed
        if self._channels.has_texts:
            every = with_states(every, spent, self._channels)
        if self._has_counters:
            every = with_counts(every, counted, self._is_counter[every.channel])
        if len(every) == len(closed):
            return every
        every = replace(every, expected=self._expected(every.channel, every.window_ns))
        return every.take(self._in_order(every.channel, every.start_ns, every.window_ns))


@dataclass(frozen=True, slots=True)
class _Plan:
    """Windows of certain lengths, and by feed number whether the feed has them."""

    serves: NDArray[np.bool_]
    windows: Windows


class _NameOrder:
    """Ranks channels by device and field, whatever order the table has them in."""

    def __init__(self, channels: ChannelTable) -> None:
        self._channels = channels
        self._rank = np.empty(0, np.int64)

    def ranks(self, rows: NDArray[np.int32]) -> NDArray[np.int64]:
        """int64[n]: numbers that rise with the channels' names."""
        ranked, known = len(self._rank), len(self._channels)
        if rows.max(initial=-1) < ranked:
            return self._rank[rows]
        # Sorting every name for each new channel would be slow while a fleet is coming up; then
        # only the names at hand are sorted.
        if 4 * known < 5 * ranked:
            distinct, of = np.unique(rows, return_inverse=True)
            return self._ranked(distinct)[of]
        self._rank = self._ranked(np.arange(known, dtype=np.int32))
        return self._rank[rows]

    def _ranked(self, rows: NDArray[np.int32]) -> NDArray[np.int64]:
        channels = self._channels.channels
        names = [
            (channel.owner, channel.field, channel.key)
            for channel in (channels[row] for row in rows.tolist())
        ]
        rank = np.empty(len(rows), np.int64)
        rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(rows))
        return rank


def _panes(feed: FeedConfig) -> dict[int, tuple[int, ...]]:
    """The feed's window lengths by the length of the panes they are cut into."""
    by_pane: dict[int, list[int]] = {}
    for length_ns in sorted({aggregate.window for aggregate in feed.aggregates}):
        longest_ns = min(max(_PANE_READINGS * feed.period, NS_PER_S), _LONGEST_PANE_NS)
        by_pane.setdefault(_pane_ns(length_ns, longest_ns), []).append(length_ns)
    return {pane_ns: tuple(lengths_ns) for pane_ns, lengths_ns in by_pane.items()}


def _pane_ns(length_ns: int, longest_ns: int) -> int:
    """The longest pane that divides the window; the window itself when only tiny ones would."""
    fewest = -(-length_ns // longest_ns)
    for pieces in range(fewest, 2 * fewest):
        if length_ns % pieces == 0:
            return length_ns // pieces
    return length_ns


def _prefix(key: tuple[int, tuple[int, ...]]) -> str:
    pane_ns, lengths_ns = key
    return f"{pane_ns}:" + "+".join(str(length) for length in lengths_ns) + "."


def _statistics(moments: Moments, quantile: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """``Aggregates.stats``; NaN where a window has no usable reading."""
    is_empty = moments.n == 0
    # The sketch knows values to 1 %, the range exactly: a constant signal reads as it is.
    quantile = np.clip(quantile, moments.low[:, None], moments.high[:, None])
    stats = {
        "mean": moments.mean,
        "min": moments.low,
        "max": moments.high,
        "std": np.sqrt(moments.squares / np.maximum(moments.n, 1)),
        "last": moments.last,
        **{name: quantile[:, column] for column, name in enumerate(_QUANTILES)},
    }
    return {name: np.where(is_empty, np.nan, stats[name]) for name in STATISTICS}
