"""The watermark: how far each device's event time has come, and which readings are too late.

A device's watermark is the newest event time it has sent less its feed's grace, so it depends on
the device's own readings only: a backlog played as a burst meets the same watermarks as the same
readings live. The clock is used for one thing: a device that has gone silent never moves its own
watermark again, so its open windows are given up waiting for. That is when two things have come
together: nothing has come for as long as it takes to be sure by what is known of the device
(``pace.py``), and by the device's own clock, which has gone on meanwhile, the window is over
and its grace too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Quality, concat
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.lookup import ByDevice
from headgate.core.results import Availability, DeviceState
from headgate.core.stage import Output, Rejected, Selection, StateBlock
from streams.stages.arrays import NO_TIME_NS, Groups, group_by, running_max
from streams.stages.columns import StateColumns
from streams.stages.watermark.doubt import Doubts
from streams.stages.watermark.outcome import NO_JUMPS, NOBODY, Silence, Turn
from streams.stages.watermark.pace import Expected, Pace
from streams.stages.watermark.presence import Presence, presence
from streams.stages.watermark.states import DeviceStates

#: Arrival time of devices that have not sent anything since they were restored.
_NOT_SEEN = np.int64(-1)

#: Periods of a device that have to pass without a word of it.
_PERIODS = 3


class Watermarks:
    """Rejects late readings and keeps every device's watermark. A stateful stage.

    Readings that may be from a wrong clock are held until it is known (``doubt.py``): they are
    neither passed on nor rejected, but part of what is remembered.

    Args:
        feeds: ``config.feed``: grace and aggregate windows by feed.
        channels: The pipeline's table.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], channels: ChannelTable) -> None:
        self._feeds = feeds
        self._channels = channels
        self._feed_names = list(feeds)
        numbers = {name: number for number, name in enumerate(feeds)}
        # A number of -1: the feed is not in the configuration.
        self._feed = ByDevice(channels, np.int32, lambda device: numbers.get(device.feed, -1))
        graces_ns = {name: feed.grace for name, feed in feeds.items()}
        self._grace_ns = ByDevice(channels, np.int64, lambda each: graces_ns.get(each.feed, 0))
        # What a device whose pace is not known yet is taken to have.
        priors_ns = {name: _prior_ns(feed) for name, feed in feeds.items()}
        self._prior_ns = ByDevice(
            channels, np.int64, lambda each: priors_ns.get(each.feed, NS_PER_S)
        )
        # By how much its time moves on as its feed states it; 0 where that is learned.
        stated_ns = {name: feed.expect_every or 0 for name, feed in feeds.items()}
        self._stated_ns = ByDevice(channels, np.int64, lambda each: stated_ns.get(each.feed, 0))
        self._state = StateColumns(
            newest_ns=np.int64(NO_TIME_NS),
            floor_ns=np.int64(NO_TIME_NS),
            arrival_ns=_NOT_SEEN,
            is_silent=np.False_,
            # Nothing more will come of this device's silence.
            is_settled=np.False_,
        )
        self._known = 0
        self._pace = Pace()
        self._doubts = Doubts(feeds, channels)
        self._states = DeviceStates(feeds, channels)

    @property
    def fingerprint(self) -> str:
        """What the meaning of a snapshot depends on: nothing that may change."""
        return ""

    def process(self, batch: Batch, now_ns: int) -> Output:
        """All of ``turns`` at once, for those who need not know when devices go back."""
        outputs = [turn.output for turn in self.turns(batch, now_ns)]
        rejected = tuple(part for output in outputs for part in output.rejected)
        return Output(concat((output.main for output in outputs), self._channels), rejected)

    def turns(self, batch: Batch, now_ns: int) -> Iterator[Turn]:
        """Move the watermarks by these readings, and reject the late ones.

        A reading is late when it is older than its device's watermark at its turn, in arrival
        order; one exactly on the watermark is on time. Readings of feeds that are not in the
        configuration are rejected as ``"unknown_feed"``; those from a wrong clock as ``"ahead"``.

        Args:
            batch: Readings in arrival order.
            now_ns: Monotonic time, for noticing silence.

        Yields:
            What is passed on and rejected; another turn each time that devices go back. The
            watermarks are those of the turn until the next one is asked for.
        """
        if not len(batch):
            yield Turn(NOBODY, Output(batch))
            return
        self._extend()
        sifted = self._doubts.sift(batch, self._state["newest_ns"], self._state["floor_ns"])
        first = []
        if len(sifted.refuted):
            first.append(Rejected("ahead", sifted.refuted))
        if len(sifted.late):
            first.append(_late(sifted.late))
        for number, back in enumerate(sifted.back):
            part = sifted.batch
            if len(sifted.back) > 1:
                part = part.take(sifted.turn == number)
            devices = self._go_back(back)
            output, states = self._move(part, now_ns) if len(part) else (Output(part), [])
            jumps = sifted.jumps[number] if sifted.jumps else NO_JUMPS
            yield Turn(devices, replace(output, rejected=(*first, *output.rejected)), states, jumps)
            first = []

    def _go_back(self, back: NDArray[np.int64]) -> NDArray[np.int32]:
        """Let devices go back; int32[d], which."""
        self._state["newest_ns"][back[0]] = NO_TIME_NS
        self._state["floor_ns"][back[0]] = back[1]
        devices: NDArray[np.int32] = back[0].astype(np.int32)
        self._states.go_back(devices, back[1])
        return devices

    def _move(self, batch: Batch, now_ns: int) -> tuple[Output, list[DeviceState]]:
        """Move the watermarks by these readings."""
        groups = group_by(batch.device)
        devices = groups.keys
        arrived_ns = batch.time_ns[groups.order]
        initial_ns = self._state["newest_ns"][devices]
        time_ns = running_max(arrived_ns, groups.starts, groups.lengths)
        newest_ns = np.maximum(time_ns, np.repeat(initial_ns, groups.lengths))
        limit_ns = np.maximum(
            newest_ns - np.repeat(self._grace_ns[devices], groups.lengths),
            np.repeat(self._state["floor_ns"][devices], groups.lengths),
        )
        is_late = np.empty(len(batch), np.bool_)
        is_late[groups.order] = arrived_ns < limit_ns
        last_ns = newest_ns[groups.starts + groups.lengths - 1]
        self._state["newest_ns"][devices] = last_ns
        self._learn(groups, newest_ns, initial_ns, now_ns)
        # Only a reading that is newer than all before tells that a device's time goes on: one whose
        # clock was set back, or stands still, must get its windows closed all the same.
        moved = devices[last_ns > initial_ns]
        self._state["arrival_ns"][moved] = now_ns
        self._state["is_silent"][moved] = False
        self._state["is_settled"][moved] = False
        self._states.seen(moved)
        states = self._states.heard(groups, arrived_ns, initial_ns)
        return self._output(batch, is_late), states

    def tell(
        self, devices: NDArray[np.int32], word: Availability, now_ns: int
    ) -> list[DeviceState]:
        """Take note of what was said of whether devices are there; what there is to say of them.

        It is no reading: watermarks, open windows, anomalies and what is learned of devices are as
        they would be without it.

        Args:
            devices: int32[d], their rows, each once.
            word: What was said.
            now_ns: Monotonic time, of the same clock as in ``process``.
        """
        self._extend()
        return self._states.told(devices, self._state["newest_ns"][devices], word, now_ns)

    def watermark_ns(self, devices: NDArray[np.int32]) -> NDArray[np.int64]:
        """int64[d]: no older reading of these devices will be accepted; far past when unseen."""
        self._extend()
        limit_ns = self._state["newest_ns"][devices] - self._grace_ns[devices]
        watermark_ns: NDArray[np.int64] = np.maximum(limit_ns, self._state["floor_ns"][devices])
        return watermark_ns

    def expected(self, devices: NDArray[np.int32], now_ns: int) -> Expected:
        """Before when nothing is expected of these devices any more, at this monotonic time."""
        arrival_ns = self._state["arrival_ns"][devices]
        return self._pace.expected(
            devices,
            watermark_ns=self.watermark_ns(devices),
            newest_ns=self._state["newest_ns"][devices],
            elapsed_ns=np.where(arrival_ns == _NOT_SEEN, 0, now_ns - arrival_ns),
            grace_ns=self._grace_ns[devices],
            is_certain=self._doubts.count(devices) == 0,
            is_silent=self._state["is_silent"][devices],
        )

    def quiet(self, now_ns: int, silent_after_ns: int) -> NDArray[np.int32]:
        """The devices that ``advance`` would have something to say of at this time.

        After a restore silence is counted from the first call.

        Args:
            now_ns: Monotonic time, of the same clock as in ``process``.
            silent_after_ns: The least silence that counts.
        """
        due = self._due(now_ns, silent_after_ns)[0].astype(np.int32)
        found = self._look(now_ns, silent_after_ns).devices
        return np.unique(np.concatenate((found, due, self._states.decided())))

    def release(
        self, now_ns: int, silent_after_ns: int, among: NDArray[np.int32] | None = None
    ) -> Iterator[Turn]:
        """The readings that were held and that time itself has confirmed, on time all of them.

        To be called before ``advance``, with the same arguments: the device's watermark moves on
        by them, or back to them, and windows that they fall into close.

        Yields:
            As ``turns``; turns without readings are left out.
        """
        devices, passed_ns = self._due(now_ns, silent_after_ns, among)
        if not len(devices):
            return
        sifted = self._doubts.release(
            devices, passed_ns, self._state["newest_ns"], self._state["floor_ns"]
        )
        for number, went in enumerate(sifted.back):
            batch = sifted.batch.take(sifted.turn == number)
            if not len(batch):
                continue
            back = self._go_back(went)
            device = batch.device
            np.maximum.at(self._state["newest_ns"], device, batch.time_ns)
            # The device's clock is where it was; of one that was set back it is not known where.
            is_here = ~np.isin(devices, went[0]) if number == 0 else np.isin(devices, went[0])
            here = devices[is_here]
            since_ns = passed_ns[is_here] - self._state["newest_ns"][here] if number == 0 else 0
            self._state["arrival_ns"][here] = now_ns - since_ns
            self._state["is_settled"][here] = False
            yield Turn(back, Output(batch))

    def held(self, devices: NDArray[np.int32]) -> NDArray[np.int64]:
        """int64[d]: readings of these devices that are held."""
        return self._doubts.count(devices)

    def keep_waiting(self, devices: NDArray[np.int32], heard_ns: int) -> None:
        """Count the silence of these devices from this monotonic time on, if it is later."""
        np.maximum.at(self._state["arrival_ns"], devices, heard_ns)

    def advance(
        self, now_ns: int, silent_after_ns: int, among: NDArray[np.int32] | None = None
    ) -> Silence:
        """Let time pass; the watermarks of devices that are not waited for any longer move on.

        A silent device's watermark goes to the end of the aggregate windows that hold its newest
        reading, of each length in its time, so all of its windows close; what it sends later and
        is older than that is late. The arguments are those of ``quiet``, and the devices to which
        this is restricted. That a device is silent is said the next time.
        """
        found = self._look(now_ns, silent_after_ns, among)
        self._state["floor_ns"][found.closing] = found.floor_ns
        self._state["is_silent"][found.silent] = True
        said = self._states.decided(among)
        states = self._states.say(said, self._state["newest_ns"][said])
        self._states.decide(found.missed)
        return replace(found, said=said, states=states)

    def catch_up(self, devices: NDArray[np.int32], leaders: NDArray[np.int32]) -> None:
        """Let the watermarks of devices be no earlier than those of others.

        Args:
            devices: int32[b], rows; one may stand more than once.
            leaders: int32[b], for each a row whose watermark it must not be behind.
        """
        self._extend()
        watermark_ns, newest_ns = self.watermark_ns(leaders), self._state["newest_ns"][leaders]
        np.maximum.at(self._state["floor_ns"], devices, watermark_ns)
        # Without this a device that never sends again would keep open what it has open.
        np.maximum.at(self._state["newest_ns"], devices, newest_ns)
        # What others of the name have closed, they must not go back to.
        self._doubts.fill(devices)

    def presence(self, now_ns: int) -> Mapping[str, Presence]:
        """By feed, how many devices are silent, and for how long.

        Args:
            now_ns: Monotonic time, of the same clock as in ``process``.
        """
        self._extend()
        known = slice(0, self._known)
        arrival_ns = self._state["arrival_ns"][known]
        heard_ns = self._states.heard_ns(arrival_ns)
        return presence(
            self._channels.devices,
            self._feed[known],
            self._feed_names,
            np.where(arrival_ns == _NOT_SEEN, 0, now_ns - heard_ns),
            self._states.are_silent(np.arange(self._known, dtype=np.int32)),
            self._state["newest_ns"][known] > NO_TIME_NS,
        )

    def awaits_silence(self) -> bool:
        """Whether time alone has anything more to say of any device: that it is silent."""
        self._extend()
        known = slice(0, self._known)
        newest_ns = self._state["newest_ns"][known]
        is_heard = (newest_ns > NO_TIME_NS) & ~self._state["is_silent"][known]
        is_awaited = is_heard | self._states.are_awaited(newest_ns)
        return bool(is_awaited.any()) or bool(len(self._states.decided()))

    def snapshot(self, selection: Selection) -> StateBlock:
        self._extend()
        devices = selection.devices
        return {
            "newest_ns": self._state["newest_ns"][devices],
            # The watermark itself and not only what it follows from: it must not go back when
            # the process comes back with a longer grace.
            "watermark_ns": self.watermark_ns(devices),
            "is_silent": self._state["is_silent"][devices],
            **self._pace.snapshot(devices),
            **self._states.snapshot(devices),
            **self._doubts.snapshot(selection),
        }

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self.forget(selection)
        devices = selection.devices
        self._state["newest_ns"][devices] = block["newest_ns"]
        self._state["floor_ns"][devices] = block["watermark_ns"]
        self._state["is_silent"][devices] = block["is_silent"]
        self._pace.restore(devices, block)
        is_known = self._state["newest_ns"][devices] > NO_TIME_NS
        self._states.restore(devices, block, self._state["is_silent"][devices] & is_known, is_known)
        self._doubts.restore(selection, block)

    def forget(self, selection: Selection) -> None:
        self._extend()
        devices = selection.devices
        self._state.forget(devices)
        self._pace.forget(devices)
        self._states.forget(devices)
        self._doubts.forget(selection)

    def _learn(
        self,
        groups: Groups,
        newest_ns: NDArray[np.int64],
        initial_ns: NDArray[np.int64],
        now_ns: int,
    ) -> None:
        """Learn how these devices send."""
        devices = groups.keys
        arrival_ns = self._state["arrival_ns"][devices]
        step_ns = np.empty_like(newest_ns)
        step_ns[1:] = newest_ns[1:] - newest_ns[:-1]
        step_ns[groups.starts] = 0
        # Of a hole between two readings that came together, a window is what may be waited for.
        np.minimum(step_ns, np.repeat(self._prior_ns[devices], groups.lengths), out=step_ns)
        self._pace.learn(
            devices,
            newest_ns[groups.starts + groups.lengths - 1] - initial_ns,
            np.add.reduceat(step_ns, groups.starts),
            np.where((arrival_ns >= 0) & (initial_ns > NO_TIME_NS), now_ns - arrival_ns, -1),
        )

    def _due(
        self, now_ns: int, silent_after_ns: int, among: NDArray[np.int32] | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """The devices of which something held is confirmed by time, and their clocks' time."""
        waiting, passed_ns = self._waiting(now_ns, silent_after_ns, among)
        is_gone = self._are_gone(waiting, passed_ns - self._state["newest_ns"][waiting])
        is_due = self._doubts.due(waiting, passed_ns, self._state["newest_ns"], is_gone)
        return waiting[is_due], passed_ns[is_due]

    def _are_gone(
        self, devices: NDArray[np.intp], elapsed_ns: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """bool[d]: which of these devices have said nothing for so long that it is enough."""
        pace_ns = self._pace.pace_ns[devices]
        pace_ns = np.where(pace_ns > 0, pace_ns, self._prior_ns[devices])
        longest_ns = np.maximum(pace_ns, self._pace.delay_ns[devices])
        stated_ns = self._stated_ns[devices]
        longest_ns = np.where(stated_ns > 0, stated_ns, longest_ns)
        are_gone: NDArray[np.bool_] = elapsed_ns >= _PERIODS * longest_ns
        return are_gone

    def _waiting(
        self, now_ns: int, silent_after_ns: int, among: NDArray[np.int32] | None
    ) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """The devices that have said nothing for a while, and what time it is by their clocks.

        That is if their clocks have gone right since their newest readings arrived.
        """
        self._extend()
        known = slice(0, self._known)
        arrival_ns = self._state["arrival_ns"][known]
        arrival_ns[arrival_ns == _NOT_SEEN] = now_ns
        waiting = np.flatnonzero(
            ~self._state["is_settled"][known]
            & (self._state["newest_ns"][known] > NO_TIME_NS)
            & (now_ns - arrival_ns >= silent_after_ns)
        )
        if among is not None:
            waiting = waiting[np.isin(waiting, among)]
        return waiting, self._state["newest_ns"][waiting] + now_ns - arrival_ns[waiting]

    def _look(
        self, now_ns: int, silent_after_ns: int, among: NDArray[np.int32] | None = None
    ) -> Silence:
        """What there is to say of which devices at this time."""
        waiting, now_there_ns = self._waiting(now_ns, silent_after_ns, among)
        newest_ns = self._state["newest_ns"][waiting]
        elapsed_ns = now_there_ns - newest_ns
        pace_ns = self._pace.pace_ns[waiting]
        pace_ns = np.where(pace_ns > 0, pace_ns, self._prior_ns[waiting])
        delay_ns = self._pace.delay_ns[waiting]
        is_gone = self._are_gone(waiting, elapsed_ns)
        passed_ns = now_there_ns - self._grace_ns[waiting]
        floor_ns = np.full(len(waiting), NO_TIME_NS)
        last_ns = np.full(len(waiting), NO_TIME_NS)
        for number, name in enumerate(self._feed_names):
            of_feed = np.flatnonzero(self._feed[waiting] == number)
            if not len(of_feed):
                continue
            for aggregate in self._feeds[name].aggregates:
                window_ns = aggregate.window
                # What comes once in a window, or less often, has nothing more to say in it.
                wait_ns = np.maximum(np.minimum(pace_ns[of_feed], window_ns), delay_ns[of_feed])
                start_ns = newest_ns[of_feed] // window_ns * window_ns
                end_ns = start_ns + window_ns
                over_ns = np.where(passed_ns[of_feed] >= end_ns, end_ns, start_ns)
                is_over = (passed_ns[of_feed] >= over_ns) & (
                    elapsed_ns[of_feed] >= _PERIODS * wait_ns
                )
                over_ns = np.where(is_over, over_ns, NO_TIME_NS)
                floor_ns[of_feed] = np.maximum(floor_ns[of_feed], over_ns)
                last_ns[of_feed] = np.maximum(last_ns[of_feed], end_ns)
        rows = waiting.astype(np.int32)
        is_closing = floor_ns > self.watermark_ns(rows)
        self._state["is_settled"][waiting] = (
            self._state["is_silent"][waiting]
            & (self._state["floor_ns"][waiting] >= last_ns)
            & (self._doubts.count(rows) == 0)
        )
        return Silence(
            rows[is_gone & ~self._state["is_silent"][waiting]],
            rows[is_closing],
            floor_ns[is_closing],
            self._missed(now_ns, silent_after_ns, among),
        )

    def _missed(
        self, now_ns: int, silent_after_ns: int, among: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        """int32[m]: the devices that fall silent by what they have said, too."""
        known = slice(0, self._known)
        elapsed_ns = now_ns - self._states.heard_ns(self._state["arrival_ns"][known])
        waiting = np.flatnonzero(
            self._states.are_awaited(self._state["newest_ns"][known])
            & (elapsed_ns >= silent_after_ns)
        )
        if among is not None:
            waiting = waiting[np.isin(waiting, among)]
        return waiting[self._are_gone(waiting, elapsed_ns[waiting])].astype(np.int32)

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
            rejected.append(_late(batch.take(is_late)))
        return Output(batch.take(~is_rejected), tuple(rejected))

    def _extend(self) -> None:
        """Make room for the devices that the table has got since the last call."""
        known = len(self._channels.devices)
        if known == self._known:
            return
        self._state.grow(known)
        self._pace.grow(known)
        self._states.grow(known)
        self._doubts.grow(known)
        self._known = known


def _late(batch: Batch) -> Rejected:
    return Rejected("late", batch.flagged(np.arange(len(batch)), Quality.LATE))


def _prior_ns(feed: FeedConfig) -> int:
    """The pace of a device of which nothing is known: slow, so that nothing is lost by it."""
    return max(feed.period, max((aggregate.window for aggregate in feed.aggregates), default=0))
