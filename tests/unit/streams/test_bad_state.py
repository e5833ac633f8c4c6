"""A snapshot that is not what it should be costs its devices their history, and nothing else."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.config.schema import Config
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable
from headgate.core.errors import DataError
from headgate.core.stage import Selection, Snapshot
from models.training.data import TrainingData
from models.training.train import TrainSettings, train
from streams.build import build_pipeline
from streams.heirs import heirs_of
from streams.pipeline import Pipeline
from streams.process.state import selection_of

pytestmark = pytest.mark.slow

_S = 10**9
_START_NS = 1_750_000_000 * _S
_DEVICES, _STEPS = 3, 70
_CASES = 150


@pytest.fixture(scope="module", params=["pca", "fusion"])
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Every kind of stage, with and without a model that remembers."""
    folder = tmp_path_factory.mktemp("packages") / "m"
    rng = np.random.default_rng(3)
    data = TrainingData(
        ("x", "y"), np.arange(300) * _S, np.zeros(300, np.int32), rng.normal(size=(300, 2))
    )
    window = 3 if request.param == "pca" else None
    train("m", "f", data, {}, folder, TrainSettings(kind=request.param, window=window))
    return Config.model_validate(
        {
            "local_store": {},
            "feed": {
                "f": {
                    "topic": "{device}",
                    "period": "1s",
                    "grace": "3s",
                    "aggregates": [{"window": "4s"}, {"window": "1m"}],
                    "models": ["m"],
                    "channels": {
                        "x": {"range": [-50, 50], "stuck_after": "5s"},
                        "y": {"spike": {}, "gap": {"limit": "4s"}},
                    },
                }
            },
            "model": {"m": {"package": str(folder)}},
        }
    )


def _batch(table: ChannelTable, steps: range) -> Batch:
    rng = np.random.default_rng(steps.start)
    step, device, field = np.indices((len(steps), _DEVICES, 2)).reshape(3, -1)
    rows = [
        table.row(Channel("f", f"d{number}", "f", name))
        for number in range(_DEVICES)
        for name in ("x", "y")
    ]
    value = rng.normal(size=len(step)) + np.where((device == 1) & (step + steps.start > 30), 9, 0)
    channel = np.array(rows, np.int32)[2 * device + field]
    time_ns = _START_NS + (step + steps.start) * _S
    return Batch.from_columns(table, time_ns, channel, value, origin=Origin("readings", 0, 0))


def _snapshot(pipeline: Pipeline) -> Snapshot:
    table = pipeline.channels
    selection = selection_of(table, np.arange(_DEVICES, dtype=np.int32))
    return Snapshot(
        next_offset=1,
        devices=table.devices[:],
        channels=table.keys(selection.channels),
        fingerprints=pipeline.fingerprints,
        blocks=pipeline.snapshot(selection),
    )


@pytest.fixture(scope="module")
def good(config: Config) -> Snapshot:
    """What stands in the log when things are well."""
    pipeline = build_pipeline(config, ChannelTable())
    pipeline.process(_batch(pipeline.channels, range(40)), 0)
    return _snapshot(pipeline)


def _go_on(pipeline: Pipeline) -> None:
    """Everything that a lane does with a pipeline."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for first in (40, 45, 60):
            pipeline.process(_batch(pipeline.channels, range(first, _STEPS)[:15]), 0)
        pipeline.quiet(10 * _S)
        pipeline.advance(3600 * _S)
        pipeline.open_rows()
        pipeline.snapshot(_selection(pipeline))


def _selection(pipeline: Pipeline) -> Selection:
    return selection_of(pipeline.channels, np.arange(_DEVICES, dtype=np.int32))


def _with(snapshot: Snapshot, stage: str, name: str, array: NDArray[np.generic]) -> Snapshot:
    block = {**snapshot.blocks[stage], name: array}
    return replace(snapshot, blocks={**snapshot.blocks, stage: block})


def _wild(array: NDArray[Any], rng: random.Random) -> NDArray[np.generic]:
    """The same type and shape, and values that no stage would have."""
    changed = array.copy()
    flat = changed.reshape(-1)
    for _ in range(rng.choice([1, 1, 3, flat.size])):
        at = rng.randrange(flat.size)
        if array.dtype.kind == "b":
            flat[at] = not flat[at]
        elif array.dtype.kind == "f":
            most = float(np.finfo(array.dtype).max)
            flat[at] = rng.choice([np.nan, np.inf, -np.inf, most, -most, 0.0, -1.0, 1e-30])
        else:
            limits = np.iinfo(array.dtype)
            numbers = [limits.min, limits.max, 0, 1, -1, 2, 5, 7, 100, 10**9, 2**62, -(2**62)]
            fitting = [number for number in numbers if limits.min <= number <= limits.max]
            flat[at] = rng.choice([*fitting, min(int(flat[at]) + 1, limits.max)])
    return changed


@pytest.mark.parametrize("part", range(2))
def test_values_out_of_range_are_refused_or_do_no_harm(
    config: Config, good: Snapshot, part: int
) -> None:
    """Whatever is taken over, the lane goes on: with readings, with silence, with snapshots."""
    pipeline = build_pipeline(config, ChannelTable())
    refused = 0
    for seed in range(part * _CASES, (part + 1) * _CASES):
        bad = _altered(good, seed)
        heirs = heirs_of(bad, pipeline.channels)
        try:
            pipeline.restore(heirs, bad)
        except DataError:
            refused += 1
        else:
            try:
                _go_on(pipeline)
            except Exception as error:
                raise AssertionError(f"seed {seed}: {_differences(good, bad)}") from error
        pipeline.forget(_selection(pipeline))

    assert 0 < refused < _CASES
    # Nothing of them is left behind.
    fresh = build_pipeline(config, ChannelTable())
    for each in (pipeline, fresh):
        each.restore(heirs_of(good, each.channels), good)
        _go_on(each)
    assert _bytes(_snapshot(pipeline)) == _bytes(_snapshot(fresh))


def _altered(good: Snapshot, seed: int) -> Snapshot:
    rng = random.Random(seed)
    arrays = [
        (stage, name)
        for stage, block in good.blocks.items()
        for name, array in block.items()
        if array.size
    ]
    bad = good
    for stage, name in rng.sample(arrays, rng.choice([1, 1, 2, 5])):
        bad = _with(bad, stage, name, _wild(good.blocks[stage][name], rng))
    return bad


def _differences(good: Snapshot, bad: Snapshot) -> dict[str, object]:
    return {
        f"{stage}/{name}": array
        for stage, block in bad.blocks.items()
        for name, array in block.items()
        if array is not good.blocks[stage][name]
    }


def _bytes(snapshot: Snapshot) -> dict[str, bytes]:
    return {
        f"{stage}/{name}": array.tobytes()
        for stage, block in snapshot.blocks.items()
        for name, array in block.items()
    }


_Change: TypeAlias = Callable[[NDArray[np.generic]], NDArray[np.generic]]

_CHANGES: Mapping[str, _Change] = {
    "longer": lambda array: np.concatenate([array, array[:1]]),
    "shorter": lambda array: array[:-1],
    "without rows": lambda array: array.reshape(-1)[0].reshape(()),
    "of more dimensions": lambda array: array[:, None],
    "of text": lambda array: np.full(array.shape, "x"),
    "of other numbers": lambda array: array.astype(np.complex64),
}


@pytest.mark.parametrize("way", _CHANGES)
def test_shapes_and_types_that_are_wrong_are_refused(
    config: Config, good: Snapshot, way: str
) -> None:
    """Every array of every stage that has any rows, but lists that have no length of their own."""
    pipeline = build_pipeline(config, ChannelTable())
    tried = 0
    for stage, block in good.blocks.items():
        for name, array in block.items():
            if not len(array) or name == "changes":
                continue
            bad = _with(good, stage, name, _CHANGES[way](array))
            with pytest.raises(DataError, match="bad_record"):
                pipeline.restore(heirs_of(bad, pipeline.channels), bad)
            tried += 1

    assert tried > 40


def test_positions_outside_of_the_snapshot_are_refused(config: Config, good: Snapshot) -> None:
    """Neither behind its devices and channels nor, counted from the end, before them."""
    pipeline = build_pipeline(config, ChannelTable())
    names = [
        (stage, name)
        for stage, block in good.blocks.items()
        for name in block
        if name.endswith(("device", "channel")) and len(block[name])
    ]
    for stage, name in names:
        for wrong in (-1, 2 * _DEVICES):
            array = good.blocks[stage][name].copy()
            array[0] = wrong
            bad = _with(good, stage, name, array)
            with pytest.raises(DataError, match=f"{stage}: {name}"):
                pipeline.restore(heirs_of(bad, pipeline.channels), bad)

    assert len(names) > 4


def test_a_stage_without_its_arrays_is_refused(config: Config, good: Snapshot) -> None:
    """What is missing is not taken for nothing."""
    pipeline = build_pipeline(config, ChannelTable())
    bad = replace(good, blocks={**good.blocks, "watermark": {}})

    with pytest.raises(DataError, match="watermark"):
        pipeline.restore(heirs_of(bad, pipeline.channels), bad)
