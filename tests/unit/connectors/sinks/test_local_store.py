"""The local store overwrites, joins and stays within its bounds."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connectors.sinks.local_store.store import LocalStore
from connectors.sinks.points import FieldValue, Kind, Point
from headgate.core.clock import SystemClock
from headgate.core.errors import TransientError
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


async def test_the_local_store_overwrites_and_joins(tmp_path: Path) -> None:
    """A point that comes again replaces the first; channels of one window share a point."""
    path = tmp_path / "p.db"
    store = LocalStore(path, 10**18, 10**9, SystemClock(), Telemetry(SystemClock()))
    tags = (("device", "d"),)
    await store.write([Point("aggregates", "m", tags, {"a_mean": 1.0, "a_n": 2}, 5)])
    await store.write([Point("aggregates", "m", tags, {"b_mean": 7.0}, 5)])
    await store.write([Point("aggregates", "m", tags, {"a_mean": 3.0}, 5)])
    await store.stop()
    ((fields,),) = _rows(path, "SELECT fields FROM points")

    assert json.loads(str(fields)) == {"a_mean": 3.0, "a_n": 2, "b_mean": 7.0}
    assert path.stat().st_mode & 0o077 == 0


async def test_the_local_store_is_bounded_and_keeps_anomalies_longest(tmp_path: Path) -> None:
    """Over its size the oldest aggregates go first; past their age all points go."""
    path = tmp_path / "p.db"
    clock = ManualClock()
    telemetry = Telemetry(clock)
    store = LocalStore(path, 100 * 10**9, 400_000, clock, telemetry)
    await store.write([Point("anomalies", "anomalies", (("device", "d"),), {"x": 1}, 1)])
    for turn in range(5):
        clock.advance(11)
        await store.write(
            [
                Point("aggregates", "m", (("device", f"d{n}"),), {"text": "x" * 100}, turn)
                for n in range(2000)
            ]
        )
    counted = _rows(path, "SELECT kind, count(*) FROM points GROUP BY kind")
    kinds: dict[str, int] = dict(counted)
    evicted = telemetry.evicted_points.labels("local_store")._value.get()

    assert kinds["anomalies"] == 1
    assert 0 < kinds.get("aggregates", 0) + evicted <= 10_000
    assert evicted > 0

    clock.advance(200)
    await store.write([Point("anomalies", "anomalies", (("device", "new"),), {"x": 1}, 2)])
    await store.stop()
    assert _rows(path, "SELECT count(*) FROM points") == [(1,)]


async def test_the_local_store_gives_the_disk_back(tmp_path: Path) -> None:
    """Once points have grown too old, the file is shorter, anomalies of that age included."""
    path = tmp_path / "p.db"
    clock = ManualClock()
    store = LocalStore(path, 100 * 10**9, 10**9, clock, Telemetry(clock))
    kinds: tuple[Kind, ...] = ("aggregates", "anomalies")
    for kind in kinds:
        await store.write(
            [Point(kind, kind, (("device", f"d{n}"),), {"text": "x" * 200}, n) for n in range(6000)]
        )
    assert _rows(path, "PRAGMA wal_checkpoint(TRUNCATE)") == [(0, 0, 0)]
    full_bytes = path.stat().st_size
    clock.advance(200)
    await store.write([Point("anomalies", "anomalies", (("device", "new"),), {"x": 1}, 2)])
    left_bytes = path.stat().st_size
    await store.stop()

    assert _rows(path, "SELECT count(*) FROM points") == [(1,)]
    assert left_bytes < full_bytes / 10


async def test_a_folder_that_can_not_be_made_is_an_error_to_try_again(tmp_path: Path) -> None:
    """It is the store's trouble alone: the other sinks of the lane go on."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "p.db"
    store = LocalStore(path, 10**18, 10**9, SystemClock(), Telemetry(SystemClock()))
    with pytest.raises(TransientError, match=r"p\.db"):
        await store.write([Point("anomalies", "m", (), {"x": 1}, 1)])
    (tmp_path / "file").unlink()
    assert await store.write([Point("anomalies", "m", (), {"x": 1}, 1)]) == []
    await store.stop()


async def test_the_views_name_the_columns(tmp_path: Path) -> None:
    """And can be read while the store is open for writing."""
    path = tmp_path / "p.db"
    store = LocalStore(path, 10**18, 10**9, SystemClock(), Telemetry(SystemClock()))
    tags = (("device", 'd "1"'), ("feed", "f"), ("model", "m"))
    fields: dict[str, FieldValue] = {
        "end_ns": 7,
        "severity": "minor",
        "peak_score": 2.0,
        "is_open": True,
    }
    await store.write([Point("anomalies", "anomalies", tags, fields, 5)])
    await store.write([Point("aggregates", "pump_10s", tags, {"x_n": 1}, 6)])
    sensor = (("channel", "x"), ("device", 'd "1"'), ("feed", "f"))
    await store.write(
        [Point("anomalies", "sensor_health", sensor, {"state": "stuck", "since_ns": 8}, 9)]
    )

    state: dict[str, FieldValue] = {
        "state": "offline",
        "is_online": False,
        "cause": "silence",
        "seen_ns": 8,
    }
    await store.write([Point("anomalies", "device_state", (*sensor[1:],), state, 9)])

    assert _rows(path, "SELECT feed, device, time_ns, state, cause, seen_ns FROM device_state") == [
        ("f", 'd "1"', 9, "offline", "silence", 8)
    ]
    assert _rows(
        path, "SELECT feed, device, channel, time_ns, state, since_ns FROM sensor_health"
    ) == [("f", 'd "1"', "x", 9, "stuck", 8)]
    assert _rows(
        path, "SELECT feed, device, model, start_ns, end_ns, severity, is_open FROM anomalies"
    ) == [("f", 'd "1"', "m", 5, 7, "minor", 1)]
    assert _rows(path, "SELECT measurement, device, start_ns FROM aggregates") == [
        ("pump_10s", 'd "1"', 6)
    ]
    await store.stop()


async def test_a_damaged_local_store_is_an_error_to_try_again(tmp_path: Path) -> None:
    """Points wait in the log; nothing is thrown away and nothing crashes."""
    path = tmp_path / "p.db"
    path.write_bytes(b"this is no database" * 100)
    store = LocalStore(path, 10**18, 10**9, SystemClock(), Telemetry(SystemClock()))
    with pytest.raises(TransientError, match=r"p\.db"):
        await store.write([Point("anomalies", "m", (), {"x": 1}, 1)])
    await store.stop()
