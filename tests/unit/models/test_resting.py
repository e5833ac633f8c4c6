"""A threshold that rests on a fault in the training data says so, and on which."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from models.training.data import TrainingData
from models.training.train import TrainSettings, train

pytestmark = pytest.mark.slow

_ROWS = 1500
_SECOND = 10**9


def _data(fault: str = "none", seed: int = 0) -> TrainingData:
    """Three channels that follow a load, and a gross fault of all, from row 1000 to 1100."""
    rng = np.random.default_rng(seed)
    load = np.sin(np.arange(_ROWS) / 40) + rng.normal(size=_ROWS) * 0.3
    values = load[:, None] * (1.0, 2.0, -1.0) + rng.normal(size=(_ROWS, 3)) * 0.1
    if fault == "offset":
        values[1000:1100] += (300, -500, 700)
    elif fault == "wild":
        values[1000:1100] += rng.normal(size=(100, 3)) * 1000
    return TrainingData(
        ("load", "flow", "level"),
        np.arange(_ROWS) * _SECOND,
        np.zeros(_ROWS, np.int32),
        values,
    )


def _notes(data: TrainingData, folder: Path, kind: str) -> tuple[list[str], float, str]:
    package = train("m", "f", data, {}, folder, TrainSettings(kind=kind))
    training = package.manifest.training
    notes = [note for note in training.notes if "rests on" in note and "between" in note]
    return notes, package.manifest.alarm.threshold, training.chosen_because


@pytest.mark.parametrize("kind", ["auto", "ridge", "pca", "forest"])
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in (1, 2))]
)
def test_nothing_is_said_of_healthy_data(kind: str, seed: int, tmp_path: Path) -> None:
    """Some window has the highest score always."""
    assert _notes(_data(seed=seed), tmp_path / "m", kind)[0] == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("offset", "auto"), ("offset", "ridge"), ("wild", "pca"), ("wild", "level")],
)
def test_the_span_that_sets_the_threshold_is_named(fault: str, kind: str, tmp_path: Path) -> None:
    """With the threshold that would be without it, and no share of variance below nothing."""
    (line,), threshold, why = _notes(_data(fault), tmp_path / "m", kind)
    found = re.search(
        r"the threshold (\S+) rests on .*, between 1970-01-01T00:(\d\d):(\d\d)Z and "
        r"1970-01-01T00:(\d\d):(\d\d)Z; without them it would be (\S+):",
        line,
    )

    assert found is not None, line
    begin, end = 60 * int(found[2]) + int(found[3]), 60 * int(found[4]) + int(found[5])
    assert 995 <= begin <= 1005
    # Some kinds remember it for a while.
    assert 1095 <= end <= 1200
    assert float(found[1]) == pytest.approx(threshold, rel=1e-3)
    assert float(found[6]) <= threshold / 3
    assert "variance -" not in why
