"""Channels that stand still, take two values, rise for ever, or are commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.evaluation.drive import drive
from models.training.data import TrainingData
from models.training.kinds import BUILT_IN as KINDS
from models.training.train import TrainSettings, train

pytestmark = pytest.mark.slow

_ROWS = 300
_RNG = np.random.default_rng(0)

#: What was met in plants, by what it is.
_CHANNELS: dict[str, NDArray[np.float64]] = {
    "constant": np.full(_ROWS, 23.5),
    "zero": np.zeros(_ROWS),
    "two values": (np.arange(_ROWS) // 25 % 2).astype(np.float64),
    "rising": np.arange(_ROWS, dtype=np.float64),
}


def _data(values: NDArray[np.float64]) -> TrainingData:
    names = tuple(f"c{at}" for at in range(values.shape[1]))
    time_ns = np.arange(len(values)) * 10**9
    return TrainingData(names, time_ns, np.zeros(len(values), np.int32), values)


@pytest.mark.parametrize("kind", [*KINDS])
@pytest.mark.parametrize(
    "name",
    # One constant is as the other.
    [
        pytest.param(name, marks=pytest.mark.thorough if name == "zero" else ())
        for name in _CHANNELS
    ],
)
def test_a_channel_of_any_kind_is_judged_by_any_model(name: str, kind: str, tmp_path: Path) -> None:
    """Alone: quiet while it goes on as it was, and loud when it leaves that by far."""
    values = _CHANNELS[name][:, None]
    package = train("m", "f", _data(values), {}, tmp_path / "m", TrainSettings(kind=kind))
    later = values.copy()
    later[200:] = later[200:] * 3 + 100
    trace = drive(package, _data(later))

    assert np.isfinite(trace.score[10:]).all()
    # What only rises has no limits that it could stay in, which ridge holds channels to.
    assert (kind, name) == ("ridge", "rising") or not trace.is_alarmed[:200].any()
    # A forest cuts between the values that it was fitted on, and sees nothing beyond one or two.
    if kind != "forest" or name == "rising":
        assert trace.is_alarmed[200:230].any()
        assert trace.anomalies[0].shares[0][0] == "c0"


def test_a_channel_that_stood_still_is_named_when_it_moves(tmp_path: Path) -> None:
    """Beside two that move all the time."""
    values = np.column_stack([np.full(_ROWS, 7.0), _RNG.normal(size=(_ROWS, 2))])
    package = train("m", "f", _data(values), {}, tmp_path / "m", TrainSettings())
    later = values.copy()
    later[250:, 0] = 21.0
    trace = drive(package, _data(later))

    assert trace.is_alarmed[250:260].any()
    assert trace.anomalies[-1].shares[0][0] == "c0"


def test_commands_have_no_vote(tmp_path: Path) -> None:
    """One that was never given in training is no anomaly, and the value is judged by itself."""
    value = np.sin(np.arange(_ROWS) / 5) + 0.05 * _RNG.normal(size=_ROWS)
    commands = np.zeros((_ROWS, 12))
    commands[::7, 0] = 1
    values = np.column_stack([value, commands])
    package = train("m", "f", _data(values), {}, tmp_path / "m", TrainSettings())
    later = values.copy()
    later[200:210, 3:9] = 1
    trace = drive(package, _data(later))
    manifest = package.manifest

    assert [channel.name for channel in manifest.channels] == ["c0"]
    assert manifest.training.kind == "novelty"
    assert (
        "12 of 13 channels only take 0 and 1 (c1, c2, c3, c4, c5, …)" in manifest.training.notes[0]
    )
    assert not trace.is_alarmed[195:225].any()


def test_a_kind_that_explains_channels_keeps_the_commands(tmp_path: Path) -> None:
    """A pump that is switched on explains its flow."""
    switch = (np.arange(_ROWS) // 20 % 2).astype(np.float64)
    values = np.column_stack([3 * switch + 0.1 * _RNG.normal(size=_ROWS), switch])
    package = train("m", "f", _data(values), {}, tmp_path / "m", TrainSettings(kind="ridge"))

    assert [channel.name for channel in package.manifest.channels] == ["c0", "c1"]
