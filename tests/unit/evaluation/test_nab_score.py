"""NAB's score by hand, and against the published detectors' published figures."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow.parquet
import pytest

from headgate.evaluation.nab import rows_of
from headgate.evaluation.nab_score import PROFILES, Scored, best_score, probation, score_at
from models.training.data import read_csv
from tests.data import data_dir

pytestmark = pytest.mark.slow

_STANDARD = PROFILES[0]


def _sigmoid(y: float) -> float:
    return 2 / (1 + math.exp(5 * y)) - 1


def _file(alarms: list[int], windows: list[tuple[int, int]], rows: int = 100) -> Scored:
    score = np.zeros(rows)
    score[alarms] = 1.0
    return Scored(score, windows)


def test_the_first_row_of_a_window_is_worth_most() -> None:
    """All of it, next to nothing in its last row, and only the earliest counts."""
    first = score_at([_file([40], [(40, 59)])], _STANDARD, 0.5)
    last = score_at([_file([59], [(40, 59)])], _STANDARD, 0.5)
    both = score_at([_file([40, 59], [(40, 59)])], _STANDARD, 0.5)

    assert first == pytest.approx(100)
    # A miss costs 1 and a hit gains up to 1: just not to miss is worth half.
    assert last == pytest.approx(50 + 50 * _sigmoid(-1 / 20) / _sigmoid(-1))
    assert both == pytest.approx(first)


def test_alarms_outside_cost_the_more_the_further_behind_a_window() -> None:
    """Before any window the whole, right behind one hardly anything; each row by itself."""
    hit = 40
    cost = {
        row: 100 - score_at([_file([hit, row], [(40, 59)])], _STANDARD, 0.5) for row in (20, 60, 99)
    }

    assert cost[20] == pytest.approx(50 * 0.11)
    assert cost[60] == pytest.approx(-50 * 0.11 * _sigmoid(1 / 19))
    assert cost[60] < cost[99] < cost[20]


def test_probationary_rows_are_not_scored() -> None:
    """15 % of a file, and 750 rows at most."""
    assert (probation(100), probation(100_000)) == (15, 750)
    assert score_at([_file([14, 40], [(40, 59)])], _STANDARD, 0.5) == pytest.approx(100)


def test_the_best_threshold_is_found_over_the_whole_corpus() -> None:
    """One threshold for all files; never to alarm is a choice as well."""
    good = Scored(np.where(np.arange(100) == 40, 0.9, 0.1), [(40, 59)])
    noisy = Scored(np.where(np.arange(100) % 2 == 0, 0.5, 0.1), [])
    score, threshold = best_score([good, noisy], _STANDARD)

    assert threshold == 0.9
    assert score == pytest.approx(score_at([good, noisy], _STANDARD, 0.9)) == pytest.approx(100)
    assert best_score([Scored(np.ones(100), [(40, 41)])], PROFILES[1]) == (0.0, math.inf)


@pytest.mark.parametrize("seed", range(5))
def test_the_sweep_agrees_with_trying_every_threshold(seed: int) -> None:
    """On scores with many ties."""
    rng = np.random.default_rng(seed)
    files = [
        Scored(rng.integers(0, 6, 80).astype(float), [(20, 30), (50, 55)]),
        Scored(rng.integers(0, 6, 60).astype(float), [(30, 39)]),
    ]
    for profile in PROFILES:
        tried = [score_at(files, profile, threshold) for threshold in range(8)]
        assert best_score(files, profile)[0] == pytest.approx(max(tried))


_PUBLISHED = {
    "ARTime": 74.6,
    "numenta": 68.6,
    "contextOSE": 67.0,
    "knncad": 60.1,
    "earthgeckoSkyline": 59.6,
    "relativeEntropy": 56.9,
    "randomCutForest": 53.0,
    "windowedGaussian": 42.5,
}


def test_published_detections_get_their_published_scores() -> None:
    """To a tenth, over all files that are there."""
    folder = data_dir("nab")
    labels = json.loads((folder / "labels" / "combined_windows.json").read_text())
    table = pyarrow.parquet.read_table(folder / "results" / "published_detections.parquet")
    if len(labels) != 31:
        pytest.skip("these figures are those of 31 files")
    names = np.array(table["file"])
    order = np.array(table["row"])
    windows = {}
    for name, spans in labels.items():
        data = read_csv([folder / "data" / name], time_column="timestamp")
        windows[name] = rows_of(data, spans)
    for detector, wanted in _PUBLISHED.items():
        column = np.array(table[detector], np.float64)
        files = []
        for name, spans in windows.items():
            rows = np.flatnonzero(names == name)
            files.append(Scored(column[rows[np.argsort(order[rows])]], spans))
        assert best_score(files, _STANDARD)[0] == pytest.approx(wanted, abs=0.1), detector
