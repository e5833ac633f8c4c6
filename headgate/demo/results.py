"""What has come out of the gateway: the local store, read from outside while it is written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from connectors.sinks.configured import points_file
from headgate.config.schema import Config
from headgate.core.clock import Clock
from headgate.core.errors import Bug
from headgate.demo.truth import SeenAnomaly

_ANOMALIES = (
    "SELECT device, start_ns, end_ns, is_open, severity, peak_score, top_channel FROM anomalies "
    "ORDER BY start_ns, device"
)

_ALARMS = "SELECT rule, count(*) FROM alarms GROUP BY rule ORDER BY rule"


class Results:
    """Anomalies, alarms and aggregates in a configuration's local store, as of the last refresh.

    Args:
        config: The gateway's configuration; has a local store.
        clock: Wall time tells when an anomaly was first seen.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        path = points_file(config)
        if path is None:
            raise Bug("the demo's configuration has no sink that keeps points on this machine")
        self._path: Path = path
        self._clock = clock
        self._seen_ns: dict[tuple[str, int], int] = {}
        self.anomalies: list[SeenAnomaly] = []
        #: By rule, how many have opened.
        self.alarms: dict[str, int] = {}
        self.windows = 0

    def refresh(self) -> None:
        """Read the store again; as long as there is none, there are no results."""
        # Opened anew each time: the file appears with the gateway's first write.
        try:
            with closing(
                sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=2)
            ) as database:
                rows = database.execute(_ANOMALIES).fetchall()
                self.alarms = dict(database.execute(_ALARMS).fetchall())
                (self.windows,) = database.execute("SELECT count(*) FROM aggregates").fetchone()
        except sqlite3.OperationalError:
            return
        now_ns = self._clock.wall_ns()
        self.anomalies = [
            SeenAnomaly(
                device=device,
                start_ns=start_ns,
                end_ns=end_ns,
                seen_ns=self._seen_ns.setdefault((device, start_ns), now_ns),
                is_open=bool(is_open),
                severity=severity,
                peak_score=peak_score,
                channel=channel,
            )
            for device, start_ns, end_ns, is_open, severity, peak_score, channel in rows
        ]
