"""Reading a recording: CSV rows as what a device would have sent.

What the file's author must mend is a ``ConfigError``; a cell that holds no number is a null, as
it would be from a device with a broken sensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from headgate.core.csv_file import CsvFile
from headgate.core.errors import ConfigError
from headgate.core.iso import parse_iso_ns

_DELIMITERS = ";,\t|"

#: Whole numbers below these are s, ms, µs since 1970; above, ns. Any time from 1973 to 5138 is
#: told rightly: 10^11 s is the year 5138, and 10^11 ms is March 1973.
_EPOCH_UNITS_NS = ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1_000))


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the recording.

    Attributes:
        line: Line of the file that it ends on, counted from 1.
        time_ms: Event time, ms since 1970 UTC; None where the cell is no time.
        device: The device's name.
        values: By column; None where the cell is no finite number.
        position_bytes: How far the file has been read, about.
    """

    line: int
    time_ms: int | None
    device: str
    values: dict[str, float | None]
    position_bytes: int


@dataclass(frozen=True, slots=True)
class Recording:
    """A CSV file, and how its columns are to be read.

    Attributes:
        path: The file: UTF-8, with a header line.
        time_column: Column with the event time: ISO 8601 (UTC where no zone is given) or a number
            since 1970, whose unit is told by its size.
        columns: Columns to publish; empty for all but time and device.
        device: Name of the device; None takes it from ``device_column`` or from the file's name.
        device_column: Column with the device's name.
        delimiter: One character; ``"auto"`` takes the one the header has most of.
        first: Data rows to skip.
        last: Data row to stop before, counted like ``first``; None reads to the end.
    """

    path: Path
    time_column: str
    columns: Sequence[str] = ()
    device: str | None = None
    device_column: str | None = None
    delimiter: str = "auto"
    first: int = 0
    last: int | None = None

    def rows(self) -> Iterator[Row]:
        """Read the rows, one after the other.

        Raises:
            ConfigError: The file can't be read, lacks a column, has no rows, or its first time
                can't be read.
        """
        with CsvFile(self.path) as file:
            yield from self._rows(file)

    def _rows(self, file: CsvFile) -> Iterator[Row]:
        rows = file.rows(self._delimiter_of(file.head))
        _, header = next(rows, (1, []))
        names = self._value_columns(header)
        places = [(name, header.index(name)) for name in names]
        time_place = header.index(self.time_column)
        device_place = header.index(self.device_column) if self.device_column else None
        fixed_device = self.device or self.path.stem
        is_first = True
        for line, cells in islice(rows, self.first, self.last):
            # A short row lacks its last cells; they are as good as empty.
            cells.extend([""] * (len(header) - len(cells)))
            time_ms = parse_time_ms(cells[time_place])
            if is_first and time_ms is None:
                raise ConfigError(
                    f"{self.path}:{line}: expected a time in column {self.time_column!r}, got "
                    f"{cells[time_place]!r}; ISO 8601 or a number since 1970 can be read"
                )
            is_first = False
            yield Row(
                line,
                time_ms,
                fixed_device if device_place is None else cells[device_place],
                {name: parse_number(cells[place]) for name, place in places},
                file.position_bytes,
            )
        if is_first:
            raise ConfigError(
                f"{self.path}: expected at least one row in "
                f"{self.first}:{'' if self.last is None else self.last}, got none; "
                f"check --rows and the file"
            )

    def _delimiter_of(self, header_line: str) -> str:
        if self.delimiter != "auto":
            return self.delimiter
        return max(_DELIMITERS, key=header_line.count)

    def _value_columns(self, header: list[str]) -> list[str]:
        wanted = [self.time_column, *self.columns]
        if self.device_column:
            wanted.append(self.device_column)
        problems = [
            f"{self.path}: expected a column {name!r}, got {', '.join(header) or 'no header'}; "
            f"name one of these, or give --delimiter"
            for name in wanted
            if name not in header
        ]
        if problems:
            raise ConfigError(problems)
        special = {self.time_column, self.device_column}
        names = list(self.columns) or [name for name in header if name and name not in special]
        if not names:
            raise ConfigError(
                f"{self.path}: expected a column beside {self.time_column!r}, got none; "
                f"give --delimiter"
            )
        return names


def parse_number(cell: str) -> float | None:
    """The finite number in a cell, or None."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in cell else None


def parse_time_ms(cell: str) -> int | None:
    """The time in a cell in ms since 1970 UTC, or None; see ``Recording.time_column``."""
    number = parse_number(cell)
    try:
        if number is None:
            return round(parse_iso_ns(cell.strip()) / 1_000_000)
    except (ValueError, OverflowError):
        return None
    for limit, unit_ns in _EPOCH_UNITS_NS:
        if abs(number) < limit:
            return round(number * (unit_ns / 1_000_000))
    return round(number / 1_000_000)
