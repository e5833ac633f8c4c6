"""From readings to windows: the channels of a device lined up on one grid of steps.

A step is ``time // period``. A device works on one step at a time, the newest it has sent a
reading for. A step closes when it is complete or when a later one begins; what arrives for a closed
step is of no more use to a model that has to answer now. Steps that the device left out close
together with the step after them, with what was imputed for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable
from headgate.core.results import Frames
from headgate.core.runs import runs
from headgate.core.stage import Selection, StateBlock
from streams.stages.arrays import position_of, ramp, running_max, stable_order
from streams.stages.blocks import check_steps
from streams.stages.columns import StateColumns
from streams.stages.frame.history import History
from streams.stages.normalize import ModelRows
from streams.stages.rowstore import Columns, RowStore
from streams.stages.slots import DeviceSlots

#: Before any step, and far enough from int64's end to be subtracted from.
_NO_STEP = -(2**62)

#: Age of a channel that has never had a value: longer than anything is held.
_NO_VALUE = 2**40


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """What windows a model wants.

    Attributes:
        feed: The feed that the model is for.
        channel_names: The model's channels in its order.
        period_ns: Length of a step.
        window: Steps in a window.
        hop: A window ends at each step whose number is a multiple of this.
        resample: What stands in a step: ``"instant"``, the first reading that arrives for it, or
            ``"mean"``, the mean of all that arrive until a later step begins; imputed readings
            count only where nothing was measured, as in the aggregates.
        hold_limit: Steps for which a channel without a reading keeps its last value. A window
            holds only steps in which every channel has a value.
    """

    feed: str
    channel_names: tuple[str, ...]
    period_ns: int
    window: int
    hop: int
    resample: Literal["instant", "mean"]
    hold_limit: int

    def __post_init__(self) -> None:
        problems = [
            f"{name}: expected {least} or more, got {value}"
            for name, value, least in (
                ("channel_names", len(self.channel_names), 1),
                ("period_ns", self.period_ns, 1),
                ("window", self.window, 1),
                ("hop", self.hop, 1),
                ("hold_limit", self.hold_limit, 0),
            )
            if value < least
        ]
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True, slots=True)
class _Steps:
    """Closed steps, held values filled in, ordered by device and step.

    Attributes:
        device: int64[d], device rows.
        starts: intp[d], where each device's steps begin.
        lengths: intp[d], how many steps it has.
        step: int64[s].
        is_break: bool[s], True where the step does not follow on the one before.
        value: float32[s, channel], NaN where there is nothing to hold any more.
        age: int64[s, channel], steps since the value was read.
    """

    device: NDArray[np.int64]
    starts: NDArray[np.intp]
    lengths: NDArray[np.intp]
    step: NDArray[np.int64]
    is_break: NDArray[np.bool_]
    value: NDArray[np.float32]
    age: NDArray[np.int64]


class Framer:
    """Makes the windows of one model. A stateful stage.

    Args:
        model: Name of the model in the configuration.
        spec: What windows it wants.
        channels: The pipeline's table.
    """

    def __init__(self, model: str, spec: FrameSpec, channels: ChannelTable) -> None:
        self._model = model
        self._spec = spec
        width = len(spec.channel_names)
        self._open = RowStore(column=np.int32, time_ns=np.int64, due_ns=np.int64, value=np.float32)
        self._slots = DeviceSlots(channels)
        # By slot.
        self._state = StateColumns(
            closed=np.int64(_NO_STEP),
            run=np.int64(0),
            age=np.full(width, _NO_VALUE, np.int64),
            # What a channel holds from the next step on, though nothing was read; NaN for nothing.
            held=np.full(width, np.nan, np.float32),
        )
        self._history = History(spec.window, width)

    @property
    def fingerprint(self) -> str:
        """What the meaning of a snapshot depends on, besides which windows it is about."""
        return "frame/1"

    def process(self, rows: ModelRows) -> Frames:
        """Take readings in, and give the windows that they complete, by device and time."""
        if not len(rows):
            return self._no_frames()
        device, columns = self._with_open(rows)
        cells = self._close_whole(device, columns) or self._close(device, columns)
        if not len(cells["step"]):
            return self._no_frames()
        steps = self._fill(cells)
        run = self._run_lengths(steps)
        frames = self._frames(steps, run)
        self._remember(steps, run)
        return frames

    def hold(self, rows: ModelRows) -> None:
        """Let channels have these values, as if they were read at the next step that closes.

        A reading of that step counts before them.
        """
        if len(rows):
            self._slots.extend()
            self._give_slots(np.unique(rows.device))
            self._state["held"][self._slots.by_device[rows.device], rows.column] = rows.value

    def snapshot(self, selection: Selection) -> StateBlock:
        self._slots.extend()
        position, slot = self._slots.known(selection.devices)
        owner, waiting = self._open.peek(np.sort(selection.devices))
        position_of_device = position_of(selection.devices, len(self._slots.by_device))
        return {
            "device": position,
            **self._state.snapshot(slot),
            "recent": self._history.newest(slot),
            "open_device": position_of_device[owner],
            **{f"open_{name}": column for name, column in waiting.items()},
        }

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self.forget(selection)
        check_steps(block, len(selection.devices), self._spec.period_ns, _NO_STEP)
        devices = selection.devices[np.asarray(block["device"], np.intp)]
        self._give_slots(devices)
        slot = self._slots.by_device[devices]
        # An older version knew nothing of what is held.
        self._state.restore(slot, {"held": np.full(1, np.nan, np.float32), **block})
        self._history.put(slot, np.asarray(block["recent"], np.float32))
        owner = selection.devices[np.asarray(block["open_device"], np.intp)]
        order = stable_order(owner)
        waiting: Columns = {name: block[f"open_{name}"][order] for name in self._open.empty()}
        self._open.append(owner[order], waiting)

    def forget(self, selection: Selection) -> None:
        self._slots.extend()
        self._open.take(np.sort(selection.devices))
        _, slot = self._slots.known(selection.devices)
        self._state.forget(slot)
        self._history.forget(slot)

    def _with_open(self, rows: ModelRows) -> tuple[NDArray[np.int64], Columns]:
        """These readings behind those of the steps still open, by device."""
        devices = np.unique(rows.device)
        self._slots.extend()
        self._give_slots(devices)
        owner, waiting = self._open.take(devices)
        device = np.concatenate([owner, rows.device])
        order = stable_order(device)
        columns = {
            name: np.concatenate([column, getattr(rows, name)])[order]
            for name, column in waiting.items()
        }
        return device[order], columns

    def _close_whole(self, device: NDArray[np.int64], columns: Columns) -> Columns | None:
        """What ``_close`` gives for devices that sent whole steps in order and nothing else.

        That is what healthy devices do whose messages hold all of the model's channels, and it can
        be told at a fraction of the cost. None when there is anything else.
        """
        spec, width = self._spec, len(self._spec.channel_names)
        if spec.resample != "instant" or len(device) % width:
            return None
        whole = (columns["column"].reshape(-1, width) == np.arange(width)).all()
        if not whole or (columns["due_ns"] != columns["time_ns"]).any():
            return None
        step = columns["time_ns"] // spec.period_ns
        first, first_device = step[::width], device[::width]
        if (step.reshape(-1, width) != first[:, None]).any():
            return None
        if (device.reshape(-1, width) != first_device[:, None]).any():
            return None
        before = np.empty_like(first)
        before[1:] = first[:-1]
        starts, _ = runs(first_device)
        before[starts] = self._state["closed"][self._slots.by_device[first_device[starts]]]
        if (first <= before).any():
            return None
        return {
            "device": device,
            "step": step,
            "column": columns["column"],
            "value": columns["value"],
        }

    def _close(self, device: NDArray[np.int64], columns: Columns) -> Columns:
        """Cells of the steps that close: ``device``, ``step``, ``column``, ``value``.

        Readings that are of use to a step still open are put back.
        """
        spec = self._spec
        due = columns["due_ns"] // spec.period_ns
        starts, lengths = runs(device)
        closed = np.repeat(self._state["closed"][self._slots.by_device[device[starts]]], lengths)
        rows = np.flatnonzero((due == running_max(due, starts, lengths)) & (due > closed))
        if not len(rows):
            return {"step": rows}
        device, due, closed = device[rows], due[rows], closed[rows]
        step = columns["time_ns"][rows] // spec.period_ns

        # A turn is what a device sends while one step is its newest.
        turns, lengths = runs(device, due)
        is_first = np.ones(len(turns), np.bool_)
        is_first[1:] = device[turns[1:]] != device[turns[:-1]]
        is_last = np.append(is_first[1:], True)
        before = np.empty(len(turns), np.int64)
        before[1:] = due[turns[:-1]]
        before[is_first] = closed[turns[is_first]]
        # Nothing was left out before the very first step.
        before = np.where(before == _NO_STEP, due[turns] - 1, before)
        turn = np.repeat(np.arange(len(turns)), lengths)
        useful = np.flatnonzero(step > before[turn])

        order = useful[np.lexsort((columns["column"][rows[useful]], step[useful], turn[useful]))]
        column = columns["column"][rows[order]]
        starts, lengths = runs(turn[order], step[order], column)
        first = order[starts]
        cell_turn = turn[first]
        if spec.resample == "instant":
            is_now = step[first] == due[first]
            filled = np.bincount(cell_turn[is_now], minlength=len(turns))
            is_complete = filled == len(spec.channel_names)
            # A step that is complete is closed: what came after that is of no use.
            done_at = np.zeros(len(turns), np.intp)
            np.maximum.at(done_at, cell_turn[is_now], first[is_now])
            done_at[~is_complete] = len(rows)
            in_time = first <= done_at[cell_turn]
            starts, first, cell_turn = starts[in_time], first[in_time], cell_turn[in_time]
            value = columns["value"][rows[first]]
            stays_open = is_last & ~is_complete
            kept = np.sort(first[stays_open[cell_turn]])
        else:
            cell = np.repeat(np.arange(len(first)), lengths)
            value = _means(cell, {name: array[rows[order]] for name, array in columns.items()})
            stays_open = is_last
            kept = np.sort(useful[stays_open[turn[useful]]])
        self._open.append(
            device[kept], {name: array[rows[kept]] for name, array in columns.items()}
        )
        closes = ~stays_open[cell_turn]
        first = first[closes]
        return {
            "device": device[first],
            "step": step[first],
            "column": columns["column"][rows[first]],
            "value": value[closes],
        }

    def _fill(self, cells: Columns) -> _Steps:
        """Lay the cells out by step, add the steps left out, and hold values."""
        limit = self._spec.hold_limit
        starts, lengths = runs(cells["device"], cells["step"])
        device, step = cells["device"][starts], cells["step"][starts]
        firsts, _ = runs(device)
        slot = self._slots.by_device[device[firsts]]
        before = np.empty_like(step)
        before[1:] = step[:-1]
        before[firsts] = self._state["closed"][slot]
        missing = step - before - 1
        is_break = missing > limit
        # Behind the limit nothing is held, so steps left out there say nothing.
        held = np.where(before == _NO_STEP, 0, np.minimum(missing, limit))

        place = ramp(held + 1)
        is_read = place == np.repeat(held, held + 1)
        every_step = np.where(
            is_read, np.repeat(step, held + 1), np.repeat(before, held + 1) + 1 + place
        )
        every_break = is_read & np.repeat(is_break, held + 1)
        device_starts, device_lengths = runs(np.repeat(device, held + 1))

        value = np.full((len(every_step), len(self._spec.channel_names)), np.nan, np.float32)
        read_at = np.flatnonzero(is_read)
        value[np.repeat(read_at, lengths), cells["column"]] = cells["value"]
        is_anchor = ~np.isnan(value)
        # A device's first step takes what it has not read from the last step before.
        carried = self._history.last(slot)
        is_ours = is_anchor[device_starts]
        is_held = ~np.isnan(self._state["held"][slot])
        carried = np.where(is_held, self._state["held"][slot], carried)
        value[device_starts] = np.where(is_ours, value[device_starts], carried)
        read_step = np.broadcast_to(every_step[:, None], value.shape).copy()
        carried_step = self._state["closed"][slot][:, None] - self._state["age"][slot]
        carried_step = np.where(is_held, every_step[device_starts][:, None], carried_step)
        self._state["held"][slot] = np.nan
        read_step[device_starts] = np.where(is_ours, read_step[device_starts], carried_step)
        is_anchor[device_starts] = True
        position = np.arange(len(every_step))[:, None]
        anchor = np.maximum.accumulate(np.where(is_anchor, position, 0), axis=0)
        age = every_step[:, None] - np.take_along_axis(read_step, anchor, axis=0)
        value = np.take_along_axis(value, anchor, axis=0)
        value[age > limit] = np.nan
        return _Steps(
            device[firsts], device_starts, device_lengths, every_step, every_break, value, age
        )

    def _run_lengths(self, steps: _Steps) -> NDArray[np.int64]:
        """int64[s]: whole steps in a row up to each step, those before this call included."""
        is_whole = (steps.age <= self._spec.hold_limit).all(axis=1)
        position = np.arange(len(steps.step))
        begins = steps.is_break.copy()
        begins[steps.starts] = True
        # Position of the last step that does not count.
        zero = np.maximum.accumulate(
            np.where(is_whole, np.where(begins, position - 1, -1), position)
        )
        run = position - zero
        earlier = np.where(
            steps.is_break[steps.starts], 0, self._state["run"][self._slots.by_device[steps.device]]
        )
        is_unbroken = run == ramp(steps.lengths) + 1
        run += np.where(is_unbroken, np.repeat(earlier, steps.lengths), 0)
        return run

    def _frames(self, steps: _Steps, run: NDArray[np.int64]) -> Frames:
        spec = self._spec
        is_end = (run >= spec.window) & (steps.step % spec.hop == 0)
        slot = self._slots.by_device[steps.device]
        values = self._history.append(slot, steps.starts, steps.lengths, steps.value, is_end)
        device = np.repeat(steps.device, steps.lengths)[is_end]
        end_ns = steps.step[is_end] * spec.period_ns
        return Frames(self._model, device.astype(np.int32), end_ns, values)

    def _remember(self, steps: _Steps, run: NDArray[np.int64]) -> None:
        slot = self._slots.by_device[steps.device]
        ends = steps.starts + steps.lengths - 1
        self._state["closed"][slot] = steps.step[ends]
        self._state["run"][slot] = np.minimum(run[ends], self._spec.window)
        self._state["age"][slot] = np.minimum(steps.age[ends], _NO_VALUE)

    def _no_frames(self) -> Frames:
        none = np.empty(0, np.int64)
        shape = (0, self._spec.window, len(self._spec.channel_names))
        return Frames(self._model, none.astype(np.int32), none, np.empty(shape, np.float32))

    def _give_slots(self, devices: NDArray[np.int64] | NDArray[np.int32]) -> None:
        """Make room for those of these devices that have none yet."""
        if self._slots.give(devices):
            count = self._slots.count
            self._state.grow(count)
            self._history.reach(count)


def _means(cell: NDArray[np.intp], columns: Columns) -> NDArray[np.float32]:
    """The mean of each cell's measured readings, or where it has none, of its imputed ones."""
    is_measured = columns["due_ns"] == columns["time_ns"]
    is_empty = np.bincount(cell, is_measured) == 0
    weight = (is_measured | is_empty[cell]).astype(np.float64)
    # bincount adds one after the other, so a step cut in two gives the same sum.
    total = np.bincount(cell, weight * columns["value"])
    return (total / np.bincount(cell, weight)).astype(np.float32)
