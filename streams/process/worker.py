"""What the streams lane does with the records it is brought, whoever brings them.

A take goes through these steps:

1. decode the records; what can't be decoded becomes a quarantined message
2. drop, device by device, what a restored snapshot already holds
3. run the pipeline
4. append its outputs to the log, and wait until they are durable
5. snapshot some of the devices that moved, and wait until that is durable
6. acknowledge the records that the snapshots cover

Nothing here knows Faust: ``streams.process.lane`` brings the records from there, and the simulation
in the tests brings them from a log that fails as it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from connectors.logs.configured import consumer_group, topic
from headgate.config.schema import Config
from headgate.core.backoff import Backoff
from headgate.core.batch import concat
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import DataError, TransientError
from headgate.core.heartbeat import HeardTime
from headgate.core.in_flight import RecordsInFlight
from headgate.core.log import (
    AGGREGATES,
    ANOMALIES,
    QUARANTINE,
    READINGS,
    STATE,
    STREAMS,
    Log,
    Record,
    TopicPartition,
)
from headgate.core.records import AVAILABILITY_SCHEMA, HELD_SCHEMA, READINGS_SCHEMA
from headgate.core.stage import Rejected
from headgate.core.telemetry import Telemetry
from headgate.core.watchdog import Watchdog
from streams.pipeline import Pipeline
from streams.process.awaited import Awaited
from streams.process.concerned import ConcernedDevices
from streams.process.events import Event, Message, spans
from streams.process.hearing import Hearing
from streams.process.left_out import LeftOut
from streams.process.passing import PassingTime, SilentDevicesInFlight
from streams.process.reading import RecordReader, Refused, kind_of_record
from streams.process.recovery import StateKeeper
from streams.process.refusals import Refusals
from streams.process.route import Route
from streams.process.snapshots import Snapshots
from streams.process.state import Placement
from streams.results import Results
from streams.stages.watermark.presence import PresenceReport

_logger = structlog.get_logger()
_T = TypeVar("_T")

#: What to do with records at a time, what they hold, what was refused of them, and how many it are.
_Step: TypeAlias = tuple[Callable[[int], Results], str, Refused, int]

#: Longest pause between two tries to reach the log, s.
_RETRY_CEILING_S = 5.0

#: A single call to the log that takes this long hangs, s. A log that is away fails earlier.
_LOG_LIMIT_S = 120.0

#: How often there is a look whether something has been silent for long, ns.
_FORGET_EVERY_NS = 3600 * NS_PER_S

#: Bytes of a poison record that are put into quarantine when it can't even be decoded.
_POISON_BYTES = 1 << 20

#: Steps in which a record can be poison.
_DECODE, _PROCESS = "decode", "process"


class Worker:
    """Works on ``readings``, writes ``aggregates``, ``anomalies``, ``quarantine`` and ``state``.

    Its methods take turns: none may be called while another has not returned, except ``assign``
    and ``revoke``, which only take note.

    Args:
        config: The whole configuration.
        log: A started log.
        clock: Source of time; wall time is never used for deciding about data.
        telemetry: Metrics of this lane.
        pipeline: The stages.
        in_flight: Where to note what is being worked on.
        silent: Where to note which silent devices are being closed.
        in_thread: Calls a function where the pipeline runs.
    """

    def __init__(
        self,
        config: Config,
        log: Log,
        clock: Clock,
        telemetry: Telemetry,
        pipeline: Pipeline,
        in_flight: RecordsInFlight,
        silent: SilentDevicesInFlight,
        *,
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self.watchdog = Watchdog(clock)
        #: Why results can't be written just now; empty while they can.
        self.trouble = ""
        #: By partition that is ours: below this offset everything is worked on.
        self.next_offsets: dict[int, int] = {}
        self._config = config
        self._log = log
        self._clock = clock
        self._telemetry = telemetry
        self._in_flight = in_flight
        self._silent = silent
        self._in_thread = in_thread
        self._readings = topic(config, READINGS)
        self._quarantine = topic(config, QUARANTINE)
        self._refusals = Refusals(self._quarantine, topic(config, STATE), clock, telemetry)
        self._left_out = LeftOut(log, self._retry_until_done, telemetry)
        self._heard_time = HeardTime()
        self._forget_next_ns = 0
        self._use(pipeline)
        self._hearing = Hearing(config)
        self._assigned: set[int] = set()
        self._revoked: set[int] = set()
        # Generations of the consumer group that have ended. Faust drops their events from its
        # queues, but not those it has already gathered for the next take.
        self._ended_generations: set[int | None] = set()
        self._unacknowledged: list[Event] = []
        self._presence = PresenceReport(config.feed, telemetry)

    def _use(self, pipeline: Pipeline) -> None:
        """Work with this pipeline, of which nothing is known yet, from now on."""
        config = self._config
        self._pipeline = pipeline
        self._awaited = Awaited()
        self._channels: ChannelTable = pipeline.channels
        self._concerned = ConcernedDevices(self._channels)
        self._reader = RecordReader(
            self._channels, self._refusals, self._telemetry, config.ingest.quarantine_payload
        )
        self._placement = Placement(self._channels, config.log.partitions)
        state = topic(config, STATE)
        self._keeper = StateKeeper(
            self._log, state, pipeline, self._placement, now_ns=self._heard_time.now_ns
        )
        self._snapshots = Snapshots(
            state,
            config.streams.snapshot_interval,
            config.longest_snapshot_interval,
            self._keeper,
            self._clock,
            self._telemetry,
            append=self._append_snapshots,
            in_thread=self._in_thread,
        )
        self._passing = PassingTime(
            pipeline,
            self._keeper,
            self._silent,
            self._telemetry,
            in_thread=self._in_thread,
            limit=lambda: self.watchdog.limit(
                "the pipeline (time)", config.streams.stage_timeout / NS_PER_S
            ),
        )
        self._route = Route(
            self._placement,
            self._channels,
            aggregates=topic(config, AGGREGATES),
            anomalies=topic(config, ANOMALIES),
            quarantine=self._quarantine,
            is_derived=config.is_derived,
        )

    def revoke(self, partitions: Iterable[int], generation: int | None) -> None:
        """Note that partitions are taken away, and which assignment ends with that."""
        # Only noted here: a take may be under way.
        gone = set(partitions)
        self._revoked |= gone
        self._assigned -= gone
        self._ended_generations.add(generation)

    def assign(self, partitions: Iterable[int], generation: int | None) -> None:
        """Note that partitions are ours now, and the number of the assignment."""
        self._assigned |= set(partitions)
        # A group that Kafka has forgotten begins to count anew.
        self._ended_generations.discard(generation)

    @property
    def has_all(self) -> bool:
        """Whether every partition that was assigned has been taken up."""
        return not self._revoked and self._assigned == self.next_offsets.keys()

    @property
    def is_at_rest(self) -> bool:
        """Whether ``tick`` has nothing to do before the next readings, but what may wait."""
        is_busy = self._pipeline.awaits_silence() or self._snapshots.is_under_way
        return self.has_all and not is_busy

    async def work_on(self, events: Sequence[Event]) -> None:
        """Work on a take: steps 1 to 6."""
        # What was gathered before a partition was taken away is left alone: it is delivered again,
        # after what comes before it.
        events = [
            event for event in events if event.message.generation_id not in self._ended_generations
        ]
        # Readings may come before the word that their partition is ours.
        self._assigned.update(event.message.partition for event in events)
        await self._settle_assignment()
        async for some in self._left_out.put_back(self._due(events), self.next_offsets):
            done = 0
            while done < len(some):
                done += await self._work_on_some(some[done:])

    async def tick(self) -> None:
        """Take up new partitions, close the windows of silent devices, and snapshot; often."""
        await self._settle_assignment()
        now_ns = self._clock.monotonic_ns()
        quiet = self._awaited.among(self._pipeline.quiet(now_ns))
        if len(quiet):
            quiet = await self._without_waiting(quiet, now_ns)
        results = await self._passing.advance(now_ns, quiet)
        if self._presence.tell(now_ns, self._pipeline.presence):
            self._telemetry.open_rows.set(self._pipeline.open_rows())
        self._keeper.touch(results.settled, results.derived)
        if len(results.moved):
            self._keeper.touch(results.moved)
            await self._append(self._route.records(results))
            # A window closed by the clock would close otherwise in a replay: write the decision
            # down before any reading that it makes late is worked on.
            await self._snapshots.write_moved(results.moved, self.next_offsets)
            self._passing.finished(results.moved)
        await self._forget_silent(now_ns)
        await self._snapshot_some()

    async def _forget_silent(self, now_ns: int) -> None:
        """Once an hour, forget what has been silent for ``gateway.forget_after``."""
        self._heard_time.look(now_ns, is_heard=self._hearing.is_everything_heard(now_ns))
        if self._heard_time.now_ns() < self._forget_next_ns:
            return
        self._forget_next_ns = self._heard_time.now_ns() + _FORGET_EVERY_NS
        forget_after = self._config.forget_after
        devices, channels = await self._in_thread(self._keeper.forget_silent, forget_after)
        self._telemetry.forgotten.labels("devices").inc(devices)
        self._telemetry.forgotten.labels("channels").inc(channels)
        if channels:
            _logger.info("Forgot what has been silent.", devices=devices, channels=channels)
        if self._keeper.is_mostly_forgotten:
            await self._renew()

    async def _renew(self) -> None:
        """Give the rows of what is forgotten back: by way of the log, as at a restart."""
        await self.finish()
        self._use(self._pipeline.renewed())
        for partition in self.next_offsets:
            await self._retry_until_done(partial(self._keeper.restore, partition))
        self._telemetry.bad_snapshots.inc(self._keeper.bad_snapshots)

    async def finish(self) -> None:
        """Snapshot and acknowledge all that is done."""
        self._forget_revoked()
        for partition, next_offset in self.next_offsets.items():
            buckets = self._keeper.moved_buckets(partition)
            await self._snapshots.write(partition, buckets, next_offset)
            self._acknowledge(partition, next_offset)

    async def waiting_records(self) -> int:
        """Records in the log behind those that have been worked on, in what is ours.

        Raises:
            TransientError: The log does not answer.
        """
        ends = await self._ends(self.next_offsets or [0])
        return sum(
            max(0, end - max(self.next_offsets[partition], oldest))
            for partition, (oldest, end) in ends.items()
            if partition in self.next_offsets
        )

    async def _ends(self, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
        every = [TopicPartition(self._readings, partition) for partition in partitions]
        with self.watchdog.limit("the log", _LOG_LIMIT_S):
            offsets = await self._log.offsets_many(every)
        return {at.partition: found for at, found in offsets.items()}

    async def _settle_assignment(self) -> None:
        """Forget the partitions that were taken away, and take up those that are new."""
        if self._revoked:
            self._forget_revoked()
        for partition in sorted(self._assigned - self.next_offsets.keys()):
            await self._take_up(partition)

    def _forget_revoked(self) -> None:
        revoked, self._revoked = self._revoked, set()
        for partition in revoked & self.next_offsets.keys():
            # What comes back is restored anew.
            self._keeper.forget(partition)
            self._snapshots.forget(partition)
            del self.next_offsets[partition]
        self._unacknowledged = [
            event for event in self._unacknowledged if event.message.partition not in revoked
        ]

    async def _take_up(self, partition: int) -> None:
        """Restore a partition's state, whether readings come or not: windows may be open."""
        at = TopicPartition(self._readings, partition)
        group = consumer_group(self._config, STREAMS)
        committed = await self._retry_until_done(lambda: self._log.committed(group, at))
        start, end = await self._retry_until_done(lambda: self._log.offsets(at))
        self._in_flight.keep_within(partition, start, end)
        bad_before = self._keeper.bad_snapshots
        count = await self._retry_until_done(lambda: self._keeper.restore(partition, end))
        self._telemetry.bad_snapshots.inc(self._keeper.bad_snapshots - bad_before)
        if committed is None or committed > end:
            # New to us, or made anew: it ends before the place where we left the old one.
            committed = start
        self.next_offsets[partition] = committed
        _logger.info(
            "Took up a partition.", partition=partition, offset=committed, devices_restored=count
        )

    def _due(self, events: Iterable[Event]) -> list[Event]:
        """The events to work on; what has been applied already is only acknowledged again."""
        due = []
        for event in events:
            if event.message.offset < self.next_offsets[event.message.partition]:
                self._unacknowledged.append(event)
            else:
                due.append(event)
        return due

    async def _work_on_some(self, events: Sequence[Event]) -> int:
        """Work on the first of these events, as many as make a batch; how many."""
        places = ((event.message.partition, event.message.offset) for event in events)
        events = events[: self._in_flight.count_together(places)]
        step = self._in_flight.is_poison(events[0].message.partition, events[0].message.offset)
        if step is not None:
            records, done = self._poisoned(events[0].message, step), 1
        else:
            records, done = await self._results_of(events)
        with self._telemetry.timed("append"):
            await self._append(records)
        for event in events[:done]:
            self._unacknowledged.append(event)
            self.next_offsets[event.message.partition] = event.message.offset + 1
            # It waits for its acknowledgement for seconds; what it held is not needed any more.
            event.value = event.message.value = b""
        await self._snapshot_some()
        return done

    async def _results_of(
        self, events: Sequence[Event]
    ) -> tuple[dict[TopicPartition, list[Record]], int]:
        """Steps 1 to 3: the records to append, and how many events went into them."""
        self._in_flight.take(spans(events), _DECODE)
        read = {
            AVAILABILITY_SCHEMA: self._availability_in,
            HELD_SCHEMA: self._held_in,
            READINGS_SCHEMA: self._readings_in,
        }[kind_of_record(events[0].message)]
        with self._telemetry.timed("decode"):
            step = await read(events)
        work, what, records, done = step
        self._in_flight.take(spans(events[:done]), _PROCESS)
        with self.watchdog.limit(
            f"the pipeline ({what})", self._config.streams.stage_timeout / NS_PER_S
        ):
            results = await self._in_thread(work, self._clock.monotonic_ns())
        self._keeper.touch(results.moved, results.derived)
        for at, more in self._route.records(results).items():
            records.setdefault(at, []).extend(more)
        self._in_flight.put_down()
        return records, done

    async def _readings_in(self, events: Sequence[Event]) -> _Step:
        """What to do with readings."""
        batches, refused, done = self._reader.readings(events)
        batch = self._keeper.without_applied(concat(batches, self._channels))
        self._snapshots.readings += len(batch)
        self._awaited.heard(batch.device)
        # That they come too late for rules would be otherwise in a replay: write it down first.
        await self._snapshots.write_moved(self._pipeline.overtaken(batch), self.next_offsets)
        return partial(self._pipeline.process, batch), f"{len(batch)} readings", refused, done

    async def _availability_in(self, events: Sequence[Event]) -> _Step:
        """What to do with what was said of whether devices are there."""
        found, refused, done = self._reader.availability(events)
        said = []
        for message, every in found:
            for each in every:
                rows = self._concerned.rows(each)
                at = (message.partition, message.offset)
                said.append((self._keeper.told(rows, *at, adds=each.adds), each))
        return partial(self._pipeline.tell, said), f"{len(said)} words", refused, done

    async def _held_in(self, events: Sequence[Event]) -> _Step:
        """What to do with what channels hold."""
        batches, refused, done = self._reader.held(events)
        batch = self._keeper.without_applied(concat(batches, self._channels))
        work = partial(self._pipeline.hold, batch)
        return lambda _: work(), f"{len(batch)} values", refused, done

    def _poisoned(self, message: Message, step: str) -> dict[TopicPartition, list[Record]]:
        """A poison record, whole, for quarantine."""
        _logger.error(
            "A record ends every process that works on it; it goes to quarantine.",
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            step=step,
        )
        if step == _PROCESS:
            try:
                batch = self._keeper.without_applied(self._reader.readings_of(message))
            except DataError:
                pass  # as a message, then
            else:
                self._telemetry.quarantined.labels("poison").inc(len(batch))
                return self._route.rejected((Rejected("poison", batch),))
        error = DataError("poison", f"ends the process in: {step}")
        at, refusal = self._refusals.of_record(message, error, _POISON_BYTES)
        return {at: [refusal]}

    async def _without_waiting(self, quiet: NDArray[np.int32], now_ns: int) -> NDArray[np.int32]:
        """Of devices of which time has something to say, those of which nothing is on its way."""
        for rows, heard_ns in self._hearing.heard(quiet, self._channels.devices, now_ns):
            self._pipeline.keep_waiting(rows, heard_ns)
        quiet = self._pipeline.quiet(now_ns)
        partitions = self._placement.partition[quiet]
        try:
            ours = {*partitions.tolist()} & self.next_offsets.keys()
            ends = await self._ends(ours) if ours else {}
        except TransientError:
            self._pipeline.keep_waiting(quiet, now_ns)
            quiet, partitions, ends = quiet[:0], partitions[:0], {}
        return self._awaited.passed(quiet, partitions, ends, self.next_offsets)

    async def _snapshot_some(self) -> None:
        covered = await self._snapshots.write_some(self.next_offsets)
        if covered is not None:
            self._acknowledge(*covered)

    def _acknowledge(self, partition: int, next_offset: int) -> None:
        """Acknowledge the records that snapshots cover: those below an offset, in order."""
        waiting, self._unacknowledged = self._unacknowledged, []
        for event in waiting:
            message = event.message
            if message.partition == partition and message.offset < next_offset:
                event.ack()
            else:
                self._unacknowledged.append(event)
        self._in_flight.finished(partition, next_offset)

    async def _append_snapshots(self, snapshots: Mapping[TopicPartition, Sequence[Record]]) -> None:
        records = {at: [*some] for at, some in snapshots.items()}
        for found in self._keeper.take_too_large():
            at, refusal = self._refusals.of_state(found)
            records.setdefault(at, []).append(refusal)
        await self._append(records)

    async def _append(self, records: Mapping[TopicPartition, Sequence[Record]]) -> None:
        if records:
            await self._retry_until_done(lambda: self._log.append_many(records))

    async def _retry_until_done(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Ask the log for as long as it takes: readings wait in it meanwhile."""
        backoff = Backoff(0.1, _RETRY_CEILING_S)
        while True:
            try:
                with self.watchdog.limit("the log", _LOG_LIMIT_S):
                    answer = await call()
            except TransientError as error:
                self._set_trouble(f"the log can't be used: {error}")
                await asyncio.sleep(error.retry_after_s or backoff.pause_s())
            else:
                self._set_trouble("")
                return answer

    def _set_trouble(self, trouble: str) -> None:
        # Said once, not at every try: an outage may last for days.
        if trouble and not self.trouble:
            _logger.warning("The log can't be used; will retry.", cause=trouble)
        elif self.trouble and not trouble:
            _logger.info("The log can be used again.")
        self.trouble = trouble
