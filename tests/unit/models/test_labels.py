"""Spans of faults from a file of their own, and the rows that lie in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headgate.core.errors import ConfigError
from models.training.data import TrainingData, read_csv
from models.training.labels import marked, read_spans, spans_file


@pytest.fixture
def recording(tmp_path: Path) -> TrainingData:
    """Two devices, p and q, once a second from 100 to 109."""
    file = tmp_path / "rows.csv"
    rows = [f"{at},{name},1" for at in range(100, 110) for name in "pq"]
    file.write_text("\n".join(["time,device,x", *rows]))
    return read_csv([file], time_column="time")


def _log(folder: Path, *rows: str) -> Path:
    file = folder / "log.csv"
    file.write_text("\n".join(rows))
    return file


def _times(data: TrainingData, label: np.ndarray) -> list[tuple[str, int]]:
    """Device and second of the labelled rows."""
    return [
        (data.devices[number], int(time_ns) // 10**9)
        for number, time_ns in zip(data.device[label], data.time_ns[label], strict=True)
    ]


def test_a_span_holds_its_first_and_its_last_row(recording: TrainingData, tmp_path: Path) -> None:
    """Of its device, or of all where it names none; spans may overlap."""
    log = _log(tmp_path, "start, end, device", "102,103,p", "103,104,p", "107.5,108,", "109,200,q")
    label = marked(log, read_spans(log), [recording])[0]

    assert _times(recording, label) == [
        ("p", 102),
        ("p", 103),
        ("p", 104),
        ("p", 108),
        ("q", 108),
        ("q", 109),
    ]


@pytest.mark.parametrize(
    ("unit_ns", "start", "end"),
    [
        (10**9, "1970-01-01T00:01:42Z", "1970-01-01 01:01:43+01:00"),
        (10**9, " 102 ", "103"),
        (10**6, "102000", "103000"),
    ],
)
def test_times_are_written_as_in_a_recording(
    unit_ns: int, start: str, end: str, recording: TrainingData, tmp_path: Path
) -> None:
    """ISO 8601 in any zone, or numbers of any unit; the delimiter is found out."""
    log = _log(tmp_path, "end;what;start", f"{end};bearing;{start}")
    label = marked(log, read_spans(log, unit_ns), [recording])[0]

    assert {at for _, at in _times(recording, label)} == {102, 103}


def test_a_file_without_devices_is_called_by_its_name(tmp_path: Path) -> None:
    """A span may name it."""
    for name in ("monday", "tuesday"):
        (tmp_path / f"{name}.csv").write_text("time,x\n1,1\n2,2\n")
    data = read_csv([tmp_path / "monday.csv", tmp_path / "tuesday.csv"], time_column="time")
    log = _log(tmp_path, "start,end,device", "2,5,tuesday")

    assert _times(data, marked(log, read_spans(log), [data])[0]) == [("tuesday", 2)]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (["begin,end", "1,2"], "expected columns start and end, .*found begin, end"),
        (["start,end"], "expected rows under the header"),
        (["start,end", "105,104"], "log.csv:2: expected a start that is not after its end, got 10"),
        (["start,end", "101,102", "103,"], "log.csv:3: expected a time"),
        (["start,end", "noon,102"], "log.csv:2: expected a time"),
        (["start,end", "101000000000,102000000000"], "log.csv:2: .*--time-unit"),
        (["start,end", "", "", "105,104"], "log.csv:4: expected a start that is not after its end"),
        (["start,end,device", "101,102,r"], r"log.csv:2: expected a device .*\(p, q\), got 'r'"),
        (
            ["start,end", "10,20", "3600,7200"],
            "00:01:49Z, found spans from 1970-01-01T00:00:10Z to 1970-01-01T02:00:00Z",
        ),
    ],
)
def test_a_file_that_says_nothing_about_the_rows_is_one_line(
    rows: list[str], problem: str, recording: TrainingData, tmp_path: Path
) -> None:
    """Where, what was expected, and what was found."""
    log = _log(tmp_path, *rows)
    with pytest.raises(ConfigError, match=problem) as refusal:
        marked(log, read_spans(log), [recording])

    assert len(refusal.value.problems) == 1


def test_some_spans_may_lie_elsewhere(recording: TrainingData, tmp_path: Path) -> None:
    """A log is kept for longer than a recording; in a part of one there may be no span at all."""
    log = _log(tmp_path, "start,end", "10,20", "104,104")
    label = marked(log, read_spans(log), [recording])[0]
    part = recording.take(recording.time_ns < 102 * 10**9)

    assert _times(recording, label) == [("p", 104), ("q", 104)]
    assert not marked(log, read_spans(log), [part], may_miss=True)[0].any()


def test_a_device_may_have_no_rows_in_a_part(recording: TrainingData, tmp_path: Path) -> None:
    """Its rows come later; spans of the others count all the same."""
    log = _log(tmp_path, "start,end,device", "102,103,r", "104,104,q")
    label = marked(log, read_spans(log), [recording], may_miss=True)[0]

    assert _times(recording, label) == [("q", 104)]


def test_a_file_is_told_from_a_column(tmp_path: Path) -> None:
    """By its ending and by being there; a column may be called like a file that is not there."""
    log = _log(tmp_path, "start,end", "1,2")

    assert spans_file(str(log), ["fault"]) == log
    assert spans_file("fault", ["fault"]) is None
    assert spans_file("wrong.csv", ["wrong.csv"]) is None
    with pytest.raises(ConfigError, match=r"--labels: .* got 'wrong.csv', which is neither"):
        spans_file("wrong.csv", ["fault"])
