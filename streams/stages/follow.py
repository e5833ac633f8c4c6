"""Following text channels: when what they say changes, and for how long they are in each state.

A text counts from its reading to the next one of its channel, and for ``valid_for`` at most; after
a reading that is missing nothing is known. Readings wait until their device's watermark has reached
them, and are taken in the order of their event times, so neither their batches nor the order in
which they arrived make a difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable
from headgate.core.errors import DataError
from headgate.core.grown import grown
from headgate.core.lookup import ByChannel
from headgate.core.results import StateChange
from headgate.core.runs import runs
from headgate.core.stage import Selection, StateBlock
from streams.stages.aggregate.in_states import NOTHING_SPENT, Spent, joined_spans
from streams.stages.aggregate.stage import WatermarkOf
from streams.stages.arrays import (
    NEVER_NS,
    NO_TIME_NS,
    position_of_channels,
    stable_order,
)
from streams.stages.channel_rows import ChannelRows
from streams.stages.columns import StateColumns
from streams.stages.rowstore import Columns
from streams.stages.state_windows import (
    MOST_AT_ONCE,
    check_between,
    count_between,
    given_out,
    windows_at_ends,
    windows_between,
)
from streams.stages.watermark.outcome import NO_JUMPS


@dataclass(frozen=True, slots=True)
class Followed:
    """What there is to say of text channels.

    Attributes:
        changes: What they say anew, in the order of event time.
        spent: For how long they were in which state, of windows that have closed.
    """

    changes: list[StateChange]
    spent: Spent


_NOTHING = Followed([], NOTHING_SPENT)


@dataclass(frozen=True, slots=True)
class _Settled:
    """Readings that nothing can come before any more, by slot and then time.

    Attributes:
        slots: int64[s], the slots concerned, rising.
        watermark_ns: int64[s], of their devices.
        at: int64[r], whose each is, as a position in ``slots``.
        time_ns: int64[r].
        code: float64[r], NaN where it is missing.
    """

    slots: NDArray[np.int64]
    watermark_ns: NDArray[np.int64]
    at: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    code: NDArray[np.float64]


class Follower:
    """Follows what text channels say. A stateful stage.

    Args:
        feeds: ``config.feed``: windows, and for how long texts are valid.
        channels: The pipeline's table.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], channels: ChannelTable) -> None:
        self._channels = channels
        self._known = 0
        # Text channels have slots: others take no room.
        self._slot = np.empty(0, np.int64)
        self._channel = np.empty(0, np.int32)
        self._valid_ns = ByChannel(channels, np.int64, lambda each: _valid_ns(feeds, each))
        # Which window lengths its feed has, by their place among all that feeds have.
        plans = {
            name: tuple(each.window for each in feed.aggregates) for name, feed in feeds.items()
        }
        self._plans = list(dict.fromkeys([(), *plans.values()]))
        self._plan = ByChannel(
            channels, np.int64, lambda each: self._plans.index(plans.get(each.feed, ()))
        )
        # By slot: the text that was said last and since when, for changes; and what counts now, the
        # reading that says so, up to where its time has been counted, and what lies before is
        # closed though the device's clock may be back behind it.
        self._now = StateColumns(
            state=np.float64(np.nan),
            since_ns=np.int64(NO_TIME_NS),
            code=np.float64(np.nan),
            said_ns=np.int64(NO_TIME_NS),
            done_ns=np.int64(NO_TIME_NS),
            back_ns=np.int64(NO_TIME_NS),
        )
        self._waiting = ChannelRows(channels, time_ns=np.int64, value=np.float64)
        # Open windows, for how long and until when they have been in a state.
        self._open = ChannelRows(
            channels,
            start_ns=np.int64,
            window_ns=np.int64,
            code=np.float64,
            spent_ns=np.int64,
            until_ns=np.int64,
        )
        # Windows that are over and have not been given out: so many in a row without a reading.
        self._owed = ChannelRows(
            channels,
            start_ns=np.int64,
            end_ns=np.int64,
            window_ns=np.int64,
            code=np.float64,
        )
        # By device row: when there is something to do.
        self._has_text = np.empty(0, np.bool_)
        self._due_ns = np.empty(0, np.int64)
        # Likewise: how many windows without a reading are still to be given out.
        self._owes = np.empty(0, np.int64)

    @property
    def fingerprint(self) -> str:
        """What the meaning of a snapshot depends on: not on the windows, so they may change."""
        return "follow/1"

    def process(
        self, batch: Batch, watermark_of: WatermarkOf, jumps: NDArray[np.int64] = NO_JUMPS
    ) -> Followed:
        """Take readings in, and say what has come of them.

        Args:
            batch: Readings as cleaning leaves them, by device.
            watermark_of: Gives the devices' watermarks once this batch is in.
            jumps: int64[2, j], devices whose clocks jump in it, and up to where all is closed
                before that: no state goes on over that.
        """
        if not self._channels.has_texts:
            return _NOTHING
        self._extend()
        devices = np.unique(batch.device).astype(np.int64)
        devices = devices[self._has_text[devices]]
        rows = batch.take(self._channels.is_text[batch.channel])
        self._wait(rows.channel, rows.time_ns, rows.value)
        for row, closed_ns in jumps.T.tolist():
            self._end(row, closed_ns)
        return self._go_on(devices, watermark_of(devices.astype(np.int32)))

    def close(self, devices: NDArray[np.int32], watermark_of: WatermarkOf) -> Followed:
        """Say what follows from these devices' watermarks, which have moved without a reading."""
        if not self._channels.has_texts:
            return _NOTHING
        self._extend()
        ordered = np.sort(devices).astype(np.int64)
        ordered = ordered[self._has_text[ordered]]
        return self._go_on(ordered, watermark_of(ordered.astype(np.int32)))

    def owing(self) -> NDArray[np.int32]:
        """int32[d]: devices, rising, whose windows without a reading are next to be given out."""
        devices = np.flatnonzero(self._owes)
        first = np.cumsum(self._owes[devices]) - self._owes[devices]
        return devices[first < MOST_AT_ONCE].astype(np.int32)

    def _end(self, device: int, time_ns: int) -> None:
        """Let nothing be known of a device's channels from this time on, until they say more."""
        channel = self._channel[self._slots_of(np.array([device]))]
        self._wait(channel, np.full(len(channel), time_ns), np.full(len(channel), np.nan))

    def _wait(
        self, channel: NDArray[np.int32], time_ns: NDArray[np.int64], value: NDArray[np.float64]
    ) -> None:
        self._waiting.keep({"channel": channel, "time_ns": time_ns, "value": value})
        np.minimum.at(self._due_ns, self._channels.device_of[channel], time_ns)

    def go_back(self, channels: NDArray[np.int32]) -> None:
        """Let nothing count of these channels: their clock was set back. What they said stays."""
        if not self._channels.has_texts:
            return
        self._extend()
        slots = self._slots(channels)
        now = self._now
        longest = np.array([max(lengths, default=1) for lengths in self._plans], np.int64)
        longest_ns = longest[self._plan[self._channel[slots]]]
        newest_ns = np.maximum(now["said_ns"][slots], now["done_ns"][slots])
        end_ns = (newest_ns // longest_ns + 1) * longest_ns
        now["back_ns"][slots] = np.maximum(now["back_ns"][slots], end_ns)
        now["code"][slots] = np.nan
        for name in ("since_ns", "said_ns", "done_ns"):
            now[name][slots] = NO_TIME_NS

    def snapshot(self, selection: Selection) -> StateBlock:
        self._extend()
        position = position_of_channels(selection, len(self._channels))
        devices = np.sort(selection.devices)
        block: StateBlock = {}
        for prefix, store in self._stores():
            for name, column in store.snapshot(devices, position).items():
                block[f"{prefix}_{name}"] = column
        slots = self._slots(selection.channels)
        slots = slots[(self._now["done_ns"][slots] > NO_TIME_NS) | self._is_said(slots)]
        block["now_channel"] = position[self._channel[slots]]
        block |= {f"now_{name}": column[slots] for name, column in self._now.items()}
        return block

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self.forget(selection)
        if not block:
            return
        now = _named(block, "now", self._now)
        slots = self._slot[selection.channels[block["now_channel"].astype(np.intp)]]
        if (slots < 0).any() or len(np.unique(slots)) < len(slots):
            raise DataError("bad_record", "a channel without texts is followed")
        for name, column in now.items():
            self._now[name][slots] = column
        for prefix, store in self._stores():
            if f"{prefix}_channel" not in block:
                continue  # by an earlier version, which had none of these
            columns = _named(block, prefix, store.empty())
            columns["channel"] = selection.channels[columns["channel"]]
            if (self._slot[columns["channel"]] < 0).any():
                raise DataError("bad_record", "a channel without texts is followed")
            if prefix != "waiting":
                columns = self._still_open(columns)
            if prefix == "owed":
                check_between(columns)
            store.keep(columns)
        devices = np.sort(selection.devices).astype(np.int64)
        self._expect(devices, self._slots_of(devices))

    def forget(self, selection: Selection) -> None:
        self._extend()
        owners = self._channels.device_of[selection.channels]
        devices = np.unique(np.concatenate([selection.devices, owners])).astype(np.int64)
        for _, store in self._stores():
            store.forget(selection)
        slots = self._slots(selection.channels)
        self._now.forget(slots.astype(np.int32))
        self._expect(devices, self._slots_of(devices))

    def _stores(self) -> tuple[tuple[str, ChannelRows], ...]:
        return (("waiting", self._waiting), ("open", self._open), ("owed", self._owed))

    def _is_said(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        is_said: NDArray[np.bool_] = ~np.isnan(self._now["state"][slots])
        return is_said

    def _slots(self, channels: NDArray[np.int32]) -> NDArray[np.int64]:
        """The slots of those of these channels that have one."""
        slots: NDArray[np.int64] = self._slot[channels]
        return slots[slots >= 0]

    def _slots_of(self, devices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slots of all text channels of these devices, rising."""
        is_ours = np.zeros(len(self._channels.devices), np.bool_)
        is_ours[devices] = True
        return np.flatnonzero(is_ours[self._channels.device_of[self._channel]])

    def _still_open(self, columns: Columns) -> Columns:
        """Open windows of lengths that their feeds have still."""
        slot, is_kept = self._slot[columns["channel"]], np.zeros(len(columns["channel"]), np.bool_)
        for length_ns, has in self._with_lengths(slot):
            is_kept[has] |= columns["window_ns"][has] == length_ns
        return {name: each[is_kept] for name, each in columns.items()}

    def _with_lengths(self, slots: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """Each length of windows that these slots have, and which of them have it."""
        plan = self._plan[self._channel[slots]]
        plans = [(number, self._plans[number]) for number in np.unique(plan).tolist()]
        for length_ns in sorted({each for _, lengths in plans for each in lengths}):
            ours = [number for number, lengths in plans if length_ns in lengths]
            yield length_ns, np.flatnonzero(np.isin(plan, ours))

    def _go_on(self, devices: NDArray[np.int64], watermark_ns: NDArray[np.int64]) -> Followed:
        """Take what the watermarks of these devices, which rise, have reached."""
        is_due = self._due_ns[devices] <= watermark_ns
        devices, watermark_ns = devices[is_due], watermark_ns[is_due]
        if not len(devices):
            return _NOTHING
        settled = self._settle(devices, watermark_ns)
        changes = self._changes(settled)
        parts, waits = self._spans(settled)
        gone_by = self._give_out(devices, watermark_ns, waits)
        spans = joined_spans([self._open.take(devices)[1], *parts])
        device = self._channels.device_of[spans["channel"]].astype(np.int64)
        end_ns = spans["start_ns"] + spans["window_ns"]
        is_closed = end_ns <= watermark_ns[np.searchsorted(devices, device)]
        self._open.keep({name: each[~is_closed] for name, each in spans.items()})
        self._expect(devices, settled.slots)
        closed = {name: each[is_closed] for name, each in spans.items()}
        back_ns = self._now["back_ns"][self._slot[closed["channel"]]]
        is_alone = closed["start_ns"] >= back_ns
        every = {name: np.concatenate([each, gone_by[name]]) for name, each in closed.items()}
        alone = np.ones(len(gone_by["channel"]), np.bool_)
        return Followed(changes, Spent(**every, is_alone=np.concatenate([is_alone, alone])))

    def _give_out(
        self, devices: NDArray[np.int64], watermark_ns: NDArray[np.int64], more: Sequence[Columns]
    ) -> Columns:
        """Some of the windows between, with those that come to them now."""
        parts = [self._owed.take(devices)[1], *more]
        owed = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        device = self._channels.device_of[owed["channel"]].astype(np.int64)
        order = stable_order(device)
        device, owed = device[order], {name: each[order] for name, each in owed.items()}
        # When a device's clock goes back, what was before it is ended: no reading may come first.
        is_over = watermark_ns[np.searchsorted(devices, device)] >= NEVER_NS
        given, left, is_left = given_out(owed, is_over)
        self._owed.append(device[is_left], left)
        return given

    def _settle(self, devices: NDArray[np.int64], watermark_ns: NDArray[np.int64]) -> _Settled:
        _, rows = self._waiting.take_until(devices, watermark_ns)
        slots = self._slots_of(devices)
        at = np.searchsorted(slots, self._slot[rows["channel"]])
        # Stable: of readings of one time the one that came first stands first.
        order = np.lexsort((rows["time_ns"], at))
        owner = self._channels.device_of[self._channel[slots]]
        return _Settled(
            slots,
            watermark_ns[np.searchsorted(devices, owner)],
            at[order],
            rows["time_ns"][order],
            rows["value"][order],
        )

    def _changes(self, settled: _Settled) -> list[StateChange]:
        """What is said anew; it is what was said last from now on."""
        is_text = ~np.isnan(settled.code)
        at, time_ns, code = settled.at[is_text], settled.time_ns[is_text], settled.code[is_text]
        slot, now = settled.slots[at], self._now
        before = np.roll(code, 1)
        starts, _ = runs(at)
        before[starts] = now["state"][slot[starts]]
        changed = np.flatnonzero(code != before)
        starts, lengths = runs(at[changed])
        since_ns = np.roll(time_ns[changed], 1)
        since_ns[starts] = now["since_ns"][slot[changed[starts]]]
        last = changed[starts + lengths - 1]
        now["state"][slot[last]], now["since_ns"][slot[last]] = code[last], time_ns[last]
        columns = (slot[changed], time_ns[changed], code[changed], before[changed], since_ns)
        found = [
            self._change(*row) for row in zip(*(column.tolist() for column in columns), strict=True)
        ]
        return sorted(found, key=lambda each: (each.time_ns, each.feed, each.device, each.channel))

    def _change(
        self, slot: int, time_ns: int, code: float, before: float, since_ns: int
    ) -> StateChange:
        row = int(self._channel[slot])
        channel, texts = self._channels.channels[row], self._channels.texts
        is_known = before == before  # noqa: PLR0124  (NaN where nothing was said)
        return StateChange(
            channel.feed,
            channel.device,
            channel.field,
            time_ns,
            texts.text(row, code),
            texts.text(row, before) if is_known else "",
            time_ns - since_ns if is_known and since_ns > NO_TIME_NS else 0,
            channel.owner.tags,
        )

    def _spans(self, settled: _Settled) -> tuple[list[Columns], list[Columns]]:
        """For how long each state counts; what counts last goes on doing so.

        Returns:
            The windows in which states begin and end, and what ``_owed`` has of those between.
        """
        now, slots = self._now, settled.slots
        count = len(slots)
        at = np.concatenate([np.arange(count), settled.at])
        order = np.argsort(at, kind="stable")
        at = at[order]
        begin_ns = np.concatenate([now["done_ns"][slots], settled.time_ns])[order]
        said_ns = np.concatenate([now["said_ns"][slots], settled.time_ns])[order]
        code = np.concatenate([now["code"][slots], settled.code])[order]
        _, lengths = runs(at)
        last = np.cumsum(lengths) - 1
        end_ns = np.roll(begin_ns, -1)
        # A device whose clock goes back is in no state from its last reading on.
        is_over = settled.watermark_ns >= NEVER_NS
        # Nor is anything counted again, where a watermark is behind what has been counted.
        reached_ns = np.maximum(begin_ns[last], settled.watermark_ns)
        end_ns[last] = np.where(is_over, begin_ns[last], reached_ns)
        now["done_ns"][slots] = end_ns[last]
        now["code"][slots], now["said_ns"][slots] = code[last], said_ns[last]
        end_ns = np.minimum(end_ns, said_ns + self._valid_ns[self._channel[slots[at]]])
        spent = np.flatnonzero(~np.isnan(code) & (end_ns > begin_ns))
        slot, code, begin_ns, end_ns = slots[at[spent]], code[spent], begin_ns[spent], end_ns[spent]
        ends: list[Columns] = []
        between: list[Columns] = []
        for length_ns, has in self._with_lengths(slot):
            span = (self._channel[slot[has]], code[has], begin_ns[has], end_ns[has])
            ends.append(windows_at_ends(*span, length_ns))
            between.append(windows_between(*span, length_ns, now["back_ns"][slot[has]]))
        return ends, between

    def _expect(self, devices: NDArray[np.int64], slots: NDArray[np.int64]) -> None:
        """Find out when there is something to do of these devices, which have these slots."""
        self._due_ns[devices] = NEVER_NS
        device, rows = self._waiting.peek(devices)
        np.minimum.at(self._due_ns, device, rows["time_ns"])
        device, rows = self._open.peek(devices)
        np.minimum.at(self._due_ns, device, rows["start_ns"] + rows["window_ns"])
        device, rows = self._owed.peek(devices)
        self._due_ns[device] = NO_TIME_NS
        self._owes[devices] = 0
        np.add.at(self._owes, device, np.minimum(count_between(rows), MOST_AT_ONCE))
        # Of a state that goes on, the next window that ends.
        now = self._now
        is_valid = now["done_ns"][slots] < (
            now["said_ns"][slots] + self._valid_ns[self._channel[slots]]
        )
        slots = slots[is_valid & ~np.isnan(now["code"][slots])]
        done_ns, owner = now["done_ns"][slots], self._channels.device_of[self._channel[slots]]
        for length_ns, has in self._with_lengths(slots):
            end_ns = (done_ns[has] // length_ns + 1) * length_ns
            np.minimum.at(self._due_ns, owner[has], end_ns)

    def _extend(self) -> None:
        """Take in what the table has got since the last call."""
        table = self._channels
        self._has_text = grown(self._has_text, len(table.devices), fill=False)
        self._due_ns = grown(self._due_ns, len(table.devices), NEVER_NS)
        self._owes = grown(self._owes, len(table.devices), 0)
        if len(table) == self._known:
            return
        self._slot = grown(self._slot, len(table), -1)
        new = self._known + np.flatnonzero(table.is_text[self._known :]).astype(np.int64)
        self._known = len(table)
        self._slot[new] = np.arange(len(self._channel), len(self._channel) + len(new))
        self._channel = np.concatenate([self._channel, new.astype(np.int32)])
        self._now.grow(len(self._channel))
        self._has_text[table.device_of[new]] = True


def _valid_ns(feeds: Mapping[str, FeedConfig], channel: Channel) -> int:
    feed = feeds.get(channel.feed)
    return 0 if feed is None or not channel.is_text else feed.channel(channel.field).valid_for


def _named(
    block: Mapping[str, NDArray[np.generic]], prefix: str, names: Mapping[str, Any]
) -> dict[str, NDArray[Any]]:
    """The arrays of a part of a snapshot."""
    return {name: block[f"{prefix}_{name}"] for name in names}
