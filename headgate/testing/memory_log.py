"""The log in memory: the contract of ``headgate.core.log.Log`` without a disk.

``tests/contract`` holds it to what both real logs are held to. It is as durable as the
``MemoryStore`` that it stands on, which outlives every ``MemoryLog`` that a test opens, kills or
opens anew.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

from headgate.core.clock import Clock
from headgate.core.errors import PermanentError, TransientError
from headgate.core.log import MAX_RECORD_BYTES, Record, StoredRecord, TopicPartition, TopicSpec

#: What is asked of the log; see ``MemoryLog.reach``.
Call: TypeAlias = Literal["start", "append", "read", "look", "commit"]

_MS_PER_S: Final = 1000
_NS_PER_MS: Final = 1_000_000


class MemoryStore:
    """What logs in memory stand on, as others stand on a disk.

    Nothing is ever thrown away: what age has deleted, and what was compacted, is not read any more
    or no longer needed, and can still be looked at by a test.

    Attributes:
        specs: By name, the topics there are.
        records: By partition, all that was ever appended; a record's place is its offset.
        oldest: By partition, the first offset that age has left.
        committed: Offsets by consumer group and partition.
        ahead_ms: How much the log's time is ahead of the machine's uptime, ms; None before it was
            opened for the first time.
    """

    def __init__(self) -> None:
        self.specs: dict[str, TopicSpec] = {}
        self.records: defaultdict[TopicPartition, list[StoredRecord]] = defaultdict(list)
        self.oldest: defaultdict[TopicPartition, int] = defaultdict(int)
        self.committed: dict[tuple[str, TopicPartition], int] = {}
        self.ahead_ms: int | None = None
        # Set by each append: whoever waits looks again.
        self.appended = asyncio.Event()

    def expire(self, at: TopicPartition, now_ms: int) -> None:
        """Delete what is older than its topic is kept for, and what all readers are done with."""
        spec = self.specs[at.topic]
        if spec.retention_s is None or spec.is_compacted:
            return
        if spec.readers is None:
            offsets = [self.committed[key] for key in self.committed if key[1] == at]
            limit = min(offsets, default=len(self.records[at]))
        else:
            every = (self.committed.get((group, at), 0) for group in spec.readers)
            limit = min(every, default=len(self.records[at]))
        records, begin_ms = self.records[at], now_ms - _MS_PER_S * spec.retention_s
        while self.oldest[at] < limit and records[self.oldest[at]].timestamp_ms < begin_ms:
            self.oldest[at] += 1


class MemoryLog:
    """A process's access to a log in memory.

    A subclass that overrides ``reach`` and ``answer`` is a log that is slow, away, or unsure.

    Args:
        store: What stands in the log.
        clock: What the log's time is counted with.
    """

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._is_started = False

    async def reach(self, call: Call) -> None:
        """Get to the log, before anything is done; may take its time.

        Args:
            call: What is about to be asked of it.

        Raises:
            TransientError: It can't be reached. Nothing has been done.
        """

    async def answer(self) -> None:
        """Get back from the log, after something has been written; may take its time.

        Raises:
            TransientError: The answer is lost. What was asked has been done.
        """

    async def start(self) -> None:
        await self.reach("start")
        self.open()

    def open(self) -> None:
        """Be started, at once."""
        self._is_started = True
        if self._store.ahead_ms is None:
            self._store.ahead_ms = self._clock.wall_ns() // _NS_PER_MS - self._uptime_ms()

    async def stop(self) -> None:
        self._is_started = False
        # Whoever waits is told that there is nothing to wait for.
        self._store.appended.set()

    async def ensure_topics(self, topics: Sequence[TopicSpec]) -> None:
        await self._call("start")
        for spec in topics:
            known = self._store.specs.get(spec.name, spec)
            if known.partitions != spec.partitions:
                raise PermanentError(
                    f"topic {spec.name}: expected {spec.partitions} partitions, found "
                    f"{known.partitions}; their number is fixed when a topic is created"
                )
            self._store.specs[spec.name] = spec
            for number in range(spec.partitions):
                self._store.expire(TopicPartition(spec.name, number), self.now_ms())

    async def append(self, at: TopicPartition, records: Sequence[Record]) -> int:
        first = await self._append({at: records})
        await self.answer()
        return first[at]

    async def append_many(self, batches: Mapping[TopicPartition, Sequence[Record]]) -> None:
        await self._append(batches)
        await self.answer()

    async def read(
        self, at: TopicPartition, offset: int, *, max_bytes: int = 1 << 20, wait_s: float = 0.0
    ) -> list[StoredRecord]:
        found = await self.read_many({at: offset}, max_bytes=max_bytes, wait_s=wait_s)
        return found.get(at, [])

    async def read_many(
        self,
        offsets: Mapping[TopicPartition, int],
        *,
        reader: str = "",  # noqa: ARG002  (readers never disturb each other here)
        max_bytes: int = 1 << 20,
        wait_s: float = 0.0,
    ) -> dict[TopicPartition, list[StoredRecord]]:
        await self._call("read")
        self._check(offsets)
        loop, store = asyncio.get_running_loop(), self._store
        deadline_s = loop.time() + wait_s
        while True:
            found = {
                at: _some(store.records[at][max(offset, store.oldest[at]) :], max_bytes)
                for at, offset in offsets.items()
                if len(store.records[at]) > max(offset, store.oldest[at])
            }
            left_s = deadline_s - loop.time()
            if found or left_s <= 0:
                return found
            store.appended.clear()
            try:
                await asyncio.wait_for(store.appended.wait(), left_s)
            except TimeoutError:
                deadline_s = loop.time()  # one more look
            else:
                await self._call("read")

    async def offsets(self, at: TopicPartition) -> tuple[int, int]:
        return (await self.offsets_many([at]))[at]

    async def offsets_many(
        self, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        await self._call("look")
        self._check(partitions)
        store = self._store
        return {at: (store.oldest[at], len(store.records[at])) for at in partitions}

    async def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        await self._call("commit")
        self._check(offsets)
        for at, offset in offsets.items():
            self._store.committed[group, at] = offset
            self._store.expire(at, self.now_ms())
        await self.answer()

    async def committed(self, group: str, at: TopicPartition) -> int | None:
        await self._call("look")
        return self._store.committed.get((group, at))

    def now_ms(self) -> int:
        return (self._store.ahead_ms or 0) + self._uptime_ms()

    def wall_ms(self, timestamp_ms: int) -> int:
        return timestamp_ms + self._clock.wall_ns() // _NS_PER_MS - self.now_ms()

    async def size_bytes(self) -> int | None:
        return None

    def _uptime_ms(self) -> int:
        return self._clock.uptime()[1] // _NS_PER_MS

    async def _append(
        self, batches: Mapping[TopicPartition, Sequence[Record]]
    ) -> dict[TopicPartition, int]:
        """Append; the offset of the first of each."""
        await self._call("append")
        self._check(batches)
        for at, records in batches.items():
            self._check_records(at, records)
        now_ms = self.now_ms()
        first = {}
        for at, records in batches.items():
            partition = self._store.records[at]
            first[at] = len(partition)
            partition += [
                StoredRecord(number, now_ms, each.value, each.key, each.headers)
                for number, each in enumerate(records, len(partition))
            ]
            self._store.expire(at, now_ms)
        self._store.appended.set()
        return first

    async def _call(self, call: Call) -> None:
        if not self._is_started:
            raise TransientError("the log in memory is not started")
        await self.reach(call)

    def _check(
        self, partitions: Mapping[TopicPartition, object] | Sequence[TopicPartition]
    ) -> None:
        for at in partitions:
            spec = self._store.specs.get(at.topic)
            if spec is None or not 0 <= at.partition < spec.partitions:
                raise PermanentError(f"{at.topic}/{at.partition}: no such partition")

    def _check_records(self, at: TopicPartition, records: Sequence[Record]) -> None:
        if self._store.specs[at.topic].is_compacted and any(each.key is None for each in records):
            raise PermanentError(f"{at.topic}: a compacted topic takes no record without a key")
        largest = max((each.size_bytes for each in records), default=0)
        if largest > MAX_RECORD_BYTES:
            raise PermanentError(
                f"{at.topic}: expected records of at most {MAX_RECORD_BYTES} bytes, got one of "
                f"{largest}; split it"
            )


def _some(records: Sequence[StoredRecord], max_bytes: int) -> list[StoredRecord]:
    some: list[StoredRecord] = []
    size = 0
    for record in records:
        if some and size + len(record.value) > max_bytes:
            break
        some.append(record)
        size += len(record.value)
    return some
