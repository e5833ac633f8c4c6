"""A real HTTP server that apprise's ``json://`` sends to; each id counts once."""

from __future__ import annotations

import json
from pathlib import Path

from connectors.sinks.points import Point
from headgate.core.iso import parse_iso_ns
from headgate.testing.sinks import StoredPoint, point
from tests.receiver import Receiver

_START_NS = point("anomalies", "").time_ns


class Scene:
    """See ``SinkScene``."""

    overwrites = True
    refused: Point | None = None

    def __init__(self, folder: Path) -> None:
        self._receiver = Receiver()
        self._receiver.start()
        address = self._receiver.url.replace("http://", "json://")
        (folder / "urls").write_text(f"# The only one.\n{address}\n")

    def tables(self) -> str:
        """See ``SinkScene``."""
        return (
            'urls_file = "urls"\nof = ["anomalies"]\nmax_age = "3650d"\n'
            'text = "{id}\\n{kind}\\n{device}\\n{start}"\n'
        )

    def leave(self) -> None:
        """See ``SinkScene``."""
        self._receiver.stop()

    def come_back(self) -> None:
        """See ``SinkScene``."""
        self._receiver.start()

    def stored(self) -> list[StoredPoint]:
        """See ``SinkScene``."""
        found = {}
        for taken in self._receiver.taken:
            told_id, kind, device, start = json.loads(taken.body)["message"].split("\n")
            time_ns = parse_iso_ns(start)
            # A message has no fields; what is written in the trials follows from its time.
            value = (time_ns - _START_NS) / 10**9 + 0.5
            found[told_id] = StoredPoint(kind, device, time_ns, value)
        return list(found.values())

    def close(self) -> None:
        """See ``SinkScene``."""
        self._receiver.stop()
