"""What the shipped kinds find on public benchmarks, through the gateway's own pipeline.

The data is read where it stands, and each test is skipped where it does not.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from headgate.cli import main
from headgate.evaluation import batadal
from headgate.evaluation.drive import drive
from models.training.data import TrainingData
from models.training.train import TrainSettings, train
from tests.data import data_dir


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, float]:
    assert main(["evaluate", *arguments, "--json"]) == 0
    figures: dict[str, float] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return figures


def test_attacks_on_a_water_network_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    """All seven, most at once, with an alarm in one hour of eighty without reason."""
    figures = _json(capsys, "batadal", "--data", str(data_dir("batadal")))

    assert figures["s"] > 0.95
    assert figures["f1"] > 0.85
    assert figures["detected"] == 7


def test_the_future_moves_no_score(tmp_path: Path) -> None:
    """Cut at any row, or with one huge value behind it, the rows before say the same to the bit."""
    folder = data_dir("batadal")
    fit, data = batadal.read(folder / batadal.TRAIN), batadal.read(folder / batadal.TEST)
    package = train("m", "f", fit.head(3000), {}, tmp_path / "m", TrainSettings(decimals=2))
    whole = drive(package, data.head(2200))
    cut = drive(package, data.head(2050))
    values = data.values.copy()
    values[2050] = 1e9
    ruined = drive(package, TrainingData(data.names, data.time_ns, data.device, values).head(2051))

    assert whole.is_alarmed[:2050].any()
    for other in (cut, ruined):
        np.testing.assert_array_equal(other.score[:2050], whole.score[:2050])
        np.testing.assert_array_equal(other.is_alarmed[:2050], whole.is_alarmed[:2050])
