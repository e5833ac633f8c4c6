"""A signed file a point; a point that comes again overwrites its file."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections.abc import Sequence
from pathlib import Path

from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused
from headgate.core.errors import TransientError
from headgate.core.telemetry import Telemetry


class Spool:
    """A sink of the forward lane."""

    kinds: tuple[Kind, ...] = ("anomalies", "aggregates")
    max_points = 100
    max_wait_s = 0.1

    def __init__(self, folder: Path, key_file: Path, name: str, telemetry: Telemetry) -> None:
        self.name = name
        self._folder = folder
        self._key_file = key_file
        self._telemetry = telemetry

    async def start(self) -> None:
        """Nothing to wait for."""

    async def stop(self) -> None:
        """Nothing is held."""

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        """See the contract."""
        try:
            await asyncio.to_thread(self._write, points)
        except OSError as error:
            raise TransientError(f"{self._folder}: {error}") from error
        return []

    def _write(self, points: Sequence[Point]) -> None:
        key = self._key_file.read_bytes()
        self._folder.mkdir(parents=True, exist_ok=True)
        for point in points:
            line = point.line().encode()
            identity = repr((point.measurement, point.tags, point.time_ns)).encode()
            path = self._folder / hashlib.sha256(identity).hexdigest()
            signature = hmac.digest(key, line, "sha256").hex().encode()
            with path.with_suffix(".new").open("wb") as file:
                file.write(signature + b" " + line + b"\n")
                file.flush()
                os.fsync(file.fileno())
            path.with_suffix(".new").rename(path)
            self._telemetry.uplink_bytes.labels(self.name).inc(len(line))
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
