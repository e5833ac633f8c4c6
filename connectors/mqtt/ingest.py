"""The ingest lane: messages from the broker into the log, then acknowledged.

A message goes through these steps, and only in this order:

1. received and put into the waiting list; past a limit the socket is read no more
2. decoded with those that arrived within the same few milliseconds
3. its readings, or its refusal, appended to the log, which answers once they are durable
4. acknowledged to the broker, if the connection it came over still stands

A crash before step 4 makes the broker send it again; what the log has twice then is recognized by
channel and event time and rejected as a duplicate.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import structlog

from connectors.formats.decoder import Decoded, FeedDecoder
from connectors.logs import topic
from connectors.mqtt.connection import Connection, Received
from headgate.config.schema import Config
from headgate.core.batch import Batch
from headgate.core.channels import ChannelTable, device_partition
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import DataError, PermanentError, TransientError
from headgate.core.log import QUARANTINE, READINGS, Log, Record, TopicPartition
from headgate.core.telemetry import Telemetry
from headgate.core.wire import QuarantinedMessage, messages_record, readings_record

_logger = structlog.get_logger()

#: Longest pause between two tries to write to the log, s.
_RETRY_CEILING_S = 5.0

#: Bytes counted for each waiting message on top of its payload: the objects around it.
_MESSAGE_OVERHEAD_BYTES = 300


@dataclass(slots=True)
class _Waiting:
    """Messages that have arrived and are not in the log yet."""

    messages: list[Received]
    arrival_ns: list[int]
    size_bytes: int


class IngestLane:
    """Reads the feeds' topics, writes ``readings`` and ``quarantine``.

    Args:
        config: The whole configuration.
        log: A started log.
        clock: Source of time: arrival times, and timers.
        telemetry: Metrics of this lane.
    """

    def __init__(self, config: Config, log: Log, clock: Clock, telemetry: Telemetry) -> None:
        self._config = config
        self._log = log
        self._clock = clock
        self._telemetry = telemetry
        self._channels = ChannelTable()
        self._decoders = {
            name: FeedDecoder(name, feed, self._channels, config.ingest.max_devices)
            for name, feed in config.feed.items()
        }
        self._feed_of_topic: dict[str, str | None] = {}
        self._partition_of_device = np.empty(0, np.int32)
        self._readings = topic(config, READINGS)
        self._quarantine = topic(config, QUARANTINE)
        self._waiting = _Waiting([], [], 0)
        self._in_flight_bytes = 0
        self._arrived = asyncio.Event()
        self._log_trouble = ""
        self._connection: Connection | None = None

    def health(self) -> tuple[bool, str]:
        """Whether messages are taken in; when not, why."""
        trouble = self._log_trouble
        if not trouble:
            trouble = "starting" if self._connection is None else self._connection.trouble
        self._telemetry.connected.labels("mqtt").set(
            self._connection is not None and not self._connection.trouble
        )
        return not trouble, trouble

    async def run(self, stop: asyncio.Event) -> None:
        """Take messages in until ``stop`` is set; then write and acknowledge what is in hand."""
        connection = self._connection = Connection(
            self._config.mqtt,
            self._config.client_id,
            self._clock,
            on_message=self._on_message,
            filters=[(feed.topic_filter, feed.qos) for feed in self._config.feed.values()],
            keeps_session=True,
        )
        connecting = asyncio.create_task(connection.run(), name="mqtt")
        writing = asyncio.create_task(self._write(connection, stop), name="write")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({connecting, writing, stopping}, return_when="FIRST_COMPLETED")
            connection.pause()
            self._arrived.set()
            if not connecting.done():
                await writing  # raises what went wrong, or ends with everything acknowledged
                await connection.settle()
        finally:
            connection.close()
            stopping.cancel()
            writing.cancel()
        await connecting

    def _on_message(self, message: Received) -> None:
        waiting = self._waiting
        waiting.messages.append(message)
        waiting.arrival_ns.append(self._clock.wall_ns())
        waiting.size_bytes += len(message.payload) + _MESSAGE_OVERHEAD_BYTES
        self._arrived.set()
        if self._size_bytes > self._config.ingest.max_pending and self._connection is not None:
            self._connection.pause()

    @property
    def _size_bytes(self) -> int:
        return self._waiting.size_bytes + self._in_flight_bytes

    async def _write(self, connection: Connection, stop: asyncio.Event) -> None:
        ingest = self._config.ingest
        while True:
            await self._arrived.wait()
            if not stop.is_set() and len(self._waiting.messages) < ingest.max_rows:
                # Whatever arrives meanwhile shares the cost of one write.
                await asyncio.sleep(ingest.max_wait / NS_PER_S)
            self._arrived.clear()
            taken, self._waiting = self._waiting, _Waiting([], [], 0)
            self._in_flight_bytes = taken.size_bytes
            for first in range(0, len(taken.messages), ingest.max_rows):
                chunk = slice(first, first + ingest.max_rows)
                await self._write_messages(taken.messages[chunk], taken.arrival_ns[chunk])
                for message in taken.messages[chunk]:
                    connection.ack(message)
            self._in_flight_bytes = 0
            if stop.is_set():
                if not self._waiting.messages:
                    return
                self._arrived.set()
            elif self._size_bytes <= ingest.max_pending:
                connection.resume()

    async def _write_messages(
        self, messages: Sequence[Received], arrival_ns: Sequence[int]
    ) -> None:
        with self._telemetry.timed("decode"):
            records, rows = self._records(messages, arrival_ns)
        with self._telemetry.timed("append"):
            await self._append(records)
        for feed, count in rows.items():
            self._telemetry.rows.labels(feed).inc(count)

    def _records(
        self, messages: Sequence[Received], arrival_ns: Sequence[int]
    ) -> tuple[dict[TopicPartition, list[Record]], dict[str, int]]:
        """Decode messages; what they hold as records by partition, and the readings by feed."""
        by_feed: dict[str, list[int]] = {}
        refused: list[tuple[int, DataError]] = []
        for position, message in enumerate(messages):
            feed = self._feed_of(message.topic)
            if feed is None:
                refused.append((position, DataError("unknown_topic", "no feed has this topic")))
            elif len(message.payload) > self._config.ingest.max_payload:
                limit = self._config.ingest.max_payload
                refused.append((position, DataError("too_large", f"more than {limit} bytes")))
            else:
                by_feed.setdefault(feed, []).append(position)
        records: dict[TopicPartition, list[Record]] = {}
        rows: dict[str, int] = {}
        for feed, positions in by_feed.items():
            decoded = self._decoders[feed].decode(
                [(messages[at].topic, messages[at].payload) for at in positions],
                [arrival_ns[at] for at in positions],
            )
            refused.extend((positions[at], error) for at, error in decoded.refused)
            self._add_readings(feed, decoded, records)
            rows[feed] = len(decoded.value)
            self._telemetry.messages.labels(feed).inc(len(positions))
            self._telemetry.received_bytes.labels(feed).inc(
                sum(len(messages[at].payload) for at in positions)
            )
        if refused:
            self._add_refused(messages, arrival_ns, refused, records)
        return records, rows

    def _feed_of(self, mqtt_topic: str) -> str | None:
        try:
            return self._feed_of_topic[mqtt_topic]
        except KeyError:
            pass
        feed = next(
            (name for name, decoder in self._decoders.items() if decoder.matches(mqtt_topic)), None
        )
        # Bounded: a device that makes up topics must not fill the memory.
        if len(self._feed_of_topic) < 2 * self._config.ingest.max_devices:
            self._feed_of_topic[mqtt_topic] = feed
        return feed

    def _add_readings(
        self, feed: str, decoded: Decoded, records: dict[TopicPartition, list[Record]]
    ) -> None:
        batch = decoded.batch(self._channels)
        if not len(batch):
            return
        partitions = self._partitions(batch)
        for partition in np.unique(partitions).tolist():
            rows = np.flatnonzero(partitions == partition)
            for first in range(0, len(rows), self._config.ingest.max_rows):
                part = batch.take(rows[first : first + self._config.ingest.max_rows])
                at = TopicPartition(self._readings, partition)
                records.setdefault(at, []).append(readings_record(part, feed))

    def _partitions(self, batch: Batch) -> np.typing.NDArray[np.int32]:
        devices = self._channels.devices
        known = len(self._partition_of_device)
        if known < len(devices):
            new = [
                device_partition(feed, device, self._config.log.partitions)
                for feed, device in devices[known:]
            ]
            self._partition_of_device = np.concatenate(
                [self._partition_of_device, np.array(new, np.int32)]
            )
        return self._partition_of_device[batch.device]

    def _add_refused(
        self,
        messages: Sequence[Received],
        arrival_ns: Sequence[int],
        refused: Sequence[tuple[int, DataError]],
        records: dict[TopicPartition, list[Record]],
    ) -> None:
        by_partition: dict[int, list[QuarantinedMessage]] = {}
        for position, error in refused:
            message = messages[position]
            self._telemetry.quarantined.labels(error.reason).inc()
            partition = crc32(message.topic.encode("utf-8", "replace"))
            by_partition.setdefault(partition % self._config.log.partitions, []).append(
                QuarantinedMessage(
                    ingest_ns=arrival_ns[position],
                    source=f"mqtt:{message.topic}",
                    payload=message.payload[: self._config.ingest.quarantine_payload],
                    reason=error.reason,
                    detail=error.detail,
                    payload_bytes=len(message.payload),
                )
            )
        for partition, parts in by_partition.items():
            at = TopicPartition(self._quarantine, partition)
            # Few enough for a record to stay under the log's size limit, whatever they hold.
            step = max(1, (512 << 10) // self._config.ingest.quarantine_payload)
            for first in range(0, len(parts), step):
                records.setdefault(at, []).append(messages_record(parts[first : first + step]))

    async def _append(self, records: dict[TopicPartition, list[Record]]) -> None:
        """Write to the log, for as long as it takes; meanwhile the broker keeps the rest."""
        pause_s = 0.1
        while records:
            try:
                await self._log.append_many(records)
            except TransientError as error:
                if not self._log_trouble:
                    _logger.warning(
                        "The log does not accept readings; will retry.", error=str(error)
                    )
                self._log_trouble = f"the log does not accept readings: {error}"
                await asyncio.sleep(error.retry_after_s or random.uniform(0.5, 1) * pause_s)  # noqa: S311
                pause_s = min(2 * pause_s, _RETRY_CEILING_S)
            except PermanentError as error:
                # Nothing was acknowledged, so nothing is lost by ending here; a person is needed.
                raise PermanentError(f"the log refuses readings: {error}") from error
            else:
                break
        if self._log_trouble:
            _logger.info("The log accepts readings again.")
            self._log_trouble = ""
