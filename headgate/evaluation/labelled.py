"""A user's own labelled recording: what a model finds in it, and what it costs in false alarms."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S
from headgate.core.errors import ConfigError
from headgate.evaluation.drive import drive
from headgate.evaluation.metrics import Confusion, delays, events, false_alarms, vus_pr
from headgate.evaluation.result import Evaluated, Evaluation
from models.package import ModelPackage
from models.training.data import TrainingData
from models.training.progress import Progress, silent
from models.training.train import TrainSettings, train

_DAY_S = 86_400

_COLUMNS = (
    "precision",
    "recall",
    "f1",
    "mcc",
    "events",
    "detected",
    "delay_s",
    "false_alarms_per_day",
    "vus_pr",
)


@dataclass(frozen=True, slots=True)
class Recording:
    """One device's rows.

    Attributes:
        name: Of the recording.
        data: Its rows, in order of time.
        label: bool[n], True where something was wrong.
    """

    name: str
    data: TrainingData
    label: NDArray[np.bool_]


def judge(recordings: Sequence[Recording], package: ModelPackage) -> dict[str, float]:
    """What a finished model finds: precision, recall and F1 of all rows, and the mean VUS-PR.

    A recording without labelled rows, such as a device of a fleet that was well all the time,
    counts with its false alarms; it has no VUS-PR.

    Raises:
        ConfigError: Nothing is labelled in any of the recordings.
    """
    if not any(each.label.any() for each in recordings):
        names = ", ".join(each.name for each in recordings)
        raise ConfigError(
            f"{names}: expected rows that are labelled as wrong, found none; "
            "are the labels in the right column?"
        )
    counts, volumes = Confusion(), []
    for each in recordings:
        trace = drive(package, each.data)
        counts += Confusion.of(trace.is_alarmed, each.label)
        if each.label.any():
            volumes.append(_vus_pr(trace.score, each.label))
    return {
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "vus_pr": float(np.mean(volumes)),
    }


def evaluate(
    name: str,
    data: TrainingData,
    label: NDArray[np.bool_],
    *,
    fit_rows: int,
    package: ModelPackage | None = None,
    settings: TrainSettings | None = None,
) -> Evaluation:
    """Evaluate a model on one device's rows.

    Args:
        name: Of the recording.
        data: Rows of one device, in order of time.
        label: bool[n], True where something was wrong.
        fit_rows: Rows at the beginning that are not scored, and fitted on without a package.
        package: A finished model; None trains one.
        settings: How.

    Raises:
        ConfigError: There is nothing to score, or nothing is labelled.
    """
    scored = slice(fit_rows, None)
    _check(name, label, fit_rows)
    with tempfile.TemporaryDirectory(prefix="headgate-evaluate-") as folder:
        if package is None:
            fit = data.head(fit_rows)
            settings = settings or TrainSettings()
            package = train(name, name, fit, {}, Path(folder) / "m", settings)
        trace = drive(package, data)
        plain_settings = replace(settings or TrainSettings(), kind="pca")
        plain = (
            drive(
                train("p", name, data.head(fit_rows), {}, Path(folder) / "p", plain_settings), data
            )
            if fit_rows
            else None
        )
    rows = {"headgate": _figures(trace.is_alarmed, trace.score, data, label, scored)}
    if plain is not None:
        rows["T2+Q"] = _figures(plain.is_alarmed, plain.score, data, label, scored)
    every = np.ones(len(label), np.bool_)
    rows["all ones"] = _figures(every, every.astype(np.float64), data, label, scored)
    recording = Evaluated.of(name, package, data, label, trace, fit_rows)
    return Evaluation(name, rows["headgate"], _COLUMNS, rows, recordings=(recording,))


def look(
    title: str,
    package: ModelPackage,
    parts: Sequence[tuple[str, TrainingData, NDArray[np.bool_] | None]],
    progress: Progress = silent,
) -> Evaluation:
    """What a finished model says to recordings that may have no labels.

    Args:
        title: For people.
        package: The model.
        parts: Name, rows of one device, and bool[n] labels where there are any.
        progress: Is told how many rows have gone through the pipeline.
    """
    recordings, rows = [], {}
    for name, data, label in parts:
        trace = drive(package, data, progress=partial(progress, f"scoring {name}"))
        known = np.zeros(len(data), np.bool_) if label is None else label
        recordings.append(Evaluated.of(name, package, data, known, trace))
        found = {
            "rows": float(len(data)),
            "alarms": float(len(events(trace.is_alarmed))),
            "alarmed_part": float(trace.is_alarmed.mean()),
        }
        if label is not None and label.any():
            found |= _figures(trace.is_alarmed, trace.score, data, label, slice(None))
        rows[name] = found
    columns = tuple(dict.fromkeys(column for row in rows.values() for column in row))
    filled = {
        name: {column: row.get(column, math.nan) for column in columns}
        for name, row in rows.items()
    }
    return Evaluation(title, {}, columns, filled, recordings=tuple(recordings))


def _figures(
    alarm: NDArray[np.bool_],
    score: NDArray[np.float64],
    data: TrainingData,
    label: NDArray[np.bool_],
    scored: slice,
) -> dict[str, float]:
    alarm, label, time_ns = alarm[scored], label[scored], data.time_ns[scored]
    counts = Confusion.of(alarm, label)
    late_s = [
        (time_ns[first + late] - time_ns[first]) / NS_PER_S
        for (first, _), late in zip(events(label), delays(alarm, label), strict=True)
        if late is not None
    ]
    days = max(float(time_ns[-1] - time_ns[0]) / NS_PER_S / _DAY_S, 1e-9)
    return {
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "mcc": counts.mcc,
        "events": float(len(events(label))),
        "detected": float(len(late_s)),
        "delay_s": float(np.median(late_s)) if late_s else float("nan"),
        "false_alarms_per_day": false_alarms(alarm, label) / days,
        "vus_pr": _vus_pr(score[scored], label),
    }


def _check(name: str, label: NDArray[np.bool_], fit_rows: int) -> None:
    if not label[fit_rows:].any():
        raise ConfigError(
            f"{name}: expected labelled rows after the first {fit_rows}, found none in "
            f"{len(label)}; are the labels in the right column?"
        )


def _vus_pr(score: NDArray[np.float64], label: NDArray[np.bool_]) -> float:
    # Rows without a score say nothing: they rank last.
    return vus_pr(np.nan_to_num(score, nan=-np.inf), label)
