"""The BATtle of the Attack Detection ALgorithms: a water network's SCADA, by its official score.

A model is fitted on months without attacks and scored on months with some:
``S = (S_TTD + S_CM) / 2`` with ``S_TTD`` one less the mean of time to detect over an attack's
length (1 for a missed one), and ``S_CM`` the mean of TPR and TNR over hours (Taormina et al.,
"Battle of the Attack Detection Algorithms", J. Water Resour. Plann. Manage. 144 (2018)).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S
from headgate.core.csv_file import CsvFile
from headgate.core.errors import ConfigError
from headgate.evaluation.baselines import PLAIN_WAYS, alarmed
from headgate.evaluation.compare import kinds
from headgate.evaluation.drive import drive
from headgate.evaluation.metrics import Confusion, events
from headgate.evaluation.result import Evaluated, Evaluation
from models.package import ModelPackage
from models.training.data import TrainingData, time_text
from models.training.train import TrainSettings, train

TRAIN, TEST, ATTACKS = (
    "BATADAL_dataset03.csv",
    "BATADAL_dataset04.csv",
    "attacks_dataset04.csv",
)

_TIME, _FLAG = "DATETIME", "ATT_FLAG"

_COLUMNS = ("s", "s_ttd", "s_cm", "tpr", "tnr", "f1", "detected", "mcc")

#: Multiples of the threshold that ``choose`` is asked about.
_MULTIPLES = (0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5)

#: Hours that show how a feed is written, and decimals that are too many to be meant.
_FIRST_HOURS, _MOST_DECIMALS = 24, 5

#: A gain in S that is more than chance.
_CLEARLY = 0.01

_Span = tuple[int, int]


def evaluate(
    training: Path,
    test: Path,
    attacks: Path | None,
    settings: TrainSettings,
    *,
    usual: Path | None = None,
    choose: tuple[Path, Path | None] | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Evaluation:
    """Evaluate.

    Args:
        training: Hours without attacks.
        test: Hours with attacks.
        attacks: When the test's attacks were: number, first and last hour. None looks for them;
            see ``find_attacks``.
        settings: How to train.
        usual: Attacks to take where the test has none of its own.
        choose: Further hours and their attacks, or None as above, to choose the threshold's
            multiple by; without them it is the one that training has set.
        say: Takes a line about what is being done.

    Raises:
        ConfigError: A file can't be read; one line.
    """
    fit, data = read(training), read(test)
    spans = find_attacks(test, data, attacks, "--attacks", usual)
    chooser = None
    if choose is not None:
        hours, given = choose
        known = read(hours)
        chooser = hours, known, find_attacks(hours, known, given, "--choose-attacks")
    with tempfile.TemporaryDirectory(prefix="headgate-evaluate-") as folder:
        say(f"training on {training.name}")
        # Records of one resolution teach nothing about those of another; how finely a feed is
        # written is known from its first rows, which are not scored.
        settings = replace(settings, decimals=decimals(data.values[:_FIRST_HOURS]))
        package = train("batadal", "network", fit, {}, Path(folder) / "m", settings)
        multiple = 1.0 if chooser is None else _chosen(package, *chooser, say)
        say(f"scoring {test.name}")
        trace = drive(package, data, sensitivity=multiple)
    label = _labels(spans, len(data))
    say("the plain ways beside it")
    recording = Evaluated.of(test.stem, package, data, label, trace)
    rate = Confusion.of(trace.is_alarmed, label).far / 100
    # The hours that were trained on are no part of the recording; the plain ways need them too.
    behind = replace(
        recording,
        time_ns=np.concatenate([fit.time_ns, data.time_ns]),
        values=np.concatenate([fit.values, data.values]),
        label=np.concatenate([np.zeros(len(fit), np.bool_), label]),
        first_scored=len(fit),
    )
    return Evaluation(
        title=f"BATADAL, {test.stem}, {len(spans)} attacks",
        figures=figures(trace.is_alarmed, spans),
        columns=_COLUMNS,
        rows={
            "headgate": figures(trace.is_alarmed, spans),
            **{
                name: figures(alarmed(behind, way, rate)[0][len(fit) :], spans)
                for name, way in PLAIN_WAYS.items()
            },
            "all ones": figures(np.ones(len(data), np.bool_), spans),
        },
        recordings=(recording,),
        notes=tuple(kinds([recording])),
    )


def figures(alarm: NDArray[np.bool_], spans: Sequence[_Span]) -> dict[str, float]:
    """The official figures of bool[n] alarms.

    Args:
        alarm: By hour.
        spans: First and last row of each attack.
    """
    counts = Confusion.of(alarm, _labels(spans, len(alarm)))
    late = []
    for first, last in spans:
        hits = np.flatnonzero(alarm[first : last + 1])
        late.append(hits[0] / (last - first + 1) if len(hits) else 1.0)
    s_ttd = 1 - float(np.mean(late))
    s_cm = (counts.recall + counts.specificity) / 2
    return {
        "s": (s_ttd + s_cm) / 2,
        "s_ttd": s_ttd,
        "s_cm": s_cm,
        "tpr": counts.recall,
        "tnr": counts.specificity,
        "f1": counts.f1,
        "detected": float(sum(each < 1 for each in late)),
        "mcc": counts.mcc,
    }


def decimals(values: NDArray[np.float64]) -> int | None:
    """Decimals that values are written with; None when they are more than a few."""
    for count in range(_MOST_DECIMALS):
        if np.allclose(values, np.round(values, count), rtol=0, atol=1e-9):
            return count
    return None


def read(path: Path) -> TrainingData:
    """Read hours of the network's signals; the column ``ATT_FLAG`` is left out.

    Raises:
        ConfigError: It is no such file.
    """
    (_, header), *rows = _rows(path)
    wanted = [column for column, name in enumerate(header) if name not in (_TIME, _FLAG)]
    if _TIME not in header or not wanted:
        raise ConfigError(f"{path}: expected a column {_TIME} and signals, found {header[:5]}")
    clock = header.index(_TIME)
    times, values = [], []
    for line, row in rows:
        times.append(_time_ns(path, line, row[clock], "%d/%m/%y %H"))
        try:
            values.append([float(row[column]) for column in wanted])
        except ValueError as error:
            raise ConfigError(f"{path}:{line}: expected numbers: {error}") from error
    names = tuple(header[column] for column in wanted)
    count = len(times)
    return TrainingData(
        names, np.array(times, np.int64), np.zeros(count, np.int32), np.array(values)
    )


def find_attacks(
    hours: Path,
    data: TrainingData,
    given: Path | None,
    option: str,
    usual: Path | None = None,
) -> list[_Span]:
    """First and last row of each attack in these hours.

    Where no file is given it is the one beside the hours that is called like them,
    ``attacks_dataset04.csv`` for ``BATADAL_dataset04.csv``; else the hours tell themselves, by the
    runs of 1 in their column ``ATT_FLAG``, which must be 0 or 1 in every row; else it is the usual
    file.

    Args:
        hours: The file with the hours.
        data: What is in it.
        given: The file with the attacks.
        option: What gives it.
        usual: The last to be looked for.

    Raises:
        ConfigError: There is none, it can't be read, or its attacks lie elsewhere.
    """
    if given is not None:
        return read_attacks(given, data)
    named = hours.with_name(f"attacks_{hours.stem.removeprefix('BATADAL_')}.csv")
    if named.is_file():
        return read_attacks(named, data)
    flag = _flags(hours)
    if flag is not None:
        spans = events(flag)
        if not spans:
            raise ConfigError(
                f"{hours}: expected attacks, found {_FLAG} 0 in every row; are they in a file? "
                f"name it with {option}"
            )
        return spans
    if usual is not None and usual.is_file():
        return read_attacks(usual, data)
    raise ConfigError(
        f"{hours}: expected its attacks in {named.name} beside it, or 0 or 1 in every row of a "
        f"column {_FLAG}, found neither; name them with {option} FILE"
    )


def read_attacks(path: Path, data: TrainingData) -> list[_Span]:
    """First and last row of each attack of a file.

    Raises:
        ConfigError: The file can't be read, or its attacks lie elsewhere.
    """
    spans = []
    for line, row in _rows(path)[1:]:
        if len(row) < 3:
            raise ConfigError(
                f"{path}:{line}: expected number, first and last hour of an attack, got {row}"
            )
        first, last = (_time_ns(path, line, text, "%d/%m/%Y %H") for text in row[1:3])
        inside = np.flatnonzero((data.time_ns >= first) & (data.time_ns <= last))
        if not len(inside):
            raise ConfigError(
                f"{path}:{line}: expected an attack within the hours, which are from "
                f"{time_text(data.time_ns.min())} to {time_text(data.time_ns.max())}, got one from "
                f"{row[1]} to {row[2]}"
            )
        spans.append((int(inside[0]), int(inside[-1])))
    return spans


def _flags(path: Path) -> NDArray[np.bool_] | None:
    """bool[n]: whether there was an attack; None where hours do not say so of every row."""
    (_, header), *rows = _rows(path)
    if _FLAG not in header:
        return None
    at = header.index(_FLAG)
    try:
        flags = np.array([float(row[at]) for _, row in rows])
    except ValueError:
        return None
    return flags > 0 if np.isin(flags, (0, 1)).all() else None


def _chosen(
    package: ModelPackage,
    hours: Path,
    data: TrainingData,
    spans: Sequence[_Span],
    say: Callable[[str], None],
) -> float:
    """The threshold's multiple that gives the highest S on these hours."""
    found = []
    for multiple in _MULTIPLES:
        trace = drive(package, data, sensitivity=multiple)
        found.append((figures(trace.is_alarmed, spans)["s"], multiple))
        say(f"threshold x {multiple:g} on {hours.name}: S {found[-1][0]:.3f}")
    # Seven attacks tell no finer: what training has set is kept unless another is clearly better.
    return max(found, key=lambda pair: pair[0] - (_CLEARLY if pair[1] != 1 else 0))[1]


def _labels(spans: Sequence[_Span], rows: int) -> NDArray[np.bool_]:
    label = np.zeros(rows, np.bool_)
    for first, last in spans:
        label[first : last + 1] = True
    return label


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Header and rows, each with its line in the file and a cell for each name.

    Names and cells are without spaces around.
    """
    with CsvFile(path) as file:
        rows = [(line, [cell.strip() for cell in row]) for line, row in file.rows(",")]
    if len(rows) < 2:
        raise ConfigError(f"{path}: expected rows under a header, found none")
    width = len(rows[0][1])
    for line, row in rows:
        if len(row) < width:
            raise ConfigError(
                f"{path}:{line}: expected {width} cells as in the header, found {len(row)}"
            )
    return rows


def _time_ns(path: Path, line: int, text: str, pattern: str) -> int:
    try:
        moment = datetime.strptime(text, pattern).replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigError(f"{path}:{line}: expected a time like {pattern}, got {text!r}") from error
    return int(moment.timestamp()) * NS_PER_S
