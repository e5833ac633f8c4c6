"""From scores to anomalies: one event each, however many windows it spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError
from headgate.core.results import SEVERITIES, Anomaly, Scores
from headgate.core.stage import Selection, StateBlock
from models.package import Adapt
from streams.stages.arrays import NO_TIME_NS, group_by
from streams.stages.columns import StateColumns
from streams.stages.detect.adapt import adaptation
from streams.stages.health.verdict import is_of_sensors

#: Severity by how far the peak is over the threshold. The scores of the shipped kinds grow
#: linearly with the deviation, so twice the threshold is twice the deviation that was tolerated.
_SEVERITY_FROM = np.array([2.0, 5.0])


@dataclass(frozen=True, slots=True)
class DetectSpec:
    """When a score becomes an anomaly, and when that ends.

    Attributes:
        channel_names: The model's channels, in the order of the scores' shares.
        threshold: Scores at or over ``sensitivity`` times it count towards opening.
        threshold_low: Scores below ``sensitivity`` times it count towards closing.
        open_after: So many in a row open an anomaly.
        close_after: So many in a row close it.
        close_surprise: Fewer do where they would be this improbable in an event that goes on: one
            whose scores are high throughout ends soon, one that comes and goes may pause. 0 asks
            for ``close_after`` always.
        refractory: A device that is over the threshold again within so many steps of an anomaly's
            end goes on with that one, so that one trouble is one anomaly.
        quiet: Within so many steps of the highest score of an anomaly that has ended only a higher
            one counts towards opening, so that one trouble is told once.
        adapt: How the thresholds follow each device; None leaves them as they are.
        sensitivity: What the thresholds are multiplied by. What a device's scores say of where they
            should be is the same with any.
        fingerprint: What the model's scores, and these rules, are told from others by.
        step_ns: Time between two scores of a device that leaves none out. A gap longer than
            ``close_after`` steps ends whatever was going on: nothing is known of that time.
    """

    channel_names: tuple[str, ...]
    threshold: float
    threshold_low: float
    open_after: int
    close_after: int
    step_ns: int
    close_surprise: float = 0.0
    refractory: int = 0
    quiet: int = 0
    adapt: Adapt | None = None
    sensitivity: float = 1.0
    fingerprint: str = ""


class Sensors(Protocol):
    """Knows which sensors are not well; ``streams.stages.health.verdict.ModelSensors`` does."""

    def faulty(self, devices: NDArray[np.int64], time_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[d, channel]: which sensors of these devices were known to be faulty then."""
        ...


class Detector:
    """Threshold with hysteresis, per device. A stateful stage.

    Args:
        model: The model's name in the configuration.
        spec: Its thresholds.
        channels: The pipeline's table.
        sensors: Which are faulty; None takes all for sound.
    """

    def __init__(
        self,
        model: str,
        spec: DetectSpec,
        channels: ChannelTable,
        sensors: Sensors | None = None,
    ) -> None:
        self._sensors = sensors
        self._model = model
        self._spec = spec
        self._channels = channels
        self._threshold = spec.threshold * spec.sensitivity
        self._threshold_low = spec.threshold_low * spec.sensitivity
        self._adaptation = adaptation(spec.adapt) if spec.adapt else None
        self._gap_ns = (spec.close_after + 1) * spec.step_ns
        self._refractory_ns = spec.refractory * spec.step_ns
        self._quiet_ns = spec.quiet * spec.step_ns
        # All by device row. ``over`` and ``below`` count scores in a row; the event's columns are
        # kept from the first score over the threshold on, whether or not it has opened yet.
        adapting = () if self._adaptation is None else self._adaptation.columns
        self._state = StateColumns(
            is_open=np.False_,
            over=np.int32(0),
            below=np.int32(0),
            # Of an open event: scores so far, those of them not low, and their part at the last.
            seen=np.int32(0),
            hits=np.int32(0),
            hit_rate=np.float64(0),
            last_ns=np.int64(NO_TIME_NS),
            # An event that has ended and may go on, and its end when that was told.
            is_past=np.False_,
            closed_ns=np.int64(0),
            start_ns=np.int64(0),
            opened_ns=np.int64(0),
            end_ns=np.int64(0),
            peak_ns=np.int64(0),
            peak_score=np.float64(0),
            revision=np.int32(0),
            severity=np.int8(0),
            share=np.zeros(len(spec.channel_names), np.float32),
            faulty=np.zeros(len(spec.channel_names), np.bool_),
            is_of_sensors=np.False_,
            # Logarithm of what the thresholds are multiplied by.
            lift=np.float64(0),
            **dict.fromkeys(adapting, np.float64(0)),
        )

    @property
    def fingerprint(self) -> str:
        """What the meaning of a snapshot depends on: the model, and how sensitive it is."""
        return self._spec.fingerprint

    def process(self, scores: Scores) -> list[Anomaly]:
        """Take scores in, each device's in order of time; what opened, got worse or closed."""
        if not len(scores):
            return []
        self._extend()
        groups = group_by(scores.device)
        device = groups.keys
        score = scores.score[groups.order].astype(np.float64)
        time_ns = scores.time_ns[groups.order]
        highest = np.maximum.reduceat(score, groups.starts)
        is_quiet = (highest < self._threshold) & ~self._state["is_open"][device]
        if self._adaptation is not None:
            # Every score counts.
            is_quiet[:] = False
        quiet = device[is_quiet]
        self._state["over"][quiet] = 0
        ends = groups.starts + groups.lengths - 1
        self._state["last_ns"][quiet] = time_ns[ends[is_quiet]]
        anomalies: list[Anomaly] = []
        starts, lengths = groups.starts[~is_quiet], groups.lengths[~is_quiet]
        loud = device[~is_quiet]
        share = scores.share[groups.order]
        # Round k takes the k-th score of each device that has one: the loop is over the steps of
        # a batch, which are few when devices are many.
        for k in range(int(lengths.max(initial=0))):
            has_kth = lengths > k
            rows = starts[has_kth] + k
            self._step(loud[has_kth], time_ns[rows], score[rows], share[rows], anomalies)
        return anomalies

    @property
    def open_events(self) -> int:
        """Anomalies that are open."""
        return int(np.count_nonzero(self._state["is_open"]))

    def is_open(self, devices: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool[d]: whether an anomaly is open at these devices."""
        self._extend()
        is_open: NDArray[np.bool_] = self._state["is_open"][devices]
        return is_open

    def threshold(self, devices: NDArray[np.int32]) -> NDArray[np.float64]:
        """float64[d]: what scores of these devices count from towards opening, as of now."""
        self._extend()
        threshold: NDArray[np.float64] = self._threshold * np.exp(self._state["lift"][devices])
        return threshold

    def close_silent(self, devices: NDArray[np.int32]) -> list[Anomaly]:
        """Close what is open at these devices, which have stopped sending."""
        self._extend()
        is_open = self._state["is_open"][devices]
        self._state["over"][devices] = 0
        return self._close(devices[is_open].astype(np.int64))

    def go_back(self, devices: NDArray[np.int32]) -> list[Anomaly]:
        """Close what is open at these devices, and forget when that was: their clocks went back."""
        anomalies = self.close_silent(devices)
        self._state["last_ns"][devices] = NO_TIME_NS
        self._state["is_past"][devices] = False
        return anomalies

    def snapshot(self, selection: Selection) -> StateBlock:
        self._extend()
        return self._state.snapshot(selection.devices)

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self._extend()
        severity = block.get("severity", np.zeros(1, np.int8))
        if not ((severity >= 0) & (severity < len(SEVERITIES))).all():  # type: ignore[operator]
            raise DataError("bad_record", "there is no such severity")
        for name, column in self._state.items():
            # What an older version did not remember is as in an event that has just begun.
            older = block["start_ns"] if name == "opened_ns" else np.zeros((), column.dtype)
            column[selection.devices] = block.get(name, older)

    def forget(self, selection: Selection) -> None:
        self._extend()
        self._state.forget(selection.devices)

    def _step(
        self,
        device: NDArray[np.int64],
        time_ns: NDArray[np.int64],
        score: NDArray[np.float64],
        share: NDArray[np.float32],
        anomalies: list[Anomaly],
    ) -> None:
        """One score of each of these devices."""
        state, spec = self._state, self._spec
        anomalies.extend(self._end_before_gaps(device, time_ns))
        lift = np.exp(state["lift"][device])
        was_open = state["is_open"][device]
        is_over = score >= self._threshold * lift
        is_over &= was_open | ~self._is_told(device, time_ns, score)
        over = np.where(is_over, state["over"][device] + 1, 0)
        state["over"][device] = over
        # The first score over the threshold begins an event that may or may not open.
        is_soon = time_ns - state["closed_ns"][device] <= self._refractory_ns
        begins = ~was_open & (over == 1) & ~(state["is_past"][device] & is_soon)
        first = device[begins]
        state["start_ns"][first] = time_ns[begins]
        state["peak_score"][first] = -np.inf
        state["is_past"][first] = False
        state["faulty"][first] = False
        is_higher = (is_over | was_open) & (score > state["peak_score"][device])
        higher = device[is_higher]
        state["peak_score"][higher] = score[is_higher]
        state["peak_ns"][higher] = time_ns[is_higher]
        state["share"][higher] = share[is_higher]
        is_in = (score >= self._threshold_low * lift) & (was_open | is_over)
        state["end_ns"][device[is_in]] = time_ns[is_in]
        state["below"][device] = np.where(is_in, 0, state["below"][device] + 1)
        self._count_hits(device, is_in, was_open)
        is_of_sensors = self._judge(device, time_ns, was_open | is_over)
        severity = np.searchsorted(
            _SEVERITY_FROM, state["peak_score"][device] / (self._threshold * lift), side="right"
        )
        opens = ~was_open & (over >= spec.open_after)
        resumes = opens & state["is_past"][device]
        worsens = was_open & (severity > state["severity"][device])
        turns = was_open & (is_of_sensors != state["is_of_sensors"][device])
        changes = opens | worsens | turns
        changed = device[changes]
        state["severity"][changed] = severity[changes]
        state["is_of_sensors"][changed] = is_of_sensors[changes]
        state["opened_ns"][device[opens & ~resumes]] = time_ns[opens & ~resumes]
        state["is_open"][device[opens]] = True
        state["is_past"][device[opens]] = False
        state["revision"][changed] += 1
        state["revision"][device[opens & ~resumes]] = 0
        anomalies.extend(self._anomaly(row) for row in np.sort(changed).tolist())
        closes = was_open & (state["below"][device] >= self._longest_pause(device))
        anomalies.extend(self._close(device[closes]))
        if self._adaptation is not None:
            # Scores of an anomaly, or of what would become one as the model was trained, move
            # nothing.
            sound = ~was_open & (score < spec.threshold * lift)
            self._adaptation.follow(state, device[sound], score[sound])

    def _end_before_gaps(
        self, device: NDArray[np.int64], time_ns: NDArray[np.int64]
    ) -> list[Anomaly]:
        """Close what was open at devices of which nothing is known for longer than it may pause."""
        state = self._state
        is_after_gap = time_ns - state["last_ns"][device] > self._gap_ns
        state["last_ns"][device] = time_ns
        broken = device[is_after_gap]
        ended = self._close(broken[state["is_open"][broken]])
        state["over"][broken] = 0
        return ended

    def _is_told(
        self, device: NDArray[np.int64], time_ns: NDArray[np.int64], score: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """bool[d]: whether an anomaly that has ended not long ago was as high as this."""
        state = self._state
        is_soon = time_ns - state["peak_ns"][device] <= self._quiet_ns
        is_told: NDArray[np.bool_] = (
            state["is_past"][device] & is_soon & (score <= state["peak_score"][device])
        )
        return is_told

    def _judge(
        self,
        device: NDArray[np.int64],
        time_ns: NDArray[np.int64],
        is_event: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """bool[d]: whether the event of each of these devices, if any, is its sensors' fault."""
        state = self._state
        if self._sensors is not None:
            eventful = device[is_event]
            state["faulty"][eventful] |= self._sensors.faulty(eventful, time_ns[is_event])
        return is_of_sensors(state["share"][device], state["faulty"][device])

    def _count_hits(
        self,
        device: NDArray[np.int64],
        is_in: NDArray[np.bool_],
        was_open: NDArray[np.bool_],
    ) -> None:
        """Keep the part of an event's scores that are not low, by Laplace's rule of succession."""
        state = self._state
        state["seen"][device] = np.where(was_open, state["seen"][device] + 1, 1)
        hits = np.where(was_open, state["hits"][device] + is_in, 1)
        state["hits"][device] = hits
        rate = (1 + hits) / (2 + state["seen"][device])
        state["hit_rate"][device] = np.where(is_in, rate, state["hit_rate"][device])

    def _longest_pause(self, device: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64[d]: so many low scores in a row end an event."""
        spec = self._spec
        most = np.full(len(device), float(spec.close_after))
        if not spec.close_surprise:
            return most
        # Devices that never had an event have no rate; what comes of it is not asked for.
        rate = np.maximum(self._state["hit_rate"][device], 1e-9)
        surprising = np.log(spec.close_surprise) / np.log1p(-rate)
        pause: NDArray[np.float64] = np.minimum(most, np.ceil(surprising))
        return pause

    def _close(self, device: NDArray[np.int64]) -> list[Anomaly]:
        self._state["is_open"][device] = False
        self._state["is_past"][device] = True
        self._state["closed_ns"][device] = self._state["end_ns"][device]
        self._state["revision"][device] += 1
        self._state["over"][device] = 0
        return [self._anomaly(row) for row in device.tolist()]

    def _anomaly(self, row: int) -> Anomaly:
        state = self._state
        feed, device, tags = self._channels.devices[row]
        named: Sequence[tuple[str, float]] = [
            (name, round(float(part), 6))
            for name, part in zip(self._spec.channel_names, state["share"][row], strict=True)
        ]
        return Anomaly(
            feed=feed,
            device=device,
            model=self._model,
            start_ns=int(state["start_ns"][row]),
            opened_ns=int(state["opened_ns"][row]),
            end_ns=int(state["end_ns"][row]),
            peak_ns=int(state["peak_ns"][row]),
            peak_score=float(state["peak_score"][row]),
            threshold=self._threshold * float(np.exp(state["lift"][row])),
            severity=SEVERITIES[int(state["severity"][row])],
            # Equal shares in the model's order, so that the same scores give the same bytes.
            shares=tuple(sorted(named, key=lambda pair: -pair[1])),
            verdict="sensor" if state["is_of_sensors"][row] else "process",
            faulty=tuple(
                name
                for name, is_faulty in zip(
                    self._spec.channel_names, state["faulty"][row].tolist(), strict=True
                )
                if is_faulty
            ),
            is_open=bool(state["is_open"][row]),
            revision=int(state["revision"][row]),
            tags=tags,
        )

    def _extend(self) -> None:
        self._state.grow(len(self._channels.devices))
