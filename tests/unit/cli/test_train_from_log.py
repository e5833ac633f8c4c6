"""``headgate model train --from-log``: the gateway's own readings, cleaned as they are live."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from connectors.logs.configured import open_log, topic, topic_specs
from headgate.cli import main
from headgate.config.load import load_config
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.log import READINGS, TopicPartition
from headgate.core.records import readings_record
from models.package import ModelPackage

pytestmark = pytest.mark.slow

_START_NS = 1_750_000_000 * 10**9
_STEPS = 120


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A gateway's configuration, and its log with two devices' readings of two channels."""
    path = tmp_path / "headgate.toml"
    path.write_text(
        f'[gateway]\ndata_dir = "{tmp_path}"\n[log]\npartitions = 2\n[local_store]\n'
        '[feed.f]\ntopic = "{device}"\n[feed.f.channels]\n'
        'x = { unit = "bar", range = [-10, 10] }\ny = { unit = "psi", to = "bar" }\n'
        '[feed.other]\ntopic = "o/{device}"\n[feed.other.channels]\nz = {}\n'
    )
    asyncio.run(_fill(path))
    return path


async def _fill(path: Path) -> None:
    config = load_config(path)
    log = open_log(config, SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(config))
    rng = np.random.default_rng(1)
    table = ChannelTable()
    stray = table.row(Channel("other", "a", "other", "z"))
    for partition, device in enumerate(("a", "b")):
        rows = [table.row(Channel("f", device, "f", name, "bar")) for name in ("x", "y")]
        for first in range(0, _STEPS, 20):
            steps = np.arange(first, first + 20).repeat(2)
            load = np.sin(steps / 9) + rng.normal(size=40) * 0.05
            # Out of range in every twentieth step: not what a healthy device sends.
            load[2] = 1000
            batch = Batch.from_columns(table, _START_NS + steps * 10**9, rows * 20, load)
            more = Batch.from_columns(table, [_START_NS + first * 10**9], [stray], [7.0])
            await log.append(
                TopicPartition(topic(config, READINGS), partition),
                [readings_record(batch, "f"), readings_record(more, "other")],
            )
    await log.stop()


def _train(config_file: Path, *more: str) -> int:
    out = str(config_file.parent / "m")
    arguments = ["model", "train", "--feed", "f", "-c", str(config_file), "--from-log"]
    return main([*arguments, "--out", out, *more])


def test_a_model_is_trained_on_what_the_gateway_has_kept(config_file: Path) -> None:
    """Both devices, the feed's channels only, without what cleaning takes out."""
    assert _train(config_file) == 0
    manifest = ModelPackage.load(config_file.parent / "m").manifest

    assert [(each.name, each.unit) for each in manifest.channels] == [("x", "bar"), ("y", "bar")]
    assert manifest.training.rows == 2 * _STEPS
    # A value of 1000 in twenty would make the spread a hundred times as large.
    assert manifest.channels[0].scale < 2


def test_a_model_is_trained_on_derived_channels_where_they_are_named(config_file: Path) -> None:
    """They are worked out as the gateway does it, and the gateway takes the model."""
    with config_file.open("a") as file:
        file.write('[feed.f.derived]\nd = { value = "x - mean(x, \'20s\')", unit = "bar" }\n')
    assert _train(config_file, "--channels", "x,d", "--kind", "pca") == 0
    manifest = ModelPackage.load(config_file.parent / "m").manifest

    assert [(each.name, each.unit) for each in manifest.channels] == [("x", "bar"), ("d", "bar")]
    # What x has is out of range in every twentieth, and d has nothing there either.
    assert manifest.training.rows == 2 * (_STEPS - _STEPS // 20)
    assert main(["check", "-c", str(_with_model(config_file))]) == 0


def _with_model(config_file: Path) -> Path:
    """The configuration with the model that was trained."""
    text = config_file.read_text().replace("[feed.f]\n", '[feed.f]\nmodels = ["m"]\n')
    config_file.write_text(f'{text}[model.m]\npackage = "{config_file.parent / "m"}"\n')
    return config_file


def test_a_span_is_a_span(config_file: Path) -> None:
    """From a time on, and before another."""
    begin, end = "2025-06-15T15:07:00Z", "2025-06-15T15:08:00Z"
    assert _train(config_file, "--from", begin, "--to", end, "--kind", "pca") == 0

    assert ModelPackage.load(config_file.parent / "m").manifest.training.rows == 2 * 60


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--from", "yesterday"], "--from: expected a time such as"),
        (["--from", "2030-01-01"], "expected readings of the feed, found none"),
        (["--channels", "x,w"], "--channels: expected some of x, y, got ['w']"),
        (["--data", "x.csv"], "not allowed with argument"),
        (["--rows", "5"], "--rows: expected --data, whose first rows it takes, got --from-log"),
        (["--time-unit", "s"], "--time-unit: expected --data, whose times are in it"),
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


def test_it_needs_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which says where the log is."""
    arguments = ["model", "train", "--feed", "f", "--from-log", "--out", str(tmp_path / "m")]

    assert main(arguments) == 2
    assert "--from-log: expected -c FILE" in capsys.readouterr().err
