"""The forward lane: results from the log to the sinks.

Each sink has a consumer group of its own, so a slow sink holds up nobody else. For one sink:

1. read anomalies of all partitions; when there are none, aggregates. Anomalies that never end do
   not starve aggregates: now and then these have a turn
2. write them to the sink, again and again until it has them
3. put what the sink refused for good into quarantine, and wait until that is durable
4. commit the offsets
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from connectors.logs import consumer_group, topic
from connectors.points import Kind, Point, aggregate_points, anomaly_points
from connectors.sink import Refused, Sink
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import DataError, TransientError
from headgate.core.log import QUARANTINE, Log, StoredRecord, TopicPartition
from headgate.core.telemetry import Telemetry
from headgate.core.wire import (
    QuarantinedMessage,
    decode_aggregates,
    decode_anomalies,
    messages_record,
)

_logger = structlog.get_logger()

#: Between two looks at a log that had nothing new, s: what an anomaly waits at most.
_POLL_S = 0.05

#: First and longest pause between two tries to write, s.
_FIRST_PAUSE_S = 0.2
_PAUSE_CEILING_S = 30.0

#: Bytes read of one partition at a time, and of all of them for one round.
_READ_BYTES = 1 << 20
_ROUND_BYTES = 8 << 20

#: Rounds that anomalies may have one after the other while aggregates wait.
_ANOMALY_ROUNDS = 10

#: Bytes of payload in one quarantine record; the log takes records of a few MiB at most.
_QUARANTINE_BYTES = 512 << 10

#: Between two warnings about the same sink, s.
_WARNING_INTERVAL_S = 60.0

#: Between two looks at the length of the backlog, s.
_BACKLOG_INTERVAL_S = 1.0


class ForwardLane:
    """Reads ``anomalies`` and ``aggregates``, writes to every sink.

    Args:
        config: The whole configuration.
        log: A started log.
        clock: Source of time, for timers and the time of quarantine.
        telemetry: Metrics of this lane.
        sinks: Where to write.
    """

    def __init__(
        self,
        config: Config,
        log: Log,
        clock: Clock,
        telemetry: Telemetry,
        sinks: Sequence[Sink],
    ) -> None:
        self._consumers = [_Consumer(config, log, clock, telemetry, sink) for sink in sinks]

    def health(self) -> tuple[bool, str]:
        """Whether every sink takes points; when not, which one and why."""
        troubles = [
            f"{consumer.sink.name}: {consumer.trouble}"
            for consumer in self._consumers
            if consumer.trouble
        ]
        return not troubles, "; ".join(troubles)

    async def run(self, stop: asyncio.Event) -> None:
        """Forward until ``stop`` is set. What a sink has not acknowledged stays in the log."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(consumer.run(), name=f"forward-{consumer.sink.name}")
                for consumer in self._consumers
            ]
            await stop.wait()
            for task in tasks:
                task.cancel()


@dataclass(slots=True)
class _Taken:
    """Points of one round, and the offsets that are done once a sink has them.

    ``missed`` counts records that retention had deleted, ``is_full`` tells that there may be more.
    """

    points: list[Point] = field(default_factory=list)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    size_bytes: int = 0
    missed: int = 0
    is_full: bool = False


class _Consumer:
    """One sink's way through the topics."""

    def __init__(
        self, config: Config, log: Log, clock: Clock, telemetry: Telemetry, sink: Sink
    ) -> None:
        self.sink = sink
        self.trouble = "starting"
        self._config = config
        self._log = log
        self._clock = clock
        self._telemetry = telemetry
        self._group = consumer_group(config, f"forward-{sink.name}")
        self._positions: dict[TopicPartition, int] = {}
        self._channels = ChannelTable()
        self._next_aggregates_ns = 0
        self._next_backlog_ns = 0
        self._next_warning_ns = 0
        self._has_warned = False
        self._anomaly_rounds = 0
        self._first_partition = 0

    async def run(self) -> None:
        await self.sink.start()
        pause_s = _FIRST_PAUSE_S
        try:
            while True:
                try:
                    await self._round()
                except TransientError as error:
                    self._report(str(error))
                    self._telemetry.sink_retries.labels(self.sink.name).inc()
                    wait_s = error.retry_after_s or random.uniform(0.5, 1) * pause_s  # noqa: S311
                    pause_s = min(2 * pause_s, _PAUSE_CEILING_S)
                    await asyncio.sleep(wait_s)
                else:
                    self._report("")
                    pause_s = _FIRST_PAUSE_S
        finally:
            await self.sink.stop()

    async def _round(self) -> None:
        await self._find_positions()
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._next_backlog_ns:
            await self._measure_backlog()
            self._next_backlog_ns = now_ns + round(_BACKLOG_INTERVAL_S * NS_PER_S)
        taken = await self._take_next(now_ns)
        if not taken.offsets:
            await asyncio.sleep(_POLL_S)
            return
        refused: list[Refused] = []
        for first in range(0, len(taken.points), self.sink.max_points):
            points = taken.points[first : first + self.sink.max_points]
            refused.extend(await self.sink.write(points))
        await self._quarantine_refused(refused)
        await self._log.commit(self._group, taken.offsets)
        self._positions.update(taken.offsets)
        self._count(taken, refused)

    def _count(self, taken: _Taken, refused: Sequence[Refused]) -> None:
        for kind in self.sink.kinds:
            count = sum(point.kind == kind for point in taken.points)
            count -= sum(each.point.kind == kind for each in refused)
            self._telemetry.points.labels(self.sink.name, kind).inc(count)
        if taken.missed:
            self._telemetry.missed_records.labels(self.sink.name).inc(taken.missed)
            _logger.error(
                "The log's retention deleted records before the sink had taken them.",
                sink=self.sink.name,
                records=taken.missed,
            )

    async def _take_next(self, now_ns: int) -> _Taken:
        """Anomalies, or else aggregates when it is their time."""
        is_due = "aggregates" in self.sink.kinds and now_ns >= self._next_aggregates_ns
        if not is_due or self._anomaly_rounds < _ANOMALY_ROUNDS:
            taken = await self._take("anomalies")
            if taken.offsets or not is_due:
                self._anomaly_rounds += bool(taken.offsets)
                return taken
        self._anomaly_rounds = 0
        taken = await self._take("aggregates")
        if not taken.is_full:
            self._next_aggregates_ns = now_ns + round(self.sink.max_wait_s * NS_PER_S)
        return taken

    async def _find_positions(self) -> None:
        """Where the last run left off, looked up once the log can be reached."""
        for kind in self.sink.kinds:
            for partition in range(self._config.log.partitions):
                at = TopicPartition(topic(self._config, kind), partition)
                if at not in self._positions:
                    committed = await self._log.committed(self._group, at)
                    start, end = await self._log.offsets(at)
                    if committed is None or committed > end:
                        # New to us, or made anew: it ends before the place where we left the old.
                        committed = start
                    self._positions[at] = committed

    async def _take(self, kind: Kind) -> _Taken:
        """Read on in every partition of a topic, until there are points enough for one call."""
        taken = _Taken()
        partitions = self._config.log.partitions
        # Each in its turn goes first, so that a long backlog in one holds up no other.
        self._first_partition = (self._first_partition + 1) % partitions
        for number in range(partitions):
            at = TopicPartition(
                topic(self._config, kind), (self._first_partition + number) % partitions
            )
            offset = self._positions[at]
            while records := await self._log.read(at, offset, max_bytes=_READ_BYTES):
                # Results are never compacted: what is not there any more has grown too old.
                taken.missed += max(0, records[0].offset - offset)
                for record in records:
                    taken.points.extend(await self._points(kind, at, record))
                    taken.offsets[at] = offset = record.offset + 1
                    taken.size_bytes += len(record.value)
                    if (
                        len(taken.points) >= self.sink.max_points
                        or taken.size_bytes >= _ROUND_BYTES
                    ):
                        taken.is_full = True
                        return taken
        return taken

    async def _points(self, kind: Kind, at: TopicPartition, record: StoredRecord) -> list[Point]:
        gateway = self._config.gateway.name
        try:
            if kind == "anomalies":
                return anomaly_points(decode_anomalies(record.value), gateway)
            if len(self._channels.devices) > self._config.ingest.max_devices:
                # Devices come and go; the table would only grow.
                self._channels = ChannelTable()
            aggregates = decode_aggregates(record.value, self._channels, has_sketches=False)
            return aggregate_points(aggregates, self._channels, gateway)
        except DataError as error:
            trouble = error
        except (ValueError, TypeError, OverflowError) as error:
            # The columns are right and what is in them is not: somebody else wrote it.
            trouble = DataError("bad_record", f"{type(error).__name__}: {error}")
        _logger.error("A record can't be read; it goes to quarantine.", at=at, error=str(trouble))
        await self._quarantine(
            at.partition,
            f"log:{at.topic}/{at.partition}@{record.offset}",
            [(record.value, trouble.reason, trouble.detail)],
        )
        return []

    async def _quarantine_refused(self, refused: Sequence[Refused]) -> None:
        if refused:
            _logger.error(
                "The sink refused points; they are in quarantine.",
                sink=self.sink.name,
                points=len(refused),
                first=refused[0].detail,
            )
            entries = [
                (each.point.line().encode(), "rejected_by_sink", each.detail) for each in refused
            ]
            await self._quarantine(0, self.sink.name, entries)

    async def _quarantine(
        self, partition: int, source: str, entries: Sequence[tuple[bytes, str, str]]
    ) -> None:
        limit = self._config.ingest.quarantine_payload
        messages = [
            QuarantinedMessage(
                self._clock.wall_ns(), source, payload[:limit], reason, detail, len(payload)
            )
            for payload, reason, detail in entries
        ]
        at = TopicPartition(topic(self._config, QUARANTINE), partition)
        step = max(1, _QUARANTINE_BYTES // max(1, limit))
        records = [
            messages_record(messages[first : first + step])
            for first in range(0, len(messages), step)
        ]
        await self._log.append(at, records)
        for _, reason, _ in entries:
            self._telemetry.quarantined.labels(reason).inc()

    async def _measure_backlog(self) -> None:
        records = 0
        now_ms = oldest_ms = self._clock.wall_ns() // 1_000_000
        for at, position in self._positions.items():
            start, end = await self._log.offsets(at)
            waiting = end - max(position, start)
            if waiting > 0:
                records += waiting
                first = await self._log.read(at, position, max_bytes=1)
                oldest_ms = min([oldest_ms, *(record.timestamp_ms for record in first)])
        self._telemetry.backlog_records.labels(self.sink.name).set(records)
        self._telemetry.backlog_age.labels(self.sink.name).set((now_ms - oldest_ms) / 1000)

    def _report(self, trouble: str) -> None:
        self.trouble = trouble
        now_ns = self._clock.monotonic_ns()
        if trouble and now_ns >= self._next_warning_ns:
            _logger.warning(
                "The sink does not take points; they wait in the log.",
                sink=self.sink.name,
                cause=trouble,
            )
            self._has_warned = True
            self._next_warning_ns = now_ns + round(_WARNING_INTERVAL_S * NS_PER_S)
        elif not trouble and self._has_warned:
            _logger.info("The sink takes points again.", sink=self.sink.name)
            self._has_warned = False
