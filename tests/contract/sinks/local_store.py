"""The local store."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from headgate.testing.sinks import StoredPoint
from tests.contract.sinks import OnDisk


class Scene(OnDisk):
    """See ``SinkScene``."""

    overwrites = True

    def tables(self) -> str:
        """See ``SinkScene``."""
        return ""

    def stored(self) -> list[StoredPoint]:
        """See ``SinkScene``."""
        if not (self.data / "points.db").is_file():
            return []
        with closing(sqlite3.connect(self.data / "points.db")) as database:
            rows = database.execute("SELECT measurement, tags, time_ns, fields FROM points")
            return [
                StoredPoint(
                    measurement, json.loads(tags)["device"], time_ns, json.loads(fields)["x"]
                )
                for measurement, tags, time_ns, fields in rows
            ]
