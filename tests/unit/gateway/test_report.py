"""The line that a lane sends its supervisor."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from headgate.gateway.report import STATUS_FD, Report, status_pipe, write_all, write_some

_REPORT = Report("ingest", 7, ready=False, reason='no "broker"\n', metrics="a 1\nb 2\n")


def test_it_is_one_line_whatever_is_in_it() -> None:
    """The line reads back as the same report."""
    line = _REPORT.to_line()

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert Report.from_line(line) == _REPORT


@pytest.mark.parametrize(
    "line", [b"", b"{}\n", b'{"lane": "ingest", "pid"', b"[1]\n", b"3\n", b"\xff\n"]
)
def test_what_is_no_report_is_told_apart(line: bytes) -> None:
    """A lane that is killed while it writes leaves half a line."""
    with pytest.raises(ValueError, match=r"."):
        Report.from_line(line)


def test_a_page_larger_than_the_pipe_goes_through_whole() -> None:
    """The writer waits for the reader."""
    read_end, write_end = os.pipe()
    line = b"x" * 1_000_000 + b"\n"
    with ThreadPoolExecutor(1) as writer, os.fdopen(read_end, "rb") as reader:
        done = writer.submit(write_all, write_end, line)
        assert reader.readline() == line
        done.result(5)
    os.close(write_end)


def test_what_there_is_room_for_is_written_without_waiting_and_the_rest_told() -> None:
    """The reader may be busy, and whoever writes has other things to do."""
    read_end, write_end = os.pipe()
    line = b"x" * 1_000_000 + b"\n"
    with ThreadPoolExecutor(1) as writer, os.fdopen(read_end, "rb") as reader:
        rest = write_some(write_end, line)
        assert 0 < len(rest) < len(line)
        assert write_some(write_end, rest) == rest
        done = writer.submit(write_all, write_end, rest)
        assert reader.readline() == line
        done.result(5)
        assert write_some(write_end, b"short\n") == b""
        assert reader.readline() == b"short\n"
    with pytest.raises(BrokenPipeError):
        write_some(write_end, line)
    os.close(write_end)


def test_a_lane_without_a_supervisor_reports_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """``headgate lane`` can be run by hand."""
    monkeypatch.delenv(STATUS_FD, raising=False)
    assert status_pipe() is None

    monkeypatch.setenv(STATUS_FD, "5")
    assert status_pipe() == 5
