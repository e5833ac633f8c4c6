"""Points as lines of a file.

A file knows nothing of identity: a point that comes again, after a crash between the write and its
acknowledgement, is a line once more, the same one. Whoever reads the lines takes the last of those
with the same measurement, tags and time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import structlog

from connectors.sinks.file.config import FileConfig
from connectors.sinks.file.rotation import LineFile, delete_old
from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused
from headgate.core.clock import Clock
from headgate.core.errors import TransientError
from headgate.core.telemetry import Telemetry

_logger = structlog.get_logger()


class FileSink:
    """A sink of the forward lane.

    Args:
        settings: Its table.
        path: The file.
        name: The sink's.
        clock: Its wall time tells how old the file is.
        telemetry: Counts bytes.
    """

    kinds: tuple[Kind, ...] = ("anomalies", "aggregates")
    max_points = 5000
    max_wait_s = 0.25

    def __init__(
        self, settings: FileConfig, path: Path, name: str, clock: Clock, telemetry: Telemetry
    ) -> None:
        self.name = name
        self._settings = settings
        self._path = path
        self._clock = clock
        self._telemetry = telemetry
        self._line = _json_line if settings.format == "json" else _protocol_line
        self._worker = ThreadPoolExecutor(1, name)
        self._file: LineFile | None = None

    async def start(self) -> None:
        """Nothing to wait for: the file is opened by the first write."""

    async def stop(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._worker, self._close)
        self._worker.shutdown()

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, self._write, points)

    def _write(self, points: Sequence[Point]) -> list[Refused]:
        lines = b"".join([self._line(point) for point in points])
        try:
            self._opened(len(lines)).append(lines)
        except OSError as error:
            # After a failed sync nobody knows what is on the disk: it is looked at anew.
            self._close()
            raise TransientError(f"{self._path}: {error.strerror or error}") from error
        self._telemetry.uplink_bytes.labels(self.name).inc(len(lines))
        return []

    def _opened(self, more: int) -> LineFile:
        """The file that so many bytes more go into."""
        file, now_ns = self._file, self._clock.wall_ns()
        if file is not None and not file.is_there:
            self._close()
            file = None
        if file is None:
            file = self._file = LineFile(self._path, now_ns)
        is_full = file.size + more > self._settings.max_bytes
        is_old = now_ns - file.begun_ns >= self._settings.max_age
        if file.size and (is_full or is_old):
            self._file = None
            file.put_aside()
            file = self._file = LineFile(self._path, now_ns)
            self._delete_old()
        return file

    def _delete_old(self) -> None:
        for path, lines in delete_old(self._path, self._settings.keep):
            self._telemetry.evicted_points.labels(self.name).inc(lines)
            _logger.info(
                "The oldest file of points was deleted; more are not kept.",
                sink=self.name,
                file=str(path),
                points=lines,
                keep=self._settings.keep,
            )

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _protocol_line(point: Point) -> bytes:
    return f"{point.line()}\n".encode()


def _json_line(point: Point) -> bytes:
    return orjson.dumps(
        {
            "kind": point.kind,
            "measurement": point.measurement,
            "tags": dict(point.tags),
            "time_ns": point.time_ns,
            "fields": point.fields,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )
