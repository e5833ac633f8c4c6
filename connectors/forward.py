"""The forward lane: results from the log to the sinks.

Each sink has a consumer group of its own, so a slow sink holds up nobody else. For one sink:

1. wait for records of all partitions: anomalies always, aggregates when there was time for some to
   gather
2. write them to the sink, anomalies first, again and again until it has them
3. put what the sink refused for good into quarantine, and wait until that is durable
4. commit the offsets
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
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
from headgate.core.watchdog import Watchdog
from headgate.core.wire import (
    QuarantinedMessage,
    decode_aggregates,
    decode_anomalies,
    messages_record,
)

_logger = structlog.get_logger()

#: Longest wait for a record, s; then there are other things to look after.
_WAIT_S = 1.0

#: First and longest pause between two tries to write, s.
_FIRST_PAUSE_S = 0.2
_PAUSE_CEILING_S = 30.0

#: Bytes read of one partition at a time. Points are many times larger than the records they are
#: made of, and a small box has to hold those of all partitions.
_READ_BYTES = 64 << 10

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
        self.watchdog = Watchdog(clock)
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
    """Points of one kind, and the offsets that are done once a sink has them.

    ``missed`` counts records that retention had deleted.
    """

    points: list[Point] = field(default_factory=list)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    missed: int = 0


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
        # Anomalies first.
        kinds: tuple[Kind, ...] = ("anomalies", "aggregates")
        self._topics = {kind: topic(config, kind) for kind in kinds if kind in sink.kinds}
        # When the oldest record that is waiting was written; None when nothing was left to do.
        self._oldest_ms: int | None = None

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
        wanted, wait_s = dict(self._positions), _WAIT_S
        gathering_ns = self._next_aggregates_ns - now_ns
        if gathering_ns > 0:
            wanted = {at: wanted[at] for at in wanted if at.topic == self._topics["anomalies"]}
            wait_s = min(wait_s, gathering_ns / NS_PER_S)
        found = await self._log.read_many(
            wanted, reader=self.sink.name, max_bytes=_READ_BYTES, wait_s=wait_s
        )
        if not found:
            self._oldest_ms = None
        for kind, name in self._topics.items():
            await self._forward(
                kind, {at: records for at, records in found.items() if at.topic == name}
            )

    async def _forward(
        self, kind: Kind, found: Mapping[TopicPartition, Sequence[StoredRecord]]
    ) -> None:
        """Steps 2 to 4 for the records of one kind."""
        if not found:
            return
        self._oldest_ms = min(records[0].timestamp_ms for records in found.values())
        taken = _Taken()
        for at, records in found.items():
            # Results are never compacted: what is not there any more has grown too old.
            taken.missed += max(0, records[0].offset - self._positions[at])
            for record in records:
                taken.points.extend(await self._points(kind, at, record))
            taken.offsets[at] = records[-1].offset + 1
        refused: list[Refused] = []
        for first in range(0, len(taken.points), self.sink.max_points):
            points = taken.points[first : first + self.sink.max_points]
            refused.extend(await self.sink.write(points))
        await self._quarantine_refused(refused)
        await self._log.commit(self._group, taken.offsets)
        self._positions.update(taken.offsets)
        self._oldest_ms = max(records[-1].timestamp_ms for records in found.values())
        self._count(taken, refused)
        if kind == "aggregates" and len(taken.points) < self.sink.max_points:
            # Whatever comes in the meantime shares the cost of one call.
            now_ns = self._clock.monotonic_ns()
            self._next_aggregates_ns = now_ns + round(self.sink.max_wait_s * NS_PER_S)

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
        every = await self._log.offsets_many(list(self._positions))
        records = sum(
            max(0, every[at][1] - max(position, every[at][0]))
            for at, position in self._positions.items()
        )
        age_ms = 0
        if records and self._oldest_ms is not None:
            # Records that were tried before, or such as came after what was done last.
            age_ms = self._clock.wall_ns() // 1_000_000 - self._oldest_ms
        self._telemetry.backlog_records.labels(self.sink.name).set(records)
        self._telemetry.backlog_age.labels(self.sink.name).set(max(0, age_ms) / 1000)

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
