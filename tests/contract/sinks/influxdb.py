"""A real VictoriaMetrics, by InfluxDB's write API."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.sinks.points import Point
from headgate.testing.sinks import StoredPoint, point
from tests.victoria import Victoria

MARK = pytest.mark.store


class Scene:
    """See ``SinkScene``."""

    overwrites = True
    #: A longer line than the store reads.
    refused: Point | None = point("anomalies", "d" * 300_000)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store = Victoria(folder)
        self._store.start()

    def tables(self) -> str:
        """See ``SinkScene``."""
        (self._folder / "token").write_text("t")
        return (
            f'url = "{self._store.url}"\norg = "o"\nbucket = "b"\ntoken_file = "token"\n'
            'timeout = "5s"\n'
        )

    def leave(self) -> None:
        """See ``SinkScene``."""
        self._store.stop()

    def come_back(self) -> None:
        """See ``SinkScene``."""
        self._store.start()

    def stored(self) -> list[StoredPoint]:
        """See ``SinkScene``."""
        return [
            StoredPoint(
                each["metric"]["__name__"].removesuffix("_x"),
                each["metric"]["device"],
                time_ms * 1_000_000,
                value,
            )
            for each in self._store.series()
            for time_ms, value in zip(each["timestamps"], each["values"], strict=True)
        ]

    def close(self) -> None:
        """See ``SinkScene``."""
        self._store.stop()
