"""``KafkaLog``: the log's contract over Apache Kafka 3.9 and 4.x."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from aiokafka.errors import (
    GroupIdNotFound,
    KafkaConnectionError,
    KafkaTimeoutError,
    NoError,
    for_code,
)

from connectors.counted_time import CountedTime
from connectors.logs.kafka.client_logs import quiet_client_logs
from connectors.logs.kafka.errors import RAISED, error_of, mapped_errors
from connectors.logs.kafka.follower import Follower
from connectors.logs.kafka.presence import Presence
from connectors.logs.kafka.reader import PartitionReader
from connectors.logs.kafka.retention import delete_old, interval_s
from connectors.logs.kafka.security import Security
from connectors.logs.kafka.topics import (
    FRAMING_BYTES,
    check_topics,
    ensure_topics,
    partition_counts,
)
from headgate.core.clock import Clock
from headgate.core.errors import PermanentError, TransientError
from headgate.core.log import (
    MAX_RECORD_BYTES,
    Record,
    StoredRecord,
    TopicPartition,
    TopicSpec,
)

_logger = structlog.get_logger()
_Client = TypeVar("_Client")

_NS_PER_MS: Final = 1_000_000

#: A broker that does not answer a request for this long is taken for gone, ms.
_REQUEST_TIMEOUT_MS: Final = 10_000

#: How long records wait for company, ms: not at all, for whoever appends waits for the answer, and
#: has given all it has.
_LINGER_MS: Final = 0
_BATCH_BYTES: Final = 512 << 10

#: Readers kept open. Each has a connection and up to a few megabytes fetched ahead.
_MAX_READERS: Final = 32

#: How long closing may take when Kafka is gone, s.
_STOP_TIMEOUT_S: Final = 5.0


class KafkaLog:
    """A log whose topics live on a Kafka cluster.

    Within ``delivery_timeout_s`` the client retries by itself and nothing is written twice. After
    that the append is given up, and whether Kafka has the records is unknown.

    Args:
        bootstrap: ``HOST:PORT[,HOST:PORT…]``.
        clock: Times the rate limit on the client's own log messages.
        security: Credentials and TLS.
        client_id: How Kafka's logs call this client.
        replication_factor: Copies of each topic that is created.
        delivery_timeout_s: Longest time an append is retried before it raises.
        time_file: Where the log's time is kept over restarts; without one it begins anew with the
            wall clock's.
    """

    def __init__(
        self,
        bootstrap: str,
        clock: Clock,
        *,
        security: Security | None = None,
        client_id: str = "headgate",
        replication_factor: int = 1,
        delivery_timeout_s: float = 30.0,
        time_file: Path | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._clock = clock
        self._security = security or Security()
        self._client_id = client_id
        self._replication_factor = replication_factor
        self._delivery_timeout_s = delivery_timeout_s
        self._time = CountedTime(clock)
        self._time_file = time_file
        self._retaining: asyncio.Task[None] | None = None
        self._presence = Presence(bootstrap, clock)
        self._settings: dict[str, Any] = {}
        self._admin: AIOKafkaAdminClient | None = None
        self._asker: AIOKafkaConsumer | None = None
        self._producer: AIOKafkaProducer | None = None
        self._counts: dict[str, int] = {}
        # Kafka's refusal of a record without a key reaches its client as an unknown error.
        self._compacted: set[str] = set()
        # In order of their last use.
        self._readers: dict[TopicPartition, PartitionReader] = {}
        self._followers: dict[str, Follower] = {}
        self._committers: dict[str, AIOKafkaConsumer] = {}
        self._opening = asyncio.Lock()
        self._discarding: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        if self._admin is not None:
            return
        quiet_client_logs(self._clock)
        self._presence.watch()
        await asyncio.to_thread(self._keep_time, self._time.begin, lambda: 0)
        self._settings = {
            "bootstrap_servers": self._bootstrap,
            "client_id": self._client_id,
            "request_timeout_ms": _REQUEST_TIMEOUT_MS,
            **self._security.client_settings(),
        }
        admin = AIOKafkaAdminClient(**self._settings)
        # Belongs to no group and reads nothing: it only asks where partitions begin and end.
        asker = AIOKafkaConsumer(**self._settings, enable_auto_commit=False)
        try:
            await admin.start()
            await asker.start()
        except RAISED as error:
            for client in (asker.stop(), admin.close()):
                with suppress(*RAISED):
                    await client
            self._presence.unwatch()
            reason = await self._reason_of(error)
            raise error_of(reason, f"connecting to Kafka at {self._bootstrap}") from error
        self._admin, self._asker = admin, asker
        self._presence.answered()

    async def stop(self) -> None:
        self._presence.unwatch()
        if self._retaining is not None:
            self._retaining.cancel()
            self._retaining = None
        reading: list[PartitionReader | Follower] = [
            *self._readers.values(),
            *self._followers.values(),
        ]
        closing = [each.stop() for each in (*reading, *self._committers.values())]
        consumers = [*(each.consumer for each in reading), *self._committers.values()]
        connected = [*consumers, self._asker, self._admin]
        # What has the sockets of each; the producer calls it by another name.
        clients = [each._client for each in connected if each is not None]  # noqa: SLF001
        clients += [] if self._producer is None else [self._producer.client]
        if self._asker is not None:
            closing.append(self._asker.stop())
        if self._admin is not None:
            closing.append(self._admin.close())
        if self._producer is not None:
            closing.append(_close(self._producer))
        self._readers, self._committers, self._followers = {}, {}, {}
        self._admin = self._asker = self._producer = None
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * _STOP_TIMEOUT_S):
                await asyncio.gather(*closing, *self._discarding, return_exceptions=True)
        # Who had no time left to take leave of Kafka holds its sockets still.
        await asyncio.gather(*(client.close() for client in clients), return_exceptions=True)

    async def ensure_topics(self, topics: Sequence[TopicSpec]) -> None:
        admin = self._started(self._admin)
        with mapped_errors("creating topics"):
            await ensure_topics(admin, topics, self._replication_factor)
        self._counts.clear()
        self._compacted.update(spec.name for spec in topics if spec.is_compacted)
        if self._retaining is not None:
            self._retaining.cancel()
        self._retaining = asyncio.create_task(self._retain(list(topics)), name="kafka-retention")

    async def check_topics(self, topics: Sequence[TopicSpec]) -> tuple[int, int]:
        """How many of the topics are there, and how many are missing and could be made.

        Raises:
            PermanentError: One is there and is none of ours, or Kafka would not make one.
        """
        admin = self._started(self._admin)
        with mapped_errors("asking for topics"):
            return await check_topics(admin, topics, self._replication_factor)

    async def append(self, at: TopicPartition, records: Sequence[Record]) -> int:
        if not records:
            return (await self.offsets(at))[1]
        offsets = await self._append({at: records})
        return offsets[at]

    async def append_many(self, batches: Mapping[TopicPartition, Sequence[Record]]) -> None:
        await self._append({at: records for at, records in batches.items() if records})

    async def _append(
        self, batches: Mapping[TopicPartition, Sequence[Record]]
    ) -> dict[TopicPartition, int]:
        for at, records in batches.items():
            await self._check_partition(at)
            _check_records(at, records, needs_key=at.topic in self._compacted)
        time_ms = self.now_ms()
        doing = "appending to " + ", ".join(f"{at.topic}/{at.partition}" for at in batches)
        with mapped_errors(doing):
            producer = await self._open_producer()
            sent: dict[TopicPartition, list[asyncio.Future[Any]]] = {at: [] for at in batches}
            try:
                async with asyncio.timeout(self._delivery_timeout_s):
                    for at, records in batches.items():
                        for record in records:
                            # Blocks while the partition's batch is full.
                            future = await producer.send(
                                at.topic,
                                record.value,
                                key=record.key,
                                partition=at.partition,
                                headers=list(record.headers),
                                timestamp_ms=time_ms,
                            )
                            sent[at].append(future)
                    every = [future for futures in sent.values() for future in futures]
                    await asyncio.gather(*every)
            except RAISED:
                self._discard(producer)
                for future in (future for futures in sent.values() for future in futures):
                    # The first failure is raised; the others are the same and nobody asks.
                    future.add_done_callback(lambda done: done.cancelled() or done.exception())
                raise
        self._presence.answered()
        return {at: futures[0].result().offset for at, futures in sent.items()}

    async def read(
        self, at: TopicPartition, offset: int, *, max_bytes: int = 1 << 20, wait_s: float = 0.0
    ) -> list[StoredRecord]:
        await self._check_partition(at)
        with mapped_errors(f"reading {at.topic}/{at.partition}"):
            reader = await self._open_reader(at)
            async with reader.turn:
                return await reader.read(offset, max_bytes, wait_s)

    async def read_many(
        self,
        offsets: Mapping[TopicPartition, int],
        *,
        reader: str = "",
        max_bytes: int = 1 << 20,
        wait_s: float = 0.0,
    ) -> dict[TopicPartition, list[StoredRecord]]:
        for at in offsets:
            await self._check_partition(at)
        with mapped_errors("reading " + ", ".join(sorted({at.topic for at in offsets}))):
            follower = await self._open_follower(reader)
            async with follower.turn:
                return await follower.read(offsets, max_bytes, wait_s)

    async def offsets(self, at: TopicPartition) -> tuple[int, int]:
        return (await self.offsets_many([at]))[at]

    async def offsets_many(
        self, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        for at in partitions:
            await self._check_partition(at)
        wanted = [KafkaPartition(*at) for at in partitions]
        names = ", ".join(f"{at.topic}/{at.partition}" for at in partitions)
        with mapped_errors(f"asking for the offsets of {names}"):
            asker = self._started(self._asker)
            oldest = await asker.beginning_offsets(wanted)
            end = await asker.end_offsets(wanted)
        self._presence.answered()
        return {TopicPartition(*at): (oldest[at], end[at]) for at in wanted}

    async def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        for at in offsets:
            await self._check_partition(at)
        wanted = {KafkaPartition(*at): offset for at, offset in offsets.items()}
        with mapped_errors(f"storing offsets of {group}"):
            async with self._opening:
                committer = await self._open_committer(group, set(wanted))
                await committer.commit(wanted)
        self._presence.answered()

    async def committed(self, group: str, at: TopicPartition) -> int | None:
        await self._check_partition(at)
        partition = KafkaPartition(*at)
        with mapped_errors(f"asking for the offsets of {group}"):
            found = await self._started(self._admin).list_consumer_group_offsets(
                group, partitions=[partition]
            )
        stored = found.get(partition)
        return None if stored is None or stored.offset < 0 else int(stored.offset)

    async def members(self, group: str) -> list[str]:
        """Hosts of the processes that are in a consumer group now; none for one that is unknown."""
        with mapped_errors(f"asking who is in {group}"):
            (answer,) = await self._started(self._admin).describe_consumer_groups([group])
            # Its error code comes first, and its members sixth.
            described = answer.groups[0]
            error = for_code(described[0])
            if error not in (NoError, GroupIdNotFound):
                raise error
        return [host.lstrip("/") for _, _, host, *_ in described[5]]

    def now_ms(self) -> int:
        return self._time.now_ns() // _NS_PER_MS

    def wall_ms(self, timestamp_ms: int) -> int:
        return self._time.wall_ns(timestamp_ms * _NS_PER_MS) // _NS_PER_MS

    def _keep_time(self, call: Callable[..., None], *args: object) -> None:
        """Do something with the file that the log's time is kept in, if there is one."""
        if self._time_file is None:
            return
        try:
            with closing(sqlite3.connect(self._time_file, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                call(connection, *args)
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise TransientError(
                f"{self._time_file}: the log's time can't be kept: {error}"
            ) from error

    async def _retain(self, specs: Sequence[TopicSpec]) -> None:
        """Delete again and again what is old and done with; whatever fails is tried anew."""
        pause_s, told = interval_s(specs), ""
        while pause_s is not None:
            await asyncio.sleep(pause_s)
            if self._admin is None or self._asker is None:
                return
            try:
                with mapped_errors("deleting old records"):
                    await delete_old(self._admin, self._asker, specs, self.now_ms())
                if self._time.is_due:
                    await asyncio.to_thread(self._keep_time, self._time.note)
            except Exception as error:  # noqa: BLE001  (whatever the client raises)
                if not isinstance(error, TransientError) and str(error) != told:
                    told = str(error)
                    _logger.warning(
                        "Old records can't be deleted; only log.retention_bytes limits the log.",
                        error=told,
                    )

    async def size_bytes(self) -> int | None:
        """Always None: Kafka's disk may be another machine's."""
        return None

    def _started(self, client: _Client | None) -> _Client:
        if client is None:
            raise TransientError("log: not connected to Kafka; start it first")
        return client

    async def _check_partition(self, at: TopicPartition) -> None:
        if at.topic not in self._counts:
            admin = self._started(self._admin)
            with mapped_errors("asking for topics"):
                self._counts = await partition_counts(admin)
        if not 0 <= at.partition < self._counts.get(at.topic, 0):
            raise PermanentError(
                f"log: expected a partition that exists, got {at.topic}/{at.partition}; "
                "create its topic first"
            )

    async def _open_reader(self, at: TopicPartition) -> PartitionReader:
        async with self._opening:
            reader = self._readers.pop(at, None)
            if reader is None:
                self._started(self._admin)
                reader = PartitionReader(at, self._settings)
                await _start(reader)
            self._readers[at] = reader
            for other, idle in list(self._readers.items()):
                if len(self._readers) <= _MAX_READERS:
                    break
                if other != at and not idle.turn.locked():
                    del self._readers[other]
                    await idle.stop()
        return reader

    async def _open_follower(self, reader: str) -> Follower:
        async with self._opening:
            self._started(self._admin)
            follower = self._followers.get(reader)
            if follower is None:
                follower = Follower(self._settings)
                await _start(follower)
                self._followers[reader] = follower
            return follower

    async def _open_committer(
        self, group: str, partitions: set[KafkaPartition]
    ) -> AIOKafkaConsumer:
        """A member-less consumer of the group, which may store these partitions' offsets."""
        self._started(self._admin)
        committer = self._committers.get(group)
        if committer is None:
            committer = AIOKafkaConsumer(**self._settings, group_id=group, enable_auto_commit=False)
            await _start(committer)
            self._committers[group] = committer
        if not partitions <= committer.assignment():
            committer.assign(partitions | committer.assignment())
            for partition in committer.assignment():
                # It only stores offsets: without this it would fetch records for nobody.
                committer.seek(partition, 0)
                committer.pause(partition)
        return committer

    async def _open_producer(self) -> AIOKafkaProducer:
        async with self._opening:
            self._started(self._admin)
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._settings,
                    acks="all",
                    # Retried batches are neither written twice nor out of order.
                    enable_idempotence=True,
                    linger_ms=_LINGER_MS,
                    max_batch_size=_BATCH_BYTES,
                    max_request_size=MAX_RECORD_BYTES + FRAMING_BYTES,
                )
                await _start(producer)
                self._producer = producer
            return self._producer

    def _discard(self, producer: AIOKafkaProducer) -> None:
        """Give the producer up: the caller retries, so what it holds must not be written later."""
        if self._producer is None or self._producer is not producer:
            return
        self._producer = None
        # Aiokafka has no public way to drop what is buffered.
        producer._message_accumulator.fail_all(KafkaTimeoutError())  # noqa: SLF001
        task = asyncio.create_task(_close(producer), name="discard-producer")
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)

    async def _reason_of(self, error: BaseException) -> BaseException:
        """Why bootstrapping failed: the client only logs it, so the first server is asked again."""
        if not isinstance(error, KafkaConnectionError):
            return error
        host, _, port = self._bootstrap.split(",")[0].rpartition(":")
        settings = {
            key: self._settings[key] for key in self._settings if key != "bootstrap_servers"
        }
        found: BaseException = error
        try:
            connection = await create_conn(host, int(port), **settings)
        except RAISED as reason:
            found = reason
        else:
            connection.close()
        return found


async def _start(client: AIOKafkaConsumer | AIOKafkaProducer | PartitionReader | Follower) -> None:
    try:
        await client.start()
    except BaseException:
        with suppress(*RAISED):
            await client.stop()
        raise


async def _close(producer: AIOKafkaProducer) -> None:
    """Flush if Kafka is there, and close in any case."""
    with suppress(*RAISED):
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await producer.flush()
    producer._message_accumulator.fail_all(KafkaTimeoutError())  # noqa: SLF001  (see _discard)
    # Whatever the client's own task ended with, when batches were taken from it, is raised again.
    with suppress(Exception):
        await producer.stop()


def _check_records(at: TopicPartition, records: Sequence[Record], *, needs_key: bool) -> None:
    for record in records:
        if record.size_bytes > MAX_RECORD_BYTES:
            raise PermanentError(
                f"log: expected records of at most {MAX_RECORD_BYTES} bytes for {at.topic}, "
                f"got one of {record.size_bytes}; split it"
            )
        if needs_key and record.key is None:
            raise PermanentError(
                f"log: expected a key on every record for {at.topic}, which keeps the newest "
                "record of each key, got one without; give it a key"
            )
