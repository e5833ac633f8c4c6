"""Files, of which several are put aside while they are tested."""

from __future__ import annotations

import json
from itertools import chain

from connectors.sinks.file.rotation import put_aside
from headgate.testing.sinks import StoredPoint
from tests.contract.sinks import OnDisk


class Scene(OnDisk):
    """See ``SinkScene``."""

    overwrites = False

    def tables(self) -> str:
        """See ``SinkScene``."""
        return 'path = "out/points.json"\nformat = "json"\nmax_bytes = "2kB"\nkeep = 1000\n'

    def stored(self) -> list[StoredPoint]:
        """See ``SinkScene``."""
        path = self.data / "out" / "points.json"
        files = [*put_aside(path).values(), *([path] if path.is_file() else [])]
        lines = chain.from_iterable(file.read_text().splitlines() for file in files)
        return [
            StoredPoint(it["measurement"], it["tags"]["device"], it["time_ns"], it["fields"]["x"])
            for it in map(json.loads, lines)
        ]
