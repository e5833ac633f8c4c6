"""Points in a SQLite file, bounded by age and size.

The same points as InfluxDB would get, with the same identity. The views ``anomalies``, ``alarms``,
``alarm_notes``, ``commands``, ``sensor_health``, ``device_state``, ``channel_state`` and
``aggregates`` are for people and tools that read the file; it may be read while it is written.
"""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import structlog

from connectors.counted_time import CountedTime
from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import TransientError
from headgate.core.folders import make_folder
from headgate.core.telemetry import Telemetry

_logger = structlog.get_logger()

_SCHEMA = """
CREATE TABLE IF NOT EXISTS points (
    kind TEXT NOT NULL,
    measurement TEXT NOT NULL,
    tags TEXT NOT NULL,
    time_ns INTEGER NOT NULL,
    fields TEXT NOT NULL,
    stored_ns INTEGER NOT NULL,
    PRIMARY KEY (measurement, tags, time_ns)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS points_by_age ON points (kind, stored_ns);
BEGIN;
DROP VIEW IF EXISTS anomalies;
CREATE VIEW anomalies AS SELECT
    json_extract(tags, '$.feed') AS feed,
    json_extract(tags, '$.device') AS device,
    json_extract(tags, '$.model') AS model,
    time_ns AS start_ns,
    json_extract(fields, '$.end_ns') AS end_ns,
    json_extract(fields, '$.severity') AS severity,
    json_extract(fields, '$.peak_score') AS peak_score,
    json_extract(fields, '$.is_open') AS is_open,
    json_extract(fields, '$.top_channel') AS top_channel,
    json_extract(fields, '$.verdict') AS verdict,
    fields,
    tags
FROM points WHERE kind = 'anomalies' AND measurement = 'anomalies';
DROP VIEW IF EXISTS sensor_health;
CREATE VIEW sensor_health AS SELECT
    json_extract(tags, '$.feed') AS feed,
    json_extract(tags, '$.device') AS device,
    json_extract(tags, '$.channel') AS channel,
    time_ns,
    json_extract(fields, '$.state') AS state,
    json_extract(fields, '$.since_ns') AS since_ns,
    fields,
    tags
FROM points WHERE measurement = 'sensor_health' AND kind = 'anomalies';
DROP VIEW IF EXISTS device_state;
CREATE VIEW device_state AS SELECT
    json_extract(tags, '$.feed') AS feed,
    json_extract(tags, '$.device') AS device,
    time_ns,
    json_extract(fields, '$.state') AS state,
    json_extract(fields, '$.cause') AS cause,
    json_extract(fields, '$.seen_ns') AS seen_ns,
    fields,
    tags
FROM points WHERE measurement = 'device_state' AND kind = 'anomalies';
DROP VIEW IF EXISTS channel_state;
CREATE VIEW channel_state AS SELECT
    json_extract(tags, '$.feed') AS feed,
    json_extract(tags, '$.device') AS device,
    json_extract(tags, '$.channel') AS channel,
    time_ns,
    json_extract(fields, '$.state') AS state,
    json_extract(fields, '$.before') AS before,
    json_extract(fields, '$.before_s') AS before_s,
    fields,
    tags
FROM points WHERE measurement = 'channel_state' AND kind = 'anomalies';
DROP VIEW IF EXISTS alarms;
CREATE VIEW alarms AS SELECT
    json_extract(tags, '$.feed') AS feed,
    json_extract(tags, '$.device') AS device,
    json_extract(tags, '$.rule') AS rule,
    time_ns AS start_ns,
    json_extract(fields, '$.opened_ns') AS opened_ns,
    json_extract(fields, '$.over_ns') AS over_ns,
    json_extract(fields, '$.severity') AS severity,
    json_extract(fields, '$.text') AS text,
    json_extract(fields, '$.is_open') AS is_open,
    fields,
    tags
FROM points WHERE measurement = 'alarms' AND kind = 'anomalies';
DROP VIEW IF EXISTS alarm_notes;
CREATE VIEW alarm_notes AS SELECT
    json_extract(tags, '$.feed') AS feed,
    json_extract(tags, '$.device') AS device,
    json_extract(tags, '$.rule') AS rule,
    time_ns,
    json_extract(fields, '$.start_ns') AS start_ns,
    json_extract(fields, '$.by') AS said_by,
    json_extract(fields, '$.acknowledges') AS acknowledges,
    json_extract(fields, '$.comment') AS comment,
    json_extract(fields, '$.until_ns') AS until_ns,
    fields,
    tags
FROM points WHERE measurement = 'alarm_notes' AND kind = 'anomalies';
DROP VIEW IF EXISTS commands;
CREATE VIEW commands AS SELECT
    json_extract(tags, '$.action') AS action,
    json_extract(tags, '$.feed') AS feed,
    json_extract(tags, '$.device') AS device,
    json_extract(tags, '$.rule') AS rule,
    json_extract(tags, '$.model') AS model,
    json_extract(tags, '$.event') AS event,
    time_ns,
    json_extract(fields, '$.state') AS state,
    json_extract(fields, '$.reason') AS reason,
    json_extract(fields, '$.topic') AS topic,
    json_extract(fields, '$.payload') AS payload,
    json_extract(fields, '$.asked_ns') AS asked_ns,
    json_extract(fields, '$.sent_ns') AS sent_ns,
    json_extract(fields, '$.answered_ns') AS answered_ns,
    json_extract(fields, '$.answer') AS answer,
    fields,
    tags
FROM points WHERE measurement = 'commands' AND kind = 'anomalies';
DROP VIEW IF EXISTS aggregates;
CREATE VIEW aggregates AS SELECT
    measurement, json_extract(tags, '$.device') AS device, time_ns AS start_ns, fields, tags
FROM points WHERE kind = 'aggregates';
COMMIT;
"""

# The channels of a device's window may come in several points: their fields are joined, as
# InfluxDB does with points of one identity.
_UPSERT = """
INSERT INTO points VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    fields = json_patch(fields, excluded.fields), stored_ns = excluded.stored_ns
"""

#: Between two looks at age and size, s.
_UPKEEP_INTERVAL_S = 10

#: Points deleted at once when the file is too large; small enough not to hold up a write.
_DELETE_STEP = 5000

#: Later than any point was stored, ns.
_EVER_NS = 2**63 - 1

#: Deleted in this order when the file is too large: anomalies are what one keeps the file for.
_DELETE_ORDER: tuple[Kind, ...] = ("aggregates", "anomalies")


class LocalStore:
    """A sink of the forward lane.

    Args:
        path: The file.
        retention_ns: Points stored longer ago are deleted.
        max_bytes: Size of the file over which the oldest points are deleted.
        clock: Source of time.
        telemetry: Counts the bytes an uplink would have carried.
        name: The sink's.
    """

    kinds: tuple[Kind, ...] = ("anomalies", "aggregates")
    max_points = 5000
    max_wait_s = 0.25

    def __init__(
        self,
        path: Path,
        retention_ns: int,
        max_bytes: int,
        clock: Clock,
        telemetry: Telemetry,
        name: str = "local_store",
    ) -> None:
        self.name = name
        self._path = path
        self._retention_ns = retention_ns
        self._max_bytes = max_bytes
        self._clock = clock
        # Ages of points are told by it, whatever the wall clock is set to.
        self._time = CountedTime(clock)
        self._telemetry = telemetry
        self._worker = ThreadPoolExecutor(1, name)
        self._database: sqlite3.Connection | None = None
        self._next_upkeep_ns = 0

    async def start(self) -> None:
        """Nothing to wait for: the file is opened by the first write."""

    async def stop(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._worker, self._close)
        self._worker.shutdown()

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._worker, self._write, points)
        except (sqlite3.Error, OSError) as error:
            await loop.run_in_executor(self._worker, self._close)
            raise TransientError(f"{self._path}: {error}") from error

    def _write(self, points: Sequence[Point]) -> list[Refused]:
        database = self._open()
        stored_ns = self._time.now_ns()
        with database:
            database.executemany(
                _UPSERT,
                [
                    (
                        point.kind,
                        point.measurement,
                        orjson.dumps(dict(point.tags)).decode(),
                        point.time_ns,
                        orjson.dumps(point.fields).decode(),
                        stored_ns,
                    )
                    for point in points
                ],
            )
        body = "\n".join(point.line() for point in points).encode()
        self._telemetry.uplink_bytes.labels(self.name).inc(len(gzip.compress(body, 6)))
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._next_upkeep_ns:
            self._next_upkeep_ns = now_ns + _UPKEEP_INTERVAL_S * NS_PER_S
            self._delete_old(database, stored_ns)
        return []

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            make_folder(self._path.parent)
            self._path.touch(mode=0o600)
            self._database = database = sqlite3.connect(self._path, timeout=5)
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.executescript(_SCHEMA)
            with database:
                self._time.begin(database, lambda: _newest_ns(database))
        return self._database

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _delete_old(self, database: sqlite3.Connection, now_ns: int) -> None:
        for kind in _DELETE_ORDER:
            while self._delete(database, kind, now_ns - self._retention_ns):
                pass
        deleted = 0
        for kind in _DELETE_ORDER:
            while self._used_bytes(database) > self._max_bytes:
                count = self._delete(database, kind, _EVER_NS)
                deleted += count
                if not count:
                    break
        # As a script: ``execute`` would make one step of it, which gives one page back.
        database.executescript("PRAGMA incremental_vacuum")
        if self._time.is_due:
            with database:
                self._time.note(database)
        # Until a checkpoint the file is only shorter in the write-ahead log.
        database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        if deleted:
            self._telemetry.evicted_points.labels(self.name).inc(deleted)
            _logger.warning(
                "The local store was full; its oldest points were deleted.",
                sink=self.name,
                points=deleted,
            )

    def _delete(self, database: sqlite3.Connection, kind: Kind, before_ns: int) -> int:
        """Delete the oldest points of a kind, one step of them; returns how many there were."""
        with database:
            return database.execute(
                "DELETE FROM points WHERE (measurement, tags, time_ns) IN (SELECT "
                "measurement, tags, time_ns FROM points WHERE kind = ? AND stored_ns < ? "
                "ORDER BY stored_ns LIMIT ?)",
                (kind, before_ns, _DELETE_STEP),
            ).rowcount

    def _used_bytes(self, database: sqlite3.Connection) -> int:
        def pragma(name: str) -> int:
            value: int = database.execute(f"PRAGMA {name}").fetchone()[0]
            return value

        return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")


def _newest_ns(database: sqlite3.Connection) -> int:
    newest: int | None = database.execute("SELECT max(stored_ns) FROM points").fetchone()[0]
    return newest or 0
