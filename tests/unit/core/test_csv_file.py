"""A CSV file is read row by row, and no row of it, however it is made, takes much memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.replay.recording import Recording
from headgate.core.csv_file import MAX_CELLS, MAX_ROW, CsvFile
from headgate.core.errors import ConfigError
from headgate.evaluation.batadal import read
from models.training.data import read_csv
from models.training.labels import read_spans

pytestmark = pytest.mark.slow

#: For a row of the longest, in one piece, in pieces, and as its cells.
_MOST_BYTES = 6 * MAX_ROW


def _file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    return path


def test_rows_come_with_the_line_they_end_on(tmp_path: Path) -> None:
    """Blank lines are no rows; quoted line breaks belong to theirs; all line ends are known."""
    path = _file(tmp_path, b'\xef\xbb\xbfa,b\r\n1,2\r\n\r\n"x\r\ny",3\r4,5\n')
    with CsvFile(path) as file:
        head, rows = file.head, list(file.rows(","))

    assert head == "a,b\r\n"
    assert rows == [(1, ["a", "b"]), (2, ["1", "2"]), (5, ["x\r\ny", "3"]), (6, ["4", "5"])]


def test_rows_at_the_bounds_are_read(tmp_path: Path) -> None:
    """The longest row and the one with most cells, and many such in a file."""
    long = b",".join(b"1" * 99 for _ in range(MAX_ROW // 100)).ljust(MAX_ROW - 1, b"1") + b"\n"
    wide = b"," * (MAX_CELLS - 1) + b"\n"
    with CsvFile(_file(tmp_path, (long + wide) * 3)) as file:
        rows = list(file.rows(","))

    assert [len(cells) for _, cells in rows] == [MAX_ROW // 100, MAX_CELLS] * 3


_BOMBS = {
    "no line break": (b"time,v\n" + b"1,2,3,4" * (1 << 20), "1,048,576 characters in a row"),
    "no line break in the header": (b"time," * (1 << 20), "1,048,576 characters in a row"),
    "a quote that is not closed": (b'time,v\n1,"' + b"2\n" * (1 << 20), "larger than field limit"),
    "a row that goes on in quotes": (
        b'time,v\n"' + (b'2\n",' + b"x" * 90_000 + b',"') * 80,
        "1,048,576 characters in a row",
    ),
    "cells": (b"time,v\n" + b"," * MAX_CELLS + b"\n" + bytes(1 << 20), "16,384 cells in a row"),
    "cells over lines": (
        b'time,v\n"' + (b'\n",' + b"," * 999 + b'"') * 20,
        "16,384 cells in a row",
    ),
    "NULs": (b"time,v\n" + bytes(4 << 20), ":2: expected UTF-8 text, got a NUL"),
    "UTF-16": ("time,v\n1,2\n".encode("utf-16"), "expected UTF-8 text"),
    "other bytes": (b"time,v\n\xff\xfe\n", "expected UTF-8 text, got invalid start byte"),
}


def _replayed(path: Path) -> object:
    return list(Recording(path, "time").rows())


def _trained_on(path: Path) -> object:
    return read_csv([path], time_column="time")


_READERS: dict[str, Callable[[Path], object]] = {
    "replay": _replayed,
    "train": _trained_on,
    "labels": read_spans,
    "batadal": read,
}


@pytest.mark.parametrize("reader", _READERS)
@pytest.mark.parametrize("name", _BOMBS)
def test_a_bomb_is_refused_in_one_line_and_little_memory(
    name: str, reader: str, tmp_path: Path
) -> None:
    """With file, place and what to do, by whichever command reads it."""
    content, expected = _BOMBS[name]
    path = _file(tmp_path, content)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError) as caught:
            _READERS[reader](path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (problem,) = caught.value.problems

    assert problem.startswith(f"{path}:")
    assert expected in problem
    assert "\n" not in problem
    assert peak_bytes < _MOST_BYTES
