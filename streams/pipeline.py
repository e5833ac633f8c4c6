"""The order of the stages, on one screen.

::

                    ┌────────────────────────────────────────────────────▶ device states
                    │               ┌─▶ follow ─┬────────────────────────▶ changes of states
                    │               ├─▶ count ──┤
    readings ─▶ watermark ─▶ clean ─┼─▶ aggregate ─┬─────────────────────▶ aggregates
                    │          │    │      ▲       └─▶ health ─┬──────────▶ sensor health
                    ▼          ▼    ├─▶ derive ───────────────┼──────────▶ alarms of rules
               late, ahead duplicate│      ▼                  └─────────────────────┐
                                    └─▶ per model: normalize ─▶ frame ─▶ infer ─▶ detect
                                                                                    │
                                                                                    ▼
                                                                                anomalies

A ``Pipeline`` is synchronous and does no I/O: it is the same object in the running gateway, in
tests and in an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import structlog
from numpy.typing import NDArray

from headgate.config.schema import Config
from headgate.core.batch import Batch, Quality, concat
from headgate.core.channels import ChannelTable
from headgate.core.results import Anomaly, Availability, Scores
from headgate.core.runs import runs
from headgate.core.stage import Selection, Snapshot, StateBlock, StatefulStage
from headgate.core.telemetry import Telemetry
from models.package import ModelPackage
from streams.heirs import Heirs
from streams.model_stages import beside_derived, detectors, model_routes, recall_ns
from streams.rejected import note_rejected
from streams.results import Results, joined
from streams.stages.aggregate.joined import concat_aggregates
from streams.stages.aggregate.stage import Aggregator
from streams.stages.alarms.stage import Alarmer
from streams.stages.arrays import NEVER_NS, stable_order
from streams.stages.blocks import restore_checked
from streams.stages.clean.conflicts import Conflicts
from streams.stages.clean.stage import Cleaner
from streams.stages.count.stage import Counters
from streams.stages.derive.stage import Derivation, Deriver
from streams.stages.follow import Follower
from streams.stages.health.stage import HealthMonitor
from streams.stages.held import HeldValues
from streams.stages.infer import Inferer
from streams.stages.watermark.outcome import Turn
from streams.stages.watermark.presence import Presence
from streams.stages.watermark.stage import Watermarks

_logger = structlog.get_logger()

#: Flags that are counted in ``headgate_flagged_rows``.
_COUNTED = (
    Quality.MISSING,
    Quality.OUT_OF_RANGE,
    Quality.SPIKE,
    Quality.STUCK,
    Quality.IMPUTED,
    Quality.RULED_OUT,
)

#: Stages whose state goes with channels, whichever device these belong to.
_BY_CHANNEL = ("aggregate", "follow", "count", "derive")


class Pipeline:
    """All stages of all feeds and models.

    Args:
        config: The whole configuration.
        channels: The table that the batches point into.
        packages: Loaded model packages, by the model's name in the configuration.
        inferer: Runs the models.
        telemetry: Where time and counts go; None measures nothing.
        watch: Is shown all scores, before it is decided what they mean.
        watch_cleaned: Is shown the readings as cleaning leaves them.
    """

    def __init__(
        self,
        config: Config,
        channels: ChannelTable,
        packages: Mapping[str, ModelPackage],
        inferer: Inferer,
        telemetry: Telemetry | None = None,
        *,
        watch: Callable[[Scores], None] | None = None,
        watch_cleaned: Callable[[Batch], None] | None = None,
    ) -> None:
        self.channels = channels
        self._config = config
        self._packages = packages
        self._watch = watch
        self._watch_cleaned = watch_cleaned
        self._silent_after_ns = config.streams.silent_after
        self._telemetry = telemetry
        self._conflicts = None if telemetry is None else Conflicts(channels, telemetry)
        self._watermarks = Watermarks(config.feed, channels)
        self._cleaner = Cleaner(config.feed, channels)
        self._held = HeldValues(config.feed, channels)
        self._aggregator = Aggregator(config.feed, channels)
        self._follower = Follower(config.feed, channels)
        self._counters = Counters(config.feed, channels)
        self._deriver = Deriver(
            config.feed,
            channels,
            beside_derived(config, packages),
            config.rule,
            config.looked_at,
        )
        self._monitor = HealthMonitor(config.feed, channels, recall_ns(config, packages))
        self._alarmer = Alarmer(config.rule, channels, config.looked_at)
        self._inferer = inferer
        self._routes = model_routes(config, channels, packages)
        self._detectors = detectors(config, channels, packages, self._monitor)
        self._stages: dict[str, StatefulStage] = {
            "watermark": self._watermarks,
            "clean": self._cleaner,
            "held": self._held,
            "aggregate": self._aggregator,
            "follow": self._follower,
            "count": self._counters,
            "derive": self._deriver,
            "health": self._monitor,
            "alarms": self._alarmer,
            **{f"frame.{route.name}": route.framer for route in self._routes},
            **{f"infer.{name}": memory for name, memory in inferer.memories.items()},
            **{f"detect.{name}": detector for name, detector in self._detectors.items()},
        }

    @property
    def stages(self) -> Mapping[str, StatefulStage]:
        """All stages that remember something, by name."""
        return self._stages

    @property
    def fingerprints(self) -> dict[str, str]:
        """By stage, what the meaning of its state depends on; other state is not taken up."""
        return {name: stage.fingerprint for name, stage in self._stages.items()}

    def process(self, batch: Batch, now_ns: int) -> Results:
        """Work on readings.

        Args:
            batch: Readings in arrival order; they point into this pipeline's table.
            now_ns: Monotonic time, used only to notice silence.
        """
        # By device, which nearly every stage wants; inside a device arrival order stays.
        batch = batch.take(stable_order(batch.device))
        device = batch.device
        moved = device[runs(device)[0]]
        turns = self._watermarks.turns(batch, now_ns)
        with self._timed("watermark"):
            turn = next(turns)
        results = self._work_on(len(batch), turn, moved)
        # More than one where a device's clock was set back: that is rare.
        return joined([results, *(self._take_turn(turn, moved) for turn in turns)])

    def _take_turn(self, turn: Turn, moved: NDArray[np.int32]) -> Results:
        """Take devices back, and then what came after that."""
        return joined([self._go_back(turn.back), self._work_on(0, turn, moved)])

    def _go_back(self, devices: NDArray[np.int32]) -> Results:
        """End what is open at devices whose clocks were set back, and forget when it was."""
        followed = self._follower.close(devices, _never)
        counted = self._counters.close(devices, _never)
        derived = self._deriver.close(devices, _never)
        aggregates = self._aggregator.close(devices, _never, followed.spent, counted, derived.made)
        health = self._monitor.process(aggregates)
        anomalies = self._score_derived(derived)
        anomalies += [
            anomaly
            for detector in self._detectors.values()
            for anomaly in detector.go_back(devices)
        ]
        channels = np.flatnonzero(np.isin(self.channels.device_of, devices)).astype(np.int32)
        self._cleaner.go_back(channels)
        self._follower.go_back(channels)
        self._counters.go_back(channels)
        self._deriver.go_back(channels)
        self._monitor.go_back(channels)
        for route in self._routes:
            route.framer.forget(Selection(devices, channels))
        alarms = derived.alarms + self._alarmer.process([], health, anomalies)
        told = (followed.changes, derived.rows, alarms)
        return self._counted(Results(aggregates, anomalies, health, [], (), devices, *told))

    def _work_on(self, rows: int, turn: Turn, moved: NDArray[np.int32]) -> Results:
        """All stages behind the first."""
        on_time = turn.output
        with self._timed("clean"):
            cleaned = self._cleaner.process(on_time.main)
        self._held.process(cleaned.main)
        if self._watch_cleaned is not None:
            self._watch_cleaned(cleaned.main)
        watermark_of = self._watermarks.watermark_ns
        with self._timed("derive"):
            derived = self._deriver.process(cleaned.main, watermark_of, turn.jumps)
        with self._timed("aggregate"):
            followed = self._follower.process(cleaned.main, watermark_of, turn.jumps)
            counted = self._counters.process(cleaned.main, watermark_of, turn.jumps)
            aggregates = self._aggregator.process(
                self._with_derived(cleaned.main, derived), watermark_of, followed.spent, counted
            )
        with self._timed("health"):
            health = self._monitor.process(aggregates)
        anomalies = self._score(cleaned.main, derived.in_order)
        rejected = (*on_time.rejected, *cleaned.rejected)
        alarms = derived.alarms + self._alarmer.process(turn.states, health, anomalies)
        told = (followed.changes, derived.rows, alarms)
        results = Results(aggregates, anomalies, health, turn.states, rejected, moved, *told)
        if self._telemetry is not None:
            self._telemetry.overtaken.inc(derived.overtaken)
        return self._counted(results, rows, cleaned.main)

    def tell(self, said: Sequence[tuple[NDArray[np.int32], Availability]], now_ns: int) -> Results:
        """Take note of what was said of whether devices are there.

        Args:
            said: Rows of devices, each once, and what was said of them; in order.
            now_ns: Monotonic time, of the same clock as in ``process``.
        """
        states = [
            state
            for devices, word in said
            for state in self._watermarks.tell(devices, word, now_ns)
        ]
        moved = np.unique(np.concatenate([np.empty(0, np.int32), *(rows for rows, _ in said)]))
        alarms = self._alarmer.process(states, [], [])
        return self._counted(
            Results(concat_aggregates([]), [], [], states, (), moved, alarms=alarms)
        )

    def hold(self, batch: Batch) -> Results:
        """Take note of what channels hold by what a broker had retained.

        It is no reading: watermarks, windows, and whether devices are there are as they would be
        without it. It is what is known of the channels, and for a model their last value.

        Args:
            batch: The values, in their order; they point into this pipeline's table.
        """
        batch = batch.take(stable_order(batch.device))
        # A device that publishes retained once and never again has an old value with the broker.
        held = self._held.hold(self._cleaner.held(batch))
        for route in self._routes:
            route.framer.hold(route.normalizer.process(held))
        return Results(concat_aggregates([]), [], [], [], (), np.unique(batch.device))

    def quiet(self, now_ns: int) -> NDArray[np.int32]:
        """int32[d]: the devices that the next ``advance`` at this time does not wait for."""
        quiet = self._watermarks.quiet(now_ns, self._silent_after_ns)
        settled = self._deriver.due(partial(self._watermarks.expected, now_ns=now_ns))
        return np.unique(np.concatenate([quiet, self._follower.owing(), settled]))

    def overtaken(self, batch: Batch) -> NDArray[np.int32]:
        """int32[d]: the devices of which readings come behind what time has settled."""
        return self._deriver.overtaken(batch)

    def keep_waiting(self, devices: NDArray[np.int32], heard_ns: int) -> None:
        """Count the silence of these devices from this time on, if it is later."""
        self._watermarks.keep_waiting(devices, heard_ns)

    def advance(self, now_ns: int, among: NDArray[np.int32] | None = None) -> Results:
        """Let time pass: close what devices that have gone silent left open.

        Readings that time has confirmed come first, alone: then windows are closed the next time.
        Of windows without a reading, in which a text channel was in some state all the time, so
        many are given out at a time as take no long while.

        Args:
            now_ns: Monotonic time, of the same clock as in ``process``.
            among: int32[d], devices to which this is restricted; None for all.
        """
        released = [
            self._take_turn(turn, np.unique(turn.output.main.device))
            for turn in self._watermarks.release(now_ns, self._silent_after_ns, among)
        ]
        if released:
            return joined(released)
        silence = self._watermarks.advance(now_ns, self._silent_after_ns, among)
        watermark_of = self._watermarks.watermark_ns
        owing = self._follower.owing()
        owing = owing if among is None else np.intersect1d(owing, among)
        followed = self._follower.close(np.union1d(silence.closing, owing), watermark_of)
        counted = self._counters.close(silence.closing, watermark_of)
        expected_of = partial(self._watermarks.expected, now_ns=now_ns)
        derived, closing = self._deriver.settle(silence.closing, expected_of, among)
        aggregates = self._aggregator.close(
            closing, watermark_of, followed.spent, counted, derived.made
        )
        health = self._monitor.process(aggregates)
        anomalies = self._score_derived(derived)
        anomalies += [
            anomaly
            for detector in self._detectors.values()
            for anomaly in detector.close_silent(silence.silent)
        ]
        devices = np.union1d(silence.devices, owing)
        alarms = derived.alarms + self._alarmer.process(silence.states, health, anomalies)
        if alarms or anomalies:
            devices = np.union1d(devices, closing)
        told = (followed.changes, derived.rows, alarms, np.setdiff1d(closing, devices))
        results = Results(aggregates, anomalies, health, silence.states, (), devices, *told)
        return self._counted(results)

    def is_alarmed(self, model: str, devices: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool[d]: whether this model has an anomaly open at these devices."""
        return self._detectors[model].is_open(devices)

    def threshold(self, model: str, devices: NDArray[np.int32]) -> NDArray[np.float64]:
        """float64[d]: this model's threshold at these devices, where it has got to."""
        return self._detectors[model].threshold(devices)

    def presence(self, now_ns: int) -> Mapping[str, Presence]:
        """By feed, how many devices are silent at this monotonic time, and for how long."""
        return self._watermarks.presence(now_ns)

    def awaits_silence(self) -> bool:
        """Whether any device may yet fall silent, with what closes then, or time has more to do.

        Devices may owe windows, or a condition may have held for long enough in a while.
        """
        is_awaited = self._watermarks.awaits_silence() or self.owes_windows
        return is_awaited or self._deriver.awaits_time(partial(self._watermarks.expected, now_ns=0))

    @property
    def owes_windows(self) -> bool:
        """Whether windows are over that the next ``advance`` gives out, or the ones after it."""
        return len(self._follower.owing()) > 0

    def open_rows(self) -> int:
        """Readings in windows that have not closed yet, and those that are held."""
        devices = np.arange(len(self.channels.devices), dtype=np.int32)
        channels = np.arange(len(self.channels), dtype=np.int32)
        waiting = self._aggregator.pending(Selection(devices, channels))
        return int((waiting + self._watermarks.held(devices)).sum())

    def snapshot(self, selection: Selection) -> dict[str, StateBlock]:
        """Copy out the state of these devices, by stage."""
        return {name: stage.snapshot(selection) for name, stage in self._stages.items()}

    def restore(self, heirs: Heirs, snapshot: Snapshot) -> None:
        """Take over a snapshot.

        State that was made under another configuration of its stage means something else now;
        such a stage starts afresh for these devices.

        Args:
            heirs: What its devices and channels are in this pipeline's table.
            snapshot: What was written down.

        Raises:
            DataError: ``bad_record`` when it can't be any stage's state. Some stages may have taken
                over their part then: these devices must be forgotten.
        """
        selection = Selection(heirs.devices, heirs.channels)
        # Open windows go with their channels, whichever device these belong to now.
        every = Selection(np.concatenate([heirs.devices, heirs.split]), heirs.channels)
        for position, text in snapshot.texts:
            self.channels.texts.add(int(heirs.channels[position]), text)
        for name, stage in self._stages.items():
            if snapshot.fingerprints.get(name) == stage.fingerprint:
                concerned = every if name in _BY_CHANNEL else selection
                restore_checked(name, stage, concerned, snapshot.blocks.get(name, {}))
            elif name in snapshot.fingerprints:
                _logger.warning(
                    "The configuration of a stage has changed; its devices start without history.",
                    stage=name,
                    devices=len(heirs.devices),
                )
        self._watermarks.catch_up(heirs.behind[:, 0], heirs.behind[:, 1])
        # They would be silent for ever, and an anomaly of theirs would never end.
        self.forget(Selection(heirs.ended, heirs.channels[:0]))

    def forget(self, selection: Selection) -> None:
        """Drop the state of these devices."""
        for stage in self._stages.values():
            stage.forget(selection)

    def busy(self, selection: Selection) -> NDArray[np.bool_]:
        """bool[c]: channels of which anything is open: windows, held readings, an anomaly."""
        is_busy = np.zeros(len(selection.channels), np.bool_)
        for stage in (self._watermarks, self._aggregator):
            for name, array in stage.snapshot(selection).items():
                if name.endswith("channel"):
                    is_busy[array.astype(np.intp)] = True
        is_alarmed = np.zeros(len(self.channels.devices), np.bool_)
        for detector in self._detectors.values():
            is_alarmed[selection.devices] |= detector.is_open(selection.devices)
        return is_busy | is_alarmed[self.channels.device_of[selection.channels]]

    def renewed(self) -> Pipeline:
        """A pipeline like this one that has seen nothing yet, with an empty table."""
        channels = ChannelTable(identities=self._config.identities)
        return type(self)(
            self._config,
            channels,
            self._packages,
            self._inferer.renewed(channels),
            self._telemetry,
            watch=self._watch,
            watch_cleaned=self._watch_cleaned,
        )

    def _with_derived(self, batch: Batch, derived: Derivation) -> Batch:
        """Readings with those of derived channels behind them, by device."""
        if not len(derived.made):
            return batch
        # None of them has come from a record: what is behind does not ask.
        every = concat([replace(batch, origin=()), derived.made], self.channels)
        return every.take(stable_order(every.device))

    def _score_derived(self, derived: Derivation) -> list[Anomaly]:
        """What models that take derived channels say, where time passes without a reading."""
        if not len(derived.in_order):
            return []
        return self._score(Batch.empty(self.channels), derived.in_order)

    def _score(self, batch: Batch, in_order: Batch) -> list[Anomaly]:
        with self._timed("normalize"):
            rows = [
                route.normalizer.process(in_order if route.takes_derived else batch)
                for route in self._routes
            ]
        with self._timed("frame"):
            frames = [
                replace(windows, model=model)
                for route, each in zip(self._routes, rows, strict=True)
                for windows in (route.framer.process(each),)
                for model in route.models
            ]
        with self._timed("infer"):
            scores = self._inferer.process(frames)
        if self._watch is not None:
            for each in scores:
                self._watch(each)
        with self._timed("detect"):
            return [
                anomaly for each in scores for anomaly in self._detectors[each.model].process(each)
            ]

    def _timed(self, stage: str) -> AbstractContextManager[None]:
        return nullcontext() if self._telemetry is None else self._telemetry.timed(stage)

    def _counted(self, results: Results, rows: int = 0, cleaned: Batch | None = None) -> Results:
        """The same results, once they have been counted with the readings they came of."""
        telemetry, conflicts = self._telemetry, self._conflicts
        if telemetry is None or conflicts is None:
            return results
        conflicts.look(results.rejected)
        telemetry.processed_rows.inc(rows)
        telemetry.aggregates.inc(len(results.aggregates))
        if cleaned is not None and (cleaned.quality != 0).any():
            for flag in _COUNTED:
                count = int(np.count_nonzero(cleaned.quality & np.uint16(flag)))
                telemetry.flagged.labels(str(flag.name).lower()).inc(count)
        for part in results.rejected:
            telemetry.quarantined.labels(part.reason).inc(len(part.batch))
            note_rejected(part, telemetry.refused)
        self._count_told(telemetry, results)
        return results

    def _count_told(self, telemetry: Telemetry, results: Results) -> None:
        for anomaly in results.anomalies:
            if anomaly.revision == 0:
                telemetry.anomalies.labels(anomaly.model, anomaly.severity).inc()
        for alarm in results.alarms:
            # That of an anomaly is told of again when the anomaly changes.
            if alarm.is_open and alarm.time_ns == alarm.opened_ns:
                telemetry.alarms.labels(alarm.rule, alarm.severity).inc()
        open_anomalies = sum(detector.open_events for detector in self._detectors.values())
        telemetry.open_anomalies.set(open_anomalies)
        telemetry.open_alarms.set(self._deriver.open_alarms + self._alarmer.open_alarms)
        telemetry.unhealthy_sensors.set(self._monitor.unhealthy)


def _never(devices: NDArray[np.int32]) -> NDArray[np.int64]:
    """Watermarks that close all there is."""
    return np.full(len(devices), NEVER_NS)
