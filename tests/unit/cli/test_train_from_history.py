"""``headgate model train --from-history``: what the gateway has kept is what a model sees live."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from connectors.logs.configured import topic
from connectors.sinks.configured import points_file
from connectors.sinks.local_store.store import LocalStore
from headgate.cli import main
from headgate.config.load import load_config
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.log import AGGREGATES, TopicPartition
from headgate.core.records import aggregates_record
from headgate.core.results import Aggregates, Frames, Scores
from headgate.core.telemetry import Telemetry
from headgate.inspect.history import Asked, read_history
from models.package import Manifest, ModelPackage
from models.runtime import Runtime
from streams.pipeline import Pipeline
from streams.stages.infer import Inferer
from tests.uplink import open_rig, until_done

pytestmark = pytest.mark.slow

_START_NS = 1_750_000_000 * 10**9
_DEVICES, _SECONDS, _WINDOW_S = 2, 1200, 10
_WINDOWS = _SECONDS // _WINDOW_S

_INFLUX = '[influxdb]\nurl = "http://127.0.0.1:9"\norg = "o"\nbucket = "b"\ntoken_env = "HOME"\n'

_CHANNELS = (
    '[feed.f.channels]\nx = { unit = "bar", range = [-10, 10] }\n'
    'y = { gap = { fill = "hold", limit = "30s" } }\n'
)


def _write(folder: Path, *, store: str = "[local_store]\n", more: str = "") -> Path:
    """A configuration with a feed that keeps windows of 10 s and of 1 min."""
    path = folder / "headgate.toml"
    path.write_text(
        f'[gateway]\ndata_dir = "{folder}"\n[log]\npartitions = 1\n{store}'
        '[feed.f]\ntopic = "{line}/{device}"\nmeasurement = "machine"\n'
        'aggregates = [{ window = "1m" }, { window = "10s" }]\n'
        f"{more}{_CHANNELS}"
    )
    return path


def _readings(table: ChannelTable) -> Batch:
    """Once a second, with values out of range, values missing, a hole and another device's."""
    rng = np.random.default_rng(1)
    second, device, field = np.indices((_SECONDS, _DEVICES, 2)).reshape(3, -1)
    value = np.sin(second / 90 + field) + rng.normal(size=len(second)) * 0.1
    value[(second % 50 == 3) & (field == 0)] = 999
    value[(second % 40 == 7) & (field == 1)] = np.nan
    # The hole ends in the middle of a window: what is imputed there is in no aggregate.
    there = ~((field == 1) & (second > 303) & (second < 316)) & ~((second > 700) & (second < 790))
    rows = [
        table.row(Channel("f", "d", "machine", name, unit, (("line", f"l{number}"),)))
        for number in range(_DEVICES)
        for name, unit in (("x", "bar"), ("y", ""))
    ]
    channel = np.array(rows, np.int32)[2 * device + field]
    time_ns = _START_NS + second * 10**9 + 123_000_000
    return Batch.from_columns(table, time_ns[there], channel[there], value[there])


def _run(config_file: Path, inferer: type[Inferer] = Inferer) -> tuple[Pipeline, list[Aggregates]]:
    """The readings through the pipeline of this configuration, in pieces."""
    config = load_config(config_file)
    table = ChannelTable()
    packages = {name: ModelPackage.load(model.package) for name, model in config.model.items()}
    models = {name: Runtime(package) for name, package in packages.items()}
    pipeline = Pipeline(config, table, packages, inferer(models, table))
    readings = _readings(table)
    pieces = np.array_split(np.arange(len(readings)), 37)
    return pipeline, [pipeline.process(readings.take(piece), 0).aggregates for piece in pieces]


async def _store(config_file: Path, pipeline: Pipeline, windows: Sequence[Aggregates]) -> None:
    """Into the log, and from there by the forward lane into the local store, where there is one."""
    config = load_config(config_file)
    async with open_rig(config) as rig:
        full = [each for each in windows if len(each)]
        await rig.put(AGGREGATES, *(aggregates_record(each, pipeline.channels) for each in full))
        path = points_file(config)
        if path is None:
            return
        store = LocalStore(path, 10**18, 10**9, rig.clock, Telemetry(rig.clock))
        async with rig.forwarding(store):
            at = TopicPartition(topic(config, AGGREGATES), 0)
            await until_done(rig, at, len(full), store.name)


def _train(config_file: Path, *more: str, span: str = "1h") -> int:
    arguments = ["model", "train", "--feed", "f", "-c", str(config_file), "--from-history", span]
    return main([*arguments, "--out", str(config_file.parent / "m"), *more])


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A gateway that has worked on the readings and has kept their aggregates in its store."""
    path = _write(tmp_path)
    asyncio.run(_store(path, *_run(path)))
    return path


class _Seeing(Inferer):
    """Keeps the windows that it is given."""

    seen: tuple[Frames, ...] = ()

    def process(self, frames: Sequence[Frames]) -> list[Scores]:
        type(self).seen += tuple(frames)
        return super().process(frames)


async def _means(
    config_file: Path, manifest: Manifest
) -> dict[tuple[int, int], NDArray[np.float64]]:
    """By device and start of the window, what the history holds, normalized."""
    config = load_config(config_file)
    history = await read_history(config, Asked("f", ("x", "y"), 10**18), SystemClock())
    offset, scale = np.array([(each.offset, each.scale) for each in manifest.channels]).T
    found: dict[tuple[int, int], NDArray[np.float64]] = {}
    for device, column, start_ns, mean in zip(
        history.device, history.column, history.start_ns, history.mean, strict=True
    ):
        row = found.setdefault((int(device), int(start_ns)), np.full(2, np.nan))
        row[column] = (mean - offset[column]) / scale[column]
    return found


def test_what_it_was_trained_on_is_what_it_sees_live(config_file: Path) -> None:
    """The running pipeline gives the model, window by window, the means that the store has kept."""
    assert _train(config_file, "--kind", "level") == 0
    manifest = ModelPackage.load(config_file.parent / "m").manifest
    kept = asyncio.run(_means(config_file, manifest))
    live = _write(config_file.parent, more='models = ["m"]\n')
    live.write_text(f'{live.read_text()}[model.m]\npackage = "m"\n')
    _run(live, _Seeing)
    seen = {
        (int(device), int(end_ns)): window[-1]
        for frames in _Seeing.seen
        for device, end_ns, window in zip(frames.device, frames.end_ns, frames.values, strict=True)
    }
    whole = {at for at, means in kept.items() if np.isfinite(means).all()}

    assert (manifest.framing.period, manifest.framing.resample) == (_WINDOW_S * 10**9, "mean")
    assert manifest.channels[0].scale < 2, "values out of range are in no mean"
    # All but those in the hole and the last ones, which are still open.
    assert len(whole & seen.keys()) > 2 * (_WINDOWS - 15)
    assert whole - seen.keys() == set()
    for at in whole:
        assert seen[at] == pytest.approx(kept[at], abs=2e-6)


def test_the_output_says_what_it_was_trained_on(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the means were kept, and of which span; the last quarter of an hour is asked for."""
    assert _train(config_file, "--kind", "pca", span="10m") == 0
    manifest = ModelPackage.load(config_file.parent / "m").manifest
    said = capsys.readouterr().err

    assert "means over 10s from the local store" in said
    assert "points.db" in said
    assert manifest.training.notes[0] in said
    assert manifest.training.span == (600 - _WINDOW_S) * 10**9


def test_a_span_ends_where_it_is_told_to(config_file: Path) -> None:
    """``--to`` moves its end, ``--from`` cuts its begin."""
    times = ["--from", "2025-06-15T15:07:00Z", "--to", "2025-06-15T15:16:00Z"]
    assert _train(config_file, "--kind", "pca", *times) == 0

    training = ModelPackage.load(config_file.parent / "m").manifest.training
    assert training.rows == _DEVICES * 54
    assert training.span == (540 - _WINDOW_S) * 10**9


def test_without_a_local_store_the_log_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It gives the same model, and so it does where the store can't tell two feeds apart."""
    with_store, without = tmp_path / "a", tmp_path / "b"
    for folder, store in ((with_store, "[local_store]\n"), (without, _INFLUX)):
        folder.mkdir()
        path = _write(folder, store=store)
        asyncio.run(_store(path, *_run(path)))
        assert _train(path, "--kind", "level") == 0
    assert "from the log's topic headgate.aggregates" in capsys.readouterr().err
    packages = [ModelPackage.load(folder / "m") for folder in (with_store, without)]
    assert packages[0].manifest.training.fingerprint == packages[1].manifest.training.fingerprint

    twin = '[feed.g]\ntopic = "g/x/{device}"\nmeasurement = "machine"\n[feed.g.channels]\nx = {}\n'
    path = _write(with_store)
    path.write_text(path.read_text() + twin)
    assert _train(path, "--kind", "level") == 0
    assert "from the log's topic" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--channels", "x,w"], "--channels: expected some of x, y, got ['w']"),
        (["--period", "1m"], "--period: expected 10s, the window of the history, got 1m"),
        (["--resample", "instant"], "--resample: expected mean"),
        (["--labels", "wrong"], "--labels: expected --data"),
        (["--time", "when"], "--time: expected --data, whose column it names, got --from-history"),
        (["--to", "2020-01-01"], "expected aggregates of 10s of feed.f in that span, found none"),
        (["--from-log"], "not allowed with argument"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    problem: str,
    config_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And nothing is written."""
    assert _train(config_file, *arguments) == 2
    assert problem in capsys.readouterr().err
    assert not (config_file.parent / "m").exists()


@pytest.mark.parametrize(
    ("store", "problem"),
    [
        ("[local_store]\n", "found none in the local store"),
        (_INFLUX, "found none in the local store (there is none)"),
    ],
)
def test_a_gateway_without_a_history_is_told_so_in_one_line(
    store: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names every place that was looked at, and says that InfluxDB was not."""
    assert _train(_write(tmp_path, store=store)) == 2
    said = capsys.readouterr().err

    assert problem in said
    assert "none in the log (there is none yet); InfluxDB is not read" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "points.db").exists()


def test_a_feed_without_aggregates_has_no_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and what to do instead."""
    path = _write(tmp_path)
    path.write_text(path.read_text().replace('[{ window = "1m" }, { window = "10s" }]', "[]"))

    assert _train(path) == 2
    assert "feed.f.aggregates: expected a window to train from" in capsys.readouterr().err
    assert _train(path, span="a week") == 2
    assert "--from-history: expected a text like" in capsys.readouterr().err
