"""The contract of the log: topics of records, durable, read by offset.

Two logs keep it: ``connectors.logs.kafka`` and ``connectors.logs.embedded``. One test suite
(``tests/contract``) runs against both. Faust agents read the log through a Faust transport of the
same connector; everything else (ingest, forwarding, state, audit) uses this contract.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

Headers = tuple[tuple[str, bytes], ...]

READINGS = "readings"
ANOMALIES = "anomalies"
AGGREGATES = "aggregates"
QUARANTINE = "quarantine"
STATE = "state"

#: Aggregates that were merged into longer windows because a sink was away for long: once, twice.
THINNED = ("thinned-1", "thinned-2")

#: What each sink has yet to get, where that is more than an offset.
FORWARDED = "forwarded"

#: Consumer group of the lane that works on ``readings``.
STREAMS = "streams"

#: Largest record that both logs take: value, key and headers together, bytes. Raising it means
#: raising the limits of the Kafka broker, its topics and its readers with it.
MAX_RECORD_BYTES = 8 << 20


#: Headers of a record whose bytes are not those that were written: no reader knows this schema.
DAMAGED: Headers = (("schema", b"damaged: the checksum does not match"),)


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Record:
    """What is appended: key (None or bytes), value, headers."""

    value: bytes
    key: bytes | None = None
    headers: Headers = ()

    @property
    def size_bytes(self) -> int:
        """What counts against ``MAX_RECORD_BYTES``."""
        headers = sum(len(name.encode()) + len(value) for name, value in self.headers)
        return len(self.value) + len(self.key or b"") + headers


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record read back.

    ``timestamp_ms`` is when it was appended, by the log's own time, which only counts: see
    ``Log.now_ms``.
    """

    offset: int
    timestamp_ms: int
    value: bytes
    key: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How a topic is kept.

    Attributes:
        name: Topic name as the log sees it.
        partitions: Number of partitions, fixed at creation.
        is_compacted: True keeps the newest record of each key instead of retention by age.
        retention_s: Records older than this may be deleted; None keeps them.
        retention_bytes: Oldest records are deleted over this size (a partition); None for no cap.
        readers: Consumer groups that have to be done with a record before its age counts. One that
            has no offset yet begins at the oldest record there is. The offsets of any others hold
            nothing back, and may be forgotten. None says that every group with an offset counts.
    """

    name: str
    partitions: int
    is_compacted: bool = False
    retention_s: float | None = None
    retention_bytes: int | None = None
    readers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """One of several processes that divide a topic's partitions among themselves.

    Attributes:
        number: Which one, from 1.
        count: How many there are.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read ``"NUMBER/COUNT"``; raises ValueError for anything else."""
        number, _, count = text.partition("/")
        share = cls(int(number), int(count))
        if not 1 <= share.number <= share.count:
            raise ValueError(f"expected a share such as 1/2, got {text!r}")
        return share

    def __str__(self) -> str:
        """The share as ``parse`` reads it."""
        return f"{self.number}/{self.count}"

    def partitions(self, total: int) -> range:
        """Its partitions of so many; each partition is in one share."""
        return range(self.number - 1, total, self.count)


class Log(Protocol):
    """A durable, partitioned, append-only log.

    All methods raise ``TransientError`` when the log can't be reached or has no room (the caller
    retries) and ``PermanentError`` when the same call can never succeed (record too large,
    refused credentials, partition that does not exist). ``start`` waits for nothing: it raises
    ``TransientError`` at once when the log is not there.
    """

    async def start(self) -> None:
        """Connect. May be called again after it raised."""
        ...

    async def stop(self) -> None:
        """Release everything. Never raises, and may be called at any time."""
        ...

    async def ensure_topics(self, topics: Sequence[TopicSpec]) -> None:
        """Create the topics that do not exist; apply retention to those that do.

        Raises:
            PermanentError: An existing topic has another number of partitions.
        """
        ...

    async def append(self, at: TopicPartition, records: Sequence[Record]) -> int:
        """Append in order and return the offset of the first, once *all* are durable.

        Durable means: survives ``kill -9`` and power loss on the embedded log (fsync), and
        ``acks=all`` on Kafka. When it raises, any prefix may have been written.
        """
        ...

    async def append_many(self, batches: Mapping[TopicPartition, Sequence[Record]]) -> None:
        """Append to several partitions, together where the log can; returns when all are durable.

        On the embedded log this is one transaction: all of it or nothing.
        """
        ...

    async def read(
        self, at: TopicPartition, offset: int, *, max_bytes: int = 1 << 20, wait_s: float = 0.0
    ) -> list[StoredRecord]:
        """Records from ``offset`` on, oldest first, in offset order with possible holes.

        Holes come from compaction. At least one record is returned when there is one, however
        large. When there is none, waits up to ``wait_s`` for one and returns an empty list after
        that. An offset before the oldest kept record reads from the oldest.
        """
        ...

    async def read_many(
        self,
        offsets: Mapping[TopicPartition, int],
        *,
        reader: str = "",
        max_bytes: int = 1 << 20,
        wait_s: float = 0.0,
    ) -> dict[TopicPartition, list[StoredRecord]]:
        """Follow several partitions: records of each like ``read``, those without any left out.

        Waits up to ``wait_s`` while none of them has a record. With no time to wait, records
        that are not at hand may be missed.

        Args:
            offsets: Where to begin in each partition.
            reader: Who asks, again and again, going on where the last answer ended. Others that
                follow the same log need another name, or they wait for each other.
            max_bytes: For each partition.
            wait_s: Longest wait.
        """
        ...

    async def offsets_many(
        self, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        """``offsets`` of several partitions, asked for at once."""
        ...

    async def offsets(self, at: TopicPartition) -> tuple[int, int]:
        """``(oldest kept, next to be written)``; equal for an empty partition."""
        ...

    async def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Store the next offset to read for a consumer group; durable when it returns."""
        ...

    async def committed(self, group: str, at: TopicPartition) -> int | None:
        """The group's committed offset, None when it never committed."""
        ...

    def now_ms(self) -> int:
        """The log's time, ms: what an append would be stamped with.

        Began as the wall clock's when the log was first opened, and only counts since, on however
        often the clock is set and the computer started. Ages are differences of such times, and
        nothing else is.
        """
        ...

    def wall_ms(self, timestamp_ms: int) -> int:
        """A time of the log's as the wall clock would have said it, as far as is known."""
        ...

    async def size_bytes(self) -> int | None:
        """Bytes the log occupies on this machine's disk; None when that can't be told."""
        ...


async def records_between(
    log: Log, at: TopicPartition, first: int, end: int, *, max_bytes: int = 4 << 20
) -> AsyncIterator[list[StoredRecord]]:
    """A partition's records from one offset to before another, some at a time.

    There may be none where compaction has removed all that were.

    Args:
        log: A started log.
        at: Where.
        first: The first offset.
        end: The offset behind the last.
        max_bytes: Read at once.
    """
    while first < end:
        records = await log.read(at, first, max_bytes=max_bytes)
        first = records[-1].offset + 1 if records else end
        if records := [record for record in records if record.offset < end]:
            yield records
