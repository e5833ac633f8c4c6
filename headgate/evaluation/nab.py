"""The Numenta Anomaly Benchmark, v1.1: single series, each with a model of its own.

A model is fitted on a file's probationary rows; nothing else of a file is known in advance.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S
from headgate.core.errors import ConfigError
from headgate.evaluation.drive import Trace, drive
from headgate.evaluation.nab_score import PROFILES, Scored, best_score, probation, score_at
from headgate.evaluation.result import Evaluated, Evaluation
from models.training.data import TrainingData, read_csv
from models.training.train import TrainSettings, train

_LABELS = "labels/combined_windows.json"

_COLUMNS = ("standard", "low_fp", "low_fn", "standard_shipped")

Window = tuple[int, int]


def evaluate(
    folder: Path,
    settings: TrainSettings,
    say: Callable[[str], None] = lambda _line: None,
) -> Evaluation:
    """Evaluate on all files that a folder has labels for.

    Args:
        folder: With ``data`` and ``labels`` as published.
        settings: How to train each file's model.
        say: Takes a line about what is being done.

    Raises:
        ConfigError: There are no such files.
    """
    try:
        labels = json.loads((folder / _LABELS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--data: expected NAB's {_LABELS} in {folder} or in its folder nab: {error}"
        ) from error
    recordings, scored, shipped, plain = [], [], [], []
    for number, (name, spans) in enumerate(sorted(labels.items()), 1):
        say(f"{name} ({number} of {len(labels)})")
        data = read_csv([folder / "data" / name], time_column="timestamp")
        windows = rows_of(data, spans)
        recording, trace = _recording(name, data, windows, settings)
        recordings.append(recording)
        scored.append(Scored(trace.score, windows))
        shipped.append(Scored(opened(trace.is_alarmed).astype(np.float64), windows))
        _, baseline = _recording(name, data, windows, TrainSettings(kind="pca", window=1))
        plain.append(Scored(baseline.score, windows))
    ours = _figures(scored)
    ours["standard_shipped"] = score_at(shipped, PROFILES[0], 1.0)
    ones = [Scored(np.ones(len(each.score)), each.windows) for each in scored]
    return Evaluation(
        title=f"NAB, {len(labels)} files",
        figures=ours,
        columns=_COLUMNS,
        rows={
            "headgate": ours,
            "T2+Q": _figures(plain),
            "all ones": _figures(ones),
        },
        recordings=tuple(recordings),
    )


def rows_of(data: TrainingData, spans: Sequence[Sequence[str]]) -> list[Window]:
    """First and last row of each labelled window, given as times."""
    found = []
    for first, last in spans:
        begin, end = (
            int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS_PER_S
            for text in (first, last)
        )
        rows = np.flatnonzero((data.time_ns >= begin) & (data.time_ns <= end))
        found.append((int(rows[0]), int(rows[-1])))
    return found


def _recording(
    name: str, data: TrainingData, windows: Sequence[Window], settings: TrainSettings
) -> tuple[Evaluated, Trace]:
    first_scored = probation(len(data))
    # Rows come when they come: at the finest spacing each has a step of its own.
    spacing_ns = np.diff(data.time_ns)
    period_ns = int(spacing_ns[spacing_ns > 0].min())
    with tempfile.TemporaryDirectory(prefix="headgate-evaluate-") as folder:
        package = train(
            "nab",
            "series",
            data.head(first_scored),
            {},
            Path(folder) / "m",
            replace(settings, period_ns=period_ns),
        )
        trace = drive(package, data)
    label = np.zeros(len(data), np.bool_)
    for first, last in windows:
        label[first : last + 1] = True
    recording = Evaluated.of(name.removesuffix(".csv"), package, data, label, trace, first_scored)
    return recording, trace


def _figures(files: Sequence[Scored]) -> dict[str, float]:
    return {profile.name: best_score(files, profile)[0] for profile in PROFILES} | {
        "standard_shipped": float("nan")
    }


def opened(is_alarmed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The rows at which an anomaly has opened."""
    rows: NDArray[np.bool_] = is_alarmed & ~np.append(False, is_alarmed[:-1])
    return rows
