"""Every stage of the pipeline keeps the laws of stages, in its place among the others."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.config.schema import Config
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.clock import NS_PER_S
from headgate.core.results import Scores
from headgate.testing.stages import Said, hold_stages, said_of_batch
from models.package import ModelPackage
from models.runtime import Answer
from models.training.data import TrainingData
from models.training.train import TrainSettings, train
from streams.pipeline import Pipeline
from streams.stages.infer import Inferer
from tests.strategies import windows

pytestmark = pytest.mark.slow

_START_NS = 1_750_000_000 * NS_PER_S
_DEVICES, _FIELDS, _STEPS = 3, ("x", "y", "z"), 160

#: Channels that no device sends; they look at the moment, at some time, and at other derived ones.
_DERIVED = {
    "power": "x * y",
    "slope": {"value": "rate(x)", "max_age": "6s"},
    "calm": 'mean(power, "20s") - median(power, "7s")',
    "hourly": "3600 * rate(parts)",
    "steady": "since(x > -1) + (1 if hold(power < 2, '3s') else 0)",
    "work": "integral(power)",
    "old": "age(parts)",
}

#: What somebody wants to be told of.
_RULES: Mapping[str, Mapping[str, object]] = {
    "high": {"when": "x > 0.5", "for": "2s", "clear": "x < 0", "text": "{x} {power:.2f} {z}"},
    "odd": {"when": "not (power > 0 or hourly > 5000)", "clear_for": "3s"},
    "faulty": {"sensors": ["stuck", "spike", "noise"]},
    "found": {"model": "m"},
    "far": {"when": "abs(x - mean(x, '20s')) > std(x, '20s')", "devices": ["d[01]"]},
}

#: Length of the shortest windows, ns.
_SHORTEST_NS = 4 * NS_PER_S


class _Line:
    """A whole pipeline, and all that comes out of it."""

    def __init__(
        self,
        config: Config,
        packages: dict[str, ModelPackage],
        models: dict[str, _Exact],
        channels: ChannelTable,
    ) -> None:
        self._channels = channels
        self._scores: list[Scores] = []
        inferer = Inferer(models, channels)
        self._pipeline = Pipeline(config, channels, packages, inferer, watch=self._scores.append)
        self.stages = self._pipeline.stages

    def feed(self, batch: Batch) -> list[Said]:
        """See ``Line``."""
        self._scores.clear()
        results = self._pipeline.process(batch, 0)
        said: list[Said] = []
        for identity, window in windows([results.aggregates], self._channels).items():
            said.append(("window", Channel.from_key(identity[0]).owner, (identity, window)))
        said += [("health", Device(each.feed, each.device), repr(each)) for each in results.health]
        for change in results.changes:
            said.append(("change", Device(change.feed, change.device), repr(change)))
        for alarm in results.alarms:
            said.append((f"alarm {alarm.rule}", Device(alarm.feed, alarm.device), repr(alarm)))
        for each in results.anomalies:
            said.append((f"anomaly {each.model}", Device(each.feed, each.device), repr(each)))
        for scores in self._scores:
            for row, device in enumerate(scores.device.tolist()):
                numbers = (scores.score[row].tobytes(), scores.share[row].tobytes())
                what = (int(scores.time_ns[row]), *numbers)
                said.append((f"score {scores.model}", self._channels.devices[device], what))
        for part in results.rejected:
            said += said_of_batch(part.reason, part.batch)
        return said

    @property
    def waiting(self) -> int:
        """Readings that nothing has come of yet."""
        return self._pipeline.open_rows()


def _values(rng: np.random.Generator, steps: int) -> NDArray[np.float64]:
    load = np.sin(np.arange(steps) / 9)
    values: NDArray[np.float64] = load[:, None] * np.array([3.0, -1.0, 0.5])
    return values + rng.normal(size=(steps, 3)) * 0.1


def _said(rng: np.random.Generator, table: ChannelTable, device: str) -> tuple[int, float]:
    """What a text channel says: the same as a rule, something else, or nothing."""
    channel = table.row(Channel("f", device, "f", "mode", is_text=True))
    if rng.random() < 0.1:
        return channel, np.nan
    text = str(rng.choice(["idle", "running", "fault"], p=[0.6, 0.3, 0.1]))
    return channel, table.texts.add(channel, text)


def _counted(
    rng: np.random.Generator, table: ChannelTable, device: int, step: int
) -> tuple[int, float]:
    """What a counter of 8 bits counts; in one device it begins anew at times, in one it jitters.

    A tag of it changes now and then.
    """
    tags = (("by", f"{step // 7 % 3}"),)
    channel = table.row(Channel("f", f"d{device}", "f", "parts", tags=tags, identity=()))
    if rng.random() < 0.05:
        return channel, np.nan
    count = 1.7 * (step % 50 if device == 1 else step) - (rng.random() if device == 2 else 0)
    return channel, count % 256


def _readings(seed: int) -> Batch:
    """Of three devices, with a sensor that stands still and one that leaps, as they may arrive."""
    rng, table = np.random.default_rng(seed), ChannelTable()
    rows = []
    for device in range(_DEVICES):
        values = _values(rng, _STEPS)
        values[60:100, 0] = 1.0 if device == 0 else values[60:100, 0]
        values[110:130, 1] += 9.0 if device == 2 else 0.0
        for step in np.flatnonzero(rng.random(_STEPS) < 0.97).tolist():
            delay = rng.choice([0, 0, 0, 1.5, 8], p=[0.4, 0.3, 0.2, 0.09, 0.01])
            again = 2 if rng.random() < 0.03 else 1
            for field, name in enumerate(_FIELDS):
                channel = table.row(Channel("f", f"d{device}", "f", name))
                value = np.nan if rng.random() < 0.01 else values[step, field]
                rows += again * [(step + delay, step, channel, value)]
            if rng.random() < 0.7:
                rows += again * [(step + delay, step, *_said(rng, table, f"d{device}"))]
            if rng.random() < 0.7:
                rows += again * [(step + delay, step, *_counted(rng, table, device, step))]
    rows.sort(key=lambda row: row[0])
    batch = Batch.from_columns(
        table,
        [_START_NS + step * NS_PER_S for _, step, _, _ in rows],
        [channel for _, _, channel, _ in rows],
        [value for *_, value in rows],
    )
    return replace(
        batch,
        origin=tuple(Origin("readings", 0, offset) for offset in range(len(rows))),
        source=np.arange(len(rows), dtype=np.int32),
    )


class _Exact:
    """A model whose sums don't depend on how many windows are in a run, unlike those of most.

    It scores the farthest channel, and with a memory half of the score before as well.
    """

    max_batch = 256
    fingerprint = "exact"

    def __init__(self, remembers: int) -> None:
        self.initial_state = np.zeros(remembers, np.float32)

    def room_for_state(self, windows: int) -> None:
        """Has no such place."""

    def run(self, values: NDArray[np.float32], state: NDArray[np.float32] | None = None) -> Answer:
        """See ``Model``."""
        distance = np.abs(values[:, -1])
        score = distance.max(axis=1)
        after = np.empty((len(values), 0), np.float32)
        if state is not None and state.shape[1]:
            score = score + state[:, 0] / 2
            after = score[:, None]
        share = distance / distance.sum(axis=1, keepdims=True)
        return Answer(score, share, after, are_numbers=True)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """What windows a model wants, and when its scores are an anomaly."""
    folder = tmp_path_factory.mktemp("packages") / "m"
    time_ns, device = np.arange(400) * NS_PER_S, np.zeros(400, np.int32)
    data = TrainingData(_FIELDS, time_ns, device, _values(np.random.default_rng(9), 400))
    made = train("m", "f", data, {}, folder, TrainSettings(kind="pca"))
    alarm = made.manifest.alarm.model_copy(update={"threshold": 6.0, "threshold_low": 5.0})
    return replace(made, manifest=made.manifest.model_copy(update={"alarm": alarm}))


@pytest.fixture(scope="module")
def of_derived(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """A model that takes a derived channel beside one that devices send."""
    folder = tmp_path_factory.mktemp("packages") / "n"
    time_ns, device = np.arange(400) * NS_PER_S, np.zeros(400, np.int32)
    values = _values(np.random.default_rng(9), 400)
    values = np.stack([values[:, 0], values[:, 0] * values[:, 1]], axis=1)
    data = TrainingData(("x", "power"), time_ns, device, values)
    return train("n", "f", data, {}, folder, TrainSettings(kind="pca"))


@pytest.fixture(params=[0, 1], ids=["forgetful", "remembering"])
def make(
    request: pytest.FixtureRequest, package: ModelPackage, of_derived: ModelPackage
) -> partial[_Line]:
    """Makes a pipeline whose model remembers nothing of a device, or something."""
    feed = {
        "topic": "{device}",
        "grace": "3s",
        "aggregates": [{"window": "4s"}, {"window": "1m"}],
        "models": ["m", "n"],
        "derived": _DERIVED,
        "channels": {
            "x": {"range": [-50, 50], "stuck_after": "5s"},
            "y": {"spike": {}},
            "z": {"gap": {"limit": "4s"}},
            "mode": {"type": "text", "valid_for": "6s"},
            "parts": {"counter": {"wraps_at": 256}},
        },
    }
    models = {"m": {"package": "m"}, "n": {"package": "n"}}
    rules = {name: {**rule, "feed": "f"} for name, rule in _RULES.items()}
    config = Config.model_validate(
        {"local_store": {}, "feed": {"f": feed}, "model": models, "rule": rules}
    )
    packages = {"m": package, "n": of_derived}
    runs = {"m": _Exact(request.param), "n": _Exact(request.param)}
    return partial(_Line, config, packages, runs)


@pytest.mark.parametrize("seed", range(3))
def test_every_stage_keeps_the_laws(make: partial[_Line], seed: int) -> None:
    """Any cut, any restart, a table that grows, devices that are forgotten."""
    hold_stages(make, _readings(seed), random.Random(seed))


def test_no_reading_is_lost_in_any_stage(make: partial[_Line]) -> None:
    """Each is in a window of the shortest length, rejected with its reason, or waiting for more."""
    batch = _readings(0)
    line = make(batch.channels)
    said = line.feed(batch)

    reasons = ("late", "ahead", "duplicate", "conflict")
    rejected = sum(kind in reasons for kind, _, _ in said)
    counted = sum(
        what[1][0] + what[1][1]
        for kind, _, what in said
        if kind == "window" and what[0][2] == _SHORTEST_NS
        if Channel.from_key(what[0][0]).field not in _DERIVED
    )
    assert rejected + counted + line.waiting == len(batch)


def test_the_readings_reach_every_stage(make: partial[_Line]) -> None:
    """All that stages can say is said of them, and all of them are held."""
    batch = _readings(0)
    line = make(batch.channels)
    seen = Counter(kind for kind, _, _ in line.feed(batch))

    wanted = {"window", "change", "health", "anomaly m", "score m", "late", "duplicate", "score n"}
    assert wanted <= seen.keys(), seen
    kinds = {name.partition(".")[0] for name in line.stages}
    stages = {"watermark", "clean", "aggregate", "follow", "count", "derive"}
    stages |= {"health", "frame", "detect"}
    assert kinds >= stages
    assert ("infer" in kinds) == bool(len(make.args[2]["m"].initial_state))
