"""Cleaning: every reading gets a verdict, and short gaps are filled.

In this order, each on what the ones before let pass: missing, out of range, duplicate, spike,
stuck, gap. A verdict is a quality flag; only duplicates, and readings that are in conflict with an
earlier one of their channel and time, are taken out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import Feed
from headgate.core.batch import UNUSABLE, Batch, Quality
from headgate.core.channels import ChannelTable
from headgate.core.runs import runs
from headgate.core.stage import Output, Rejected, Selection, StateBlock
from streams.stages.arrays import (
    NEVER_NS,
    NO_TIME_NS,
    Groups,
    group_by,
    grown,
    max_before,
    ramp,
)
from streams.stages.clean.duplicates import Recent
from streams.stages.clean.spikes import Spikes


class Cleaner:
    """Flags what is wrong with readings, rejects duplicates and bridges gaps. A stateful stage.

    Stuck and gap look at a channel's usable readings that are newer than all before; a reading
    that comes out of order, within the grace, takes no part in them.

    Args:
        feeds: ``config.feed``: the rules of each feed's channels. Channels that are not in the
            configuration are checked for missing values and duplicates only.
        channels: The pipeline's table.
    """

    def __init__(self, feeds: Mapping[str, Feed], channels: ChannelTable) -> None:
        self._feeds = feeds
        self._channels = channels
        self._known = 0
        self._recent = Recent()
        self._spikes = Spikes()
        # Rules, by channel row.
        self._low = np.empty(0, np.float64)
        self._high = np.empty(0, np.float64)
        self._stuck_after_ns = np.empty(0, np.int64)
        self._period_ns = np.empty(0, np.int64)
        self._gap_limit_ns = np.empty(0, np.int64)
        self._is_linear = np.empty(0, np.bool_)
        # The newest usable reading, and when its value was first seen; by channel row.
        self._time_ns = np.empty(0, np.int64)
        self._value = np.empty(0, np.float64)
        self._since_ns = np.empty(0, np.int64)

    @property
    def fingerprint(self) -> str:
        """What the meaning of a snapshot depends on: not on the rules, so they may change."""
        return "clean/1"

    def process(self, batch: Batch) -> Output:
        """Judge these readings; imputed ones stand right before the reading that ended the gap."""
        if not len(batch):
            return Output(batch)
        self._extend()
        groups = group_by(batch.channel)
        channel = batch.channel[groups.order]
        time_ns = batch.time_ns[groups.order]
        value = batch.value[groups.order]
        quality = batch.quality[groups.order]

        is_finite = np.isfinite(value)
        if not is_finite.all():
            quality[np.isinf(value)] |= np.uint16(Quality.NOT_FINITE)
            quality[~is_finite] |= np.uint16(Quality.MISSING)
            value[~is_finite] = np.nan
        is_outside = (value < self._low[channel]) | (value > self._high[channel])
        quality[is_outside] |= np.uint16(Quality.OUT_OF_RANGE)

        is_repeated, is_same = self._recent.check(groups, time_ns, value)
        quality[is_repeated] |= np.uint16(Quality.DUPLICATE)

        usable = np.flatnonzero(((quality & np.uint16(UNUSABLE)) == 0) & ~is_repeated)
        if self._spikes.any:
            is_spike = self._spikes.judge(channel[usable], value[usable])
            quality[usable[is_spike]] |= np.uint16(Quality.SPIKE)
            usable = usable[~is_spike]
        stuck, gaps = self._follow(channel, time_ns, value, usable)
        quality[stuck] |= np.uint16(Quality.STUCK)
        return self._output(batch, groups, value, quality, is_repeated, is_same, gaps)

    def snapshot(self, selection: Selection) -> StateBlock:
        self._extend()
        channels = selection.channels
        return {
            "time_ns": self._time_ns[channels],
            "value": self._value[channels],
            "since_ns": self._since_ns[channels],
            **self._recent.snapshot(channels),
            **self._spikes.snapshot(channels),
        }

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self.forget(selection)
        channels = selection.channels
        self._time_ns[channels] = block["time_ns"]
        self._value[channels] = block["value"]
        self._since_ns[channels] = block["since_ns"]
        self._recent.restore(channels, block)
        self._spikes.restore(channels, block)

    def forget(self, selection: Selection) -> None:
        self.go_back(selection.channels)
        self._spikes.forget(selection.channels)

    def go_back(self, channels: NDArray[np.int32]) -> None:
        """Forget when these channels were heard: their clock was set back."""
        self._extend()
        self._time_ns[channels] = NO_TIME_NS
        self._value[channels] = np.nan
        self._since_ns[channels] = NO_TIME_NS
        self._recent.forget(channels)

    def _follow(
        self,
        channel: NDArray[np.int32],
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        usable: NDArray[np.intp],
    ) -> tuple[NDArray[np.intp], _Gaps]:
        """Compare each usable reading with the one before: what is stuck, and what was left out.

        Works on rows ordered by channel; returns positions among them.
        """
        starts, lengths = runs(channel[usable])
        before = max_before(
            time_ns[usable], starts, lengths, self._time_ns[channel[usable[starts]]]
        )
        rows = usable[time_ns[usable] > before]
        if not len(rows):
            return rows, _Gaps(rows, rows, before[:0], value[:0])
        starts, lengths = runs(channel[rows])
        channels, times, values = channel[rows], time_ns[rows], value[rows]
        firsts, ends = channels[starts], starts + lengths - 1

        prior_value, prior_ns = np.empty_like(values), np.empty_like(times)
        prior_value[1:], prior_ns[1:] = values[:-1], times[:-1]
        prior_value[starts], prior_ns[starts] = self._value[firsts], self._time_ns[firsts]

        # Since when the value stands: from its last change, or from before this batch.
        is_change = values != prior_value
        is_anchor = is_change.copy()
        is_anchor[starts] = True
        since_ns = times.copy()
        stands = starts[~is_change[starts]]
        since_ns[stands] = self._since_ns[channels[stands]]
        anchor = np.maximum.accumulate(np.where(is_anchor, np.arange(len(rows)), 0))
        since_ns = since_ns[anchor]
        is_stuck = times - since_ns > self._stuck_after_ns[channels]

        self._value[firsts] = values[ends]
        self._time_ns[firsts] = times[ends]
        self._since_ns[firsts] = since_ns[ends]

        period_ns = self._period_ns[channels]
        missing = (times - prior_ns + period_ns // 2) // period_ns - 1
        is_gap = (missing > 0) & (missing * period_ns <= self._gap_limit_ns[channels])
        is_gap &= prior_ns > NO_TIME_NS
        gaps = _Gaps(rows[is_gap], missing[is_gap], prior_ns[is_gap], prior_value[is_gap])
        return rows[is_stuck], gaps

    def _output(
        self,
        batch: Batch,
        groups: Groups,
        value: NDArray[np.float64],
        quality: NDArray[np.uint16],
        is_repeated: NDArray[np.bool_],
        is_same: NDArray[np.bool_],
        gaps: _Gaps,
    ) -> Output:
        order = groups.order
        arrival_value, arrival_quality = np.empty_like(value), np.empty_like(quality)
        arrival_value[order], arrival_quality[order] = value, quality
        main = replace(batch, value=arrival_value, quality=arrival_quality)
        missing = np.zeros(len(batch), np.int64)
        missing[order[gaps.row]] = gaps.missing
        rejected: tuple[Rejected, ...] = ()
        position = np.arange(len(batch))
        if is_repeated.any():
            is_rejected, is_duplicate = np.empty((2, len(batch)), np.bool_)
            is_rejected[order], is_duplicate[order] = is_repeated, is_same
            as_received = batch.flagged(is_rejected, Quality.DUPLICATE)
            rejected = tuple(
                Rejected(reason, as_received.take(rows))
                for reason, rows in (
                    ("duplicate", is_rejected & is_duplicate),
                    ("conflict", is_rejected & ~is_duplicate),
                )
                if rows.any()
            )
            position = np.flatnonzero(~is_rejected)
            main = main.take(position)
        if not len(gaps.row):
            return Output(main, rejected)
        before = np.empty(len(batch), np.intp)
        before[order[gaps.row]] = np.arange(len(gaps.row))
        return Output(self._filled(main, missing[position], before[position], gaps), rejected)

    def _filled(
        self,
        main: Batch,
        missing: NDArray[np.int64],
        gap_of: NDArray[np.intp],
        gaps: _Gaps,
    ) -> Batch:
        """Put ``missing`` imputed readings before each reading."""
        copies = missing + 1
        filled = main.take(np.repeat(np.arange(len(main)), copies))
        step = ramp(copies) + 1
        of = np.repeat(copies, copies)
        made = np.flatnonzero(step < of)
        step, of = step[made], of[made]
        gap = np.repeat(gap_of, copies)[made]
        time_ns, value, quality = filled.time_ns, filled.value, filled.quality
        before_ns, before = gaps.before_ns[gap], gaps.before[gap]
        # Evenly spread, not at whole periods: a device's clock need not tick exactly so.
        # ``take`` copied the columns, so they may be written to here.
        time_ns[made] = before_ns + (time_ns[made] - before_ns) * step // of
        # A weighted mean: the difference of two very large values could overflow.
        share = np.where(self._is_linear[filled.channel[made]], step / of, 0.0)
        value[made] = before * (1 - share) + value[made] * share
        quality[made] = np.uint16(Quality.IMPUTED)
        return filled

    def _extend(self) -> None:
        """Look up the rules of the channels that the table has got since the last call."""
        new = self._channels.channels[self._known :]
        if not new:
            return
        known = self._known + len(new)
        self._low = grown(self._low, known, -np.inf)
        self._high = grown(self._high, known, np.inf)
        self._stuck_after_ns = grown(self._stuck_after_ns, known, NEVER_NS)
        self._period_ns = grown(self._period_ns, known, 1)
        self._gap_limit_ns = grown(self._gap_limit_ns, known, -1)
        self._is_linear = grown(self._is_linear, known, fill=False)
        self._time_ns = grown(self._time_ns, known, NO_TIME_NS)
        self._value = grown(self._value, known, np.nan)
        self._since_ns = grown(self._since_ns, known, NO_TIME_NS)
        for row, channel in enumerate(new, self._known):
            feed = self._feeds.get(channel.feed)
            self._recent.add(0 if feed is None else feed.grace // feed.period)
            rules = None if feed is None else feed.channels.get(channel.field)
            self._spikes.add(None if rules is None else rules.spike)
            if feed is None or rules is None:
                continue
            self._period_ns[row] = feed.period
            if rules.range is not None:
                self._low[row], self._high[row] = rules.range
            if rules.stuck_after is not None:
                self._stuck_after_ns[row] = rules.stuck_after
            if rules.gap is not None:
                self._gap_limit_ns[row] = rules.gap.limit
                self._is_linear[row] = rules.gap.fill == "linear"
        self._known = known


class _Gaps:
    """Readings that ended a gap short enough to be filled.

    Attributes:
        row: intp[g], the reading's position among the rows ordered by channel.
        missing: int64[g], steps left out before it.
        before_ns: int64[g], time of the usable reading before the gap.
        before: float64[g], that reading's value.
    """

    __slots__ = ("before", "before_ns", "missing", "row")

    def __init__(
        self,
        row: NDArray[np.intp],
        missing: NDArray[np.int64],
        before_ns: NDArray[np.int64],
        before: NDArray[np.float64],
    ) -> None:
        self.row = row
        self.missing = missing
        self.before_ns = before_ns
        self.before = before
