"""Inference: the windows of all devices and partitions of a take, in one run a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable
from headgate.core.stage import Frames, Scores, Selection, StateBlock
from headgate.core.telemetry import Telemetry
from models.runtime import COPIED_BYTES, Answer
from streams.arrays import group_by, grown

#: State of devices that goes into a run at once, bytes. What a model makes of it on the way is many
#: times as much; more no longer fits the caches, and stays in memory for good.
_STATE_BYTES = 2 << 20


class Model(Protocol):
    """What can score windows; ``models.runtime.Runtime`` does.

    Attributes:
        max_batch: Windows in one run; more are split.
    """

    max_batch: int

    @property
    def initial_state(self) -> NDArray[np.float32]:
        """float32[s]: what it knows of a device that it has never seen; s may be 0."""
        ...

    def run(self, values: NDArray[np.float32], state: NDArray[np.float32] | None = None) -> Answer:
        """Score float32[w, window, channel], given float32[w, s] of their devices."""
        ...


class Memory:
    """What a model knows of each device, kept between its windows. A stateful stage.

    Args:
        initial: float32[s], of a device that was never seen.
        channels: The pipeline's table.
    """

    def __init__(self, initial: NDArray[np.float32], channels: ChannelTable) -> None:
        self._initial = initial
        self._channels = channels
        # By device row, its slot: devices of other feeds take no room below.
        self._slot = np.empty(0, np.int64)
        self._slots = 0
        self._state = np.empty((0, len(initial)), np.float32)

    @property
    def row_bytes(self) -> int:
        """What is kept of a device, bytes."""
        return self._initial.nbytes

    def advance(
        self,
        model: Model,
        devices: NDArray[np.int32],
        values: NDArray[np.float32],
        most: int,
    ) -> tuple[list[tuple[NDArray[np.float32], NDArray[np.float32]]], bool]:
        """Score a window of each of these devices (each once), and remember what comes of it.

        Args:
            model: Whose memory this is.
            devices: int32[d], one at least.
            values: float32[d, window, channel].
            most: Windows in one run.

        Returns:
            Score and share of each run, and whether every score is known to be a number.
        """
        slot = self._slots_of(devices)
        count, begin = len(slot), int(slot[0])
        # Devices that are first heard of together are neighbours: their state, where there is much
        # of it, is read where it stands.
        are_neighbours = count == 1 or (
            count * self.row_bytes > COPIED_BYTES and _are_all(slot[1:] - slot[:-1] == 1)
        )
        answers, are_numbers = [], True
        for first in range(0, count, most):
            end = min(first + most, count)
            rows = slice(begin + first, begin + end) if are_neighbours else slot[first:end]
            known = self._state[rows] if isinstance(rows, slice) else self._state.take(rows, axis=0)
            score, share, after = model.run(values[first:end], known)
            answers.append((score, share))
            if _are_numbers(after) and _are_numbers(score):
                self._state[rows] = after
            else:
                is_sound = np.isfinite(score) & np.isfinite(after).all(axis=1)
                self._state[slot[first:end][is_sound]] = after[is_sound]
                are_numbers = False
        return answers, are_numbers

    def snapshot(self, selection: Selection) -> StateBlock:
        self._extend()
        position = np.flatnonzero(self._slot[selection.devices] >= 0)
        slot = self._slot[selection.devices[position]]
        return {"device": position, "state": self._state[slot]}

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self.forget(selection)
        devices = selection.devices[np.asarray(block["device"], np.intp)]
        self._give_slots(devices)
        self._state[self._slot[devices]] = block["state"]

    def forget(self, selection: Selection) -> None:
        self._extend()
        slot = self._slot[selection.devices]
        self._state[slot[slot >= 0]] = self._initial

    def _slots_of(self, devices: NDArray[np.int32]) -> NDArray[np.int64]:
        """Where the state of these devices stands; new ones get room."""
        if self._slots < len(self._channels.devices):
            self._give_slots(devices)
        return self._slot.take(devices)

    def _extend(self) -> None:
        self._slot = grown(self._slot, len(self._channels.devices), -1)

    def _give_slots(self, devices: NDArray[np.int32]) -> None:
        self._extend()
        new = devices[self._slot[devices] < 0]
        if len(new):
            self._slot[new] = np.arange(self._slots, self._slots + len(new))
            self._slots += len(new)
            known = len(self._state)
            self._state = grown(self._state, self._slots, 0)
            self._state[known:] = self._initial


class _Said(NamedTuple):
    """Scores and shares, and whether every score is known to be a number."""

    score: NDArray[np.float32]
    share: NDArray[np.float32]
    are_numbers: bool


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
            name: Memory(model.initial_state, channels)
            for name, model in models.items()
            if len(model.initial_state)
        }
        self._most = {
            name: min(models[name].max_batch, max(1, _STATE_BYTES // memory.row_bytes))
            for name, memory in self.memories.items()
        }

    def process(self, frames: Sequence[Frames]) -> list[Scores]:
        """Score frames; those of one model share a run. Models without windows give nothing."""
        by_model: dict[str, list[Frames]] = {}
        for each in frames:
            if len(each):
                by_model.setdefault(each.model, []).append(each)
        return [self._run(name, parts) for name, parts in by_model.items()]

    def _run(self, name: str, parts: list[Frames]) -> Scores:
        frames = parts[0] if len(parts) == 1 else _joined(name, parts)
        device, time_ns = frames.device, frames.end_ns
        if name in self.memories:
            score, share, are_numbers = self._run_in_turn(name, frames)
        else:
            score, share, _ = self._models[name].run(frames.values)
            self._observe(name, len(device))
            are_numbers = _are_numbers(score)
        if not are_numbers:
            is_number = np.isfinite(score)
            if self._telemetry is not None:
                count = len(score) - int(is_number.sum())
                self._telemetry.unscored.labels(name).inc(count)
            device, time_ns = device[is_number], time_ns[is_number]
            score, share = score[is_number], share[is_number]
        return Scores(name, device, time_ns, score, share)

    def _run_in_turn(self, name: str, frames: Frames) -> _Said:
        """Score windows of which each builds upon its device's one before.

        A round takes a window of each device that has one left: there are few rounds when devices
        are many, and mostly one.
        """
        device, values = frames.device, frames.values
        if len(device) == 1 or _are_all(device[1:] > device[:-1]):
            return self._run_round(name, device, values)
        score = np.empty(len(device), np.float32)
        share = np.empty((len(device), values.shape[2]), np.float32)
        groups, are_numbers = group_by(device), True
        for k in range(int(groups.lengths.max())):
            rows = groups.order[groups.starts[groups.lengths > k] + k]
            said = self._run_round(name, device[rows], values[rows])
            score[rows], share[rows] = said.score, said.share
            are_numbers &= said.are_numbers
        return _Said(score, share, are_numbers)

    def _run_round(
        self, name: str, device: NDArray[np.int32], values: NDArray[np.float32]
    ) -> _Said:
        """Score one window of each of these devices."""
        most, count = self._most[name], len(device)
        if count > most:
            # Runs of one size: memory is then used again as it is.
            most = -(-count // -(-count // most))
        parts, are_numbers = self.memories[name].advance(self._models[name], device, values, most)
        self._observe(name, count)
        if len(parts) == 1:
            return _Said(*parts[0], are_numbers)
        score, share = (np.concatenate(part) for part in zip(*parts, strict=True))
        return _Said(score, share, are_numbers)

    def _observe(self, name: str, windows: int) -> None:
        if self._telemetry is not None:
            self._telemetry.windows.labels(name).inc(windows)
            self._telemetry.inference_batch.labels(name).observe(windows)


def _are_all(x: NDArray[np.bool_]) -> bool:
    """As ``x.all()`` of one value or more, at a third of its cost: it counts beside a small run."""
    return bool(x[x.argmin()])


def _are_numbers(x: NDArray[np.float32]) -> bool:
    """Whether all are; may say no where a huge one is.

    A sum of squares takes no memory, and is a number where all are and none is huge.
    """
    return math.isfinite(np.vdot(x, x))


def _joined(model: str, parts: list[Frames]) -> Frames:
    return Frames(
        model,
        np.concatenate([part.device for part in parts]),
        np.concatenate([part.end_ns for part in parts]),
        np.concatenate([part.values for part in parts]),
    )
