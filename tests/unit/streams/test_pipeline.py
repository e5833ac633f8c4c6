"""All stages together: cut anywhere and taken up again anywhere, the results are the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.config.schema import Config
from headgate.core.batch import Batch, Origin, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.errors import ConfigError
from headgate.core.log import StoredRecord
from headgate.core.records import encode_anomalies, encode_health, encode_states
from headgate.core.stage import Snapshot
from models.package import ModelPackage
from models.training.data import TrainingData
from models.training.train import TrainSettings, train
from streams.build import build_pipeline
from streams.heirs import heirs_of
from streams.pipeline import Pipeline
from streams.process.state import read_snapshot, selection_of, snapshot_record
from streams.results import Results
from tests.examples import tried

pytestmark = pytest.mark.slow

_STEP_NS = 10**9
_DEVICES, _STEPS = 3, 90
_START_NS = 1_750_000_000 * 10**9

#: Longer than any device is waited for.
_LONG_NS = 10**15


@pytest.fixture(
    scope="module",
    params=[
        "pca",
        "mewma",
        "novelty",
        *(pytest.param(kind, marks=pytest.mark.thorough) for kind in ("level", "ridge", "fusion")),
    ],
)
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two channels, of a kind without state and of those with."""
    folder = tmp_path_factory.mktemp("packages") / "m"
    rng = np.random.default_rng(3)
    data = TrainingData(
        ("x", "y"), np.arange(300) * _STEP_NS, np.zeros(300, np.int32), rng.normal(size=(300, 2))
    )
    window = 3 if request.param == "pca" else None
    train("m", "f", data, {}, folder, TrainSettings(kind=request.param, window=window))
    return folder


_FEED: dict[str, object] = {
    "topic": "{device}",
    "period": "1s",
    "grace": "3s",
    "aggregates": [{"window": "4s"}],
    "models": ["m"],
    "channels": {
        "x": {"range": [-50, 50], "stuck_after": "5s"},
        "y": {"spike": {}, "gap": {"limit": "4s"}},
    },
}


def _config(package: Path, **model: object) -> Config:
    return Config.model_validate(
        {
            "local_store": {},
            "feed": {"f": _FEED},
            "model": {"m": {"package": str(package), **model}},
        }
    )


def _table() -> ChannelTable:
    table = ChannelTable()
    for device in range(_DEVICES):
        for name in ("x", "y"):
            table.row(Channel("f", f"d{device}", "f", name))
    return table


def _readings(table: ChannelTable) -> Batch:
    """Some devices, one with a fault, one with a dead sensor; holes, repetitions and lateness."""
    rng = np.random.default_rng(5)
    step, device, field = np.indices((_STEPS, _DEVICES, 2)).reshape(3, -1)
    value = rng.normal(size=len(step)) + np.where((device == 1) & (step > 55) & (step < 75), 9, 0)
    value[(device == 2) & (field == 0) & (step > 55)] = 9
    keep = rng.random(len(step)) > 0.05
    again = rng.random(len(step)) < 0.05
    time_ns = _START_NS + (step - rng.integers(0, 3, len(step)) * (rng.random(len(step)) < 0.2)) * (
        _STEP_NS
    )
    late = rng.random(len(step)) < 0.02
    order = np.sort(np.concatenate([np.flatnonzero(keep), np.flatnonzero(again)]))
    time_ns = time_ns - np.where(late, 20 * _STEP_NS, 0)
    return Batch.from_columns(
        table,
        time_ns[order],
        (2 * device + field)[order].astype(np.int32),
        value[order],
        origin=Origin("readings", 0, 0),
    )


def _lines(results: list[Results], table: ChannelTable) -> dict[str, list[bytes]]:
    """Everything that came out, as bytes: windows one by one, what else is told by device."""
    windows: list[bytes] = []
    anomalies: dict[str, list[bytes]] = {}
    health: dict[str, list[bytes]] = {}
    states: dict[str, list[bytes]] = {}
    for each in results:
        aggregates = each.aggregates
        for row in range(len(aggregates)):
            channel = table.channels[aggregates.channel[row]].key
            stats = b"".join(aggregates.stats[name][row].tobytes() for name in aggregates.stats)
            counts = (aggregates.start_ns[row], aggregates.n[row], aggregates.flagged[row])
            windows.append(f"{channel} {counts} ".encode() + stats)
        for anomaly in each.anomalies:
            anomalies.setdefault(anomaly.device, []).append(encode_anomalies([anomaly]))
        for told in each.health:
            health.setdefault(f"sensors of {told.device}", []).append(encode_health([told]))
        for state in each.states:
            states.setdefault(f"state of {state.device}", []).append(encode_states([state]))
    return {"windows": sorted(windows), **anomalies, **health, **states}


def _counts(results: list[Results]) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for each in results:
        for part in each.rejected:
            reasons[part.reason] = reasons.get(part.reason, 0) + len(part.batch)
    return reasons


def _taken_up(pipeline: Pipeline, config: Config) -> tuple[Pipeline, ChannelTable]:
    """Another process's pipeline, with the state of this one, through a record of the log."""
    old = pipeline.channels
    selection = selection_of(old, np.arange(_DEVICES, dtype=np.int32))
    record = snapshot_record(
        b"0",
        Snapshot(
            0,
            [old.devices[row] for row in selection.devices],
            old.keys(selection.channels),
            pipeline.fingerprints,
            pipeline.snapshot(selection),
        ),
    )
    snapshot = read_snapshot(StoredRecord(0, 0, record.value, record.key, record.headers))
    table = _table()
    new = build_pipeline(config, table)
    new.restore(heirs_of(snapshot, table), snapshot)
    return new, table


def _moved(batch: Batch, table: ChannelTable) -> Batch:
    return Batch(
        table, batch.time_ns, batch.channel, batch.value, batch.quality, batch.origin, batch.source
    )


@tried(25)
@given(st.lists(st.integers(0, 600), max_size=4), st.booleans())
def test_cuts_and_restarts_change_nothing(package: Path, cuts: list[int], restarts: bool) -> None:
    """All that comes out comes out bit for bit, however the readings are cut."""
    config = _config(package)
    table = _table()
    whole = build_pipeline(config, table)
    batch = _readings(table)
    expected = [whole.process(batch, 0), whole.advance(10**9), whole.advance(_LONG_NS)]

    table = _table()
    pipeline = build_pipeline(config, table)
    results: list[Results] = []
    bounds = [0, *sorted(min(cut, len(batch)) for cut in cuts), len(batch)]
    for first, last in pairwise(bounds):
        part = _moved(batch, table).take(np.arange(first, last))
        results.append(pipeline.process(part, 0))
        if restarts:
            pipeline, table = _taken_up(pipeline, config)
    results += [pipeline.advance(10**9), pipeline.advance(_LONG_NS)]

    assert _counts(results) == _counts(expected)
    assert _lines(results, table) == _lines(expected, whole.channels)
    assert set(_counts(expected)) == {"late", "duplicate", "conflict"}
    told = [anomaly for each in expected for anomaly in each.anomalies]
    assert any(not anomaly.is_open for anomaly in told)
    # What stands still is no news any more by the time that it is known to be stuck.
    kind = ModelPackage.load(package).manifest.training.kind
    assert {(each.device, each.verdict) for each in told if not each.is_open} >= {
        ("d1", "process"),
        ("d2", "process" if kind == "novelty" else "sensor"),
    }
    assert [(each.device, each.channel, each.state) for each in expected[0].health] == [
        ("d2", "x", "stuck")
    ]
    assert [each.state for part in expected for each in part.states] == ["online"] * _DEVICES


@tried(8)
@given(st.lists(st.integers(0, 600), max_size=4), st.booleans())
def test_clocks_that_leap_to_and_fro_change_nothing_of_that(
    package: Path, cuts: list[int], restarts: bool
) -> None:
    """Two devices are a day ahead for a while; one of them in the middle of an anomaly."""
    config = _config(package)
    table = _table()
    whole = build_pipeline(config, table)
    batch = _readings(table)
    step = (batch.time_ns - _START_NS) // _STEP_NS
    is_wrong = np.where(batch.device == 1, (step >= 62) & (step < 70), (step >= 30) & (step < 45))
    is_wrong &= batch.device > 0
    batch = replace(
        batch,
        time_ns=batch.time_ns + np.where(is_wrong, 72_000 * _STEP_NS, 0),
        quality=np.where(is_wrong, int(Quality.AHEAD), 0).astype(np.uint16),
    )
    expected = [whole.process(batch, 0), whole.advance(10**9), whole.advance(_LONG_NS)]

    table = _table()
    pipeline = build_pipeline(config, table)
    results: list[Results] = []
    bounds = [0, *sorted(min(cut, len(batch)) for cut in cuts), len(batch)]
    for first, last in pairwise(bounds):
        part = _moved(batch, table).take(np.arange(first, last))
        results.append(pipeline.process(part, 0))
        if restarts:
            pipeline, table = _taken_up(pipeline, config)
    results += [pipeline.advance(10**9), pipeline.advance(_LONG_NS)]

    assert _counts(results) == _counts(expected)
    assert _lines(results, table) == _lines(expected, whole.channels)
    aggregated = sum(int((each.aggregates.n + each.aggregates.flagged).sum()) for each in results)
    assert aggregated + sum(_counts(results).values()) == len(batch)
    backs = whole._watermarks._doubts._gaps.backs
    assert [backs(row) for row in range(3)] == [0, 1, 1]


def test_every_reading_is_aggregated_or_rejected(package: Path) -> None:
    """Once the devices are silent, nothing is open and the numbers add up."""
    table = _table()
    pipeline = build_pipeline(_config(package), table)
    batch = _readings(table)
    results = [pipeline.process(batch, 0)]
    opened = pipeline.open_rows()
    results += [pipeline.advance(0), pipeline.advance(_LONG_NS)]
    aggregated = sum(int((each.aggregates.n + each.aggregates.flagged).sum()) for each in results)

    assert opened > 0
    assert pipeline.open_rows() == 0
    assert aggregated + sum(_counts(results).values()) == len(batch)


def test_models_that_want_the_same_windows_share_them(package: Path, tmp_path: Path) -> None:
    """They say what each says by itself, of windows that are made once; others have their own."""
    kind = ModelPackage.load(package).manifest.training.kind
    rng = np.random.default_rng(8)
    data = TrainingData(
        ("x", "y"), np.arange(300) * _STEP_NS, np.zeros(300, np.int32), rng.normal(size=(300, 2))
    )
    window = 3 if kind == "pca" else None
    train("n", "f", data, {}, tmp_path / "n", TrainSettings(kind=kind, window=window))
    models = {"m": str(package), "same": str(package), "other": str(tmp_path / "n")}

    def told(names: list[str]) -> tuple[int, list[bytes]]:
        config = Config.model_validate(
            {
                "local_store": {},
                "feed": {"f": {**_FEED, "models": names}},
                "model": {name: {"package": models[name]} for name in names},
            }
        )
        table = _table()
        pipeline = build_pipeline(config, table)
        batch = _readings(table)
        half = np.arange(len(batch) // 2)
        results = [pipeline.process(batch.take(half), 0)]
        results.append(pipeline.process(batch.take(half + len(half)), 0))
        framers = sum(name.startswith("frame.") for name in pipeline.fingerprints)
        anomalies = [each for result in results for each in result.anomalies]
        return framers, sorted(encode_anomalies([each]) for each in anomalies)

    alone = {name: told([name]) for name in models}
    framers, together = told(list(models))

    assert framers == 2
    assert together == sorted(line for _, lines in alone.values() for line in lines)
    assert {count for count, _ in alone.values()} == {1}


def test_state_of_another_configuration_is_not_taken_up(package: Path) -> None:
    """The changed stage starts afresh; the others go on."""
    config = _config(package)
    table = _table()
    pipeline = build_pipeline(config, table)
    pipeline.process(_readings(table).take(np.arange(300)), 0)
    other, _ = _taken_up(pipeline, _config(package, sensitivity=2.0))
    same, _ = _taken_up(pipeline, config)

    assert other.open_rows() == same.open_rows() == pipeline.open_rows()
    changed = {
        name for name, value in other.fingerprints.items() if same.fingerprints[name] != value
    }
    assert changed == {"detect.m"}


def test_a_model_that_does_not_fit_its_feed_is_refused(package: Path) -> None:
    """A channel that the feed does not have, in one line."""
    raw = {
        "local_store": {},
        "feed": {"f": {"topic": "{device}", "models": ["m"], "channels": {"x": {}}}},
        "model": {"m": {"package": str(package)}},
    }

    with pytest.raises(ConfigError, match="expected a channel 'y' in the feed"):
        build_pipeline(Config.model_validate(raw), ChannelTable())
