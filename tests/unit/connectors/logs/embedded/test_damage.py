"""Bytes that are not those that were written, and files of an earlier version."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from connectors.logs.embedded.store import SqliteLog
from headgate.core.clock import SystemClock
from headgate.core.errors import DataError, PermanentError
from headgate.core.log import Record, TopicPartition, TopicSpec
from headgate.core.records import READINGS_SCHEMA, check_schema

_AT = TopicPartition("readings", 0)
_HEADERS = (("schema", READINGS_SCHEMA),)


async def _log(path: Path, *values: bytes) -> SqliteLog:
    log = SqliteLog(path, SystemClock())
    await log.start()
    await log.ensure_topics([TopicSpec("readings", 1)])
    if values:
        await log.append(_AT, [Record(value, b"key", _HEADERS) for value in values])
    return log


@pytest.mark.parametrize(
    "change", ["value = x'ffee'", "key = x'00'", "headers = NULL", "crc = crc + 1"]
)
async def test_a_damaged_record_is_told_from_its_neighbours(tmp_path: Path, change: str) -> None:
    """No reader takes it for one of its own; those beside it are read."""
    path = tmp_path / "log.db"
    log = await _log(path, b"one", b"two", b"three")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE records SET {change} WHERE id % 1024 = 1")
    records = await log.read(_AT, 0)
    await log.stop()

    assert [record.offset for record in records] == [0, 1, 2]
    check_schema(records[0].headers, READINGS_SCHEMA)
    check_schema(records[2].headers, READINGS_SCHEMA)
    with pytest.raises(DataError, match="the checksum does not match"):
        check_schema(records[1].headers, READINGS_SCHEMA)


async def test_a_log_of_version_1_is_brought_up(tmp_path: Path) -> None:
    """Its records are read as they are, and new ones have a checksum."""
    path = tmp_path / "log.db"
    log = await _log(path, b"old")
    await log.stop()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("ALTER TABLE records DROP COLUMN crc")
        database.execute("PRAGMA user_version = 1")
    log = await _log(path, b"new")
    records = await log.read(_AT, 0)
    await log.stop()
    with closing(sqlite3.connect(path)) as database:
        sums = database.execute("SELECT crc FROM records ORDER BY id").fetchall()

    assert [record.value for record in records] == [b"old", b"new"]
    assert sums[0] == (None,)
    assert sums[1] != (None,)


async def test_a_log_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """In one line that says what to do."""
    path = tmp_path / "log.db"
    await (await _log(path)).stop()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA user_version = 3")

    with pytest.raises(PermanentError, match="expected a log of version 2, got version 3"):
        await SqliteLog(path, SystemClock()).start()
