"""The files in which plots of recordings are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headgate.evaluation.plots import draw, write_report
from headgate.evaluation.result import Evaluated, Evaluation
from models.training.page import new_figure

pytestmark = pytest.mark.slow


def _recording(name: str, *far: float, rows: int = 5) -> Evaluated:
    at = np.arange(rows)
    none = np.zeros(rows, np.bool_)
    values = (at % 5)[:, None].astype(np.float64)
    values[10 : 10 + len(far), 0] = far
    score, threshold = at.astype(np.float64), np.full(rows, 2.0)
    return Evaluated(name, "level", at * 10**9, ("x",), values, score, threshold, none, none, 0)


def test_every_recording_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Whatever it is called; a number tells those apart that would be one."""
    names = ["a/b", "a-b", "A:b", "a-b (2)", "..", "ü" * 300]
    recordings = tuple(_recording(name) for name in names)
    page = write_report(Evaluation("t", {}, (), {}, recordings=recordings), tmp_path / "r")
    plots = {file.name for file in page.parent.glob("*.png")}

    assert plots == {
        "a-b.png",
        "a-b (2).png",
        "A-b (3).png",
        "a-b (2) (2).png",
        "recording.png",
        "ü" * 50 + ".png",
    }


def test_values_beyond_the_plot_are_told_and_marked(tmp_path: Path) -> None:
    """How many of which channel, and how far the furthest is; at the edge on their side."""
    far = _recording("far", 400.0, 380.0, -300.0, rows=1000)
    near = _recording("near", rows=1000)
    page = write_report(Evaluation("t", {}, (), {}, recordings=(far, near)), tmp_path / "r")
    text = page.read_text()
    values, scores = new_figure(9, 5).subplots(2, 1, sharex=True)
    draw(far, values, scores)
    marked = {
        line.get_marker(): np.asarray(line.get_ydata()).tolist()
        for line in values.lines
        if line.get_marker() in ("^", "v")
    }

    assert text.count("Marked at the edge") == 1
    assert "they lie beyond it: x at 3 of 1,000 rows, as far as 20 standard deviations." in text
    assert {edge: len(rows) for edge, rows in marked.items()} == {"^": 2, "v": 1}
    low, high = values.get_ylim()
    assert all(low < row < high for rows in marked.values() for row in rows)
