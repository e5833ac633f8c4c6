"""The forward lane: results from the log to the sinks.

Each sink has a consumer group of its own, so a slow sink holds up nobody else. For one sink:

1. wait for live records of all partitions: anomalies always, aggregates when there was time for
   some to gather
2. write them to the sink, anomalies first, again and again until it has them
3. put what the sink refused for good into quarantine, and wait until that is durable
4. commit the offsets
5. while there is a backlog, do the same with a piece of it
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from connectors.logs.configured import sink_group, topic
from connectors.sinks.points import Kind, Point, aggregate_points, told_points
from connectors.sinks.sink import Refused, Sink, WaitingSink
from headgate.config.schema import Config
from headgate.core.backoff import Backoff
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import DataError, TransientError
from headgate.core.in_flight import RecordsInFlight
from headgate.core.log import (
    AGGREGATES,
    ANOMALIES,
    QUARANTINE,
    THINNED,
    Log,
    StoredRecord,
    TopicPartition,
)
from headgate.core.records import (
    AGGREGATES_SCHEMAS,
    QuarantinedMessage,
    check_schema,
    decode_aggregates,
    messages_records,
)
from headgate.core.telemetry import Telemetry
from headgate.core.watchdog import Watchdog
from streams.forward.backlog import EVICTED, Backlog
from streams.forward.ranges import Range
from streams.forward.timings import USUAL, ForwardTimings
from streams.forward.upkeep import BacklogUpkeep

_logger = structlog.get_logger()


class ForwardLane:
    """Reads ``anomalies`` and ``aggregates``, writes to every sink.

    Args:
        config: The whole configuration.
        log: A started log.
        clock: Source of time, for timers and the time of quarantine.
        telemetry: Metrics of this lane.
        sinks: Where to write.
        timings: How it spends its time.
    """

    def __init__(
        self,
        config: Config,
        log: Log,
        clock: Clock,
        telemetry: Telemetry,
        sinks: Sequence[Sink],
        timings: ForwardTimings = USUAL,
    ) -> None:
        self.watchdog = Watchdog(clock)
        self._consumers = [
            _Consumer(config, log, clock, telemetry, self.watchdog, sink, timings) for sink in sinks
        ]

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
    """Points of one kind, and the offsets that are done once a sink has them."""

    points: list[Point] = field(default_factory=list)
    offsets: dict[TopicPartition, Range] = field(default_factory=dict)


class _Consumer:
    """One sink's way through the topics."""

    def __init__(
        self,
        config: Config,
        log: Log,
        clock: Clock,
        telemetry: Telemetry,
        watchdog: Watchdog,
        sink: Sink,
        timings: ForwardTimings,
    ) -> None:
        self.sink = sink
        self._timings = timings
        # Why the sink took nothing at the last try; only a write that it accepts clears that.
        self._refusal: TransientError | None = None
        self._log_trouble = "starting"
        self._backoff = Backoff(timings.first_pause_s, timings.longest_pause_s)
        self._config = config
        self._log = log
        self._clock = clock
        self._telemetry = telemetry
        self._watchdog = watchdog
        self._group = sink_group(config, sink.name)
        self._channels = ChannelTable()
        self._in_flight = RecordsInFlight(
            config.gateway.data_dir / f"forward-{sink.name}.in-flight"
        )
        # Records are told apart by a number for each topic and partition.
        self._places = [
            TopicPartition(topic(config, name), number)
            for name in (ANOMALIES, AGGREGATES, *THINNED)
            for number in range(config.log.partitions)
        ]
        self._next_aggregates_ns = 0
        self._next_look_ns = 0
        self._next_piece_ns = 0
        self._next_warning_ns = 0
        self._has_warned = False
        self._is_ready = False
        # Says that a round has made progress.
        self._has_gone_on: Callable[[], None] = lambda: None
        partitions = range(config.log.partitions)
        every = [
            Backlog(config, log, sink.name, number, kind)
            for kind in sink.kinds
            for number in partitions
        ]
        self._backlogs = {backlog.at: backlog for backlog in every}
        # Ends of the partitions when they were last looked at.
        self._ends: dict[TopicPartition, int] = {}
        self._upkeep = BacklogUpkeep(config, log, clock, telemetry, sink.name, timings)
        # Which partition's backlog had its turn last, and how many records make a piece.
        self._turn = 0
        self._piece_records = 1
        # When the oldest record that is waiting was written; None when nothing was left to do.
        self._oldest_ms: int | None = None

    async def run(self) -> None:
        self._in_flight.open()
        await self.sink.start()
        try:
            while True:
                try:
                    what = f"forwarding to {self.sink.name}"
                    limit_s = self._timings.round_limit_s
                    with self._watchdog.limit(what, limit_s) as self._has_gone_on:
                        await self._round()
                except TransientError as error:
                    if error is not self._refusal:
                        self._log_trouble = str(error)
                    self._warn()
                    self._telemetry.sink_retries.labels(self.sink.name).inc()
                    await self._pause(error.retry_after_s or self._backoff.pause_s())
                else:
                    self._log_trouble = ""
                    if self._refusal is None:
                        self._all_clear()
        finally:
            await self.sink.stop()

    @property
    def trouble(self) -> str:
        """Why nothing gets to the sink; empty when nothing is known that would hold it up."""
        return str(self._refusal or self._log_trouble)

    async def _round(self) -> None:
        if not self._is_ready:
            await self._find_positions()
        if isinstance(self.sink, WaitingSink) and self.sink.is_due():
            await self._quarantine_refused(await self._write_part([]))
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._next_look_ns:
            await self._look()
            self._next_look_ns = now_ns + round(self._timings.look_s * NS_PER_S)
        # The first look at a log says at once whether it can be read.
        wait_s = 0.0 if self._log_trouble else self._timings.wait_s
        gathering_ns = self._next_aggregates_ns - now_ns
        if gathering_ns > 0:
            wait_s = min(wait_s, gathering_ns / NS_PER_S)
        wanted = {
            at: backlog.live
            for at, backlog in self._backlogs.items()
            if backlog.kind == "anomalies" or gathering_ns <= 0
        }
        has_backlog = any(self._backlogs.values())
        if has_backlog:
            due_s = (self._next_piece_ns - now_ns) / NS_PER_S
            wait_s = min(wait_s, max(self._timings.glance_s, due_s))
        found = await self._log.read_many(
            wanted, reader=self.sink.name, max_bytes=self._timings.read_bytes, wait_s=wait_s
        )
        if not found:
            self._oldest_ms = None
        anomalies = {at: found[at] for at in found if self._backlogs[at].kind == "anomalies"}
        # Before anything is written: a sink that is away takes not even the first.
        aggregates = self._without_old({at: found[at] for at in found if at not in anomalies})
        await self._forward("anomalies", anomalies)
        await self._forward("aggregates", aggregates)
        if has_backlog and self._clock.monotonic_ns() >= self._next_piece_ns:
            await self._forward_piece(is_busy=bool(found) or gathering_ns > 0)

    async def _forward(
        self, kind: Kind, found: Mapping[TopicPartition, Sequence[StoredRecord]]
    ) -> None:
        """Steps 2 to 4 for the live records of one kind."""
        if not found:
            return
        self._oldest_ms = min(records[0].timestamp_ms for records in found.values())
        taken = _Taken()
        for at, records in found.items():
            for record in records:
                taken.points.extend(await self._points(kind, at, record))
            taken.offsets[at] = (records[0].offset, records[-1].offset + 1)
        refused = await self._write(taken.points)
        await self._commit(taken.offsets)
        self._oldest_ms = max(records[-1].timestamp_ms for records in found.values())
        self._count(kind, len(taken.points) - len(refused))
        if kind == "aggregates" and len(taken.points) < self.sink.max_points:
            # Whatever comes in the meantime shares the cost of one call.
            now_ns = self._clock.monotonic_ns()
            self._next_aggregates_ns = now_ns + round(self.sink.max_wait_s * NS_PER_S)

    async def _forward_piece(self, *, is_busy: bool) -> None:
        """Steps 2 to 4 for a piece of the backlog, and when the next one may come."""
        started_ns = self._clock.monotonic_ns()
        waiting = {each.at.partition: each for each in self._backlogs.values() if each}
        self._turn = min(waiting, key=lambda number: (number <= self._turn, number))
        backlog = waiting[self._turn]
        is_newest = self._config.forward.backlog_order == "newest"
        tiers = [tier for tier in backlog.tiers if tier.ranges]
        tier = tiers[0] if is_newest else tiers[-1]
        first, end = tier.ranges[-1] if is_newest else tier.ranges[0]
        if is_newest:
            first = max(first, end - self._piece_records)
        records = await self._log.read(tier.at, first, max_bytes=2 * self._timings.read_bytes)
        records = [record for record in records if record.offset < end]
        begin = records[0].offset if records else end
        points: list[Point] = []
        for record in records:
            points.extend(await self._points("aggregates", tier.at, record))
        refused = await self._write(points)
        if begin > first:
            backlog.let_go(tier, (first, begin), EVICTED, begin - first)
            self._tell_missed(begin - first)
        behind = records[-1].offset + 1 if records else end
        tier.done((begin, behind))
        await backlog.save()
        self._in_flight.finished(self._places.index(tier.at), behind, first)
        self._count("aggregates", len(points) - len(refused))
        if sum(len(record.value) for record in records) < self._timings.read_bytes:
            self._piece_records = min(2 * self._piece_records, self._timings.piece_records)
        else:
            self._piece_records = max(1, len(records))
        now_ns = self._clock.monotonic_ns()
        share = self._config.forward.backlog_share if is_busy else 1.0
        self._next_piece_ns = now_ns + round((now_ns - started_ns) * (1 / share - 1))

    async def _write(self, points: Sequence[Point]) -> list[Refused]:
        refused: list[Refused] = []
        for first in range(0, len(points), self.sink.max_points):
            part = points[first : first + self.sink.max_points]
            refused.extend(await self._write_part(part))
        await self._quarantine_refused(refused)
        return refused

    async def _write_part(self, part: Sequence[Point]) -> list[Refused]:
        try:
            bad = await self.sink.write(part)
        except TransientError as error:
            self._refusal = error
            raise
        self._has_gone_on()
        if len(bad) < len(part) or not part:
            self._refusal = None
            self._all_clear()
        return bad

    async def _commit(self, offsets: Mapping[TopicPartition, Range]) -> None:
        plain: dict[TopicPartition, int] = {}
        for at, (first, end) in offsets.items():
            backlog = self._backlogs[at]
            self._tell_missed(backlog.go_on(first, end))
            if backlog.needs_note:
                await backlog.save()
            else:
                plain[at] = backlog.live
        if plain:
            # Of all partitions at once, because each call waits for a disk.
            await self._log.commit(self._group, plain)
            for at in plain:
                self._backlogs[at].has_committed()
        for at, (first, end) in offsets.items():
            self._in_flight.finished(self._places.index(at), end, first)

    def _count(self, kind: Kind, points: int) -> None:
        self._telemetry.points.labels(self.sink.name, kind).inc(points)

    def _tell_missed(self, records: int) -> None:
        if records:
            self._telemetry.missed_records.labels(self.sink.name).inc(records)
            _logger.error(
                "The log's retention deleted records before the sink had taken them.",
                sink=self.sink.name,
                records=records,
            )

    async def _find_positions(self) -> None:
        """Where the last run left off, looked up once the log can be reached."""
        for backlog in self._backlogs.values():
            await backlog.load()
        # Of a topic that was made anew, or of records that are gone, nothing counts any more.
        for at, (start, end) in (await self._log.offsets_many(self._places)).items():
            self._in_flight.keep_within(self._places.index(at), start, end)
        self._is_ready = True

    def _without_old(
        self, found: Mapping[TopicPartition, Sequence[StoredRecord]]
    ) -> dict[TopicPartition, Sequence[StoredRecord]]:
        """The live records; what has waited for long falls behind, with all that came since."""
        now_ms = self._log.now_ms()
        fresh = {}
        for at, records in found.items():
            if now_ms - records[0].timestamp_ms <= self._timings.live_ms:
                fresh[at] = records
            else:
                backlog = self._backlogs[at]
                first = records[0].offset
                self._tell_missed(backlog.go_on(first, first))
                backlog.fall_behind(max(self._ends.get(at, 0), records[-1].offset + 1))
        return fresh

    async def _pause(self, wait_s: float) -> None:
        """Wait before the next try, and look after what waits."""
        while wait_s > 0:
            step_s = min(wait_s, self._timings.look_s)
            await asyncio.sleep(step_s)
            wait_s -= step_s
            if wait_s > 0 and self._is_ready:
                with suppress(TransientError):
                    await self._look()

    async def _look(self) -> None:
        """See how much waits; too much is thinned."""
        every = [tier.at for backlog in self._backlogs.values() for tier in backlog.tiers]
        ends = await self._log.offsets_many(every)
        records = sum(
            max(0, ends[at][1] - max(backlog.live, ends[at][0]))
            for at, backlog in self._backlogs.items()
        )
        self._ends = {at: end for at, (_, end) in ends.items()}
        for backlog in self._backlogs.values():
            if backlog:
                await self._upkeep.look(backlog)
            await backlog.commit(ends)
        self._upkeep.show(self._backlogs.values(), records, self._oldest_ms)

    async def _points(self, kind: Kind, at: TopicPartition, record: StoredRecord) -> list[Point]:
        """A record's points; one that can't be read, or ends the process, goes to quarantine."""
        place = self._places.index(at)
        step = self._in_flight.is_poison(place, record.offset)
        try:
            if step is not None:
                raise DataError("poison", f"ends the process in: {step}")
            # Nothing is awaited while it is in flight: who dies meanwhile, of a crash or of an
            # error that is not caught here, has died of it.
            self._in_flight.take({place: (record.offset, record.offset + 1)}, f"points for {kind}")
            points = self._points_of(kind, record)
        except DataError as error:
            trouble = error
        except (ValueError, TypeError, OverflowError) as error:
            # The columns are right and what is in them is not: somebody else wrote it.
            trouble = DataError("bad_record", f"{type(error).__name__}: {error}")
        else:
            self._in_flight.put_down()
            return points
        self._in_flight.put_down()
        _logger.error("A record can't be read; it goes to quarantine.", at=at, error=str(trouble))
        await self._quarantine(
            at.partition,
            f"log:{at.topic}/{at.partition}@{record.offset}",
            [(record.value, trouble.reason, trouble.detail)],
        )
        return []

    def _points_of(self, kind: Kind, record: StoredRecord) -> list[Point]:
        gateway = self._config.gateway.name
        if kind == "anomalies":
            return told_points(record, gateway)
        check_schema(record.headers, *AGGREGATES_SCHEMAS)
        if len(self._channels.devices) > self._config.ingest.max_devices:
            # Devices come and go; the table would only grow.
            self._channels = ChannelTable()
        aggregates = decode_aggregates(record.value, self._channels, has_sketches=False)
        return aggregate_points(aggregates, self._channels, gateway)

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
        await self._log.append(at, messages_records(messages))
        for payload, reason, detail in entries:
            self._telemetry.quarantined.labels(reason).inc()
            self._telemetry.refused.note(
                reason, "", source.encode(), example=payload, detail=detail
            )

    def _warn(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._next_warning_ns:
            _logger.warning(
                "The sink does not take points; they wait in the log.",
                sink=self.sink.name,
                cause=self.trouble,
            )
            self._has_warned = True
            self._next_warning_ns = now_ns + round(self._timings.warning_s * NS_PER_S)

    def _all_clear(self) -> None:
        self._backoff.reset()
        if self._has_warned:
            _logger.info("The sink takes points again.", sink=self.sink.name)
            self._has_warned = False
