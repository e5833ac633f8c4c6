"""Derived channels: worked out from others in the order of event times, and read like any other.

A derived channel has a value at each time at which a channel that it names has a reading. A channel
that has none at that time is met by its latest, as long as that is not too old.

Readings wait until their device's watermark has passed them, so neither their batches nor the
order in which they arrived make a difference. Those of a device that sends seldom wait until they
are settled: whoever overtakes them after that is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.config.rule import RuleConfig
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.grown import grown
from headgate.core.lookup import ByChannel
from headgate.core.results import Alarm
from headgate.core.runs import runs
from headgate.core.stage import Selection, StateBlock
from headgate.core.stretches import Stretches
from streams.stages.aggregate.stage import WatermarkOf
from streams.stages.arrays import (
    NEVER_NS,
    NO_TIME_NS,
    position_of,
    position_of_channels,
    stable_order,
)
from streams.stages.channel_rows import ChannelRows
from streams.stages.derive.alarms import alarm_of
from streams.stages.derive.latch import Turn
from streams.stages.derive.parts import Remembered
from streams.stages.derive.places import Places
from streams.stages.derive.program import Made, programs_of
from streams.stages.derive.progress import Progress
from streams.stages.derive.scheduled import Scheduled
from streams.stages.derive.ticks import Ticks
from streams.stages.rowstore import Columns, RowStore
from streams.stages.watermark.outcome import NO_JUMPS
from streams.stages.watermark.pace import Expected

#: Gives before when nothing is expected of devices any more.
ExpectedOf: TypeAlias = Callable[[NDArray[np.int32]], Expected]

#: No rows of the table.
_NO_ROWS = np.empty(0, np.int32)

#: No places.
_NOWHERE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Derivation:
    """What came of readings.

    Attributes:
        made: Readings of derived channels, by device and time.
        overtaken: How many readings came behind what is settled already, and are passed over.
        in_order: These, and the readings that they were made from, by device and time: for models
            that take both. Empty where none does.
        alarms: Those of rules that have opened, or are over, by device and time.
    """

    made: Batch
    in_order: Batch
    alarms: list[Alarm]
    overtaken: int = 0

    @property
    def rows(self) -> NDArray[np.int32]:
        """int32[c]: rows of the derived channels that have been worked out, each once."""
        return np.unique(self.made.channel)


class Deriver:
    """Works out derived channels, and rules on all channels. A stateful stage.

    Args:
        feeds: ``config.feed``.
        channels: The pipeline's table. Derived channels are added to it.
        beside: By feed, channels that models take beside derived ones.
        rules: ``config.rule``.
        looked_at: By rule, when it is looked at, of those that are not always.
    """

    def __init__(
        self,
        feeds: Mapping[str, FeedConfig],
        channels: ChannelTable,
        beside: Mapping[str, Collection[str]] | None = None,
        rules: Mapping[str, RuleConfig] | None = None,
        looked_at: Mapping[str, Stretches] | None = None,
    ) -> None:
        self._feeds = feeds
        self._rules = rules or {}
        self._channels = channels
        self._programs = list(programs_of(feeds, self._rules, looked_at or {}).items())
        self._beside = beside or {}
        inputs = {
            (name, field): (number, at)
            for number, (name, program) in enumerate(self._programs)
            for at, field in enumerate(program.inputs)
        }
        self._inputs = inputs
        self._is_wanted = ByChannel(channels, np.bool_, self._wants)
        self._is_beside = ByChannel(channels, np.bool_, lambda each: each.feed in self._beside)
        self._known = 0
        self._places = Places(feeds, channels, inputs)
        programs = [program for _, program in self._programs]
        self._remembered = Remembered(programs, self._places)
        self._scheduled = Scheduled(programs, self._places, channels)
        # By derived channel, and the group of what brings it about: its row, or -1.
        self._rows: dict[str, NDArray[np.int32]] = {}
        self._waiting = ChannelRows(channels, time_ns=np.int64, value=np.float64)
        # Times from which on nothing before is known: the clock has jumped.
        self._breaks = RowStore(time_ns=np.int64)
        # By device row: whether it has any, and when there is something to do.
        self._is_ours = np.empty(0, np.bool_)
        self._due_ns = np.empty(0, np.int64)
        # By device row: when time brings an alarm about, whether its watermark gets there or not.
        self._timed_ns = np.empty(0, np.int64)
        self._progress = Progress(self._places, channels)

    @property
    def fingerprint(self) -> str:
        """What the meaning of a snapshot depends on: not on the formulas, which it says itself."""
        return "derive/2"

    @property
    def open_alarms(self) -> int:
        """Alarms of rules that are open."""
        return sum(program.open_alarms for _, program in self._programs)

    def process(
        self, batch: Batch, watermark_of: WatermarkOf, jumps: NDArray[np.int64] = NO_JUMPS
    ) -> Derivation:
        """Take readings in, and work out what nothing can come before any more.

        Args:
            batch: Readings as cleaning leaves them, by device. Those that are unusable, or made up,
                are passed over.
            watermark_of: Gives the devices' watermarks once this batch is in.
            jumps: int64[2, j], devices whose clocks jump in it, and up to where all is closed
                before that.
        """
        if not self._programs:
            return self._nothing()
        self._extend()
        devices = np.unique(np.concatenate([batch.device, jumps[0]])).astype(np.int64)
        devices = devices[self._is_ours[devices]]
        is_ours = self._is_wanted[batch.channel] & batch.usable
        is_ours &= (batch.quality & np.uint16(Quality.IMPUTED)) == 0
        is_overtaken = is_ours & (batch.time_ns < self._progress.settled_ns[batch.device])
        rows = batch.take(is_ours & ~is_overtaken)
        self._places.hear(rows.channel)
        self._waiting.keep(
            {"channel": rows.channel, "time_ns": rows.time_ns, "value": rows.value + 0.0}
        )
        np.minimum.at(self._due_ns, rows.device, rows.time_ns)
        # Those of devices without a channel of ours nobody would ask for again.
        jumps = jumps[:, self._is_ours[jumps[0]]]
        order = np.argsort(jumps[0], kind="stable")
        self._breaks.append(jumps[0][order], {"time_ns": jumps[1][order]})
        np.minimum.at(self._due_ns, jumps[0], jumps[1] - 1)
        derived = self._go_on(devices, watermark_of(devices.astype(np.int32)))
        return replace(derived, overtaken=int(np.count_nonzero(is_overtaken)))

    def due(self, expected_of: ExpectedOf) -> NDArray[np.int32]:
        """int32[d]: the devices of which readings wait that are settled, or time brings an alarm.

        Args:
            expected_of: Gives before when nothing is expected of devices any more.
        """
        if not self._programs:
            return _NO_ROWS
        self._extend()
        devices = np.flatnonzero(self._due_ns < NEVER_NS).astype(np.int32)
        expected = expected_of(devices)
        is_due = self._due_ns[devices] < expected.settled_ns
        return devices[is_due | (self._timed_ns[devices] < expected.reached_ns)]

    def awaits_time(self, expected_of: ExpectedOf) -> bool:
        """Whether time alone may bring an alarm about."""
        devices = np.flatnonzero(self._timed_ns < NEVER_NS).astype(np.int32)
        return bool(len(devices)) and bool(expected_of(devices).is_by_clock.any())

    def overtaken(self, batch: Batch) -> NDArray[np.int32]:
        """int32[d]: the devices of which readings come behind what is settled."""
        if not self._programs:
            return _NO_ROWS
        self._extend()
        return np.unique(batch.device[batch.time_ns < self._progress.settled_ns[batch.device]])

    def settle(
        self,
        closing: NDArray[np.int32],
        expected_of: ExpectedOf,
        among: NDArray[np.int32] | None,
    ) -> tuple[Derivation, NDArray[np.int32]]:
        """``close``, and go on over what is due of others, or of those among these.

        Args:
            closing: int32[d], devices whose watermarks have moved without a reading.
            expected_of: As in ``due``.
            among: int32[d], devices to which this is restricted; None: all.

        Returns:
            What came of it; and int32[d], the devices.
        """
        if not self._programs:
            return self._nothing(), closing
        due = self.due(expected_of)
        devices = np.union1d(closing, due if among is None else np.intersect1d(due, among))
        expected = expected_of(devices)
        np.maximum.at(self._progress.settled_ns, devices, expected.settled_ns)
        ours = self._is_ours[devices]
        passed_ns = np.maximum(expected.settled_ns, expected.reached_ns)
        rows = devices[ours].astype(np.int64)
        return self._go_on(rows, expected.settled_ns[ours], passed_ns[ours]), devices

    def close(self, devices: NDArray[np.int32], watermark_of: WatermarkOf) -> Derivation:
        """Go on to these devices' watermarks, which have moved without a reading."""
        if not self._programs:
            return self._nothing()
        self._extend()
        ordered = np.unique(devices).astype(np.int64)
        ordered = ordered[self._is_ours[ordered]]
        return self._go_on(ordered, watermark_of(ordered.astype(np.int32)))

    def go_back(self, channels: NDArray[np.int32]) -> None:
        """Forget when anything was of these channels: their clock was set back."""
        if self._programs:
            self._extend()
            self._progress.forget(self._channels.device_of[channels])
            self._go_back(self._places.of_channels(channels))

    def snapshot(self, selection: Selection) -> StateBlock:
        self._extend()
        position = position_of_channels(selection, len(self._channels))
        devices = np.sort(selection.devices)
        block: StateBlock = {
            f"waiting_{name}": column
            for name, column in self._waiting.snapshot(devices, position).items()
        }
        owner, breaks = self._breaks.peek(devices)
        of_device = position_of(selection.devices, len(self._channels.devices))
        awaited = self._scheduled.awaited(selection.devices)
        block |= self._progress.snapshot(selection, awaited)
        block["break_device"] = of_device[owner]
        block["break_time_ns"] = breaks["time_ns"]
        return block | self._remembered.snapshot(selection, position)

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self.forget(selection)
        if not block:
            return
        self._progress.restore(selection, block)
        self._places.hear_all(selection.channels)
        waiting = {name: np.asarray(block[f"waiting_{name}"]) for name in self._waiting.empty()}
        waiting["channel"] = selection.channels[waiting["channel"].astype(np.intp)]
        is_wanted = self._is_wanted[waiting["channel"]]
        self._waiting.keep({name: each[is_wanted] for name, each in waiting.items()})
        owner = selection.devices[np.asarray(block["break_device"], np.intp)]
        order = stable_order(owner)
        order = order[self._is_ours[owner[order]]]
        self._breaks.append(owner[order], {"time_ns": block["break_time_ns"][order]})
        self._remembered.restore(selection, block)
        places = np.unique(self._places.beside(selection.channels))
        for _, program in self._programs:
            program.look_again(places[places >= 0])
        self._expect(np.sort(selection.devices).astype(np.int64))

    def forget(self, selection: Selection) -> None:
        self._extend()
        self._progress.forget(selection.devices)
        self._waiting.forget(selection)
        self._breaks.take(np.sort(selection.devices))
        places = self._places.let_go(selection.channels)
        for number, (_, program) in enumerate(self._programs):
            program.forget(places[self._places.program[places] == number])
        owners = self._channels.device_of[selection.channels]
        devices = np.unique(np.concatenate([selection.devices, owners])).astype(np.int64)
        self._expect(devices)

    def _nothing(self) -> Derivation:
        empty = Batch.empty(self._channels)
        return Derivation(empty, empty, [])

    def _go_back(self, places: NDArray[np.int64]) -> None:
        for number, (_, program) in enumerate(self._programs):
            program.go_back(places[self._places.program[places] == number])

    def _go_on(
        self,
        devices: NDArray[np.int64],
        watermark_ns: NDArray[np.int64],
        passed_ns: NDArray[np.int64] | None = None,
    ) -> Derivation:
        """Take what the watermarks of these devices, which rise, have passed.

        Args:
            devices: int64[d].
            watermark_ns: int64[d].
            passed_ns: int64[d], up to when time has passed for rules, where that is further; None:
                nowhere.
        """
        passed_ns = watermark_ns if passed_ns is None else passed_ns
        is_due = (self._due_ns[devices] < watermark_ns) | (self._timed_ns[devices] < passed_ns)
        devices, watermark_ns, passed_ns = devices[is_due], watermark_ns[is_due], passed_ns[is_due]
        if not len(devices):
            return self._nothing()
        device, rows = self._waiting.take_until(devices, watermark_ns - 1)
        # Where all is closed because a clock was set back, no time has passed by that.
        passed_ns = np.where(passed_ns < NEVER_NS, passed_ns, NO_TIME_NS)
        parts = [*self._before_breaks(devices, watermark_ns, passed_ns, device, rows)]
        made = [each for of_part, _ in parts for each in of_part]
        turns = [each for _, of_part in parts for each in of_part]
        turns += self._scheduled.end(devices, watermark_ns)
        self._progress.looked_ns[devices] = np.maximum(self._progress.looked_ns[devices], passed_ns)
        self._expect(devices)
        return self._as_batches(made, rows, self._alarms(turns))

    def _before_breaks(
        self,
        devices: NDArray[np.int64],
        watermark_ns: NDArray[np.int64],
        passed_ns: NDArray[np.int64],
        device: NDArray[np.int64],
        rows: Columns,
    ) -> Iterator[tuple[list[Made], list[Turn]]]:
        """What comes of settled readings: those before a jump of a clock, then those after it."""
        owner, breaks = self._breaks.take(devices)
        time_ns = breaks["time_ns"]
        order = np.lexsort((time_ns, owner))
        owner, time_ns = owner[order], time_ns[order]
        is_reached = time_ns <= watermark_ns[np.searchsorted(devices, owner)]
        self._breaks.append(owner[~is_reached], {"time_ns": time_ns[~is_reached]})
        owner, time_ns = owner[is_reached], time_ns[is_reached]
        is_left = np.ones(len(device), np.bool_)
        while len(owner):
            starts, _ = runs(owner)
            until_ns = np.full(len(devices), NO_TIME_NS)
            until_ns[np.searchsorted(devices, owner[starts])] = time_ns[starts]
            is_before = is_left & (rows["time_ns"] < until_ns[np.searchsorted(devices, device)])
            before = {name: each[is_before] for name, each in rows.items()}
            yield self._work_out(before, devices, np.minimum(until_ns, passed_ns))
            is_left &= ~is_before
            self._go_back(self._places.of_devices(owner[starts]))
            owner, time_ns = np.delete(owner, starts), np.delete(time_ns, starts)
        left = {name: each[is_left] for name, each in rows.items()}
        yield self._work_out(left, devices, passed_ns)

    def _work_out(
        self, rows: Columns, devices: NDArray[np.int64], passed_ns: NDArray[np.int64]
    ) -> tuple[list[Made], list[Turn]]:
        """What comes of readings that nothing can come before any more, and of time.

        Args:
            rows: The readings.
            devices: int64[d], rising.
            passed_ns: int64[d], up to when time has passed there.
        """
        channel, time_ns = rows["channel"], rows["time_ns"]
        places = self._places
        every = np.flatnonzero(places.of[channel] >= 0)
        order = every[np.lexsort((time_ns[every], places.of[channel[every]]))]
        channel, time_ns, value = channel[order], time_ns[order], rows["value"][order]
        place = places.of[channel]
        places.channel[place] = channel
        program_of = places.program[place]
        passing = self._progress.passing(devices, passed_ns)
        made: list[Made] = []
        turns: list[Turn] = []
        for number, (_, program) in enumerate(self._programs):
            some = np.flatnonzero(program_of == number)
            if not len(some) and not program.may_turn(passing):
                continue
            starts, lengths = runs(place[some], time_ns[some])
            ticks = Ticks(place[some[starts]], time_ns[some[starts]], 0)
            tick = np.repeat(np.arange(len(starts)), lengths)
            which = places.input[channel[some]]
            more = program.work_out(ticks, tick, which, value[some], channel[some], passing)
            made += more[0]
            turns += more[1]
        return made, turns

    def _alarms(self, turns: list[Turn]) -> list[Alarm]:
        """The alarms that turns are of, by device and time."""
        table = self._channels
        turns.sort(key=lambda each: (table.device_of[each.channel], each.time_ns))
        return [
            alarm_of(turn, table.channels[turn.channel], self._feeds, self._rules) for turn in turns
        ]

    def _as_batches(self, made: list[Made], rows: Columns, alarms: list[Alarm]) -> Derivation:
        """Readings of derived channels; and with those that they were made from, where wanted."""
        derived = self._batch(
            np.concatenate([_NO_ROWS, *map(self._rows_of, made)]),
            np.concatenate([np.empty(0, np.int64), *(each.time_ns for each in made)]),
            np.concatenate([np.empty(0, np.float64), *(each.value for each in made)]),
        )
        if not self._beside:
            return Derivation(derived, Batch.empty(self._channels), alarms)
        is_wanted = self._is_beside[rows["channel"]]
        is_ours = self._is_beside[derived.channel]
        return Derivation(
            derived,
            self._batch(
                np.concatenate([rows["channel"][is_wanted], derived.channel[is_ours]]),
                np.concatenate([rows["time_ns"][is_wanted], derived.time_ns[is_ours]]),
                np.concatenate([rows["value"][is_wanted], derived.value[is_ours]]),
            ),
            alarms,
        )

    def _batch(
        self, channel: NDArray[np.int32], time_ns: NDArray[np.int64], value: NDArray[np.float64]
    ) -> Batch:
        order = np.lexsort((time_ns, self._channels.device_of[channel]))
        return Batch.from_columns(self._channels, time_ns[order], channel[order], value[order])

    def _rows_of(self, made: Made) -> NDArray[np.int32]:
        """int32[n]: rows in the table of a derived channel's values."""
        known = grown(self._rows.get(made.name, _NO_ROWS), self._places.groups, -1)
        self._rows[made.name] = known
        group = self._places.group[made.channel]
        is_new = known[group] < 0
        new, first = np.unique(group[is_new], return_index=True)
        for at, cause in zip(new.tolist(), made.channel[is_new][first].tolist(), strict=True):
            beside = self._channels.channels[cause]
            unit = self._feeds[beside.feed].derived[made.name].kept_unit
            known[at] = self._channels.row(replace(beside, field=made.name, unit=unit))
        rows: NDArray[np.int32] = known[group]
        return rows

    def _wants(self, channel: Channel) -> bool:
        """Whether readings of a channel are kept until nothing can come before them."""
        if channel.is_text:
            return False
        is_beside = channel.field in self._beside.get(channel.feed, ())
        return is_beside or (channel.feed, channel.field) in self._inputs

    def _expect(self, devices: NDArray[np.int64]) -> None:
        """Find out when there is something to do of these devices."""
        self._due_ns[devices] = NEVER_NS
        device, rows = self._waiting.peek(devices)
        np.minimum.at(self._due_ns, device, rows["time_ns"])
        device, rows = self._breaks.peek(devices)
        np.minimum.at(self._due_ns, device, rows["time_ns"] - 1)
        # What ends when the watermark is there has been so before it.
        until_ns = self._scheduled.due_ns(devices)
        until_ns -= until_ns < NEVER_NS
        passing = self._progress.passing(_NOWHERE, _NOWHERE)
        for _, program in self._programs:
            program.look_ahead(passing)
        self._timed_ns[devices] = next_ns = self._scheduled.next_ns(devices)
        self._due_ns[devices] = np.minimum(self._due_ns[devices], np.minimum(until_ns, next_ns))

    def _extend(self) -> None:
        """Take in what the table has got since the last call."""
        table = self._channels
        self._is_ours = grown(self._is_ours, len(table.devices), fill=False)
        self._due_ns = grown(self._due_ns, len(table.devices), NEVER_NS)
        self._timed_ns = grown(self._timed_ns, len(table.devices), NEVER_NS)
        self._progress.grow(len(table.devices))
        if len(table) == self._known:
            return
        new = range(self._known, len(table))
        self._known = len(table)
        ours = [row for row in new if self._wants(table.channels[row])]
        self._is_ours[table.device_of[ours]] = True
        self._places.extend(ours)
        for _, program in self._programs:
            program.grow(self._places.devices)
