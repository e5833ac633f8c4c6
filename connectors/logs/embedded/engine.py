"""What the embedded log does to its file, one call after another in the calling thread.

No transactions here: whoever calls a writing method has begun one, so that several calls can
share it. All that can be refused is refused before anything is written, therefore a refused
call leaves nothing behind in a shared transaction.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from connectors.logs.embedded.database import OFFSET_BITS
from headgate.core.errors import PermanentError
from headgate.core.log import (
    DAMAGED,
    MAX_RECORD_BYTES,
    Headers,
    Record,
    StoredRecord,
    TopicPartition,
    TopicSpec,
)

_OFFSET_MASK = (1 << OFFSET_BITS) - 1
_HEADER = struct.Struct("<HI")

#: What a stored record occupies besides its bytes: row header, pointers, unused ends of pages.
_ROW_BYTES = 64


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a partition lives in the file."""

    id: int
    is_compacted: bool

    @property
    def first_row(self) -> int:
        """Row number of offset 0."""
        return self.id << OFFSET_BITS

    @property
    def last_row(self) -> int:
        """Row number of the largest offset there can be."""
        return self.first_row | _OFFSET_MASK


class Engine:
    """Statements of the log over one connection.

    Args:
        connection: In autocommit mode; the engine never begins or ends a transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._slots: dict[TopicPartition, Slot] = {}

    def slot(self, at: TopicPartition) -> Slot:
        """Where the partition lives; raises PermanentError when there is no such partition."""
        known = self._slots.get(at)
        if known is None:
            row = self._connection.execute(
                "SELECT p.id, t.is_compacted FROM partitions p JOIN topics t ON t.id = p.topic_id"
                " WHERE t.name = ? AND p.partition = ?",
                at,
            ).fetchone()
            if row is None:
                raise PermanentError(
                    f"log: expected a partition that exists, got {at.topic}/{at.partition}; "
                    "create its topic first"
                )
            # Topics are never deleted, so this stays true.
            known = self._slots[at] = Slot(row[0], bool(row[1]))
        return known

    def partitions(self, topic: str) -> int:
        """Number of partitions of the topic; 0 when it does not exist."""
        (count,) = self._connection.execute(
            "SELECT count(*) FROM partitions p JOIN topics t ON t.id = p.topic_id WHERE t.name = ?",
            (topic,),
        ).fetchone()
        return int(count)

    def ensure_topics(self, topics: Sequence[TopicSpec]) -> None:
        """Create what is missing and apply retention; raises PermanentError on a mismatch."""
        for spec in topics:
            found = self.partitions(spec.name)
            if found not in (0, spec.partitions):
                raise PermanentError(
                    f"log: expected topic {spec.name} with {spec.partitions} partitions, "
                    f"got {found}; set log.partitions = {found}, or begin a new log"
                )
        for spec in topics:
            retention_ms = None if spec.retention_s is None else round(1000 * spec.retention_s)
            (topic_id,) = self._connection.execute(
                "INSERT INTO topics (name, is_compacted, retention_ms, retention_bytes)"
                " VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
                " retention_ms = excluded.retention_ms, retention_bytes = excluded.retention_bytes"
                " RETURNING id",
                (spec.name, spec.is_compacted, retention_ms, spec.retention_bytes),
            ).fetchall()[0]
            self._connection.executemany(
                "INSERT OR IGNORE INTO partitions (topic_id, partition) VALUES (?, ?)",
                [(topic_id, partition) for partition in range(spec.partitions)],
            )
            if spec.readers is not None:
                self._register(spec, spec.readers)

    def _register(self, spec: TopicSpec, readers: Sequence[str]) -> None:
        """Give each reader a place in every partition, from which on age deletes nothing.

        The places of groups that read the topic no more are forgotten: they would hold it for ever.
        """
        for partition in range(spec.partitions):
            at = TopicPartition(spec.name, partition)
            slot, (oldest, _) = self.slot(at), self.offsets(at)
            groups = self._connection.execute(
                "SELECT consumer_group FROM committed WHERE partition_id = ?", (slot.id,)
            ).fetchall()
            self._connection.executemany(
                "DELETE FROM committed WHERE partition_id = ? AND consumer_group = ?",
                [(slot.id, group) for (group,) in groups if group not in readers],
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO committed VALUES (?, ?, ?)",
                [(group, slot.id, oldest) for group in readers],
            )

    def newest_ms(self) -> int:
        """The newest time that any partition's last record has; 0 without records."""
        rows = self._connection.execute("SELECT id FROM partitions").fetchall()
        newest = 0
        for (number,) in rows:
            slot = Slot(number, is_compacted=False)
            row = self._connection.execute(
                "SELECT time_ms FROM records WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
                (slot.first_row, slot.last_row),
            ).fetchone()
            newest = max(newest, 0 if row is None else row[0])
        return newest

    def append(
        self, batches: Mapping[TopicPartition, Sequence[Record]], time_ms: int
    ) -> dict[TopicPartition, int]:
        """Append to each partition; returns the offset of each one's first record."""
        for at, records in batches.items():
            _check_records(at, self.slot(at), records)
        return {at: self._append(self.slot(at), batches[at], time_ms) for at in batches}

    def _append(self, slot: Slot, records: Sequence[Record], time_ms: int) -> int:
        (first,) = self._connection.execute(
            "SELECT next_offset FROM partitions WHERE id = ?", (slot.id,)
        ).fetchone()
        start = slot.first_row + first
        rows = []
        for position, record in enumerate(records):
            headers = _pack_headers(record.headers)
            rows.append(
                (
                    start + position,
                    time_ms,
                    record.size_bytes + _ROW_BYTES,
                    record.key,
                    headers,
                    record.value,
                    _checksum(record.key, headers, record.value),
                )
            )
        self._connection.executemany(
            "INSERT INTO records (id, time_ms, size, key, headers, value, crc)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        added = sum(row[2] for row in rows)
        if slot.is_compacted:
            added -= self._compact(slot, [(row[0], row[3]) for row in rows])
        self._connection.execute(
            "UPDATE partitions SET next_offset = ?, bytes = bytes + ? WHERE id = ?",
            (first + len(rows), added, slot.id),
        )
        return int(first)

    def _compact(self, slot: Slot, appended: Iterable[tuple[int, bytes | None]]) -> int:
        """Delete the record that each appended one replaces; returns the bytes given back."""
        freed = 0
        for row, key in appended:
            replaced = self._connection.execute(
                "SELECT record_id FROM newest WHERE partition_id = ? AND key = ?", (slot.id, key)
            ).fetchone()
            if replaced is not None:
                deleted = self._connection.execute(
                    "DELETE FROM records WHERE id = ? RETURNING size", replaced
                ).fetchall()
                freed += sum(size for (size,) in deleted)
            self._connection.execute(
                "INSERT INTO newest (partition_id, key, record_id) VALUES (?, ?, ?)"
                " ON CONFLICT (partition_id, key) DO UPDATE SET record_id = excluded.record_id",
                (slot.id, key, row),
            )
        return freed

    def read(
        self, at: TopicPartition, offset: int, max_bytes: int
    ) -> tuple[list[StoredRecord], int]:
        """Records from ``offset`` on, and the next offset to be written as it was before."""
        slot = self.slot(at)
        (next_offset,) = self._connection.execute(
            "SELECT next_offset FROM partitions WHERE id = ?", (slot.id,)
        ).fetchone()
        records: list[StoredRecord] = []
        if offset >= next_offset:
            return records, next_offset
        cursor = self._connection.execute(
            "SELECT id, time_ms, size, key, headers, value, crc FROM records"
            " WHERE id BETWEEN ? AND ? ORDER BY id",
            (slot.first_row + max(0, offset), slot.last_row),
        )
        try:
            for row, time_ms, size, key, headers, value, crc in cursor:
                max_bytes -= size
                if records and max_bytes < 0:
                    break
                is_damaged = crc is not None and crc != _checksum(key, headers, value)
                names = DAMAGED if is_damaged else _unpack_headers(headers)
                records.append(StoredRecord(row & _OFFSET_MASK, time_ms, value, key, names))
        finally:
            # An open cursor holds a read transaction, which would keep the write-ahead log alive.
            cursor.close()
        return records, next_offset

    def offsets(self, at: TopicPartition) -> tuple[int, int]:
        """``(oldest kept, next to be written)``."""
        slot = self.slot(at)
        (next_offset,) = self._connection.execute(
            "SELECT next_offset FROM partitions WHERE id = ?", (slot.id,)
        ).fetchone()
        (oldest,) = self._connection.execute(
            "SELECT min(id) FROM records WHERE id BETWEEN ? AND ?",
            (slot.first_row, slot.last_row),
        ).fetchone()
        return (next_offset if oldest is None else oldest & _OFFSET_MASK), next_offset

    def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Store the group's offsets."""
        rows = [(group, self.slot(at).id, offset) for at, offset in offsets.items()]
        self._connection.executemany(
            "INSERT INTO committed (consumer_group, partition_id, next_offset) VALUES (?, ?, ?)"
            " ON CONFLICT (consumer_group, partition_id)"
            " DO UPDATE SET next_offset = excluded.next_offset",
            rows,
        )

    def committed(self, group: str, at: TopicPartition) -> int | None:
        """The group's offset."""
        row = self._connection.execute(
            "SELECT next_offset FROM committed WHERE consumer_group = ? AND partition_id = ?",
            (group, self.slot(at).id),
        ).fetchone()
        return None if row is None else int(row[0])

    def evicted(self) -> dict[TopicPartition, int]:
        """Records that were deleted before a group had committed past them."""
        rows = self._connection.execute(
            "SELECT t.name, p.partition, p.evicted FROM partitions p"
            " JOIN topics t ON t.id = p.topic_id WHERE p.evicted > 0"
        )
        return {TopicPartition(name, partition): count for name, partition, count in rows}


def _check_records(at: TopicPartition, slot: Slot, records: Sequence[Record]) -> None:
    for record in records:
        size_bytes = record.size_bytes
        if size_bytes > MAX_RECORD_BYTES:
            raise PermanentError(
                f"log: expected records of at most {MAX_RECORD_BYTES} bytes for {at.topic}, "
                f"got one of {size_bytes}; split it"
            )
        if slot.is_compacted and record.key is None:
            raise PermanentError(
                f"log: expected a key on every record for {at.topic}, which keeps the newest "
                "record of each key, got one without; give it a key"
            )


def _checksum(key: bytes | None, headers: bytes | None, value: bytes) -> int:
    return crc32(value, crc32(headers or b"", crc32(key or b"")))


def _pack_headers(headers: Headers) -> bytes | None:
    if not headers:
        return None
    parts: list[bytes] = []
    for name, value in headers:
        encoded = name.encode()
        parts += (_HEADER.pack(len(encoded), len(value)), encoded, value)
    return b"".join(parts)


def _unpack_headers(packed: bytes | None) -> Headers:
    if packed is None:
        return ()
    headers: list[tuple[str, bytes]] = []
    position = 0
    while position < len(packed):
        name_bytes, value_bytes = _HEADER.unpack_from(packed, position)
        start = position + _HEADER.size
        position = start + name_bytes + value_bytes
        name = packed[start : start + name_bytes].decode()
        headers.append((name, packed[start + name_bytes : position]))
    return tuple(headers)
