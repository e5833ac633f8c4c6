"""Reading one partition from any offset, with a consumer that belongs to no group."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import ConsumerStoppedError, KafkaTimeoutError, OffsetOutOfRangeError

from headgate.core.log import StoredRecord, TopicPartition

#: How long a record that is known to be there may take to arrive, s.
_FETCH_TIMEOUT_S: Final = 10.0

#: A consumer says nothing when Kafka is gone; after this long without a record it is asked, s.
ASK_EVERY_S: Final = 5.0


class PartitionReader:
    """Reads one partition; one call at a time.

    Args:
        at: The partition.
        settings: For aiokafka's consumer: servers, credentials, timeouts.
    """

    def __init__(self, at: TopicPartition, settings: dict[str, Any]) -> None:
        self._at = KafkaPartition(*at)
        self._consumer = AIOKafkaConsumer(
            **settings,
            group_id=None,
            enable_auto_commit=False,
            # An offset that is no longer there must not be replaced silently.
            auto_offset_reset="none",
            fetch_max_wait_ms=500,
        )
        # Fetched, and more than a former call asked for.
        self._ahead: deque[StoredRecord] = deque()
        self._position = -1
        self._ask_at = 0.0
        self._is_stopped = False
        self.turn = asyncio.Lock()

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()
        self._consumer.assign([self._at])
        # Before the first read says where to begin, there is nothing to fetch.
        self._seek(0)
        self._consumer.pause(self._at)

    async def stop(self) -> None:
        """Disconnect; whoever is waiting for records is told."""
        self._is_stopped = True
        await self._consumer.stop()

    @property
    def consumer(self) -> AIOKafkaConsumer:
        """What is connected."""
        return self._consumer

    async def read(self, offset: int, max_bytes: int, wait_s: float) -> list[StoredRecord]:
        """Like ``Log.read``, but with Kafka's errors."""
        if offset != self._position:
            self._seek(offset)
        if not self._ahead:
            self._consumer.resume(self._at)
            fetched = await self._fetch(offset, wait_s)
            self._ahead.extend(
                stored_record(record) for record in fetched if record.offset >= offset
            )
        taken: list[StoredRecord] = []
        while self._ahead:
            max_bytes -= len(self._ahead[0].value)
            if taken and max_bytes < 0:
                break
            taken.append(self._ahead.popleft())
        if taken:
            self._position = taken[-1].offset + 1
        return taken

    def _seek(self, offset: int) -> None:
        self._ahead.clear()
        self._position = offset
        self._consumer.seek(self._at, max(0, offset))

    async def _fetch(self, offset: int, wait_s: float) -> list[ConsumerRecord]:
        try:
            records = await self._poll(0.0)
            if not records:
                records = await self._wait(offset, wait_s)
        except OffsetOutOfRangeError:
            oldest, end = await self.offsets()
            if offset > end:
                # Kafka has lost its end, or the topic is another one: until that changes nothing
                # can be read.
                await asyncio.sleep(wait_s)
                return []
            self._consumer.seek(self._at, oldest)
            records = await self._wait(oldest, wait_s)
        return records

    async def _wait(self, offset: int, wait_s: float) -> list[ConsumerRecord]:
        loop = asyncio.get_running_loop()
        if wait_s > 0:
            records = await self._poll(wait_s)
            if records or loop.time() < self._ask_at:
                return records
        _, end = await self.offsets()
        self._ask_at = loop.time() + ASK_EVERY_S
        if offset >= end:
            return []
        deadline = loop.time() + _FETCH_TIMEOUT_S
        while not (records := await self._poll(0.1)):
            # Compaction may have left nothing between here and the end.
            if await self._consumer.position(self._at) >= end:
                return []
            if loop.time() > deadline:
                raise KafkaTimeoutError
        return records

    async def _poll(self, wait_s: float) -> list[ConsumerRecord]:
        fetched = await self._consumer.getmany(self._at, timeout_ms=1000 * wait_s)
        if self._is_stopped:
            # A stopped consumer answers as if there were no records, and never answers after that.
            raise ConsumerStoppedError
        records: list[ConsumerRecord] = fetched.get(self._at, [])
        return records

    async def offsets(self) -> tuple[int, int]:
        """``(oldest kept, next to be written)``."""
        oldest = await self._consumer.beginning_offsets([self._at])
        end = await self._consumer.end_offsets([self._at])
        return oldest[self._at], end[self._at]


def stored_record(record: ConsumerRecord) -> StoredRecord:
    """A consumer's record as the log's."""
    return StoredRecord(
        record.offset,
        record.timestamp,
        record.value or b"",
        record.key,
        tuple(record.headers),
    )
