"""A user's own labelled recordings: what a model finds in them, and what it costs in false alarms.

Each device is judged by itself; what was found is counted together.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.core.errors import ConfigError
from headgate.evaluation.compare import compare
from headgate.evaluation.drive import drive_together
from headgate.evaluation.judged import Judged, figures
from headgate.evaluation.metrics import events
from headgate.evaluation.result import Evaluated, Evaluation
from models.package import ModelPackage
from models.training.data import TrainingData, joined
from models.training.progress import Progress, silent
from models.training.train import TrainSettings, train


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
    traces = drive_together(package, [each.data for each in recordings])
    found = figures(
        [
            Judged.of(
                Evaluated.of(each.name, package, each.data, each.label, trace),
                trace.is_alarmed,
                trace.score,
            )
            for trace, each in zip(traces, recordings, strict=True)
        ]
    )
    return {name: found[name] for name in ("precision", "recall", "f1", "vus_pr")}


def evaluate(
    title: str,
    recordings: Sequence[Recording],
    *,
    rows: int | None = None,
    package: ModelPackage | None = None,
    settings: TrainSettings | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Evaluation:
    """Evaluate one model on one or several devices' rows, each device by itself.

    Args:
        title: For people.
        recordings: A device each.
        rows: At the beginning of each that are not scored, and fitted on without a package except
            for those labelled as faulty; None is the first quarter, or none with a package.
        package: A finished model; None trains one on what is fitted on of all devices.
        settings: How.
        say: Takes a line about what is being done.

    Raises:
        ConfigError: There is nothing to score, nothing is labelled, or nothing to fit on is not.
    """
    settings = settings or TrainSettings()
    if rows is not None:
        fit_rows = [rows] * len(recordings)
    else:
        fit_rows = [0 if package is not None else len(each.data) // 4 for each in recordings]
    _check(recordings, fit_rows)
    fit, notes = _healthy(recordings, fit_rows, say)
    with tempfile.TemporaryDirectory(prefix="headgate-evaluate-") as folder:
        if package is None:
            say("training")
            package = train(title, title, fit, {}, Path(folder) / "m", settings)
        rows_of_all = [each.data for each in recordings]
        say("scoring")
        traces = drive_together(package, rows_of_all)
    shown = [
        Evaluated.of(each.name, package, each.data, each.label, trace, first)
        for each, trace, first in zip(recordings, traces, fit_rows, strict=True)
    ]
    say("the plain ways beside it")
    return compare(title, shown, notes)


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
    traces = drive_together(
        package, [data for _, data, _ in parts], progress=partial(progress, "scoring")
    )
    for (name, data, label), trace in zip(parts, traces, strict=True):
        known = np.zeros(len(data), np.bool_) if label is None else label
        recordings.append(Evaluated.of(name, package, data, known, trace))
        found = {
            "rows": float(len(data)),
            "alarms": float(len(events(trace.is_alarmed))),
            "alarmed_part": float(trace.is_alarmed.mean()),
        }
        if label is not None and label.any():
            found |= figures([Judged.of(recordings[-1], trace.is_alarmed, trace.score)])
        rows[name] = found
    columns = tuple(dict.fromkeys(column for row in rows.values() for column in row))
    filled = {
        name: {column: row.get(column, math.nan) for column in columns}
        for name, row in rows.items()
    }
    return Evaluation(title, {}, columns, filled, recordings=tuple(recordings))


def _healthy(
    recordings: Sequence[Recording], fit_rows: Sequence[int], say: Callable[[str], None]
) -> tuple[TrainingData, list[str]]:
    """What is fitted on of all devices, and a line for each that has faulty rows in its part."""
    pairs = list(zip(recordings, fit_rows, strict=True))
    fit = joined([each.data.head(count) for each, count in pairs])
    is_faulty = np.concatenate([each.label[:count] for each, count in pairs])
    if not is_faulty.any():
        return fit, []
    if is_faulty.all():
        raise ConfigError(
            f"{', '.join(each.name for each in recordings)}: expected rows to train on that are "
            f"not labelled as faulty, found all of the first {len(fit):,} labelled; give more "
            "--rows, or are the labels in the right column?"
        )
    notes = [
        f"{each.name}: {int(each.label[:count].sum()):,} of the first {count:,} rows are labelled "
        "as faulty and not trained on"
        for each, count in pairs
        if each.label[:count].any()
    ]
    for note in notes:
        say(note)
    return fit.without(is_faulty), notes


def _check(recordings: Sequence[Recording], fit_rows: Sequence[int]) -> None:
    """That there are rows to score of each device, and labelled ones among all of them."""
    for each, first in zip(recordings, fit_rows, strict=True):
        if first >= len(each.data):
            raise ConfigError(
                f"{each.name}: expected rows after the first {first}, found {len(each.data)} in "
                "all; give fewer --rows"
            )
    pairs = list(zip(recordings, fit_rows, strict=True))
    if not any(each.label[first:].any() for each, first in pairs):
        names = ", ".join(each.name for each in recordings)
        after = ", ".join(str(first) for first in dict.fromkeys(fit_rows))
        raise ConfigError(
            f"{names}: expected labelled rows after the first {after}, found none in "
            f"{sum(len(each.data) for each in recordings)}; are the labels in the right column?"
        )
