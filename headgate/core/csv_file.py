"""Rows of a CSV file, one after the other, in bounded memory whatever stands in the file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Self

from headgate.core.errors import ConfigError

#: Characters in a row, quoted line breaks and what lies between them included.
MAX_ROW = 1 << 20

#: Cells in a row: as many as any spreadsheet takes.
MAX_CELLS = 16_384


class CsvFile:
    """An open CSV file; use it as a context manager.

    Every mistake in the file, from one that can't be opened to a row without an end, is a
    ``ConfigError`` of one line.

    Args:
        path: The file: UTF-8, with a byte order mark or without.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line = 0
        self._row_characters = self._row_delimiters = 0
        self._delimiter = ""
        #: The first line, for finding the delimiter out.
        self.head = ""

    def __enter__(self) -> Self:
        try:
            self._raw = self._path.open("rb")
        except OSError as error:
            raise ConfigError(
                f"{self._path}: expected a CSV file, got {error.strerror}; check the path"
            ) from error
        # Excel writes a byte order mark, which is no part of the first column's name.
        self._file = TextIOWrapper(self._raw, encoding="utf-8-sig", newline="")
        try:
            self.head = self._next_line()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def position_bytes(self) -> int:
        """How far the file has been read, in whole blocks."""
        return self._raw.tell()

    def rows(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """All rows that are not blank, the header first, each with the line that it ends on.

        May be asked for once.

        Args:
            delimiter: One character.
        """
        self._delimiter = delimiter
        reader = csv.reader(self._lines(), delimiter=delimiter)
        while True:
            self._row_characters = self._row_delimiters = 0
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise ConfigError(
                    f"{self._path}:{self._line}: expected CSV, got {error}; look at the file"
                ) from error
            if cells is None:
                return
            if cells:
                yield self._line, cells

    def _lines(self) -> Iterator[str]:
        line = self.head
        while line:
            self._check(line)
            yield line
            line = self._next_line()

    def _next_line(self) -> str:
        self._line += 1
        try:
            line = self._file.readline(MAX_ROW + 1)
        except OSError as error:
            raise ConfigError(
                f"{self._path}: expected a CSV file, got {error.strerror}; check the path"
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{self._path}:{self._line}: expected UTF-8 text, got {error.reason}; convert the "
                "file"
            ) from error
        if "\0" in line:
            raise ConfigError(
                f"{self._path}:{self._line}: expected UTF-8 text, got a NUL; is it UTF-16, or no "
                "text at all? Convert the file"
            )
        self._bound(len(line), MAX_ROW, "characters")
        return line

    def _check(self, line: str) -> None:
        # A row may go on over lines, inside of quotes: they count together.
        self._row_characters += len(line)
        self._row_delimiters += line.count(self._delimiter)
        self._bound(self._row_characters, MAX_ROW, "characters")
        self._bound(self._row_delimiters + 1, MAX_CELLS, "cells")

    def _bound(self, count: int, most: int, what: str) -> None:
        if count > most:
            raise ConfigError(
                f"{self._path}:{self._line}: expected at most {most:,} {what} in a row, got more; "
                "is it a CSV file with line breaks, and are its quotes closed?"
            )
