"""Running means and spreads against what they were in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.evaluation.drive import Trace, drive
from models.package import ModelPackage
from models.training import mewma
from models.training.data import TrainingData
from models.training.thresholds import choose
from models.training.train import TrainSettings, train
from models.training.windows import Windows

pytestmark = pytest.mark.slow

_ROWS = 1600
_FIT = 800


def _data(values: NDArray[np.float64]) -> TrainingData:
    names = tuple(f"c{at}" for at in range(values.shape[1]))
    time_ns = np.arange(len(values)) * 10**9
    return TrainingData(names, time_ns, np.zeros(len(values), np.int32), values)


def _healthy(channels: int, seed: int) -> NDArray[np.float64]:
    """Noise around a level of each channel's own."""
    rng = np.random.default_rng(seed)
    return 50.0 * np.arange(channels) + rng.normal(size=(_ROWS, channels))


def _said(values: NDArray[np.float64], folder: Path) -> tuple[ModelPackage, Trace]:
    """What a model of the first rows says to all of them."""
    settings = TrainSettings(kind="mewma")
    package = train("m", "f", _data(values).head(_FIT), {}, folder / "m", settings)
    return package, drive(package, _data(values))


def test_slow_wear_is_never_got_used_to(tmp_path: Path) -> None:
    """A channel that creeps away and stays there is alarmed for as long as it does."""
    values = _healthy(4, 1)
    values[:, 2] += np.clip((np.arange(_ROWS) - 900) / 300, 0, 1) * 4
    _, trace = _said(values, tmp_path)

    assert not trace.is_alarmed[:900].any()
    assert trace.is_alarmed[1250:].all()
    assert trace.anomalies[-1].shares[0][0] == "c2"


def test_what_wandered_in_training_may_wander_on(tmp_path: Path) -> None:
    """As far as it went; beside it, what stood still may not move by a tenth of that."""
    rng = np.random.default_rng(2)
    values = np.column_stack([np.cumsum(rng.normal(size=_ROWS)), rng.normal(size=_ROWS)])
    _, wanders = _said(values, tmp_path / "a")
    values[1400:, 1] += 4
    _, moves = _said(values, tmp_path / "b")

    assert wanders.is_alarmed.mean() < 0.02
    assert moves.is_alarmed[1420:].all()
    assert moves.anomalies[-1].shares[0][0] == "c1"


def test_one_channel_is_not_drowned_by_forty(tmp_path: Path) -> None:
    """Its mean by itself decides, and its name comes first, by far."""
    values = _healthy(40, 3)
    values[1200:, 17] += 1.7
    _, trace = _said(values, tmp_path)
    name, share = trace.anomalies[-1].shares[0]

    assert not trace.is_alarmed[:1200].any()
    assert trace.is_alarmed[1300:].mean() > 0.9
    assert name == "c17"
    assert share > 0.5


@pytest.mark.parametrize("fault", ["louder", "silent"])
def test_a_spread_that_changes_is_found_where_the_mean_does_not(fault: str, tmp_path: Path) -> None:
    """A loose coupling, and a sensor that has lost its signal and stands at its usual value."""
    values = _healthy(5, 4)
    off = values[1200:, 1] - 50
    values[1200:, 1] = 50 + (off * 3 if fault == "louder" else 0)
    _, trace = _said(values, tmp_path)

    assert not trace.is_alarmed[:1200].any()
    assert trace.is_alarmed[1240:].mean() > 0.9
    assert trace.anomalies[-1].shares[0][0] == "c1"


def test_few_scores_leave_the_limit_where_it_is(tmp_path: Path) -> None:
    """1 without any; and what healthy rows reach, the more of them there are."""
    device = np.zeros(1_000_000, np.int32)
    score = np.full(1_000_000, 2, np.float32)
    found = [choose("limit", score[:rows], device[:rows], 0.01) for rows in (20, 4000, 1_000_000)]

    assert found == pytest.approx([1.0, 2**0.5, 2.0], rel=0.01)
    package, _ = _said(_healthy(3, 5), tmp_path)
    assert package.manifest.alarm.threshold == pytest.approx(1.05, abs=0.1)
    assert package.manifest.alarm.chosen_by.startswith(
        "1.05 x what lies between 1 and, the more there are,"
    )


def test_halves_are_scored_by_each_other() -> None:
    """Of each device by itself: what was another level in one half shows in both."""
    rng = np.random.default_rng(6)
    values = rng.normal(size=(600, 2))
    values[150:300] += 5
    device = np.repeat([0, 1], 300).astype(np.int32)
    end_ns = np.tile(np.arange(300, dtype=np.int64), 2) * 10**9
    level = mewma.fit(Windows(values[:, None].astype(np.float32), device, end_ns))
    steady = rng.normal(size=(600, 2))
    calm = mewma.fit(Windows(steady[:, None].astype(np.float32), device, end_ns))

    assert np.median(level.held_out[150:300]) > 1.4
    assert np.quantile(calm.held_out, 0.99) < 1.3
    assert np.array_equal(level.device, device)
