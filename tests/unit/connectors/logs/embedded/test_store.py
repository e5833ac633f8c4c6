"""What the embedded log does beyond the contract that both logs share."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from connectors.logs.embedded import upkeep
from connectors.logs.embedded.database import open_writer
from connectors.logs.embedded.store import SqliteLog
from headgate.core.clock import SystemClock
from headgate.core.errors import PermanentError, TransientError
from headgate.core.log import Record, TopicPartition, TopicSpec
from headgate.testing import ManualClock
from tests.contract.logs import numbered, read_all

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).parents[4]
_AT = TopicPartition("readings", 0)

_APPENDER = """
import asyncio, sys
from pathlib import Path
from connectors.logs.embedded.store import SqliteLog
from headgate.core.clock import SystemClock
from headgate.core.log import Record, TopicPartition

async def main():
    log = SqliteLog(Path(sys.argv[1]), SystemClock())
    await log.start()
    number = 0
    while True:
        await log.append(TopicPartition("readings", 0), [Record(str(number).encode())])
        print(number, flush=True)
        number += 1

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log is."""
    return tmp_path / "log.db"


@pytest.fixture
def clock() -> ManualClock:
    """The log's clock."""
    return ManualClock()


@pytest.fixture
async def log(path: Path, clock: ManualClock) -> AsyncIterator[SqliteLog]:
    """A started log without topics."""
    log = SqliteLog(path, clock)
    await log.start()
    yield log
    await log.stop()


def _size_of(path: Path) -> int:
    return path.stat().st_size


def _content_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _spoil(path: Path, damage: str) -> Path:
    """Put something there that is no log; returns the path to open."""
    if damage == "text":
        path.write_bytes(b"not a database at all" * 100)
    elif damage == "folder":
        path.mkdir()
    elif damage == "below a file":
        path.write_text("")
        return path / "log.db"
    elif damage == "newer":
        open_writer(path).close()
        _run(path, "PRAGMA user_version = 99")
    else:
        _run(path, "CREATE TABLE t (x)")
    return path


def _run(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)


def _append_until_killed(path: Path) -> int:
    """Kill -9 a process in the middle of its appends; returns the last offset it was given."""
    command = [sys.executable, "-c", _APPENDER, str(path)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE) as appender:
        assert appender.stdout is not None
        lines = [appender.stdout.readline() for _ in range(200)]
        appender.kill()
        lines += appender.stdout.readlines()
    return int([line for line in lines if line.endswith(b"\n")][-1])


async def _upkeep(log: SqliteLog, clock: ManualClock, slices: int = 1) -> None:
    """Let upkeep come due and run; writing is what sets it off."""
    await log.ensure_topics([TopicSpec("other", 1)])
    for _ in range(slices):
        clock.advance(2)
        await log.append(TopicPartition("other", 0), numbered(1))
    # The slice runs after its append was acknowledged: the next write waits for it.
    await log.commit("nobody", {})


async def test_records_older_than_retention_go(log: SqliteLog, clock: ManualClock) -> None:
    """Age decides, record by record; offsets go on counting."""
    await log.ensure_topics([TopicSpec(_AT.topic, 1, retention_s=60)])
    await log.append(_AT, numbered(5))
    clock.advance(40)
    await log.append(_AT, numbered(5, 5))
    clock.advance(30)

    await _upkeep(log, clock)

    assert [each.offset for each in await read_all(log, _AT)] == [5, 6, 7, 8, 9]
    assert await log.offsets(_AT) == (5, 10)
    assert [each.offset for each in await log.read(_AT, 0, max_bytes=1)] == [5]
    assert await log.evicted() == {}


async def test_age_alone_never_takes_what_a_group_has_not_finished(
    log: SqliteLog, clock: ManualClock
) -> None:
    """The slowest group decides; when it has moved on, the rest goes too."""
    await log.ensure_topics([TopicSpec(_AT.topic, 1, retention_s=60)])
    await log.append(_AT, numbered(10))
    await log.commit("fast", {_AT: 10})
    await log.commit("slow", {_AT: 4})
    clock.advance(3600)

    await _upkeep(log, clock)
    assert await log.offsets(_AT) == (4, 10)

    await log.commit("slow", {_AT: 10})
    await _upkeep(log, clock)
    assert await log.offsets(_AT) == (10, 10)
    assert await read_all(log, _AT) == []
    assert await log.evicted() == {}


async def test_size_takes_the_oldest_and_counts_what_was_not_finished(
    log: SqliteLog, clock: ManualClock
) -> None:
    """Over the size limit the oldest go, finished or not; the unfinished are counted."""
    await log.ensure_topics([TopicSpec(_AT.topic, 1, retention_bytes=50_000)])
    await log.append(_AT, [Record(bytes(10_000)) for _ in range(10)])
    await log.commit("group", {_AT: 2})

    await _upkeep(log, clock)

    oldest, end = await log.offsets(_AT)
    assert (oldest, end) == (6, 10)
    assert await log.evicted() == {_AT: 4}


async def test_an_emptied_partition_does_not_keep_a_waiting_reader_busy(
    log: SqliteLog, clock: ManualClock
) -> None:
    """A reader behind the hole waits its time, and gets the next record that comes."""
    await log.ensure_topics([TopicSpec(_AT.topic, 1, retention_s=1)])
    await log.append(_AT, numbered(3))
    clock.advance(60)
    await _upkeep(log, clock)
    assert await log.offsets(_AT) == (3, 3)

    waiting = asyncio.create_task(log.read(_AT, 0, wait_s=10))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await log.append(_AT, numbered(1, 3))

    assert [each.value for each in await waiting] == [b"3"]


async def test_space_returns_to_the_disk(log: SqliteLog, clock: ManualClock, path: Path) -> None:
    """What retention deletes makes the file shorter, slice by slice."""
    await log.ensure_topics([TopicSpec(_AT.topic, 1, retention_s=60)])
    for _ in range(8):
        await log.append(_AT, [Record(os.urandom(500_000)) for _ in range(10)])
    full_bytes = await log.size_bytes()
    clock.advance(3600)

    await _upkeep(log, clock, slices=40)

    assert await log.offsets(_AT) == (80, 80)
    assert full_bytes is not None
    assert full_bytes > 40_000_000
    assert _size_of(path) < 16_000_000


async def test_the_write_ahead_file_stays_small_while_others_read(
    log: SqliteLog, clock: ManualClock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers that come and go don't let the write-ahead file grow past its limit for long."""
    monkeypatch.setattr(upkeep, "WAL_LIMIT_BYTES", 4 << 20)
    await log.ensure_topics([TopicSpec(_AT.topic, 1)])
    largest = 0
    for number in range(30):
        await log.append(_AT, [Record(os.urandom(1 << 20))])
        await asyncio.gather(*(log.read(_AT, number) for _ in range(3)))
        clock.advance(2)
        largest = max(largest, path.with_name("log.db-wal").stat().st_size)

    assert largest < 8 << 20


async def test_a_refused_part_leaves_nothing_of_the_whole(log: SqliteLog) -> None:
    """``append_many`` is all or nothing, and a neighbour in the same transaction is not harmed."""
    await log.ensure_topics([TopicSpec(_AT.topic, 1), TopicSpec("state", 1, is_compacted=True)])
    refused = log.append_many({_AT: numbered(3), TopicPartition("state", 0): [Record(b"no key")]})

    outcomes = await asyncio.gather(
        log.append(_AT, numbered(1, 100)),
        refused,
        log.append(_AT, numbered(1, 200)),
        return_exceptions=True,
    )

    assert outcomes[0] == 0
    assert isinstance(outcomes[1], PermanentError)
    assert outcomes[2] == 1
    assert [each.value for each in await read_all(log, _AT)] == [b"100", b"200"]


async def test_a_full_disk_is_transient_and_nothing_is_half_written(log: SqliteLog) -> None:
    """With no room left an append raises; once there is room the same append succeeds."""
    await log.ensure_topics([TopicSpec(_AT.topic, 1)])
    await log.append(_AT, numbered(1))
    assert log._writer is not None
    connection = log._writer.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 5}").fetchall()

    with pytest.raises(TransientError, match="full"):
        await log.append(_AT, [Record(b"first"), Record(os.urandom(1 << 20))])
    assert len(await read_all(log, _AT)) == 1

    connection.execute("PRAGMA max_page_count = 1000000").fetchall()
    assert await log.append(_AT, [Record(b"first"), Record(os.urandom(1 << 20))]) == 1


async def test_a_lock_held_too_long_is_transient(log: SqliteLog, path: Path) -> None:
    """Another program's transaction delays an append, and in the end makes it fail."""
    await log.ensure_topics([TopicSpec(_AT.topic, 1)])
    assert log._writer is not None
    log._writer.connection.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError, match="locked"):
            await log.append(_AT, numbered(1))
        other.execute("ROLLBACK")

    assert await log.append(_AT, numbered(1)) == 0


async def test_only_the_owner_may_read_the_files(log: SqliteLog, path: Path) -> None:
    """Readings are nobody else's business."""
    await log.ensure_topics([TopicSpec(_AT.topic, 1)])

    modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}

    assert modes == {"log.db": 0o600, "log.db-wal": 0o600, "log.db-shm": 0o600}


async def test_many_may_open_the_same_new_file_at_once(path: Path) -> None:
    """Whoever comes first makes the file, whole; the others find it so."""
    logs = [SqliteLog(path, SystemClock()) for _ in range(8)]
    await asyncio.gather(*(log.start() for log in logs))

    await asyncio.gather(*(log.ensure_topics([TopicSpec(_AT.topic, 4)]) for log in logs))
    offsets = await asyncio.gather(*(log.append(_AT, numbered(1)) for log in logs))

    assert sorted(offsets) == list(range(8))
    for log in logs:
        await log.stop()
    assert [each.name for each in path.parent.iterdir()] == ["log.db"]


@pytest.mark.parametrize("damage", ["text", "foreign", "newer", "folder", "below a file"])
async def test_what_is_no_log_is_refused_with_advice(path: Path, damage: str) -> None:
    """The message names the file and says what to do; the file is not touched."""
    path = await asyncio.to_thread(_spoil, path, damage)
    before = _content_of(path)

    with pytest.raises(PermanentError, match=r"log\.db: expected .*, got .*;") as refusal:
        await SqliteLog(path, SystemClock()).start()

    assert str(path) in str(refusal.value)
    assert _content_of(path) == before


async def test_a_damaged_page_is_a_permanent_error(path: Path) -> None:
    """Damage that only shows when reading is told as such, with what to do."""
    log = SqliteLog(path, SystemClock())
    await log.start()
    await log.ensure_topics([TopicSpec(_AT.topic, 1)])
    await log.append(_AT, [Record(os.urandom(300)) for _ in range(500)])
    await log.stop()
    content = _content_of(path)
    assert content is not None
    path.write_bytes(content[:8192] + b"\xaa" * (len(content) - 8192))  # noqa: ASYNC240

    log = SqliteLog(path, SystemClock())
    await log.start()
    with pytest.raises(PermanentError, match="damaged"):
        await log.read(_AT, 0)
    await log.stop()


async def test_a_killed_process_loses_nothing_it_was_told_is_durable(path: Path) -> None:
    """Every append that returned before kill -9 is there, without holes."""
    log = SqliteLog(path, SystemClock())
    await log.start()
    await log.ensure_topics([TopicSpec(_AT.topic, 1)])
    acknowledged = await asyncio.to_thread(_append_until_killed, path)

    values = [int(record.value) for record in await read_all(log, _AT)]

    assert values == list(range(len(values)))
    assert len(values) > acknowledged
    assert await log.append(_AT, numbered(1)) == len(values)
    await log.stop()


async def test_a_commit_of_little_writes_little(tmp_path: Path) -> None:
    """An SD card wears by each page."""
    log = SqliteLog(tmp_path / "log.db", SystemClock())
    await log.start()
    await log.ensure_topics([TopicSpec("readings", 4)])
    every = [TopicPartition("readings", number) for number in range(4)]
    # The first records make new leaves.
    for _ in range(2):
        await log.append_many({at: [Record(b"x" * 300)] for at in every})
    wal = tmp_path / "log.db-wal"
    before = wal.stat().st_size
    for _ in range(10):
        await log.append_many({at: [Record(b"x" * 300)] for at in every})
    assert (wal.stat().st_size - before) / 10 < 24 << 10
    await log.stop()


@pytest.mark.parametrize("page_bytes", [4096, 8192])
def test_the_write_ahead_log_is_as_long_whatever_the_pages_are(
    tmp_path: Path, page_bytes: int
) -> None:
    """A log from before has larger ones, and must not take twice as long to be worked in."""
    path = tmp_path / "log.db"
    open_writer(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute(f"PRAGMA page_size = {page_bytes}")
        connection.execute("VACUUM")
        connection.execute("PRAGMA journal_mode = WAL")
    with closing(open_writer(path)) as connection:
        ((pages,),) = connection.execute("PRAGMA wal_autocheckpoint")

    assert pages * page_bytes == 16 << 20
