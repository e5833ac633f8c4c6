"""Keeping the embedded log small: retention, giving space back, emptying the write-ahead log.

Everything is done in slices that take some milliseconds, so that no append waits long behind one.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from connectors.logs.embedded.database import OFFSET_BITS

#: Records and bytes deleted in one slice: some tens of milliseconds on an SD card.
_SLICE_RECORDS = 1000
_SLICE_BYTES = 16 << 20

#: Free pages kept for the records to come: giving back and asking again would only cost writes.
#: An eighth of the file, and at least 4 MiB.
_SPARE_SHARE = 8
_SPARE_PAGES = 1024

#: Pages given back to the disk in one slice (2 MiB).
_SLICE_PAGES = 512

#: Above this the write-ahead log is emptied by force, bytes: other processes wait meanwhile.
#: Ordinary checkpoints keep it far below unless some reader holds on to an old state.
WAL_LIMIT_BYTES = 64 << 20

_DUE = """
SELECT p.id, p.bytes, t.retention_ms, t.retention_bytes, min(c.next_offset)
FROM partitions p
JOIN topics t ON t.id = p.topic_id
LEFT JOIN committed c ON c.partition_id = p.id
WHERE t.is_compacted = 0 AND (t.retention_ms IS NOT NULL OR p.bytes > t.retention_bytes)
GROUP BY p.id
"""


@dataclass(frozen=True, slots=True)
class _Partition:
    """One partition that retention applies to."""

    id: int
    bytes: int
    retention_ms: int | None
    retention_bytes: int | None
    #: What some group has yet to finish begins here; None when no group reads the partition.
    committed: int | None


def delete_expired(connection: sqlite3.Connection, now_ms: int) -> bool:
    """Apply retention within the caller's transaction; True when a slice was not enough.

    Age alone never deletes what a consumer group has yet to finish; the size limit does, and
    counts it as evicted. Records that no group reads go by age alone.

    Args:
        connection: To the log.
        now_ms: The log's own time, which only counts.
    """
    records_left, bytes_left = _SLICE_RECORDS, _SLICE_BYTES
    for row in connection.execute(_DUE).fetchall():
        deleted, freed = _delete_from(
            connection, _Partition(*row), now_ms, records_left, bytes_left
        )
        records_left -= deleted
        bytes_left -= freed
        if records_left <= 0 or bytes_left <= 0:
            return True
    return False


def _delete_from(
    connection: sqlite3.Connection, partition: _Partition, now_ms: int, limit: int, limit_bytes: int
) -> tuple[int, int]:
    """Delete the partition's oldest records; returns how many, and their bytes."""
    first = partition.id << OFFSET_BITS
    over_bytes = (
        0
        if partition.retention_bytes is None
        else max(0, partition.bytes - partition.retention_bytes)
    )
    # A negative limit is older than any record: nothing expires.
    expired_ms = -1 if partition.retention_ms is None else now_ms - partition.retention_ms
    unfinished = None if partition.committed is None else first + partition.committed
    deleted = freed = evicted = 0
    last = first
    oldest = connection.execute(
        "SELECT id, time_ms, size FROM records WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
        (first, first | ((1 << OFFSET_BITS) - 1), limit),
    )
    # One by one: each lies on a page of its own, and mostly the first is to stay.
    with closing(oldest):
        for row, time_ms, size in oldest:
            is_unfinished = unfinished is not None and row >= unfinished
            if freed < over_bytes:
                evicted += is_unfinished
            elif time_ms >= expired_ms or is_unfinished:
                break
            last = row
            deleted += 1
            freed += size
            if freed >= limit_bytes:
                break
    if deleted:
        connection.execute("DELETE FROM records WHERE id BETWEEN ? AND ?", (first, last))
        connection.execute(
            "UPDATE partitions SET bytes = bytes - ?, evicted = evicted + ? WHERE id = ?",
            (freed, evicted, partition.id),
        )
    return deleted, freed


def give_space_back(connection: sqlite3.Connection) -> bool:
    """Shorten the file by a slice of its unused pages; True when more could be given back.

    Outside a transaction: SQLite makes its own.
    """
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    surplus = free - max(_SPARE_PAGES, pages // _SPARE_SHARE)
    if surplus <= 0:
        return False
    # The pragma frees one page a step, and of a statement without columns ``execute`` does one.
    connection.executescript(f"PRAGMA incremental_vacuum({min(surplus, _SLICE_PAGES)})")
    if surplus > _SLICE_PAGES:
        return True
    # Until a checkpoint the file is only shorter in the write-ahead log.
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    return False


def empty_wal(connection: sqlite3.Connection, path: Path) -> int:
    """Empty the write-ahead log when it has grown too large; returns the bytes it still has.

    Ordinary checkpoints can't start the write-ahead log over while any reader stands in it. This
    one makes new readers and writers wait a moment, so that it can.
    """
    wal = path.with_name(path.name + "-wal")
    if _size_of(wal) > WAL_LIMIT_BYTES:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return _size_of(wal)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def bytes_on_disk(path: Path) -> int:
    """What the log's files occupy together."""
    return sum(_size_of(path.with_name(path.name + suffix)) for suffix in ("", "-wal", "-shm"))


def file_problems(connection: sqlite3.Connection, path: Path) -> list[str]:
    """What SQLite finds wrong with the file itself, one line each; empty when it is whole."""
    try:
        found = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(20)")]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    return [] if found == ["ok"] else [f"{path}: {line}" for line in found]
