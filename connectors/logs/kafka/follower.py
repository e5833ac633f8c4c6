"""Following several partitions with one consumer that belongs to no group.

Reading each by itself would need a connection for each, and a round trip to learn that there is
nothing new; this waits for all of them in one request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import ConsumerStoppedError, OffsetOutOfRangeError

from connectors.logs.kafka.reader import ASK_EVERY_S, stored_record
from headgate.core.log import StoredRecord, TopicPartition

#: Fetched ahead of each partition at most, one larger record aside.
_FETCH_BYTES: Final = 256 << 10


class Follower:
    """Reads partitions from their offsets on; one call at a time.

    Args:
        settings: For aiokafka's consumer: servers, credentials, timeouts.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._consumer = AIOKafkaConsumer(
            **settings,
            group_id=None,
            enable_auto_commit=False,
            # An offset that is no longer there must not be replaced silently.
            auto_offset_reset="none",
            fetch_max_wait_ms=500,
            max_partition_fetch_bytes=_FETCH_BYTES,
        )
        # By partition: the offset that comes next, and what was fetched beyond a call's limit.
        self._positions: dict[KafkaPartition, int] = {}
        self._ahead: dict[KafkaPartition, deque[StoredRecord]] = {}
        self._ask_at = 0.0
        self._is_stopped = False
        self.turn = asyncio.Lock()

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect; whoever is waiting for records is told."""
        self._is_stopped = True
        await self._consumer.stop()

    @property
    def consumer(self) -> AIOKafkaConsumer:
        """What is connected."""
        return self._consumer

    async def read(
        self, offsets: Mapping[TopicPartition, int], max_bytes: int, wait_s: float
    ) -> dict[TopicPartition, list[StoredRecord]]:
        """Like ``Log.read_many``, but with Kafka's errors."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        wanted = {KafkaPartition(*at): offset for at, offset in offsets.items()}
        self._turn_to(wanted)
        while not any(self._ahead[at] for at in wanted):
            left_s = max(0.0, deadline - loop.time())
            try:
                fetched = await self._consumer.getmany(*wanted, timeout_ms=1000 * left_s)
            except OffsetOutOfRangeError as error:
                await self._move_into_range(error, wanted)
                continue
            if self._is_stopped:
                # A stopped consumer answers as if there were no records.
                raise ConsumerStoppedError
            for at, records in fetched.items():
                self._ahead[at].extend(map(stored_record, records))
            if not fetched and left_s <= 0:
                break
        await self._ask_if_silent(wanted)
        return self._take(wanted, max_bytes)

    def _turn_to(self, wanted: Mapping[KafkaPartition, int]) -> None:
        """Have the consumer fetch just these partitions, from these offsets."""
        if not wanted.keys() <= self._positions.keys():
            for at in wanted:
                self._positions.setdefault(at, -1)
                self._ahead.setdefault(at, deque())
            self._consumer.assign(list(self._positions))
            # Assigning forgets where the consumer stood.
            self._positions = dict.fromkeys(self._positions, -1)
        for at in self._positions:
            if at not in wanted:
                # Left where it is, to be gone on with; it has to stand somewhere to be paused.
                if self._positions[at] < 0:
                    self._seek(at, 0)
                self._consumer.pause(at)
                continue
            if self._positions[at] != wanted[at]:
                self._seek(at, wanted[at])
            self._consumer.resume(at)

    def _seek(self, at: KafkaPartition, offset: int) -> None:
        self._ahead[at].clear()
        self._positions[at] = offset
        self._consumer.seek(at, max(0, offset))

    async def _move_into_range(
        self, error: OffsetOutOfRangeError, wanted: Mapping[KafkaPartition, int]
    ) -> None:
        beyond = [at for at in error.args[0] if at in wanted]
        oldest = await self._consumer.beginning_offsets(beyond)
        for at in beyond:
            if wanted[at] < oldest[at]:
                self._consumer.seek(at, oldest[at])
            else:
                # Kafka has lost its end, or the topic is another one: until that changes nothing
                # can be read.
                self._consumer.pause(at)

    async def _ask_if_silent(self, wanted: Mapping[KafkaPartition, int]) -> None:
        """A consumer says nothing when Kafka is gone, so now and then it is asked."""
        loop = asyncio.get_running_loop()
        if any(self._ahead[at] for at in wanted):
            self._ask_at = loop.time() + ASK_EVERY_S
        elif loop.time() >= self._ask_at:
            self._ask_at = loop.time() + ASK_EVERY_S
            await self._consumer.end_offsets(list(wanted))

    def _take(
        self, wanted: Mapping[KafkaPartition, int], max_bytes: int
    ) -> dict[TopicPartition, list[StoredRecord]]:
        found: dict[TopicPartition, list[StoredRecord]] = {}
        for at in wanted:
            ahead, left = self._ahead[at], max_bytes
            taken: list[StoredRecord] = []
            while ahead:
                left -= len(ahead[0].value)
                if taken and left < 0:
                    break
                taken.append(ahead.popleft())
            if taken:
                self._positions[at] = taken[-1].offset + 1
                found[TopicPartition(*at)] = taken
        return found
