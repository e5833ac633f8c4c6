"""Several devices through one pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headgate.evaluation.drive import drive, drive_together
from models.training.data import TrainingData
from models.training.train import TrainSettings, train

pytestmark = pytest.mark.slow


def _machine(rows: int, seed: int, start_s: int) -> TrainingData:
    rng = np.random.default_rng(seed)
    values = np.sin(np.arange(rows) / 9)[:, None] + rng.normal(size=(rows, 3)) * 0.1
    time_ns = (start_s + np.arange(rows)) * 10**9
    return TrainingData(("a", "b", "c"), time_ns, np.zeros(rows, np.int32), values)


@pytest.mark.parametrize("kind", ["level", "pca"])
def test_devices_together_get_what_each_gets_alone(kind: str, tmp_path: Path) -> None:
    """Whatever the others' values, times and lengths."""
    package = train("m", "f", _machine(500, 1, 0), {}, tmp_path / "m", TrainSettings(kind=kind))
    faulty = _machine(400, 2, 10**9)
    faulty.values[200:230] += 30
    recordings = [_machine(300, 3, 0), faulty, _machine(7, 4, -(10**8))]
    told: list[tuple[int, int]] = []
    together = drive_together(
        package, recordings, progress=lambda done, total: told.append((done, total))
    )

    assert told == [(0, 707), (256 + 256 + 7, 707)]
    assert together[1].is_alarmed[200:230].any()
    for found, recording in zip(together, recordings, strict=True):
        alone = drive(package, recording)
        np.testing.assert_allclose(found.score, alone.score, rtol=2e-6)
        np.testing.assert_array_equal(found.is_alarmed, alone.is_alarmed)
        assert found.anomalies == [
            replace(each, device=mine.device, shares=mine.shares, peak_score=mine.peak_score)
            for each, mine in zip(alone.anomalies, found.anomalies, strict=True)
        ]
