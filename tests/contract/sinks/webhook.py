"""A real HTTP server that takes each webhook-id once, as receivers are told to."""

from __future__ import annotations

import json
from pathlib import Path

from connectors.sinks.points import Point
from headgate.core.iso import parse_iso_ns
from headgate.testing.sinks import StoredPoint, point
from tests.receiver import Answer, Receiver

_MOST_BYTES = 100_000


class Scene:
    """See ``SinkScene``."""

    overwrites = True
    #: More than the receiver takes.
    refused: Point | None = point("anomalies", "d" * 2 * _MOST_BYTES)

    def __init__(self, folder: Path) -> None:
        self._receiver = Receiver(
            lambda taken: Answer(413 if len(taken.body) > _MOST_BYTES else 204)
        )
        self._receiver.start()

    def tables(self) -> str:
        """See ``SinkScene``."""
        return (
            f'url = "{self._receiver.url}"\nof = ["anomalies"]\nmax_age = "3650d"\ntimeout = "5s"\n'
        )

    def leave(self) -> None:
        """See ``SinkScene``."""
        self._receiver.stop()

    def come_back(self) -> None:
        """See ``SinkScene``."""
        self._receiver.start()

    def stored(self) -> list[StoredPoint]:
        """See ``SinkScene``."""
        bodies = {each.id: each.body for each in self._receiver.taken if each.answer.status < 300}
        return [
            StoredPoint(
                said["kind"], said["device"], parse_iso_ns(said["start"]), said["fields"]["x"]
            )
            for said in map(json.loads, bodies.values())
        ]

    def close(self) -> None:
        """See ``SinkScene``."""
        self._receiver.stop()
