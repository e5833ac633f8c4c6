"""Recorded data for training: from CSV files to aligned, gap-aware rows."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S
from headgate.core.csv_file import CsvFile
from headgate.core.errors import ConfigError
from headgate.core.iso import parse_iso_ns
from models.training.progress import Progress, silent

#: Rows between two words about how far reading has come.
_TOLD_ROWS = 10_000

#: Words of a column of labels, and what they mean.
LABEL_WORDS = dict.fromkeys(
    ("false", "no", "n", "normal", "healthy", "ok", "good", "off"), "0"
) | dict.fromkeys(
    ("true", "yes", "y", "anomaly", "anomalous", "abnormal", "fault", "faulty", "bad", "attack"),
    "1",
)

_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")

#: Some 280 years from 1970: what int64 holds with room to subtract.
_FARTHEST_NS = 2**63 - 2**58


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Rows of one or several devices, each device's in order of time.

    Attributes:
        names: The channels.
        time_ns: int64[n].
        device: int32[n], number of the device; windows never cross devices.
        values: float64[n, channel], NaN where nothing was recorded.
        devices: Names of the devices by number, where they are known.
    """

    names: tuple[str, ...]
    time_ns: NDArray[np.int64]
    device: NDArray[np.int32]
    values: NDArray[np.float64]
    devices: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.time_ns)

    def head(self, rows: int) -> TrainingData:
        """The first rows."""
        return replace(
            self,
            time_ns=self.time_ns[:rows],
            device=self.device[:rows],
            values=self.values[:rows],
        )

    def take(self, is_wanted: NDArray[np.bool_]) -> TrainingData:
        """The rows under this mask."""
        return replace(
            self,
            time_ns=self.time_ns[is_wanted],
            device=self.device[is_wanted],
            values=self.values[is_wanted],
        )

    def without(self, is_out: NDArray[np.bool_]) -> TrainingData:
        """The rest, with a device of its own for each stretch: no window reaches across."""
        kept = np.flatnonzero(~is_out)
        begins = (np.diff(self.device[kept]) != 0) | (np.diff(kept) > 1)
        stretch = np.concatenate([np.zeros(min(len(kept), 1), np.int32), np.cumsum(begins)])
        return replace(self.take(~is_out), device=stretch.astype(np.int32), devices=())

    def split_labels(self, column: str) -> tuple[TrainingData, NDArray[np.bool_]]:
        """The other channels, and bool[n]: which rows this column says are faulty.

        Raises:
            ConfigError: The column is no label of every row, or there is no other.
        """
        if column not in self.names:
            raise ConfigError(
                f"--labels: expected a column of numbers, got {column!r}; found "
                f"{', '.join(self.names)}"
            )
        at = self.names.index(column)
        label = self.values[:, at]
        strange = int((~np.isin(label, (0, 1))).sum())
        if strange:
            raise ConfigError(
                f"--labels: expected 0 or 1 in every row of {column!r}, found neither in {strange} "
                f"of {len(label)}, nor words such as true and false; is it the right column, and "
                "as long as the others?"
            )
        names = (*self.names[:at], *self.names[at + 1 :])
        if not names:
            raise ConfigError(
                f"--labels: expected channels beside {column!r}, found none; name some in "
                "--channels, or leave it out"
            )
        return replace(self, names=names, values=np.delete(self.values, at, axis=1)), label > 0

    def select(self, is_wanted: NDArray[np.bool_]) -> TrainingData:
        """The same rows with the channels under this mask only."""
        names = tuple(name for name, kept in zip(self.names, is_wanted, strict=True) if kept)
        return replace(self, names=names, values=self.values[:, is_wanted])

    @property
    def is_state(self) -> NDArray[np.bool_]:
        """bool[channel]: those that only take 0 and 1: switches and commands.

        A channel that stood still on 0 or 1 is one where another takes both: commands come by the
        dozen, and most are never given. Alone it may be a measurement that has not moved yet.
        """
        only = np.all(np.isin(self.values, (0, 1)) | np.isnan(self.values), axis=0)
        both = only & (self.values == 0).any(axis=0) & (self.values == 1).any(axis=0)
        is_state: NDArray[np.bool_] = only if both.any() else both
        return is_state

    def rounded(self, decimals: int) -> TrainingData:
        """The same rows with values of so many decimals."""
        return replace(self, values=np.round(self.values, decimals))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names, times, devices and values."""
        digest = hashlib.sha256("\0".join(self.names).encode())
        for column in (self.time_ns, self.device, self.values):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()


def joined(parts: Sequence[TrainingData]) -> TrainingData:
    """Rows of several recordings with the same channels, a device each."""
    return TrainingData(
        parts[0].names,
        np.concatenate([each.time_ns for each in parts]),
        np.repeat(np.arange(len(parts), dtype=np.int32), [len(each) for each in parts]),
        np.concatenate([each.values for each in parts]),
    )


def from_readings(
    names: Sequence[str],
    *,
    device: NDArray[np.int32],
    column: NDArray[np.int32],
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    period_ns: int,
) -> TrainingData:
    """Single readings as rows: one for each device and step in which something was read.

    Args:
        names: The channels.
        device: int32[n].
        column: int32[n], position in ``names``.
        time_ns: int64[n], event time.
        value: float64[n].
        period_ns: Length of a step; of several readings of a channel in one the first counts.

    Raises:
        ConfigError: There are none.
    """
    if not len(time_ns):
        raise ConfigError("training data: expected readings of the feed, found none in the log")
    step = time_ns // period_ns
    order = np.lexsort((step, device))
    device, column, step, value = device[order], column[order], step[order], value[order]
    begins = np.append(True, (np.diff(device) != 0) | (np.diff(step) != 0))
    row = np.cumsum(begins) - 1
    values = np.full((int(row[-1]) + 1, len(names)), np.nan)
    # Backwards, so that the first of several stays.
    values[row[::-1], column[::-1]] = value[::-1]
    return TrainingData(tuple(names), step[begins] * period_ns, device[begins], values)


def read_csv(
    paths: Sequence[Path],
    *,
    time_column: str,
    time_unit_ns: int = NS_PER_S,
    channels: Sequence[str] | None = None,
    device_column: str = "device",
    first_rows: int | None = None,
    period_ns: int | None = None,
    label_column: str | None = None,
    progress: Progress = silent,
    note: Callable[[str], None] = lambda _line: None,
) -> TrainingData:
    """Read recorded rows. Each file, or each name in its device column, is a device.

    A device without a name is called like its file.

    Args:
        paths: CSV files with a header; the delimiter (comma, semicolon, tab) is found out.
        time_column: Column with ISO 8601 texts, or numbers of units since 1970.
        time_unit_ns: That unit, ns.
        channels: Columns to take; None takes all columns that hold numbers throughout.
        device_column: Column with the device's name; may be absent.
        first_rows: Take only so many rows of each file.
        period_ns: Time between two rows of files without a time column; None wants one.
        label_column: Column whose words for right and wrong are 0 and 1; see ``LABEL_WORDS``.
        progress: Is told how much has been read.
        note: Is told of what was found in place of numbers, a line each.

    Raises:
        ConfigError: A file, a column or a time can't be read; one line.
    """
    times: list[NDArray[np.int64]] = []
    devices: list[NDArray[np.int32]] = []
    values: list[NDArray[np.float64]] = []
    numbers: dict[tuple[Path, str], int] = {}
    left_out: list[str] = []
    names: tuple[str, ...] | None = None if channels is None else tuple(channels)
    for path in paths:
        rows, lines = csv_rows(path, first_rows, progress)
        header = list(rows[0])
        if time_column not in header and period_ns is None:
            raise ConfigError(
                f"{path}: expected a time column {time_column!r}, found {', '.join(header)}; "
                "name it with --time, or say how far rows are apart with --period"
            )
        for line in _points_for_commas(path, rows):
            note(line)
        if label_column in header:
            _words_to_numbers(rows, label_column)
        if names is None:
            names = _numeric_columns(rows, {time_column, device_column})
            left_out = _left_out(path, rows, {*names, time_column, device_column})
            for line in left_out:
                note(line)
        absent = [name for name in names if name not in header]
        if absent:
            raise ConfigError(f"{path}: expected columns {absent}, found {', '.join(header)}")
        times.append(
            np.array(
                [
                    parsed_time_ns(path, line, row[time_column], time_unit_ns)
                    for line, row in zip(lines, rows, strict=True)
                ],
                np.int64,
            )
            if time_column in header
            else np.arange(len(rows), dtype=np.int64) * (period_ns or 0)
        )
        devices.append(
            np.array(
                [
                    numbers.setdefault((path, row.get(device_column) or ""), len(numbers))
                    for row in rows
                ],
                np.int32,
            )
        )
        values.append(np.array([[_number(row[name]) for name in names] for row in rows]))
        for line in _taken_as_missing(path, rows, names, values[-1]):
            note(line)
    if not names or not times:
        raise ConfigError(
            left_out or "training data: expected at least one file with a column of numbers"
        )
    time_ns, device = np.concatenate(times), np.concatenate(devices)
    order = np.lexsort((time_ns, device))
    return TrainingData(
        names,
        time_ns[order],
        device[order],
        np.concatenate(values)[order],
        tuple(name or path.stem for path, name in numbers),
    )


def csv_rows(
    path: Path, first_rows: int | None = None, progress: Progress = silent
) -> tuple[list[dict[str, str]], array[int]]:
    """Rows of a CSV file by its header, and the line each is in.

    Arguments and errors as of ``read_csv``.
    """
    rows: list[dict[str, str]] = []
    # Blank lines are no rows: a row's line can't be counted from its position.
    lines = array("q")
    with CsvFile(path) as file:
        found = file.rows(max(",;\t", key=file.head.count))
        _, header = next(found, (1, []))
        for line, cells in islice(found, first_rows):
            # A short row lacks its last cells; they are as good as empty.
            cells.extend([""] * (len(header) - len(cells)))
            rows.append(dict(zip(header, cells, strict=False)))
            lines.append(line)
            if len(rows) % _TOLD_ROWS == 0:
                progress(f"reading {path.name}", file.position_bytes, path.stat().st_size)
    if not rows:
        raise ConfigError(f"{path}: expected rows under the header, found none")
    return rows, lines


def _points_for_commas(path: Path, rows: list[dict[str, str]]) -> list[str]:
    """Turn decimal commas into points, and a line where there were any.

    Only where commas don't part the cells, and all that a column holds are numbers then: ``1,234``
    beside ``1.5`` has a comma for thousands, which nobody can tell from a decimal one by itself.
    """
    told = []
    for name in rows[0]:
        cells = [row[name] for row in rows if row[name]]
        if not any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells):
            continue
        if any("." in cell for cell in cells):
            raise ConfigError(
                f"{path}: expected one sign for decimals in column {name!r}, found commas and "
                "points; write numbers without thousands"
            )
        if all(_DECIMAL_COMMA.fullmatch(cell) or cell.lstrip("-").isdigit() for cell in cells):
            for row in rows:
                row[name] = row[name].replace(",", ".")
            told.append(name)
    return [f"{path.name}: commas are decimal ones in {', '.join(told)}"] if told else []


def _words_to_numbers(rows: list[dict[str, str]], column: str) -> None:
    for row in rows:
        word = row[column].strip().lower()
        if word in LABEL_WORDS:
            row[column] = LABEL_WORDS[word]


def _numeric_columns(rows: list[dict[str, str]], others: set[str]) -> tuple[str, ...]:
    return tuple(
        name
        for name in rows[0]
        if name
        and name not in others
        and all(row[name] in ("", None) or np.isfinite(_number(row[name])) for row in rows)
        and any(row[name] for row in rows)
    )


def _left_out(path: Path, rows: list[dict[str, str]], taken: set[str]) -> list[str]:
    """A line for each column that holds numbers, but not throughout."""
    lines = (_texts(path, name, rows) for name in rows[0] if name and name not in taken)
    return [
        f"{line}; the column is left out, name it in --channels to take it"
        for line in lines
        if line
    ]


def _taken_as_missing(
    path: Path, rows: list[dict[str, str]], names: Sequence[str], values: NDArray[np.float64]
) -> list[str]:
    """A line for each of these columns that has texts among its numbers."""
    has_holes = ~np.isfinite(values).all(axis=0)
    lines = (_texts(path, names[at], rows) for at in np.flatnonzero(has_holes).tolist())
    return [f"{line}; taken as missing" for line in lines if line]


def _texts(path: Path, name: str, rows: list[dict[str, str]]) -> str:
    """What stands in place of numbers; empty where nothing does, or nothing else."""
    texts = [row[name] for row in rows if row[name] and not np.isfinite(_number(row[name]))]
    if not texts or len(texts) == len(rows):
        return ""
    return (
        f"{path.name}: no number in {len(texts):,} of {len(rows):,} cells of {name} (such as "
        f"{texts[0]!r})"
    )


def _number(text: str | None) -> float:
    try:
        return float(text) if text else np.nan
    except ValueError:
        return np.nan


def time_text(time_ns: int | np.int64) -> str:
    """A time as people read it, UTC in whole seconds."""
    return f"{np.datetime64(int(time_ns), 'ns').astype('datetime64[s]')}Z"


def csv_columns(path: Path) -> list[str]:
    """The names in the header of a CSV file; raises ConfigError like ``read_csv``."""
    rows, _ = csv_rows(path, 1)
    return list(rows[0])


def parsed_time_ns(path: Path, line: int, text: str, unit_ns: int) -> int:
    """A cell as ns since 1970: ISO 8601, or a number of such units.

    Raises:
        ConfigError: It is neither, or so far off that the unit must be another.
    """
    time_ns = _parsed_ns(text, unit_ns)
    if time_ns is None:
        raise ConfigError(
            f"{path}:{line}: expected a time (ISO 8601, or a number since 1970), got {text!r}"
        )
    if abs(time_ns) >= _FARTHEST_NS:
        raise ConfigError(
            f"{path}:{line}: expected a time between 1700 and 2250, got {text!r}; "
            "is --time-unit right?"
        )
    return time_ns


def _parsed_ns(text: str, unit_ns: int) -> int | None:
    try:
        # Not by way of a float, which has too few digits for today in nanoseconds.
        return int(Decimal(text) * unit_ns)
    except (TypeError, ValueError, OverflowError, InvalidOperation):
        pass
    try:
        return parse_iso_ns(text)
    except (TypeError, ValueError):
        return None
