"""The local store."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from tests.contract.sinks import OnDisk, Stored


class Scene(OnDisk):
    """See ``tests.contract.sinks``."""

    overwrites = True

    def tables(self, sink: str) -> str:
        """See ``Scene``."""
        return ""

    def stored(self) -> list[Stored]:
        """See ``Scene``."""
        if not (self.data / "points.db").is_file():
            return []
        with closing(sqlite3.connect(self.data / "points.db")) as database:
            rows = database.execute("SELECT measurement, tags, time_ns, fields FROM points")
            return [
                Stored(measurement, json.loads(tags)["device"], time_ns, json.loads(fields)["x"])
                for measurement, tags, time_ns, fields in rows
            ]
