"""How each sensor is: which of them are faulty, and since when.

The shortest aggregate windows of a feed are judged as they close (``symptoms.py``), those of a
device together. What comes of it is the series ``sensor_health``, and the verdict on anomalies
(``verdict.py``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.errors import DataError
from headgate.core.lookup import ByChannel, ByDevice
from headgate.core.results import SENSOR_FAULTS, Aggregates, SensorHealth
from headgate.core.runs import runs
from headgate.core.stage import Selection, StateBlock
from streams.stages.arrays import NO_TIME_NS, ramp, stable_order
from streams.stages.columns import StateColumns
from streams.stages.health.symptoms import COLUMNS, Round, judge

#: A fault that lasts is said again this often, ns.
HOUR_NS = 3600 * NS_PER_S


class HealthMonitor:
    """Tells sound sensors from faulty ones. A stateful stage.

    Args:
        feeds: ``config.feed``: a sensor is judged by the shortest aggregate windows of its feed.
        channels: The pipeline's table.
        recall_ns: For so long before the newest window of an earlier take, at least, it is known
            what was known then.
    """

    def __init__(
        self, feeds: Mapping[str, FeedConfig], channels: ChannelTable, recall_ns: int = HOUR_NS
    ) -> None:
        self._channels = channels
        self._recall_ns = recall_ns
        windows_ns = {
            name: min((each.window for each in feed.aggregates), default=0)
            for name, feed in feeds.items()
            if feed.sensor_health
        }
        # 0 where sensors are not judged.
        self._window_ns = ByDevice(channels, np.int64, lambda each: windows_ns.get(each.feed, 0))
        # What counts up is no level that could be stuck, or drift; what is derived has no sensor.
        self._is_no_sensor = ByChannel(
            channels,
            np.bool_,
            lambda each: (
                each.feed in feeds
                and (feeds[each.feed].is_counter(each) or feeds[each.feed].is_derived(each))
            ),
        )
        self._known = 0
        # Sensors are numbered, by device row and field. By channel row its sensor's number, and by
        # that the newest channel, which is the sensor: tags and units may change to and fro.
        self._number_of: dict[tuple[int, str], int] = {}
        self._number = np.empty(0, np.int32)
        self._newest = np.empty(0, np.int32)
        # Channels ordered by device, and where each device's begin.
        self._by_device = np.empty(0, np.int32)
        self._first = np.zeros(1, np.int64)
        # By channel row.
        self._state = StateColumns(
            **{name: np.zeros(shape, dtype) for name, (dtype, shape) in COLUMNS.items()}
        )
        # By channel row: as (event time, number of the state) what it was first, and changes not
        # so long ago.
        self._changes: dict[int, list[tuple[int, int]]] = {}

    @property
    def fingerprint(self) -> str:
        """What the meaning of a snapshot depends on: not on the feeds, so they may change."""
        return "health/1"

    @property
    def unhealthy(self) -> int:
        """Sensors that are not well."""
        return int(np.count_nonzero(self._state["health"]))

    def process(self, aggregates: Aggregates) -> list[SensorHealth]:
        """Judge closed windows, in any order; what has changed, in order of time and device."""
        if not len(aggregates):
            return []
        self._extend()
        self._forget_old_changes()
        device = self._channels.device_of[aggregates.channel]
        window_ns = self._window_ns[device]
        is_judged = aggregates.window_ns == window_ns
        if aggregates.spent:
            # A state that only goes on says nothing of whether sensors are heard.
            is_judged &= (aggregates.n + aggregates.flagged) > 0
        judged = np.flatnonzero(is_judged)
        if not len(judged):
            return []
        order = judged[np.lexsort((aggregates.start_ns[judged], device[judged]))]
        starts, lengths = runs(device[order], aggregates.start_ns[order])
        of, _ = runs(device[order[starts]])
        rank = np.arange(len(starts)) - np.repeat(of, np.diff(np.append(of, len(starts))))
        changes: list[SensorHealth] = []
        # Round k takes the k-th window of each device that has one.
        for k in range(int(rank.max()) + 1):
            is_kth = rank == k
            rows = order[np.repeat(is_kth, lengths)]
            changes += self._judge(self._round(rows, aggregates), aggregates)
        return sorted(changes, key=lambda each: (each.time_ns, each.feed, each.device, each.tags))

    def faulty_at(
        self, channels: NDArray[np.int32], time_ns: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """bool[d, c]: whether these sensors were faulty by the windows that had ended at a time.

        Of what earlier calls of ``process`` brought, ``recall_ns`` can be asked about. To give the
        same answer however readings are cut into batches, the time has to be one that the device's
        watermark has passed already when it is asked about for the first time: event time minus
        grace.

        Args:
            channels: int32[d, c], channel rows; -1 for a channel that there is not.
            time_ns: int64[d].
        """
        self._extend()
        health = self._state["health"]
        faulty = (channels >= 0) & (health[np.maximum(channels, 0)] > 0)
        if self._changes:
            recent = np.isin(channels, np.fromiter(self._changes, np.int32))
            for row, column in np.argwhere(recent).tolist():
                changes = self._changes[int(channels[row, column])]
                last = bisect_right(changes, int(time_ns[row]), key=itemgetter(0)) - 1
                faulty[row, column] = changes[max(last, 0)][1] > 0
        answer: NDArray[np.bool_] = faulty
        return answer

    def go_back(self, channels: NDArray[np.int32]) -> None:
        """Forget when these sensors changed, and not how they are: their clock went back."""
        for channel in channels.tolist():
            self._changes.pop(channel, None)

    def snapshot(self, selection: Selection) -> StateBlock:
        self._extend()
        block = self._state.snapshot(selection.channels)
        changes = np.array(
            [
                (position, *change)
                for position, channel in enumerate(selection.channels.tolist())
                for change in self._changes.get(channel, ())
            ],
            np.int64,
        )
        block["changes"] = changes.reshape(-1, 3)
        return block

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self.forget(selection)
        changes = np.asarray(block["changes"], np.int64)
        states = np.concatenate([np.asarray(block["health"], np.int64).ravel(), changes[:, 2]])
        are_ours = (changes[:, 0] >= 0) & (changes[:, 0] < len(selection.channels))
        if not are_ours.all() or not ((states >= 0) & (states <= len(SENSOR_FAULTS))).all():
            raise DataError("bad_record", "there is no such sensor, or no such fault")
        self._state.restore(selection.channels, block)
        for position, time_ns, state in changes.tolist():
            channel = int(selection.channels[position])
            self._changes.setdefault(channel, []).append((time_ns, state))

    def forget(self, selection: Selection) -> None:
        self._extend()
        self._state.forget(selection.channels)
        for channel in selection.channels.tolist():
            self._changes.pop(channel, None)

    def _round(self, rows: NDArray[np.intp], aggregates: Aggregates) -> Round:
        """These windows, and the channels of the same devices that had none."""
        device = self._channels.device_of[aggregates.channel[rows]]
        starts, _ = runs(device)
        devices = device[starts]
        first, count = self._first[devices], self._first[devices + 1] - self._first[devices]
        channel = self._by_device[np.repeat(first, count) + ramp(count)]
        row = np.full(len(self._channels), -1, np.intp)
        # Of a sensor whose tags change within a window, the one with most of it counts.
        rows_by_n = rows[np.argsort(aggregates.n[rows], kind="stable")]
        row[self._newest[self._number[aggregates.channel[rows_by_n]]]] = rows_by_n
        is_known = (row[channel] >= 0) | (self._state["seen"][channel, 0] > 0)
        is_known &= ~(self._channels.is_text[channel] | self._is_no_sensor[channel])
        channel, of = channel[is_known], np.repeat(rows[starts], count)[is_known]
        return Round(
            channel,
            aggregates.start_ns[of],
            aggregates.window_ns[of],
            row[channel],
            *runs(self._channels.device_of[channel]),
        )

    def _judge(self, at: Round, aggregates: Aggregates) -> list[SensorHealth]:
        if not len(at.channel):
            return []  # nothing but texts and counters
        state = {name: column[at.channel] for name, column in self._state.items()}
        before = state["health"].copy()
        figures = judge(state, at, aggregates)
        changed = np.flatnonzero(state["health"] != before)
        for row in changed.tolist():
            change = (int(state["end_ns"][row]), int(state["health"][row]))
            self._note(int(at.channel[row]), int(before[row]), change)
        for name, column in self._state.items():
            column[at.channel] = state[name]
        is_hourly = at.start_ns // HOUR_NS != state["end_ns"] // HOUR_NS
        said = np.union1d(changed, np.flatnonzero((state["health"] > 0) & is_hourly))
        return [self._as_said(int(at.channel[row]), figures[row]) for row in said.tolist()]

    def _note(self, channel: int, before: int, change: tuple[int, int]) -> None:
        self._changes.setdefault(channel, [(NO_TIME_NS, before)]).append(change)

    def _forget_old_changes(self) -> None:
        """Drop what is long ago; when all is, the last is what the channel's state says."""
        for channel, changes in list(self._changes.items()):
            old_ns = int(self._state["end_ns"][channel]) - self._recall_ns
            first = bisect_right(changes, old_ns, key=itemgetter(0)) - 1
            self._changes[channel] = changes[max(first, 0) :]
            if len(self._changes[channel]) == 1:
                del self._changes[channel]

    def _as_said(self, row: int, figures: NDArray[np.float64]) -> SensorHealth:
        channel = self._channels.channels[row]
        number = int(self._state["health"][row])
        time_ns = int(self._state["end_ns"][row])
        return SensorHealth(
            feed=channel.feed,
            device=channel.device,
            channel=channel.field,
            time_ns=time_ns,
            state=SENSOR_FAULTS[number - 1] if number else "ok",
            since_ns=int(self._state["since_ns"][row, number - 1]) if number else time_ns,
            found=float(figures[0]),
            usual=float(figures[1]),
            tags=channel.owner.tags,
        )

    def _extend(self) -> None:
        """Take in the channels that the table has got since the last call."""
        known = len(self._channels)
        if known == self._known:
            return
        self._state.grow(known)
        newest = self._newest.tolist()
        numbers = [self._take_over(row, newest) for row in range(self._known, known)]
        self._number = np.append(self._number, np.array(numbers, np.int32))
        self._newest = np.array(newest, np.int32)
        device_of = self._channels.device_of
        rows = np.sort(self._newest)
        self._by_device = rows[stable_order(device_of[rows])]
        devices = len(self._channels.devices)
        self._first = np.searchsorted(device_of[self._by_device], np.arange(devices + 1))
        self._known = known

    def _take_over(self, row: int, newest: list[int]) -> int:
        """Make a new channel the sensor of its name, in place of one it may have been before.

        Args:
            row: The channel.
            newest: By the sensors' numbers, their channels.

        Returns:
            The sensor's number.
        """
        sensor = (int(self._channels.device_of[row]), self._channels.channels[row].field)
        number = self._number_of.setdefault(sensor, len(newest))
        if number == len(newest):
            newest.append(row)
        else:
            old, newest[number] = newest[number], row
            for column in self._state.values():
                column[row] = column[old]
                column[old] = 0
            if old in self._changes:
                self._changes[row] = self._changes.pop(old)
        return number
