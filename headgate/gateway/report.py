"""What a lane tells the supervisor once a second: a line of JSON through an inherited pipe."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any


def lane_names(workers: int) -> list[str]:
    """The lanes, in the order in which they are started.

    Forwarding comes first so that it is ready for what the others produce; ingest last, so that
    nothing is taken in before it can be worked on.

    Args:
        workers: How many streams lanes there are; several are numbered from 1.
    """
    streams = [f"streams-{number}" for number in range(1, workers + 1)]
    return ["forward", *(["streams"] if workers == 1 else streams), "ingest"]


#: Environment variable that names the file descriptor to report on.
STATUS_FD = "HEADGATE_STATUS_FD"

#: Seconds between two reports.
REPORT_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """How a lane is doing.

    Attributes:
        lane: Its name.
        pid: Its process id.
        ready: Whether it does its work.
        reason: Why not; empty when it does.
        metrics: Its metrics in Prometheus' text format.
        details: What it tells besides, by subject, as JSON can hold it.
    """

    lane: str
    pid: int
    ready: bool
    reason: str
    metrics: str
    details: dict[str, Any] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """The report as it goes through the pipe."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Report:
        """Read a report back; raises ValueError for a line that is none, such as half of one."""
        try:
            return cls(**json.loads(line))
        except TypeError as error:
            raise ValueError(f"no report: {error}") from error


def status_pipe() -> int | None:
    """The descriptor to report on; None in a lane that nobody supervises."""
    number = os.environ.get(STATUS_FD, "")
    return int(number) if number.isdecimal() else None


def write_some(pipe: int, line: bytes) -> bytes:
    """Write as much of a line as the pipe has room for; what is left of it.

    Raises:
        BrokenPipeError: The supervisor is gone.
    """
    os.set_blocking(pipe, False)
    try:
        return line[os.write(pipe, line) :]
    except BlockingIOError:
        return line
    finally:
        os.set_blocking(pipe, True)


def write_all(pipe: int, line: bytes) -> None:
    """Write a line whole. Blocks while the pipe is full, so it is called in a thread.

    Raises:
        BrokenPipeError: The supervisor is gone.
    """
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(pipe, rest) :]
