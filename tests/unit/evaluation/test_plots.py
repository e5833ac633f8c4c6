"""The files in which plots of recordings are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headgate.evaluation.plots import write_report
from headgate.evaluation.result import Evaluated, Evaluation


def _recording(name: str) -> Evaluated:
    at = np.arange(5)
    none = np.zeros(5, np.bool_)
    values = at[:, None].astype(np.float64)
    score, threshold = at.astype(np.float64), np.full(5, 2.0)
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
