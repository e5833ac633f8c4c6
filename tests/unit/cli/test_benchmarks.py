"""``headgate evaluate skab``, ``nab`` and ``batadal``: where their files are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from headgate.cli import main
from headgate.evaluation import batadal
from headgate.evaluation.skab import CHANNELS

pytestmark = pytest.mark.slow

_ROWS = 480

#: Of which 15 % are enough to train on.
_NAB_ROWS = 600


def _skab(folder: Path) -> None:
    """One file of a testbed, with a fault."""
    rng = np.random.default_rng(0)
    values, label = rng.normal(size=(_ROWS, len(CHANNELS))), np.zeros(_ROWS, int)
    values[430:460], label[430:460] = values[430:460] + 5, 1
    lines = [";".join(["datetime", *CHANNELS, "anomaly"])]
    for at, row in enumerate(values):
        cells = [f"{value:.4f}" for value in row]
        lines.append(
            ";".join([f"2020-03-09 10:{at // 60:02}:{at % 60:02}", *cells, f"{label[at]}"])
        )
    (folder / "valve1").mkdir(parents=True)
    (folder / "valve1" / "0.csv").write_text("\n".join(lines))


def _nab(folder: Path) -> None:
    """One series with a labelled window, beside code as in a clone of the repository."""
    rng = np.random.default_rng(0)
    values = np.sin(np.arange(_NAB_ROWS) / 9) + rng.normal(size=_NAB_ROWS) * 0.1
    values[400:405] += 9
    begin = datetime(2014, 1, 1, tzinfo=UTC)
    times = [f"{begin + timedelta(minutes=5 * at):%Y-%m-%d %H:%M:%S}" for at in range(_NAB_ROWS)]
    lines = [f"{time},{value:.4f}" for time, value in zip(times, values, strict=True)]
    for name in ("data/real", "labels", "nab"):
        (folder / name).mkdir(parents=True)
    (folder / "data" / "real" / "a.csv").write_text("\n".join(["timestamp,value", *lines]))
    windows = {"real/a.csv": [[times[395], times[410]]]}
    (folder / "labels" / "combined_windows.json").write_text(json.dumps(windows))
    (folder / "nab" / "detector.py").write_text("")


def _hours(file: Path, seed: int, spans: list[tuple[int, int]], *, has_flags: bool = False) -> None:
    """A network of six signals that follow one load, attacked in these spans of hours."""
    rng = np.random.default_rng(seed)
    load = np.sin(np.arange(_ROWS) / 4)
    mix = np.array([2.0, 1.0, -1.0, 3.0, 0.5, 1.5])
    values = load[:, None] * mix + rng.normal(size=(_ROWS, 6)) * 0.05
    flag = np.zeros(_ROWS, int)
    for first, last in spans:
        values[first : last + 1, :2] += 3
        flag[first : last + 1] = 1
    begin = datetime(2016, 7, 4, tzinfo=UTC)
    header = ["DATETIME", *(f" S{number}" for number in range(6)), " ATT_FLAG"]
    lines = [",".join(header)]
    for at, row in enumerate(values):
        cells = [f" {value:.4f}" for value in row]
        cells.append(f" {flag[at] if has_flags else -999}")
        lines.append(",".join([f"{begin + timedelta(hours=at):%d/%m/%y %H}", *cells]))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines))


def _attacks(file: Path, spans: list[tuple[int, int]]) -> None:
    begin = datetime(2016, 7, 4, tzinfo=UTC)
    lines = [
        ",".join([f"{number}", *(f"{begin + timedelta(hours=at):%d/%m/%Y %H}" for at in span)])
        for number, span in enumerate(spans, 1)
    ]
    file.write_text("\n".join(["attack,start,end", *lines]))


def _batadal(folder: Path) -> None:
    _hours(folder / batadal.TRAIN, 1, [])
    _hours(folder / batadal.TEST, 2, [(100, 119), (300, 329)])
    _attacks(folder / batadal.ATTACKS, [(100, 119), (300, 329)])


def _figures(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, float]:
    assert main(["evaluate", *arguments, "--json"]) == 0
    figures: dict[str, float] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return figures


@pytest.mark.parametrize("name", ["skab", "nab", "batadal"])
def test_the_folder_above_does_as_well(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The benchmark's own folder, and the one that holds it by its name, say the same."""
    {"skab": _skab, "nab": _nab, "batadal": _batadal}[name](tmp_path / name)
    own = _figures(capsys, name, "--data", str(tmp_path / name), "--kind", "level")

    assert _figures(capsys, name, "--data", str(tmp_path), "--kind", "level") == own


def test_a_test_file_brings_its_own_attacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside it by its name, or in its column of flags; other files are found below --data."""
    _batadal(tmp_path / "batadal")
    spans = [(200, 219), (400, 419)]
    _hours(tmp_path / "batadal" / "BATADAL_mine.csv", 3, spans)
    _attacks(tmp_path / "batadal" / "attacks_mine.csv", spans)
    _hours(tmp_path / "batadal" / "flagged.csv", 3, spans, has_flags=True)
    arguments = ["batadal", "--data", str(tmp_path), "--kind", "level"]
    named = _figures(capsys, *arguments, "--test", "BATADAL_mine.csv")
    flagged = _figures(capsys, *arguments, "--test", "flagged.csv")
    given = ["--test", "flagged.csv", "--attacks", "batadal/attacks_mine.csv"]
    usual = _figures(capsys, *arguments)

    assert named == flagged == _figures(capsys, *arguments, *given)
    assert named["detected"] == usual["detected"] == 2
    assert named != usual


@pytest.mark.thorough
def test_hours_to_choose_by_bring_theirs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a file beside them, with flags, and with neither, which is one line."""
    _batadal(tmp_path)
    spans = [(200, 219), (400, 419)]
    _hours(tmp_path / "BATADAL_more.csv", 3, spans)
    arguments = ["batadal", "--data", str(tmp_path), "--kind", "level"]
    assert main(["evaluate", *arguments, "--choose", "BATADAL_more.csv"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if "expected its attacks in attacks_more.csv" in line]) == 1
    assert "name them with --choose-attacks FILE" in said[-1]
    _attacks(tmp_path / "attacks_more.csv", spans)
    beside = _figures(capsys, *arguments, "--choose", "BATADAL_more.csv")
    _hours(tmp_path / "flagged.csv", 3, spans, has_flags=True)

    assert beside == _figures(capsys, *arguments, "--choose", "flagged.csv")
    assert beside["detected"] == 2
