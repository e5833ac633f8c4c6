"""Cleaning: every reading gets a verdict, and short gaps are filled.

In this order, each on what the ones before let pass: missing, repeated, and the rules that the
configuration has for the channel, first those that look at readings, then those that look from
each to the next. A verdict is a quality flag; only duplicates, and readings that are in conflict
with an earlier one of their channel and time, are taken out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.batch import UNUSABLE, Batch, Quality
from headgate.core.channels import ChannelTable
from headgate.core.runs import runs
from headgate.core.stage import Output, Rejected, Selection, StateBlock
from streams.stages.arrays import NO_TIME_NS, group_by, max_before, ramp
from streams.stages.clean.configured import configured_rules
from streams.stages.clean.duplicates import Recent
from streams.stages.clean.rule import Made, Readings, Steps
from streams.stages.clean.rules.stateless import Stateless
from streams.stages.columns import StateColumns


class Cleaner:
    """Flags what is wrong with readings, rejects duplicates and bridges gaps. A stateful stage.

    Rules that look from each reading to the next, stuck and gap, look at a channel's usable
    readings that are newer than all before; a reading that comes out of order, within the grace,
    takes no part in them.

    Args:
        feeds: ``config.feed``: the rules of each feed's channels. Channels that are not in the
            configuration are checked for missing values and duplicates only.
        channels: The pipeline's table.

    Raises:
        ConfigError: What is installed as a rule is none.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], channels: ChannelTable) -> None:
        self._feeds = feeds
        self._channels = channels
        self._known = 0
        self._recent = Recent()
        # The newest usable reading; by channel row.
        self._newest = StateColumns(time_ns=np.int64(NO_TIME_NS), value=np.float64(np.nan))
        self._rules = configured_rules(feeds, channels)

    @property
    def fingerprint(self) -> str:
        """What the meaning of a snapshot depends on: not on the rules, so they may change."""
        return "clean/1"

    def process(self, batch: Batch) -> Output:
        """Judge these readings; imputed ones stand right before the reading that ended the gap."""
        if not len(batch):
            return Output(batch)
        self._extend()
        value, quality = batch.value, batch.quality.copy()
        is_finite = np.isfinite(value)
        if not is_finite.all():
            quality[np.isinf(value)] |= np.uint16(Quality.NOT_FINITE)
            quality[~is_finite] |= np.uint16(Quality.MISSING)
            value = np.where(is_finite, value, np.nan)
        groups = group_by(batch.channel)
        order = groups.order
        readings = Readings(batch.channel[order], batch.time_ns[order], value[order], order)

        is_repeated, is_same = self._recent.check(groups, readings.time_ns, readings.value)
        is_usable = ((quality[order] & np.uint16(UNUSABLE)) == 0) & ~is_repeated
        rejected: list[Rejected] = []
        is_passed = None
        if is_repeated.any():
            rejected = _rejected(batch, order[is_repeated], order[is_same])
            is_passed = np.ones(len(batch), np.bool_)
            is_passed[order[is_repeated]] = False

        made = self._judge(readings if is_usable.all() else readings.take(is_usable), quality)
        main = replace(batch, value=value, quality=quality)
        if made:
            main = _filled(main, is_passed, made)
        elif is_passed is not None:
            main = main.take(is_passed)
        return Output(main, tuple(rejected))

    def held(self, batch: Batch) -> Batch:
        """What channels hold, without what breaks a rule that looks at each value by itself.

        They are no readings: nothing is remembered of them.
        """
        self._extend()
        batch = batch.take(np.isfinite(batch.value) & batch.usable)
        readings = Readings(batch.channel, batch.time_ns, batch.value, np.arange(len(batch)))
        is_good = np.ones(len(batch), np.bool_)
        for each in self._rules:
            if isinstance(each.rule, Stateless) and each.flag & np.uint16(UNUSABLE):
                broken = None if each.sees_steps else each.rule.judge(readings).broken
                if broken is not None:
                    is_good &= ~broken
        return batch.take(is_good)

    def snapshot(self, selection: Selection) -> StateBlock:
        self._extend()
        block = self._newest.snapshot(selection.channels)
        block |= self._recent.snapshot(selection.channels)
        for each in self._rules:
            block |= each.named(each.rule.snapshot(selection))
        return block

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self.forget(selection)
        self._newest.restore(selection.channels, block)
        self._recent.restore(selection.channels, block)
        for each in self._rules:
            own = each.own(block)
            if own:
                each.rule.restore(selection, own)

    def forget(self, selection: Selection) -> None:
        self._forget_times(selection.channels)
        for each in self._rules:
            each.rule.forget(selection)

    def go_back(self, channels: NDArray[np.int32]) -> None:
        """Forget when these channels were heard: their clock was set back."""
        self._forget_times(channels)
        for each in self._rules:
            each.rule.go_back(channels)

    def _forget_times(self, channels: NDArray[np.int32]) -> None:
        self._extend()
        self._newest.forget(channels)
        self._recent.forget(channels)

    def _judge(self, readings: Readings, quality: NDArray[np.uint16]) -> list[Made]:
        """Flag the readings that break a rule in ``quality``, by their places; what was made up."""
        made = []
        steps = None
        for each in self._rules:
            if each.sees_steps and steps is None:
                steps = self._steps(readings)
            seen = readings if steps is None else steps
            verdict = each.rule.judge(seen)
            if verdict.broken is not None and verdict.broken.any():
                quality[seen.place[verdict.broken]] |= each.flag
                if steps is None and each.flag & np.uint16(UNUSABLE):
                    readings = readings.take(~verdict.broken)
            if verdict.made is not None:
                made.append(verdict.made)
        if steps is None:
            self._steps(readings)
        return made

    def _steps(self, readings: Readings) -> Steps:
        """The readings that are newer than all before; from now on they are what is known."""
        newest_ns, newest = self._newest["time_ns"], self._newest["value"]
        starts, lengths = runs(readings.channel)
        known_ns = newest_ns[readings.channel[starts]]
        is_newer = readings.time_ns > max_before(readings.time_ns, starts, lengths, known_ns)
        if not is_newer.all():
            readings = readings.take(is_newer)
            starts, lengths = runs(readings.channel)
        channels, ends = readings.channel[starts], starts + lengths - 1
        before, before_ns = np.empty_like(readings.value), np.empty_like(readings.time_ns)
        before[1:], before_ns[1:] = readings.value[:-1], readings.time_ns[:-1]
        before[starts], before_ns[starts] = newest[channels], newest_ns[channels]
        newest[channels], newest_ns[channels] = readings.value[ends], readings.time_ns[ends]
        return Steps(
            readings.channel,
            readings.time_ns,
            readings.value,
            readings.place,
            before_ns,
            before,
            starts,
            lengths,
        )

    def _extend(self) -> None:
        """Make room for the channels that the table has got since the last call."""
        new = self._channels.channels[self._known :]
        if new:
            self._known += len(new)
            self._newest.grow(self._known)
            for channel in new:
                feed = self._feeds.get(channel.feed)
                self._recent.add(0 if feed is None else feed.grace // feed.period)


def _rejected(batch: Batch, repeated: NDArray[np.intp], same: NDArray[np.intp]) -> list[Rejected]:
    """The repeated readings as they were received; those at ``same`` say nothing new."""
    is_rejected, is_duplicate = np.zeros((2, len(batch)), np.bool_)
    is_rejected[repeated], is_duplicate[same] = True, True
    as_received = batch.flagged(is_rejected, Quality.DUPLICATE)
    return [
        Rejected(reason, as_received.take(rows))
        for reason, rows in (
            ("duplicate", is_rejected & is_duplicate),
            ("conflict", is_rejected & ~is_duplicate),
        )
        if rows.any()
    ]


def _filled(main: Batch, is_passed: NDArray[np.bool_] | None, parts: Sequence[Made]) -> Batch:
    """What has passed, with what was made up right before the readings that it belongs to."""
    place = np.concatenate([part.place for part in parts])
    time_ns = np.concatenate([part.time_ns for part in parts])
    value = np.concatenate([part.value for part in parts])
    copies = np.bincount(place, minlength=len(main)) + 1
    if is_passed is not None:
        main, copies = main.take(is_passed), copies[is_passed]
    filled = main.take(np.repeat(np.arange(len(main)), copies))
    made = np.flatnonzero(ramp(copies) + 1 < np.repeat(copies, copies))
    order = np.lexsort((time_ns, place))
    # ``take`` copied the columns, so they may be written to here.
    filled.time_ns[made], filled.value[made] = time_ns[order], value[order]
    filled.quality[made] = np.uint16(Quality.IMPUTED)
    return filled
