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

What is held belongs to the reading that decides on it: whether that comes twice, and when, decides
what an account has to make of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import Feed
from headgate.core.batch import Batch, Origin, Quality, concat
from headgate.core.channels import ChannelTable
from headgate.core.stage import Selection, StateBlock
from streams.arrays import (
    NO_TIME_NS,
    group_by,
    grown,
    max_before,
    position_of_channels,
    stable_order,
)
from streams.rowstore import Columns, RowStore

#: Readings of a device held at most; one more, and all of them are refuted.
_MOST_HELD = 4096

_TAKEN, _REFUTED, _HELD = 0, 1, 2


class Doubts:
    """The readings that are held, by device row. State of a stage, which grows it and asks it.

    Args:
        feeds: ``config.feed``: period, grace and ``time.confirm`` of each feed.
        channels: The pipeline's table.
    """

    def __init__(self, feeds: Mapping[str, Feed], channels: ChannelTable) -> None:
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
        # By device row: the number of its feed, what its feed allows it to move on by, and by how
        # much it last did while it was ahead.
        self._feed = np.empty(0, np.int32)
        self._period_ns = np.empty(0, np.int64)
        self._grace_ns = np.empty(0, np.int64)
        self._step_ns = np.empty(0, np.int64)

    def grow(self, rows: int, feed: NDArray[np.int32]) -> None:
        """Make room for so many devices; ``feed`` is int32[r], the numbers of the last ones'."""
        self._feed = grown(self._feed, rows, -1)
        self._period_ns = grown(self._period_ns, rows, 0)
        self._grace_ns = grown(self._grace_ns, rows, 0)
        self._step_ns = grown(self._step_ns, rows, 0)
        new = slice(rows - len(feed), rows)
        self._feed[new] = feed
        for number, each in enumerate(self._feeds):
            of_feed = new.start + np.flatnonzero(feed == number)
            self._period_ns[of_feed] = each.period
            self._grace_ns[of_feed] = each.grace

    def count(self, devices: NDArray[np.int32] | NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[d]: readings held of these devices."""
        return self._held.count(devices)

    def sift(
        self, batch: Batch, newest_ns: NDArray[np.int64], floor_ns: NDArray[np.int64]
    ) -> tuple[Batch, Batch]:
        """Take out what is doubtful, and put in what no longer is.

        Args:
            batch: Readings in arrival order.
            newest_ns: int64, by device row: newest event time before this batch.
            floor_ns: int64, likewise: whatever the newest is, older readings are late.

        Returns:
            The readings to go on with, in arrival order, and those that were refuted.
        """
        device = batch.device
        is_ahead = (batch.quality & np.uint16(Quality.AHEAD)) != 0
        nothing = batch.take(np.empty(0, np.intp))
        if not is_ahead.any() and not self._held.count(device).any():
            return batch, nothing
        groups = group_by(device)
        devices, order = groups.keys, groups.order
        time_ns = batch.time_ns[order]
        is_ahead = is_ahead[order] & (self._feed[device[order]] >= 0)
        before_ns = max_before(time_ns, groups.starts, groups.lengths, newest_ns[devices])
        allowed_ns = np.repeat(self._allowed_ns(devices), groups.lengths)
        is_doubtful = is_ahead & (time_ns > before_ns + allowed_ns)
        is_judged = np.logical_or.reduceat(is_doubtful, groups.starts)
        is_judged |= self._held.count(devices) > 0
        steps = np.flatnonzero(
            is_ahead & (time_ns > before_ns) & ~np.repeat(is_judged, groups.lengths)
        )
        # Of several steps of a device the last one stays.
        self._step_ns[device[order[steps]]] = time_ns[steps] - before_ns[steps]
        if not is_judged.any():
            return batch, nothing
        every, held_of = self._with_held(batch, devices[is_judged])
        verdict = np.full(len(every), _TAKEN, np.int8)
        source = every.source.copy()
        first = len(every) - len(batch)
        held_from = np.searchsorted(held_of, devices[is_judged])
        held_to = np.searchsorted(held_of, devices[is_judged], side="right")
        for group, begin, end in zip(
            np.flatnonzero(is_judged).tolist(), held_from.tolist(), held_to.tolist(), strict=True
        ):
            row, start = int(devices[group]), int(groups.starts[group])
            held = np.arange(begin, end)
            rows = order[start : start + int(groups.lengths[group])] + first
            _Judge(every, verdict, source, self._feeds[self._feed[row]]).judge(
                held, rows, int(newest_ns[row]), int(floor_ns[row]), self._step_ns, row
            )
        every = replace(every, source=source)
        self._hold(every.take(verdict == _HELD))
        return every.take(verdict == _TAKEN), every.take(verdict == _REFUTED)

    def due(self, devices: NDArray[np.intp], passed_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[d]: whether something held of these devices is not ahead of these times."""
        found = np.zeros(len(devices), np.bool_)
        holding = np.flatnonzero(self._held.count(devices))
        device, rows = self._held.peek(devices[holding])
        owner = np.searchsorted(devices, device)
        found[owner[rows["time_ns"] <= passed_ns[owner]]] = True
        return found

    def release(self, devices: NDArray[np.intp], passed_ns: NDArray[np.int64]) -> Batch:
        """What is held of these devices (rising) and not ahead of these times; held no longer."""
        device, rows = self._held.take(devices)
        is_due = rows["time_ns"] <= passed_ns[np.searchsorted(devices, device)]
        self._held.append(device[~is_due], {name: rows[name][~is_due] for name in rows})
        return self._batch({name: rows[name][is_due] for name in rows})

    def snapshot(self, selection: Selection) -> StateBlock:
        """Copy out what is held of these devices, and how they moved on."""
        _, rows = self._held.peek(np.sort(selection.devices))
        position = position_of_channels(selection, len(self._channels))
        rows["channel"] = position[rows["channel"]]
        held = {f"held_{name}": column for name, column in rows.items()}
        return {"step_ns": self._step_ns[selection.devices], **held}

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a snapshot; an older version's holds nothing."""
        self.forget(selection)
        self._step_ns[selection.devices] = block.get("step_ns", 0)
        if "held_channel" in block:
            rows: Columns = {name: block[f"held_{name}"] for name in self._held.empty()}
            rows["channel"] = selection.channels[rows["channel"]]
            self._append(rows)

    def forget(self, selection: Selection) -> None:
        """Drop what is known of these devices."""
        self._held.take(np.sort(selection.devices))
        self._step_ns[selection.devices] = 0

    def _allowed_ns(self, devices: NDArray[np.int64]) -> NDArray[np.int64]:
        """By how much these devices may move on while they are ahead."""
        step_ns = self._step_ns[devices]
        period_ns = self._period_ns[devices]
        # Within one period and the grace nothing that follows can become late by it.
        usual_ns = np.where(step_ns > 0, 2 * np.maximum(step_ns, period_ns), period_ns)
        return usual_ns + self._grace_ns[devices]

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


class _Judge:
    """Judges the readings of devices some of which are doubtful, one after the other.

    Args:
        every: What was held, and a batch.
        verdict: int8, gets the verdict on each of its readings.
        source: int32, gets the source of the reading that decided.
        feed: The device's feed.
    """

    def __init__(
        self, every: Batch, verdict: NDArray[np.int8], source: NDArray[np.int32], feed: Feed
    ) -> None:
        self._time_ns = every.time_ns
        self._channel = every.channel
        self._is_ahead = (every.quality & np.uint16(Quality.AHEAD)) != 0
        self._verdict = verdict
        self._source = source
        self._feed = feed
        #: The doubtful readings in a row, how many different times they have, and their last.
        self._run: list[int] = []
        self._times = 0
        self._last_ns = NO_TIME_NS
        self._met: set[tuple[int, int]] = set()

    def judge(
        self,
        held: NDArray[np.intp],
        rows: NDArray[np.intp],
        newest_ns: int,
        floor_ns: int,
        step_ns: NDArray[np.int64],
        device: int,
    ) -> None:
        """Judge a device's readings.

        Args:
            held: Positions of those that were held.
            rows: Positions of the new ones, in arrival order.
            newest_ns: The device's newest event time before them.
            floor_ns: Older readings are late.
            step_ns: int64, by device row: the last step of each; this device's is renewed.
            device: The device's row.
        """
        grace_ns, period_ns = self._feed.grace, self._feed.period
        step = int(step_ns[device])
        for position in held.tolist():
            self._add(position)
        for position in rows.tolist():
            time_ns = int(self._time_ns[position])
            is_ahead = bool(self._is_ahead[position])
            usual_ns = 2 * max(step, period_ns) if step else period_ns
            if is_ahead and time_ns > newest_ns + usual_ns + grace_ns:
                allowed_ns = usual_ns + grace_ns
                if not self._agrees(position, newest_ns, allowed_ns, grace_ns):
                    self._decide(_REFUTED, position)
                if (int(self._channel[position]), time_ns) in self._met:
                    self._verdict[position] = _REFUTED
                    continue
                self._add(position)
                if self._times >= self._feed.time.confirm:
                    step = self._last_step()
                    newest_ns = self._last_ns
                    self._decide(_TAKEN, position)
            elif time_ns >= max(newest_ns - grace_ns, floor_ns):
                self._decide(_REFUTED, position)
                if time_ns > newest_ns:
                    step = time_ns - newest_ns if is_ahead and newest_ns > NO_TIME_NS else step
                    newest_ns = time_ns
        self._verdict[self._run] = _HELD
        step_ns[device] = step

    def _agrees(self, position: int, newest_ns: int, allowed_ns: int, grace_ns: int) -> bool:
        """Whether a doubtful reading goes on from those before it."""
        if not self._run:
            return True
        if len(self._run) >= _MOST_HELD:
            return False
        time_ns = int(self._time_ns[position])
        if newest_ns > NO_TIME_NS:
            # They are nearer to each other than they are to what was before.
            allowed_ns = max(allowed_ns, int(self._time_ns[self._run[0]]) - newest_ns)
        elif self._times > 1:
            allowed_ns = max(allowed_ns, 3 * self._last_step())
        else:
            allowed_ns = -NO_TIME_NS
        return self._last_ns - grace_ns <= time_ns <= self._last_ns + allowed_ns

    def _add(self, position: int) -> None:
        time_ns = int(self._time_ns[position])
        self._run.append(position)
        self._met.add((int(self._channel[position]), time_ns))
        if time_ns > self._last_ns:
            self._last_ns = time_ns
            self._times += 1

    def _last_step(self) -> int:
        """The step to the newest of the readings in a row; 0 when there is only one time."""
        earlier_ns = [
            int(self._time_ns[each]) for each in self._run if self._time_ns[each] < self._last_ns
        ]
        return self._last_ns - max(earlier_ns) if earlier_ns else 0

    def _decide(self, verdict: int, position: int) -> None:
        """Let this reading decide on those in a row."""
        self._verdict[self._run] = verdict
        self._source[self._run] = self._source[position]
        self._run, self._met = [], set()
        self._times, self._last_ns = 0, NO_TIME_NS
