"""Inference: the windows of all devices and partitions of a take, in one run a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable
from headgate.core.grown import grown
from headgate.core.results import Frames, Scores
from headgate.core.stage import Selection, StateBlock
from headgate.core.telemetry import Telemetry
from models.runtime import Answer
from streams.stages.arrays import group_by
from streams.stages.slots import DeviceSlots

#: State of devices that goes into a run at once, bytes. What a model makes of it on the way is many
#: times as much; more no longer fits the caches, and stays in memory for good.
_STATE_BYTES = 2 << 20

#: Devices up to this number are looked at one by one.
_FEW = 128

#: Slots of devices; a slice where they stand together.
_Place = slice | NDArray[np.int64]

#: Scores and shares, and whether all are known to be numbers. (A tuple with names costs what a look
#: at a small array does.)
_Said = tuple[NDArray[np.float32], NDArray[np.float32], bool]


class Model(Protocol):
    """What can score windows; ``models.runtime.Runtime`` does.

    Attributes:
        max_batch: Windows in one run; more are split.
    """

    max_batch: int

    @property
    def fingerprint(self) -> str:
        """What tells it from every other model: what it knows of a device says nothing to those."""
        ...

    @property
    def initial_state(self) -> NDArray[np.float32]:
        """float32[s]: what it knows of a device that it has never seen; s may be 0."""
        ...

    def room_for_state(self, windows: int) -> NDArray[np.float32] | None:
        """float32[w, s] that the next run of so many windows reads as it is, if there is any."""
        ...

    def run(self, values: NDArray[np.float32], state: NDArray[np.float32] | None = None) -> Answer:
        """Score float32[w, window, channel], given float32[w, s] of their devices."""
        ...


class Memory:
    """What a model knows of each device, kept between its windows. A stateful stage.

    Args:
        initial: float32[s], of a device that was never seen.
        channels: The pipeline's table.
        fingerprint: The model's.
    """

    def __init__(
        self, initial: NDArray[np.float32], channels: ChannelTable, fingerprint: str
    ) -> None:
        self._initial = initial
        self.fingerprint = fingerprint
        self._channels = channels
        self._slots = DeviceSlots(channels)
        # By slot.
        self._state = np.empty((0, len(initial)), np.float32)
        # A row as one thing: putting those in place is cheaper than rows of numbers.
        self._row = np.dtype((np.void, initial.nbytes))
        self._whole = self._state.view(self._row)[:, 0]
        #: What is kept of a device, bytes.
        self.row_bytes = initial.nbytes

    def place(  # noqa: PLR0911  (each shape of a batch has its shortest way)
        self, devices: NDArray[np.int32]
    ) -> tuple[_Place, bool]:
        """Where the state of these devices, one at least, stands; new ones get room.

        Returns:
            The place, and whether each device is known to be there once only: where they are so
            many that this is not looked at one by one, they have to ascend.
        """
        slots = self._slots
        if len(slots.by_device) < len(self._channels.devices):
            slots.extend()
        if len(devices) == 1 and (known := int(slots.by_device[devices[0]])) >= 0:
            return slice(known, known + 1), True
        slot = slots.by_device.take(devices)
        # Where every device has a slot, these have; devices of other feeds never get one.
        may_be_new = slots.count < len(self._channels.devices)
        if len(slot) <= _FEW:
            # What the interpreter itself uses is at hand; code for arrays has to be fetched anew.
            few = slot.tolist()
            if may_be_new and min(few) < 0:
                return self._place_new(devices)
            if few == list(range(few[0], few[0] + len(few))):
                return slice(few[0], few[0] + len(few)), True
            return slot, len(set(few)) == len(few)
        if may_be_new and slot[slot.argmin()] < 0:
            return self._place_new(devices)
        if _are_all(slot[1:] - slot[:-1] == 1):
            return slice(int(slot[0]), int(slot[-1]) + 1), True
        return slot, _are_all(devices[1:] > devices[:-1])

    def _place_new(self, devices: NDArray[np.int32]) -> tuple[_Place, bool]:
        self._give_slots(devices)
        return self.place(devices)

    def advance(self, model: Model, place: _Place, values: NDArray[np.float32], most: int) -> _Said:
        """Score a window of each of these devices (each once), and remember what comes of it.

        Args:
            model: Whose memory this is.
            place: Of the devices.
            values: float32[d, window, channel].
            most: Windows in one run.
        """
        count = len(values)
        if count <= most:
            return self._advance_some(model, place, values)
        # Runs of one size: memory is then used again as it is.
        size = -(-count // -(-count // most))
        parts = [
            self._advance_some(
                model, _some(place, first, first + size), values[first : first + size]
            )
            for first in range(0, count, size)
        ]
        score, share, are_numbers = zip(*parts, strict=True)
        return np.concatenate(score), np.concatenate(share), all(are_numbers)

    def _advance_some(self, model: Model, place: _Place, values: NDArray[np.float32]) -> _Said:
        """In one run."""
        known: NDArray[np.float32]
        if isinstance(place, slice):
            known = self._state[place]
        else:
            # Any mode but "raise", which all slots would do for, writes into the room directly.
            known = self._state.take(place, 0, model.room_for_state(len(values)), "clip")
        score, share, after, are_numbers = model.run(values, known)
        if not are_numbers:
            is_sound = np.isfinite(score) & np.isfinite(after).all(axis=1)
            rows = np.arange(place.start, place.stop) if isinstance(place, slice) else place
            self._state[rows[is_sound]] = after[is_sound]
        elif isinstance(place, slice):
            known[:] = after
        else:
            self._whole.put(place, after.view(self._row))
        return score, share, are_numbers

    def snapshot(self, selection: Selection) -> StateBlock:
        self._slots.extend()
        position, slot = self._slots.known(selection.devices)
        return {"device": position, "state": self._state[slot]}

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self.forget(selection)
        devices = selection.devices[np.asarray(block["device"], np.intp)]
        self._give_slots(devices)
        self._state[self._slots.by_device[devices]] = block["state"]

    def forget(self, selection: Selection) -> None:
        self._slots.extend()
        _, slot = self._slots.known(selection.devices)
        self._state[slot] = self._initial

    def _give_slots(self, devices: NDArray[np.int32]) -> None:
        if self._slots.give(devices):
            self._state = grown(self._state, self._slots.count, self._initial)
            self._whole = self._state.view(self._row)[:, 0]


class Inferer:
    """Runs the models of a pipeline.

    A window whose score is not a number says nothing either way; it is counted as not scored and
    goes no further, so that it can neither open an anomaly nor end one, and what its model would
    remember of it is dropped.

    Args:
        models: By the model's name in the configuration.
        channels: The pipeline's table.
        telemetry: Where windows and batch sizes are counted; None counts nothing.

    Attributes:
        memories: What each model that remembers anything knows, by the model's name.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        channels: ChannelTable,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._models = models
        self._telemetry = telemetry
        self.memories = {
            name: Memory(model.initial_state, channels, model.fingerprint)
            for name, model in models.items()
            if len(model.initial_state)
        }
        self._most = {
            name: min(models[name].max_batch, max(1, _STATE_BYTES // memory.row_bytes))
            for name, memory in self.memories.items()
        }

    def renewed(self, channels: ChannelTable) -> Inferer:
        """The same models, remembering nothing, with another table."""
        return Inferer(self._models, channels, self._telemetry)

    def process(self, frames: Sequence[Frames]) -> list[Scores]:
        """Score frames; those of one model share a run. Models without windows give nothing."""
        if len(frames) == 1 and len(frames[0].device):
            return [self._run(frames[0])]
        by_model: dict[str, list[Frames]] = {}
        for each in frames:
            if len(each):
                by_model.setdefault(each.model, []).append(each)
        return [
            self._run(parts[0] if len(parts) == 1 else _joined(name, parts))
            for name, parts in by_model.items()
        ]

    def _run(self, frames: Frames) -> Scores:
        name, device, time_ns = frames.model, frames.device, frames.end_ns
        if name in self.memories:
            score, share, are_numbers = self._run_in_turn(name, device, frames.values)
        else:
            score, share, _, are_numbers = self._models[name].run(frames.values)
            self._observe(name, len(device))
        if not are_numbers:
            is_number = np.isfinite(score)
            if self._telemetry is not None:
                count = len(score) - int(is_number.sum())
                self._telemetry.unscored.labels(name).inc(count)
            device, time_ns = device[is_number], time_ns[is_number]
            score, share = score[is_number], share[is_number]
        return Scores(name, device, time_ns, score, share)

    def _run_in_turn(
        self, name: str, device: NDArray[np.int32], values: NDArray[np.float32]
    ) -> _Said:
        """Score windows of which each builds upon its device's one before.

        A round takes a window of each device that has one left: there are few rounds when devices
        are many, and mostly one.
        """
        memory, model, most = self.memories[name], self._models[name], self._most[name]
        place, are_each_once = memory.place(device)
        if are_each_once:
            self._observe(name, len(device))
            return memory.advance(model, place, values, most)
        score = np.empty(len(device), np.float32)
        share = np.empty((len(device), values.shape[2]), np.float32)
        groups, are_numbers = group_by(device), True
        for k in range(int(groups.lengths.max())):
            rows = groups.order[groups.starts[groups.lengths > k] + k]
            self._observe(name, len(rows))
            place, _ = memory.place(device[rows])
            score[rows], share[rows], are_known = memory.advance(model, place, values[rows], most)
            are_numbers &= are_known
        return score, share, are_numbers

    def _observe(self, name: str, windows: int) -> None:
        if self._telemetry is not None:
            self._telemetry.windows.labels(name).inc(windows)
            self._telemetry.inference_batch.labels(name).observe(windows)


def _are_all(x: NDArray[np.bool_]) -> bool:
    """As ``x.all()`` of one value or more, at a third of its cost: it counts beside a small run."""
    return bool(x[x.argmin()])


def _some(place: _Place, first: int, end: int) -> _Place:
    """Of the devices from one to another."""
    if isinstance(place, slice):
        return slice(place.start + first, min(place.start + end, place.stop))
    return place[first:end]


def _joined(model: str, parts: list[Frames]) -> Frames:
    return Frames(
        model,
        np.concatenate([part.device for part in parts]),
        np.concatenate([part.end_ns for part in parts]),
        np.concatenate([part.values for part in parts]),
    )
