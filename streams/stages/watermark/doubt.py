"""Readings that may be from a clock that is wrong: held until others confirm or refute them.

Ingest marks a reading that was ahead of the gateway's own clock when it arrived
(``Quality.AHEAD``). That is no reason for doubt by itself, for a device's clock may well be ahead
all the time, or the gateway's behind. It is doubted when it is also far ahead of what its device
sent before. Taken at
its word it would make all that follows late until its time has come; thrown away it would be lost
though somebody has set the device's clock. So it is held, and what comes next decides:

- readings that go on from it, none of them fitting what was before, confirm it once there are
  ``feed.time.confirm`` of them with different times: all are taken, in the order they came in;
- a reading that goes on from what was before refutes it: it is rejected as ``"ahead"``;
- time itself: when it is not in the future of its device any more, and nothing else has come, it is
  taken.

A jump that was believed leaves a gap: windows that nothing has come for, and of which nothing was
told. The jump may have been wrong and the clock be set right again. So readings behind the
watermark that fall into the gap are held, too: once there are ``feed.time.confirm`` of them with
different times that go on from each other, and none on time in between, the device has *gone
back*; all are taken, and its watermark follows them. So it is when the device falls silent. A
reading on time refutes them: they are late. What the device had sent after the jump is its
*island*: its windows are closed when it goes back, so what comes for them later is late, and
tells nothing of the device's clock.

What is held belongs to the reading that decides on it: whether that comes twice, and when, decides
what an account has to make of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Origin, Quality, concat
from headgate.core.channels import ChannelTable
from headgate.core.lookup import ByDevice
from headgate.core.runs import runs
from headgate.core.stage import Selection, StateBlock
from streams.stages.arrays import (
    NO_TIME_NS,
    Groups,
    group_by,
    max_before,
    position_of_channels,
    stable_order,
)
from streams.stages.columns import StateColumns
from streams.stages.rowstore import Columns, RowStore
from streams.stages.watermark.gaps import Gaps
from streams.stages.watermark.judge import HELD, LATE, REFUTED, TAKEN, Judge, Said

_NOBODY: NDArray[np.int64] = np.empty((2, 0), np.int64)


@dataclass(frozen=True, slots=True)
class Sifted:
    """What there is to go on with.

    Attributes:
        batch: Readings in arrival order.
        turn: int64[n], how often its device has gone back in this batch before each.
        refuted: Those whose times were wrong.
        late: Those that were held because their device might have gone back, and has not; and what
            came for an island.
        back: By turn, int64[2, d]: rows of the devices that have gone back with it, and what older
            than is late for them now. None in the first.
        jumps: By turn, int64[2, j]: rows of the devices whose clocks jump in it, and up to where
            all is closed before that; as many as ``back``, or none.
    """

    batch: Batch
    turn: NDArray[np.int64]
    refuted: Batch
    late: Batch
    back: list[NDArray[np.int64]]
    jumps: list[NDArray[np.int64]] = field(default_factory=list)


class Doubts:
    """The readings that are held, by device row. State of a stage, which grows it and asks it.

    Args:
        feeds: ``config.feed``: period, grace and ``time.confirm`` of each feed.
        channels: The pipeline's table.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], channels: ChannelTable) -> None:
        self._feeds = list(feeds.values())
        self._channels = channels
        self._held = RowStore(
            channel=np.int32,
            time_ns=np.int64,
            value=np.float64,
            quality=np.uint16,
            partition=np.int64,
            offset=np.int64,
        )
        # The number of a device's feed, and what that allows it to move on by.
        numbers = {name: number for number, name in enumerate(feeds)}
        self._feed = ByDevice(channels, np.int32, lambda device: numbers.get(device.feed, -1))
        periods_ns = {name: feed.period for name, feed in feeds.items()}
        graces_ns = {name: feed.grace for name, feed in feeds.items()}
        self._period_ns = ByDevice(channels, np.int64, lambda each: periods_ns.get(each.feed, 0))
        self._grace_ns = ByDevice(channels, np.int64, lambda each: graces_ns.get(each.feed, 0))
        # By how much it last moved on while it was ahead.
        self._state = StateColumns(step_ns=np.int64(0))
        self._gaps = Gaps()

    def grow(self, rows: int) -> None:
        """Make room for so many devices."""
        self._state.grow(rows)
        self._gaps.grow(rows)

    def count(self, devices: NDArray[np.int32] | NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[d]: readings held of these devices."""
        return self._held.count(devices)

    def sift(
        self, batch: Batch, newest_ns: NDArray[np.int64], floor_ns: NDArray[np.int64]
    ) -> Sifted:
        """Take out what is doubtful, and put in what no longer is.

        Args:
            batch: Readings in arrival order.
            newest_ns: int64, by device row: newest event time before this batch.
            floor_ns: int64, likewise: whatever the newest is, older readings are late.
        """
        device = batch.device
        is_ahead = (batch.quality & np.uint16(Quality.AHEAD)) != 0
        nothing = batch.take(np.empty(0, np.intp))
        as_it_is = Sifted(batch, np.zeros(len(batch), np.int64), nothing, nothing, [_NOBODY])
        is_behind = self._gaps.concern(device, batch.time_ns)
        if not is_behind.any() and not is_ahead.any() and not self._held.count(device).any():
            return as_it_is
        groups = group_by(device)
        devices, order = groups.keys, groups.order
        time_ns = batch.time_ns[order]
        is_ahead = is_ahead[order] & (self._feed[device[order]] >= 0)
        before_ns = max_before(time_ns, groups.starts, groups.lengths, newest_ns[devices])
        is_step = is_ahead & (time_ns > before_ns) & (before_ns > NO_TIME_NS)
        step_ns = _last_before(
            is_step, time_ns - before_ns, groups, self._state["step_ns"][devices]
        )
        allowed_ns = self._allowed_ns(device[order], step_ns)
        is_doubtful = is_ahead & (time_ns > before_ns + allowed_ns) | is_behind[order]
        is_judged = np.logical_or.reduceat(is_doubtful, groups.starts)
        is_judged |= self._held.count(devices) > 0
        steps = np.flatnonzero(is_step & ~np.repeat(is_judged, groups.lengths))
        # Of several steps of a device the last one stays.
        self._state["step_ns"][device[order[steps]]] = time_ns[steps] - before_ns[steps]
        if not is_judged.any():
            return as_it_is
        every, held_of = self._with_held(batch, devices[is_judged])
        said = Said(every.source.copy())
        first = len(every) - len(batch)
        back: list[list[tuple[int, int]]] = [[]]
        jumps: list[tuple[int, int, int]] = []
        held_from = np.searchsorted(held_of, devices[is_judged])
        held_to = np.searchsorted(held_of, devices[is_judged], side="right")
        for group, begin, end in zip(
            np.flatnonzero(is_judged).tolist(), held_from.tolist(), held_to.tolist(), strict=True
        ):
            row, start = int(devices[group]), int(groups.starts[group])
            held = np.arange(begin, end)
            rows = order[start : start + int(groups.lengths[group])] + first
            judge = Judge(every, said, self._feeds[self._feed[row]], self._gaps, row)
            self._state["step_ns"][row], floors_ns = judge.judge(
                held,
                rows,
                int(newest_ns[row]),
                int(floor_ns[row]),
                int(self._state["step_ns"][row]),
            )
            jumps += [(turn, row, closed_ns) for turn, closed_ns in judge.jumps]
            for turn, later_ns in enumerate(floors_ns, 1):
                if turn == len(back):
                    back.append([])
                back[turn].append((row, later_ns))
        every = replace(every, source=said.source)
        self._hold(every.take(said.verdict == HELD))
        is_taken = said.verdict == TAKEN
        return Sifted(
            every.take(is_taken),
            said.turn[is_taken],
            every.take(said.verdict == REFUTED),
            every.take(said.verdict == LATE),
            [np.array(each, np.int64).reshape(-1, 2).T for each in back],
            [_of_turn(jumps, turn) for turn in range(len(back))] if jumps else [],
        )

    def fill(self, devices: NDArray[np.int32]) -> None:
        """Have these devices never go back to where they were."""
        self._gaps.fill(devices)

    def due(
        self,
        devices: NDArray[np.intp],
        passed_ns: NDArray[np.int64],
        newest_ns: NDArray[np.int64],
        is_gone: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """bool[d]: whether time confirms something that is held of these devices.

        Args:
            devices: Rows.
            passed_ns: int64[d], what time it is by their clocks.
            newest_ns: int64, by device row: newest event time.
            is_gone: bool[d], whether nothing that would refute what is behind is waited for.
        """
        found = np.zeros(len(devices), np.bool_)
        holding = np.flatnonzero(self._held.count(devices))
        device, rows = self._held.peek(devices[holding])
        owner = np.searchsorted(devices, device)
        is_behind = rows["time_ns"] < newest_ns[device]
        is_due = np.where(is_behind, is_gone[owner], rows["time_ns"] <= passed_ns[owner])
        found[owner[is_due]] = True
        return found

    def release(
        self,
        devices: NDArray[np.intp],
        passed_ns: NDArray[np.int64],
        newest_ns: NDArray[np.int64],
        floor_ns: NDArray[np.int64],
    ) -> Sifted:
        """What is held of these devices, all of them due, and not ahead; held no longer.

        Args:
            devices: Rows, rising.
            passed_ns: int64[d], what time it is by their clocks.
            newest_ns: int64, by device row: newest event time.
            floor_ns: int64, likewise: whatever the newest is, older readings are late.
        """
        device, rows = self._held.take(devices)
        is_due = rows["time_ns"] <= passed_ns[np.searchsorted(devices, device)]
        self._held.append(device[~is_due], {name: rows[name][~is_due] for name in rows})
        batch = self._batch({name: rows[name][is_due] for name in rows})
        device = device[is_due]
        behind = np.flatnonzero(batch.time_ns < newest_ns[device])
        rising = behind[np.lexsort((batch.time_ns[behind], device[behind]))]
        back = []
        for first in rising[runs(device[rising])[0]].tolist():
            row = int(device[first])
            later_ns = self._gaps.go_back(
                row,
                int(batch.time_ns[first]),
                int(newest_ns[row]),
                int(floor_ns[row]),
                self._feeds[self._feed[row]],
            )
            back.append((row, later_ns))
        nothing = batch.take(np.empty(0, np.intp))
        went = np.array(back, np.int64).reshape(-1, 2).T
        turn = np.isin(device, went[0]).astype(np.int64)
        return Sifted(batch, turn, nothing, nothing, [_NOBODY, went])

    def snapshot(self, selection: Selection) -> StateBlock:
        """Copy out what is held of these devices, and how they moved on."""
        _, rows = self._held.peek(np.sort(selection.devices))
        position = position_of_channels(selection, len(self._channels))
        rows["channel"] = position[rows["channel"]]
        held = {f"held_{name}": column for name, column in rows.items()}
        gaps = self._gaps.snapshot(selection.devices)
        return {**self._state.snapshot(selection.devices), **gaps, **held}

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a snapshot; an older version's holds nothing."""
        self.forget(selection)
        self._state.restore(selection.devices, block, may_lack=True)
        self._gaps.restore(selection.devices, block)
        if "held_channel" in block:
            rows: Columns = {name: block[f"held_{name}"] for name in self._held.empty()}
            rows["channel"] = selection.channels[rows["channel"]]
            self._append(rows)

    def forget(self, selection: Selection) -> None:
        """Drop what is known of these devices."""
        self._held.take(np.sort(selection.devices))
        self._state.forget(selection.devices)
        self._gaps.forget(selection.devices)

    def _allowed_ns(
        self, device: NDArray[np.int32], step_ns: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """int64[n]: by how much these devices may move on after such last steps while ahead."""
        period_ns = self._period_ns[device]
        # Within one period and the grace nothing that follows can become late by it.
        usual_ns = np.where(step_ns > 0, 2 * np.maximum(step_ns, period_ns), period_ns)
        return usual_ns + self._grace_ns[device]

    def _with_held(
        self, batch: Batch, devices: NDArray[np.int64]
    ) -> tuple[Batch, NDArray[np.int64]]:
        """What is held of these devices, now no longer, before the batch; and whose it is."""
        device, rows = self._held.take(devices)
        held = replace(self._batch(rows), origin=(), source=np.zeros(len(device), np.int32))
        return concat([held, batch], self._channels), device

    def _batch(self, rows: Columns) -> Batch:
        places = np.stack([rows["partition"], rows["offset"]], axis=1)
        distinct, source = np.unique(places, axis=0, return_inverse=True)
        origin = tuple(Origin("", partition, offset) for partition, offset in distinct.tolist())
        return Batch(
            self._channels,
            rows["time_ns"],
            rows["channel"],
            rows["value"],
            rows["quality"],
            origin,
            source.reshape(-1).astype(np.int32),
        )

    def _hold(self, batch: Batch) -> None:
        places = np.full((len(batch), 2), -1, np.int64)
        if batch.origin:
            of_origin = [(record.partition, record.offset) for record in batch.origin]
            places = np.array(of_origin, np.int64)[batch.source]
        self._append(
            {
                "channel": batch.channel,
                "time_ns": batch.time_ns,
                "value": batch.value,
                "quality": batch.quality,
                "partition": places[:, 0],
                "offset": places[:, 1],
            }
        )

    def _append(self, rows: Columns) -> None:
        device = self._channels.device_of[rows["channel"]]
        order = stable_order(device)
        self._held.append(device[order], {name: column[order] for name, column in rows.items()})


def _last_before(
    is_one: NDArray[np.bool_],
    value: NDArray[np.int64],
    groups: Groups,
    initial: NDArray[np.int64],
) -> NDArray[np.int64]:
    """int64[n]: the value of the last one before each row of its group, or else its initial one."""
    rows = np.arange(len(value))
    last = np.empty(len(value), np.int64)
    last[:1] = -1
    last[1:] = np.maximum.accumulate(np.where(is_one, rows, -1))[:-1]
    is_of_group = last >= np.repeat(groups.starts, groups.lengths)
    return np.where(is_of_group, value[last], np.repeat(initial, groups.lengths))


def _of_turn(jumps: Sequence[tuple[int, int, int]], turn: int) -> NDArray[np.int64]:
    """int64[2, j]: of one turn, whose clocks jump, and up to where all is closed before that."""
    ours = [jump[1:] for jump in jumps if jump[0] == turn]
    return np.array(ours, np.int64).reshape(-1, 2).T
