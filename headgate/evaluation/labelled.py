"""A user's own labelled recordings: what a model finds in them, and what it costs in false alarms.

Each device is judged by itself; what was found is counted together.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S
from headgate.core.errors import ConfigError
from headgate.evaluation.drive import drive_together
from headgate.evaluation.metrics import Confusion, delays, events, false_alarms, vus_pr
from headgate.evaluation.result import Evaluated, Evaluation
from models.package import ModelPackage
from models.training.data import TrainingData, joined
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


@dataclass(frozen=True, slots=True)
class _Found:
    """What a detector has said to the scored rows of one device.

    Attributes:
        counts: Of rows.
        late_s: From the beginning of each event that it found to its alarm.
        events: How many there were.
        false_alarms: Alarms that touch none of them.
        span_s: From the first row to the last.
        volume: VUS-PR; None without events.
    """

    counts: Confusion
    late_s: list[float]
    events: int
    false_alarms: int
    span_s: float
    volume: float | None


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
    figures = _figures(
        [
            _found(trace.is_alarmed, trace.score, each)
            for trace, each in zip(traces, recordings, strict=True)
        ]
    )
    return {name: figures[name] for name in ("precision", "recall", "f1", "vus_pr")}


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
    is_fitted = any(fit_rows)
    fit, notes = _healthy(recordings, fit_rows, say)
    with tempfile.TemporaryDirectory(prefix="headgate-evaluate-") as folder:
        if package is None:
            say("training")
            package = train(title, title, fit, {}, Path(folder) / "m", settings)
        rows_of_all = [each.data for each in recordings]
        say("scoring")
        traces = drive_together(package, rows_of_all)
        beside = []
        if is_fitted:
            say("T2+Q beside it")
            plain = train("p", title, fit, {}, Path(folder) / "p", replace(settings, kind="pca"))
            beside = drive_together(plain, rows_of_all)
    ours, plainly, always = [], [], []
    for at, (each, first) in enumerate(zip(recordings, fit_rows, strict=True)):
        ours.append(_found(traces[at].is_alarmed, traces[at].score, each, first))
        if is_fitted:
            plainly.append(_found(beside[at].is_alarmed, beside[at].score, each, first))
        every = np.ones(len(each.label), np.bool_)
        always.append(_found(every, every.astype(np.float64), each, first))
    table = {"headgate": _figures(ours)}
    if len(recordings) > 1:
        for each, found in zip(recordings, ours, strict=True):
            table[f"headgate, {each.name}"] = _figures([found])
    if is_fitted:
        table["T2+Q"] = _figures(plainly)
    table["all ones"] = _figures(always)
    shown = tuple(
        Evaluated.of(each.name, package, each.data, each.label, trace, first)
        for each, trace, first in zip(recordings, traces, fit_rows, strict=True)
    )
    return Evaluation(
        title, table["headgate"], _COLUMNS, table, recordings=shown, notes=tuple(notes)
    )


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
            recording = Recording(name, data, label)
            found |= _figures([_found(trace.is_alarmed, trace.score, recording)])
        rows[name] = found
    columns = tuple(dict.fromkeys(column for row in rows.values() for column in row))
    filled = {
        name: {column: row.get(column, math.nan) for column in columns}
        for name, row in rows.items()
    }
    return Evaluation(title, {}, columns, filled, recordings=tuple(recordings))


def _found(
    alarm: NDArray[np.bool_], score: NDArray[np.float64], recording: Recording, first: int = 0
) -> _Found:
    """From this row on."""
    alarm, label, time_ns = alarm[first:], recording.label[first:], recording.data.time_ns[first:]
    spans = events(label)
    late_s = [
        float(time_ns[begin + late] - time_ns[begin]) / NS_PER_S
        for (begin, _), late in zip(spans, delays(alarm, label), strict=True)
        if late is not None
    ]
    return _Found(
        Confusion.of(alarm, label),
        late_s,
        len(spans),
        false_alarms(alarm, label),
        float(time_ns[-1] - time_ns[0]) / NS_PER_S,
        # Rows without a score say nothing: they rank last.
        vus_pr(np.nan_to_num(score[first:], nan=-np.inf), label) if spans else None,
    )


def _figures(devices: Sequence[_Found]) -> dict[str, float]:
    """Of all devices together; what has no value, such as a delay of nothing found, is NaN."""
    counts = Confusion()
    for each in devices:
        counts += each.counts
    late_s = [late for each in devices for late in each.late_s]
    days = max(sum(each.span_s for each in devices) / _DAY_S, 1e-9)
    volumes = [each.volume for each in devices if each.volume is not None]
    return {
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "mcc": counts.mcc,
        "events": float(sum(each.events for each in devices)),
        "detected": float(len(late_s)),
        "delay_s": float(np.median(late_s)) if late_s else math.nan,
        "false_alarms_per_day": sum(each.false_alarms for each in devices) / days,
        "vus_pr": float(np.mean(volumes)) if volumes else math.nan,
    }


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
