"""Faust on the embedded log: ``faust.App("name", broker="sqlite:////path/log.db")``.

The agents run unchanged. A worker gets all partitions; several workers of one group divide them by
saying which share each has, ``sqlite:////path/log.db?share=1/2`` for the first of two. Two workers
with the same share would read the same records, so there must not be such.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import structlog
from aiokafka.partitioner import DefaultPartitioner
from faust.transport import base
from faust.types import TP, ConsumerMessage, HeadersArg, RecordMetadata
from mode import Service
from mode.utils.times import want_seconds

from connectors.logs.embedded.store import SqliteLog
from headgate.core.clock import SystemClock
from headgate.core.errors import TransientError
from headgate.core.log import Headers, Record, Share, StoredRecord, TopicPartition, TopicSpec

_logger = structlog.get_logger()

#: Pause after the file could not be read or written, s.
_RETRY_S = 0.5

#: Tries to store offsets before the worker is stopped; each waits for the file by itself.
_COMMIT_TRIES = 3

#: Kafka's mark of a timestamp that the log gave, not the producer.
_LOG_APPEND_TIME = 1


class Consumer(base.Consumer):  # type: ignore[misc]  # Faust has no types
    """Reads the subscribed topics in Faust's own event loop."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._log: SqliteLog = self.transport.open_log()
        self._assigned: set[TP] = set()
        self._positions: dict[TP, int] = {}
        self._ends: dict[TP, int] = {}
        self._topic_sizes: dict[str, int] = {}
        self._generation = 0
        self._assigning: asyncio.Future[None] | None = None

    async def on_start(self) -> None:
        await self._log.start()
        await super().on_start()

    async def on_stop(self) -> None:
        if self._assigning is not None:
            self._assigning.cancel()
        # Commits what has been acknowledged.
        await super().on_stop()
        await self._log.stop()

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Take these topics instead of the former ones."""
        if self._assigning is not None:
            self._assigning.cancel()
        # The assignment waits for the conductor, and the conductor is waiting for this call: only
        # a task of its own can deliver it.
        self._assigning = self.add_future(self._assign(frozenset(topics)))

    async def _assign(self, topics: frozenset[str]) -> None:
        assigned = await self._partitions_of(topics)
        self.app.on_rebalance_start()
        await self.on_partitions_revoked(set(self._assigned))
        self._assigned = assigned
        self._generation += 1
        self.app.consumer_generation_id = self._generation
        await self.on_partitions_assigned(set(self._assigned), self._generation)

    async def _partitions_of(self, topics: frozenset[str]) -> set[TP]:
        """This worker's partitions of the topics, once all topics exist."""
        missing = set(topics)
        has_told = False
        while True:
            try:
                for topic in sorted(missing):
                    self._topic_sizes[topic] = await self._log.partitions(topic)
                missing = {topic for topic in topics if not self._topic_sizes[topic]}
            except TransientError as error:
                _logger.warning("The log can't be read; will retry.", error=str(error))
            if not missing:
                return {
                    TP(topic, partition)
                    for topic in topics
                    for partition in self.transport.share.partitions(self._topic_sizes[topic])
                }
            if not has_told:
                _logger.warning("Waiting for topics to be created.", topics=sorted(missing))
                has_told = True
            await asyncio.sleep(_RETRY_S)

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    def assignment(self) -> set[TP]:
        """The partitions that are read."""
        return self._assigned

    def topic_partitions(self, topic: str) -> int | None:
        """Number of partitions of a subscribed topic."""
        return self._topic_sizes.get(topic)

    def key_partition(
        self, topic: str, key: bytes | None, partition: int | None = None
    ) -> int | None:
        """The partition that a key belongs to, as Kafka's own clients choose it."""
        if partition is not None:
            return partition
        count = self._topic_sizes.get(topic)
        return None if not count else _partition_of(key, count)

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109  (Faust's)
    ) -> dict[TP, list[StoredRecord]]:
        active = self._assigned if active_partitions is None else active_partitions
        wanted = {_at(tp): self._positions[tp] for tp in active if tp in self._positions}
        if not self.flow_active or not wanted:
            await asyncio.sleep(min(timeout, 0.1))
            return {}
        generation = self._generation
        try:
            found = await self._log.read_many(
                wanted, max_bytes=self.app.conf.consumer_max_fetch_size, wait_s=timeout
            )
        except TransientError as error:
            if not self.should_stop:
                _logger.warning("The log can't be read; will retry.", error=str(error))
                await asyncio.sleep(_RETRY_S)
            return {}
        records: dict[TP, list[StoredRecord]] = {}
        for at, read in found.items():
            tp = TP(*at)
            # Somebody may have moved the position meanwhile: then what was read is not wanted.
            if generation == self._generation and self._positions.get(tp) == wanted[at]:
                self._positions[tp] = read[-1].offset + 1
                self._ends[tp] = max(self._ends.get(tp, 0), read[-1].offset + 1)
                records[tp] = read
        return records

    def _to_message(self, tp: TP, record: StoredRecord) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            record.offset,
            record.timestamp_ms / 1000,
            _LOG_APPEND_TIME,
            record.headers,
            record.key,
            record.value,
            None,
            len(record.key or b""),
            len(record.value),
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        wanted = {_at(tp): offset for tp, offset in offsets.items()}
        for tries_left in reversed(range(_COMMIT_TRIES)):
            try:
                await self._log.commit(self.app.conf.id, wanted)
            except Exception as error:  # noqa: BLE001  (Faust would take it for committed)
                if not isinstance(error, TransientError) or not tries_left:
                    await self.crash(error)
                    return False
                _logger.warning("Offsets can't be stored; will retry.", error=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                break
        return True

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go back to what is committed; without a commit a partition begins where Faust says."""
        committed: dict[TP, int] = {}
        for tp in self._assigned:
            at = _at(tp)
            offset = await self._log.committed(self.app.conf.id, at)
            oldest, end = await self._log.offsets(at)
            self._ends[tp] = end
            if offset is not None:
                committed[tp] = offset
                self._positions[tp] = offset
            elif self.app.conf.consumer_auto_offset_reset == "latest":
                self._positions[tp] = end
            else:
                self._positions[tp] = oldest
        return committed

    async def _seek(self, partition: TP, offset: int) -> None:
        self._positions[partition] = offset

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Go to these offsets."""
        for tp, offset in partitions.items():
            await self.seek(tp, offset)

    async def position(self, tp: TP) -> int | None:
        """The next offset to be read."""
        return self._positions.get(tp)

    def highwater(self, tp: TP) -> int:
        """The next offset to be written, as far as this consumer has seen."""
        return self._ends.get(tp, 0)

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """The oldest kept offset of each partition."""
        return {tp: (await self._log.offsets(_at(tp)))[0] for tp in partitions}

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """The next offset to be written of each partition."""
        return {tp: (await self._log.offsets(_at(tp)))[1] for tp in partitions}

    async def create_topic(
        self, topic: str, partitions: int, *_: object, **options: object
    ) -> None:
        """Create the topic when Faust may and it is missing."""
        await _create_topic(self, self._log, TopicSpec(topic, partitions), options)


class Producer(base.Producer):  # type: ignore[misc]  # Faust has no types
    """Appends what agents send. Records are durable when ``send`` returns.

    Timestamps are the log's: one that the sender gives is not kept.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._log: SqliteLog = self.transport.open_log()

    async def on_start(self) -> None:
        await self._log.start()
        await super().on_start()

    async def on_stop(self) -> None:
        await super().on_stop()
        await self._log.stop()

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,  # noqa: ARG002  (Faust's)
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,  # noqa: ARG002  (Faust's)
    ) -> Awaitable[RecordMetadata]:
        """Append one record; the returned future is done already."""
        if partition is None:
            partition = _partition_of(key, await self._log.partitions(topic))
        at = TopicPartition(topic, partition)
        offset = await self._log.append(at, [Record(value or b"", key, _headers_of(headers))])
        sent: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        sent.set_result(RecordMetadata(topic, partition, TP(*at), offset))
        return sent

    async def send_and_wait(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,  # noqa: ARG002  (Faust's)
    ) -> RecordMetadata:
        """Append one record and say where it is."""
        return await (await self.send(topic, key, value, partition, timestamp, headers))

    async def flush(self) -> None:
        """Append what was handed over with ``send_soon``."""
        await self.buffer.flush()

    def supports_headers(self) -> bool:
        """Always true."""
        return True

    async def create_topic(
        self, topic: str, partitions: int, *_: object, **options: object
    ) -> None:
        """Create the topic when Faust may and it is missing."""
        await _create_topic(self, self._log, TopicSpec(topic, partitions), options)


class Transport(base.Transport):  # type: ignore[misc]  # Faust has no types
    """Registered as ``sqlite`` in the entry points ``faust.transports``."""

    Consumer: ClassVar[type[Consumer]] = Consumer
    Producer: ClassVar[type[Producer]] = Producer

    driver_version = "headgate-embedded-log"

    def open_log(self) -> SqliteLog:
        """The log that the broker URL names, not started yet."""
        # "sqlite:////a/b": the first slash ends the empty host, the second begins the path.
        return SqliteLog(Path(self.url[0].path[1:]), SystemClock())

    @property
    def share(self) -> Share:
        """Which partitions this worker reads."""
        return Share.parse(self.url[0].query.get("share", "1/1"))


async def _create_topic(
    service: Service, log: SqliteLog, spec: TopicSpec, options: Mapping[str, object]
) -> None:
    if not service.app.conf.topic_allow_declare or await log.partitions(spec.name):
        return
    retention = options.get("retention")
    spec = replace(
        spec,
        is_compacted=bool(options.get("compacting")),
        retention_s=None if retention is None else want_seconds(retention),
    )
    await log.ensure_topics([spec])


def _at(tp: TP) -> TopicPartition:
    return TopicPartition(tp.topic, tp.partition)


def _headers_of(headers: HeadersArg | None) -> Headers:
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return tuple((name, bytes(value)) for name, value in pairs)


def _partition_of(key: bytes | None, count: int) -> int:
    everyone = list(range(count))
    partition: int = DefaultPartitioner()(key, everyone, everyone)
    return partition
