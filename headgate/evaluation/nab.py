"""The Numenta Anomaly Benchmark, v1.1: single series, each with a model of its own.

A model is fitted on a file's probationary rows; nothing else of a file is known in advance.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.core.errors import ConfigError
from headgate.core.iso import parse_iso_ns
from headgate.evaluation.baselines import PLAIN_WAYS, Plain, scaled
from headgate.evaluation.compare import kinds
from headgate.evaluation.drive import drive
from headgate.evaluation.finished import finished
from headgate.evaluation.nab_score import PROFILES, Scored, best_score, probation, score_at
from headgate.evaluation.result import Evaluated, Evaluation
from models.training.data import TrainingData, read_csv
from models.training.train import TrainSettings, train

_LABELS = "labels/combined_windows.json"

_BEST = tuple(profile.name for profile in PROFILES)
_SHIPPED = tuple(f"{name}_shipped" for name in _BEST)

Window = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _File:
    """What was said to one file.

    Attributes:
        recording: As it was scored.
        scored: Its scores, each told once.
        shipped: 1 where an anomaly opened by the threshold that ships.
        quiet: For how many steps an alarm is quiet.
    """

    recording: Evaluated
    scored: Scored
    shipped: Scored
    quiet: int


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
    one = partial(_file, folder, labels, settings)
    files, failed = finished(sorted(labels), one, say)
    recordings = [each.recording for each in files]
    ours = _figures([each.scored for each in files])
    ours |= {
        name: score_at([each.shipped for each in files], profile, 1.0)
        for name, profile in zip(_SHIPPED, PROFILES, strict=True)
    }
    say("the plain ways beside it")
    plain = {name: [_plainly(each, way) for each in files] for name, way in PLAIN_WAYS.items()}
    ones = [Scored(np.ones(len(each.scored.score)), each.scored.windows) for each in files]
    return Evaluation(
        title=f"NAB, {len(files)} files",
        figures=ours,
        columns=(*_BEST, *_SHIPPED),
        rows={"headgate": ours}
        | {name: _figures(scored) for name, scored in plain.items()}
        | {"all ones": _figures(ones)},
        recordings=tuple(recordings),
        notes=tuple(kinds(recordings)),
        failed=failed,
    )


def rows_of(data: TrainingData, spans: Sequence[Sequence[str]]) -> list[Window]:
    """First and last row of each labelled window, given as times."""
    found = []
    for first, last in spans:
        begin, end = parse_iso_ns(first), parse_iso_ns(last)
        rows = np.flatnonzero((data.time_ns >= begin) & (data.time_ns <= end))
        found.append((int(rows[0]), int(rows[-1])))
    return found


def told(score: NDArray[np.float64], quiet: int) -> NDArray[np.float64]:
    """Scores that would open an anomaly, had it no end; 0 where one has said as much not long ago.

    NAB charges every row over the threshold outside a window, so a detector says an event once.
    What the package's alarm does at one threshold this does at all of them.

    Args:
        score: float64[n], NaN where there is none.
        quiet: So many steps after the last score that was told only a higher one is; 0 tells all.
    """
    if not quiet:
        return score
    once = np.where(np.isnan(score), np.nan, 0.0)
    peak, since = 0.0, 0
    for row, each in enumerate(score.tolist()):
        if row - since > quiet:
            peak = 0.0
        if each > peak:
            once[row] = peak = each
            since = row
    return once


def _file(
    folder: Path,
    labels: Mapping[str, Sequence[Sequence[str]]],
    settings: TrainSettings,
    name: str,
) -> _File:
    data = read_csv([folder / "data" / name], time_column="timestamp")
    windows = rows_of(data, labels[name])
    first_scored = probation(len(data))
    # Rows come when they come: at the finest spacing each has a step of its own.
    spacing_ns = np.diff(data.time_ns)
    period_ns = int(spacing_ns[spacing_ns > 0].min())
    with tempfile.TemporaryDirectory(prefix="headgate-evaluate-") as there:
        package = train(
            "nab",
            "series",
            data.head(first_scored),
            {},
            Path(there) / "m",
            replace(settings, period_ns=settings.period_ns or period_ns),
        )
        trace = drive(package, data)
    label = np.zeros(len(data), np.bool_)
    for first, last in windows:
        label[first : last + 1] = True
    quiet = package.manifest.alarm.quiet
    return _File(
        Evaluated.of(name.removesuffix(".csv"), package, data, label, trace, first_scored),
        Scored(told(trace.score, quiet), windows),
        Scored(opened(trace.is_alarmed).astype(np.float64), windows),
        quiet,
    )


def _plainly(file: _File, way: Plain) -> Scored:
    """A plain way's scores, told once as the detector's are."""
    recording = file.recording
    score = way(scaled(recording), recording.first_scored)
    return Scored(told(score, file.quiet), file.scored.windows)


def _figures(files: Sequence[Scored]) -> dict[str, float]:
    return {profile.name: best_score(files, profile)[0] for profile in PROFILES} | dict.fromkeys(
        _SHIPPED, math.nan
    )


def opened(is_alarmed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The rows at which an anomaly has opened."""
    rows: NDArray[np.bool_] = is_alarmed & ~np.append(False, is_alarmed[:-1])
    return rows
