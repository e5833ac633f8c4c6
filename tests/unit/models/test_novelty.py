"""What is new for a device, and what is unlike its training part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.evaluation.drive import drive
from models.training import novelty
from models.training.data import TrainingData
from models.training.scoring import score_windows
from models.training.train import TrainSettings, train
from models.training.windows import Windows

pytestmark = pytest.mark.slow

_TRAINING = 600


def _series(rows: int, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.sin(np.arange(rows) / 7) + 0.05 * rng.normal(size=rows)


def _windows(series: NDArray[np.float64], device: int = 0) -> Windows:
    return Windows(
        series[:, None, None].astype(np.float32),
        np.full(len(series), device, np.int32),
        np.arange(len(series), dtype=np.int64) * 10**9,
    )


def _data(series: NDArray[np.float64]) -> TrainingData:
    time_ns = np.arange(len(series)) * 10**9
    return TrainingData(("x",), time_ns, np.zeros(len(series), np.int32), series[:, None])


def test_distances_from_training_are_those_of_plain_arithmetic() -> None:
    """What the graph adds to the score is what NumPy gets from the kept stretches."""
    series = np.concatenate([_series(_TRAINING), _series(80, 1) + 2.0])
    healthy = novelty.healthy_stretches(_windows(series[:_TRAINING]))
    assert healthy is not None
    none = np.empty(0, np.intp)
    with_it = score_windows(novelty.to_graph(1, healthy), _windows(series), none).score
    without = score_windows(novelty.to_graph(1), _windows(series), none).score
    kept = healthy.stretches[0]
    length = kept.shape[0]
    added = np.zeros(len(series))
    for row in range(length - 1, len(series)):
        last = novelty.in_units(series[row - length + 1 : row + 1].astype(np.float32))
        apart = np.sqrt(((kept - last[:, None]) ** 2).sum(axis=0).min())
        rarity = healthy.rises[apart > healthy.knots[0]].sum()
        beyond = np.log10(max(apart / healthy.largest[0], 1))
        added[row] = 0.1 * rarity + 0.5 * beyond
    is_above = without > 0

    assert added[-40:].min() > 0.5
    np.testing.assert_allclose((with_it - without)[is_above], added[is_above], atol=2e-3)


def test_a_state_that_lasts_keeps_its_score(tmp_path: Path) -> None:
    """What lately was gets used to it; what training had does not. The score says what is now."""
    series = np.concatenate([_series(_TRAINING), _series(400, 1) + 3.0])
    package = train("m", "f", _data(series[:_TRAINING]), {}, tmp_path / "m", TrainSettings())
    trace = drive(package, _data(series))

    healthy = np.nanmedian(trace.score[300:_TRAINING])
    assert trace.score[_TRAINING + 30 :].min() > healthy + 0.5


def test_an_event_is_told_once(tmp_path: Path) -> None:
    """A spike that comes again soon is no further anomaly; a higher or a later one is."""
    series = _series(1600)
    for row, height in ((900, 4.0), (950, 3.9), (1010, 40.0), (1400, 8.0)):
        series[row] += height
    package = train("m", "f", _data(series[:_TRAINING]), {}, tmp_path / "m", TrainSettings())
    opened = [
        round(each.start_ns / 10**9)
        for each in drive(package, _data(series)).anomalies
        if each.revision == 0 and each.start_ns >= 850 * 10**9
    ]

    assert package.manifest.alarm.quiet == 150
    assert opened == [900, 1010, 1400]


def test_training_that_is_too_short_is_no_memory() -> None:
    """Some tens of rows have no stretch apart from the rest."""
    assert novelty.healthy_stretches(_windows(_series(70))) is None
    assert novelty.healthy_stretches(_windows(_series(100))) is not None
