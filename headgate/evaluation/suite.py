"""A folder of labelled recordings, each with a model of its own: what any benchmark comes down to.

A recording is a CSV or Parquet file with channels as columns, a column of labels, and a column of
times or rows that are evenly spaced. NASA's telemetry (Hundman et al., KDD 2018) is such a folder;
which rows of a series are its training part stands in a table of the folder's ``README.md``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S
from headgate.core.errors import ConfigError
from headgate.evaluation.compare import compare
from headgate.evaluation.drive import drive
from headgate.evaluation.finished import finished
from headgate.evaluation.result import Evaluated, Evaluation
from models.training.data import TrainingData, csv_columns, read_csv
from models.training.train import TrainSettings, train

#: What columns of times and of labels are called, the likeliest first.
_TIMES = ("time", "timestamp", "datetime", "date", "DATETIME")
_LABELS = ("label", "labels", "fault", "anomaly", "is_anomaly", "is_fault", "attack", "wrong")

#: Columns that are marks of another kind, and no channels.
_MARKS = ("changepoint",)

_SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Columns:
    """Where things stand in recordings. None looks for the usual names.

    Attributes:
        time: Column of times.
        time_unit_ns: Of times that are numbers, ns.
        period_ns: Time between two rows where there is no such column.
        label: Column of labels.
        channels: Columns to take; None takes all with numbers.
    """

    time: str | None = None
    time_unit_ns: int = NS_PER_S
    period_ns: int | None = None
    label: str | None = None
    channels: Sequence[str] | None = None


def evaluate(
    folder: Path,
    settings: TrainSettings,
    columns: Columns,
    *,
    rows: int | None = None,
    training: Mapping[str, int] | None = None,
    title: str = "",
    say: Callable[[str], None] = lambda _line: None,
) -> Evaluation:
    """Evaluate on every recording in and below a folder.

    Args:
        folder: Where they are.
        settings: How to train each recording's model.
        columns: Where things stand in them.
        rows: At the beginning of each that are trained on and not scored; None is the first
            quarter.
        training: The same by file name without ending; a recording that is not in it is left out.
        title: For people; the folder's name by default.
        say: Takes a line about what is being done.

    Raises:
        ConfigError: There are no recordings, or none of them can be used.
    """
    paths = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in _SUFFIXES and (training is None or path.stem in training)
    }
    if not paths:
        raise ConfigError(f"--data: expected recordings (.csv or .parquet) in {folder}, found none")

    def one(name: str) -> Evaluated:
        data, label = read(paths[name], columns)
        first = rows if training is None else training[paths[name].stem]
        return _evaluated(name, data, label, len(data) // 4 if first is None else first, settings)

    recordings, failed = finished(paths, one, say)
    say("the plain ways beside it")
    name = title or folder.resolve().name
    return replace(compare(f"{name}, {len(recordings)} recordings", recordings), failed=failed)


def training_rows(folder: Path) -> dict[str, int]:
    """By series, how many rows at its beginning are for training, from the folder's README.

    Raises:
        ConfigError: There is no table with columns ``series`` and ``train``.
    """
    file = folder / "README.md"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"--data: expected {file}: {error.strerror}") from error
    found: dict[str, int] = {}
    header: list[str] = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if {"series", "train"} <= set(cells):
            header = cells
        elif header and len(cells) == len(header):
            row = dict(zip(header, cells, strict=True))
            if row["train"].isdigit():
                found[row["series"]] = int(row["train"])
    if not found:
        raise ConfigError(
            f"{file}: expected a table with columns series and train, found none; for recordings "
            "without one use: headgate evaluate suite"
        )
    return found


def read(path: Path, columns: Columns) -> tuple[TrainingData, NDArray[np.bool_]]:
    """A recording's rows, and bool[n] labels.

    Raises:
        ConfigError: It can't be read, or has no labels.
    """
    is_csv = path.suffix.lower() == ".csv"
    table = None if is_csv else _table(path)
    header = csv_columns(path) if table is None else table.column_names
    label = _named(path, header, columns.label, _LABELS, "labels")
    time = columns.time or next((name for name in _TIMES if name in header), _TIMES[0])
    channels = columns.channels
    if channels is not None:
        channels = [*(name for name in channels if name != label), label]
    if table is None:
        data = read_csv(
            [path],
            time_column=time,
            time_unit_ns=columns.time_unit_ns,
            period_ns=columns.period_ns,
            channels=channels,
            label_column=label,
        )
    else:
        data = _from_table(path, table, time, channels, columns)
    data, is_faulty = data.split_labels(label)
    is_channel = np.array([name not in _MARKS for name in data.names])
    names = tuple(name.replace(" ", "_") for name in data.names)
    return replace(data, names=names).select(is_channel), is_faulty


def _evaluated(
    name: str,
    data: TrainingData,
    label: NDArray[np.bool_],
    first: int,
    settings: TrainSettings,
) -> Evaluated:
    if not 0 < first < len(data):
        raise ConfigError(f"expected rows after the {first} to train on, found {len(data)} in all")
    fit = data.head(first)
    if label[:first].all():
        raise ConfigError(f"expected healthy rows among the first {first}, found all labelled")
    if label[:first].any():
        fit = fit.without(label[:first])
    with tempfile.TemporaryDirectory(prefix="headgate-evaluate-") as folder:
        package = train("suite", "series", fit, {}, Path(folder) / "m", settings)
        trace = drive(package, data)
    return Evaluated.of(name, package, data, label, trace, first)


def _named(
    path: Path, header: Sequence[str], given: str | None, usual: Sequence[str], what: str
) -> str:
    for name in usual if given is None else (given,):
        if name in header:
            return name
    wanted = f"a column {given!r}" if given is not None else f"one of {', '.join(usual)}"
    raise ConfigError(
        f"{path}: expected {wanted} with {what}, found {', '.join(header[:10])}; name it with "
        f"--{what}"
    )


def _table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: expected a Parquet file: {error}") from error


def _from_table(
    path: Path,
    table: pa.Table,
    time: str,
    channels: Sequence[str] | None,
    columns: Columns,
) -> TrainingData:
    is_number = {
        field.name: pa.types.is_integer(field.type)
        or pa.types.is_floating(field.type)
        or pa.types.is_boolean(field.type)
        for field in table.schema
    }
    names = channels
    if names is None:
        names = [name for name in table.column_names if is_number[name] and name != time]
    absent = [name for name in names if not is_number.get(name, False)]
    if absent:
        raise ConfigError(f"{path}: expected columns of numbers {absent}, found {list(is_number)}")
    if time in is_number:
        column = table.column(time)
        if pa.types.is_timestamp(column.type):
            time_ns = column.cast(pa.timestamp("ns")).cast(pa.int64()).to_numpy()
        elif is_number[time]:
            time_ns = np.round(column.to_numpy().astype(np.float64) * columns.time_unit_ns)
        else:
            raise ConfigError(f"{path}: expected times or numbers in {time!r}, got {column.type}")
    elif columns.period_ns is not None:
        time_ns = np.arange(table.num_rows) * columns.period_ns
    else:
        raise ConfigError(
            f"{path}: expected a time column {time!r}, found {', '.join(table.column_names[:10])}; "
            "name it with --time, or say how far rows are apart with --period"
        )
    values = [table.column(name).cast(pa.float64()).to_numpy() for name in names]
    order = np.argsort(time_ns, kind="stable")
    return TrainingData(
        tuple(names),
        time_ns.astype(np.int64)[order],
        np.zeros(table.num_rows, np.int32),
        np.column_stack(values)[order],
        (path.stem,),
    )
