"""The streams lane: the Faust agent that feeds the pipeline, and what keeps it safe.

Faust is used so that it holds: raw bytes, ``noack_take``, one agent, acknowledged in order and by
hand, no tables, no web server, nothing escapes the agent's body. A take goes through these steps:

1. decode the records; what can't be decoded becomes a quarantined message
2. drop, device by device, what a restored snapshot already holds
3. run the pipeline in a worker thread
4. append its outputs to the log, and wait until they are durable
5. snapshot some of the devices that moved, and wait until that is durable
6. acknowledge the records that the snapshots cover; Faust commits them

Anything unexpected stops the process: it restarts and replays from the committed offset.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import faust
import structlog

from connectors.logs import broker_url, consumer_group, faust_settings, topic
from headgate.config.schema import Config
from headgate.core.batch import Batch, Origin, concat
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import DataError, TransientError
from headgate.core.log import (
    AGGREGATES,
    ANOMALIES,
    QUARANTINE,
    READINGS,
    STATE,
    STREAMS,
    Log,
    Record,
    Share,
    TopicPartition,
)
from headgate.core.telemetry import Telemetry
from headgate.core.wire import (
    READINGS_SCHEMA,
    KeyRows,
    QuarantinedMessage,
    decode_readings,
    messages_record,
    schema_of,
)
from streams.pipeline import Pipeline, build_pipeline
from streams.recovery import StateKeeper
from streams.route import Route
from streams.state import BUCKETS, Placement

_logger = structlog.get_logger()
_T = TypeVar("_T")

#: How often silent devices are looked for, s. A silent device's window closes this much later
#: than ``streams.silent_after`` at most.
_SILENCE_CHECK_S = 0.25

#: Readings worked on at once; one more record may come on top.
_BATCH_ROWS = 16_384

#: Buckets whose snapshots are in memory together.
_BUCKETS_AT_ONCE = 8

#: Readings that wait in the log for so long without any being brought, s, mean that Faust does not
#: read any more; looked at this often, s. Longer than a group of several workers takes to settle.
_STALL_S = 20.0
_PROGRESS_CHECK_S = 5.0

#: Longest pause between two tries to reach the log, s.
_RETRY_CEILING_S = 5.0

#: A member that died is noticed after this long; below 6 s a Kafka broker refuses by default.
_SESSION_TIMEOUT_S = 6.0


@dataclass(slots=True)
class _Round:
    """A partition's snapshots, bucket after bucket.

    Attributes:
        partition: Which one.
        next_offset: Below it all is covered once the last bucket is written, because later
            readings are in the later buckets' snapshots too.
        buckets: Those left.
        start_ns: When it began.
        done: Buckets written.
    """

    partition: int
    next_offset: int
    buckets: list[int]
    start_ns: int
    done: int = 0


class StreamsLane:
    """Reads ``readings``, writes ``aggregates``, ``anomalies``, ``quarantine`` and ``state``.

    Args:
        config: The whole configuration.
        log: A started log, for everything but the readings, which come through Faust.
        clock: Source of time; wall time is never used for deciding about data.
        telemetry: Metrics of this lane.
        share: Which of several such lanes this is.
    """

    def __init__(
        self,
        config: Config,
        log: Log,
        clock: Clock,
        telemetry: Telemetry,
        share: Share = Share(),  # noqa: B008  (frozen)
    ) -> None:
        self._config = config
        self._share = share
        self._log = log
        self._clock = clock
        self._telemetry = telemetry
        self._channels = ChannelTable()
        self._key_rows = KeyRows(self._channels)
        self._pipeline: Pipeline = build_pipeline(config, self._channels, telemetry)
        self._placement = Placement(self._channels, config.log.partitions)
        self._keeper = StateKeeper(log, topic(config, STATE), self._pipeline, self._placement)
        self._route = Route(
            self._placement,
            self._channels,
            aggregates=topic(config, AGGREGATES),
            anomalies=topic(config, ANOMALIES),
            quarantine=topic(config, QUARANTINE),
        )
        # One thread: the stages are not re-entrant, and two cores are all there is.
        self._worker = ThreadPoolExecutor(1, "pipeline")
        # The agent and the silence check take turns on the pipeline.
        self._turn = asyncio.Lock()
        self._restored: set[int] = set()
        self._revoked: set[int] = set()
        # Generations of the consumer group that have ended. Faust drops their events from its
        # queues, but not those it has already gathered for the next take.
        self._ended_generations: set[int | None] = set()
        self._unacknowledged: list[faust.EventT[bytes]] = []
        self._next_offsets: dict[int, int] = {}
        # The snapshots that are being written, and when each partition's last round began.
        self._round: _Round | None = None
        self._round_ns: dict[int, int] = {}
        # When the last readings were worked on.
        self._worked_ns = clock.monotonic_ns()
        self._failure: asyncio.Future[None] | None = None
        self._trouble = "starting"

    def health(self) -> tuple[bool, str]:
        """Whether readings are being worked on; when not, why."""
        return not self._trouble, self._trouble

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then snapshot and commit what is done.

        Raises:
            Exception: Whatever went wrong inside; the process must end and start anew.
        """
        loop = asyncio.get_running_loop()
        self._failure = loop.create_future()
        app = self._build_app()
        stopping = asyncio.create_task(stop.wait(), name="stop")
        # Starting ends when partitions are assigned, and a stop may come before that.
        starting = asyncio.create_task(app.start(), name="faust")
        tasks = [stopping, starting]
        try:
            await self._first_of(stopping, starting)
            if not stop.is_set():
                self._trouble = ""
                silence = asyncio.create_task(self._watch_silence(), name="silence")
                watch = asyncio.create_task(self._watch_app(app), name="faust-watch")
                progress = asyncio.create_task(self._watch_progress(), name="progress")
                tasks += [silence, watch, progress]
                await self._first_of(stopping, silence, watch, progress)
            await self._finish(app)
        finally:
            for task in tasks:
                task.cancel()
            self._worker.shutdown(wait=False, cancel_futures=True)

    async def _first_of(self, *tasks: asyncio.Task[Any]) -> None:
        """Wait until one of these ends, or the agent fails; raises what it raised."""
        assert self._failure is not None  # noqa: S101  (for the type checker)
        done, _ = await asyncio.wait({*tasks, self._failure}, return_when=asyncio.FIRST_COMPLETED)
        for future in done:
            future.result()

    def _build_app(self) -> faust.App:
        streams = self._config.streams
        app = faust.App(
            consumer_group(self._config, STREAMS),
            broker=broker_url(self._config, self._share),
            key_serializer="raw",
            value_serializer="raw",
            topic_partitions=self._config.log.partitions,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            datadir=str(self._config.gateway.data_dir / f"faust-{self._share.number}"),
            stream_wait_empty=False,
            stream_buffer_maxsize=2 * streams.max_records,
            broker_session_timeout=_SESSION_TIMEOUT_S,
            broker_heartbeat_interval=_SESSION_TIMEOUT_S / 4,
            broker_commit_interval=0.5,
            consumer_auto_offset_reset="earliest",
            worker_redirect_stdouts=False,
            **faust_settings(self._config),
        )
        readings = app.topic(
            topic(self._config, READINGS), value_type=bytes, key_type=bytes, internal=False
        )
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_partitions_assigned.connect(self._on_assigned)

        async def work(stream: faust.StreamT[bytes]) -> None:
            takes: AsyncIterator[Sequence[faust.EventT[bytes]]] = stream.noack_take(
                streams.max_records, within=self._config.streams_wait / NS_PER_S
            )
            async for events in takes:
                try:
                    async with self._turn:
                        await self._work_on(events)
                except Exception as error:  # noqa: BLE001  (nothing may escape an agent's body)
                    self._fail(error)
                    # The process is about to end. Returning would make Faust acknowledge.
                    await asyncio.Event().wait()

        app.agent(readings, concurrency=1, name="readings")(work)
        return app

    async def _on_revoked(self, app: faust.App, revoked: Iterable[Any], **_kwargs: object) -> None:
        # Only noted here: the agent may be in the middle of a take.
        self._revoked.update(at.partition for at in revoked)
        self._ended_generations.add(app.consumer_generation_id)

    async def _on_assigned(self, app: faust.App, *_args: object, **_kwargs: object) -> None:
        # A group that Kafka has forgotten begins to count anew.
        self._ended_generations.discard(app.consumer_generation_id)

    async def _work_on(self, events: Sequence[faust.EventT[bytes]]) -> None:
        self._drop_revoked()
        events = self._due(events)
        while events:
            done = await self._work_on_some(events)
            events = events[done:]

    async def _work_on_some(self, events: Sequence[faust.EventT[bytes]]) -> int:
        """Work on the first of these events, as many as make a batch; how many."""
        with self._telemetry.timed("decode"):
            batch, records, done = await self._decode(events)
        events = events[:done]
        results = await self._in_worker(self._pipeline.process, batch, self._clock.monotonic_ns())
        self._keeper.touch(results.moved)
        for at, more in self._route.records(results).items():
            records.setdefault(at, []).extend(more)
        with self._telemetry.timed("append"):
            await self._append(records)
        self._unacknowledged.extend(events)
        for event in events:
            self._next_offsets[event.message.partition] = event.message.offset + 1
            # It waits for its acknowledgement for seconds; what it held is not needed any more.
            event.value = event.message.value = b""
        await self._snapshot_some()
        self._trouble = ""
        self._worked_ns = self._clock.monotonic_ns()
        return done

    def _due(self, events: Sequence[faust.EventT[bytes]]) -> list[faust.EventT[bytes]]:
        """The events to work on: not those of an ended assignment, nor any for a second time.

        What was gathered before a partition was taken away is left alone: it is delivered again,
        after what comes before it. What this process has applied already is acknowledged again.
        """
        due = []
        for event in events:
            message = event.message
            if message.generation_id in self._ended_generations:
                continue
            if message.offset < self._next_offsets.get(message.partition, 0):
                self._unacknowledged.append(event)
            else:
                due.append(event)
        return due

    async def _decode(
        self, events: Sequence[faust.EventT[bytes]]
    ) -> tuple[Batch, dict[TopicPartition, list[Record]], int]:
        """Decode records until there are readings enough; what was refused, and how many it were.

        A bounded batch is what bounds this process's memory, and larger ones are hardly faster.
        """
        batches: list[Batch] = []
        refused: dict[TopicPartition, list[Record]] = {}
        done = rows = 0
        for event in events:
            if rows >= _BATCH_ROWS:
                break
            done += 1
            message = event.message
            if message.partition not in self._restored:
                count = await self._keeper.restore(message.partition)
                self._restored.add(message.partition)
                _logger.info(
                    "Took up a partition.",
                    partition=message.partition,
                    offset=message.offset,
                    devices_restored=count,
                )
            headers = message.headers or {}
            pairs = headers.items() if isinstance(headers, Mapping) else headers
            try:
                schema = schema_of(tuple(pairs))
                if schema != READINGS_SCHEMA:
                    found = schema.decode(errors="replace")
                    raise DataError(
                        "bad_record", f"expected {READINGS_SCHEMA.decode()}, got {found!r}"
                    )
                origin = Origin(message.topic, message.partition, message.offset)
                value = message.value or b""
                batches.append(decode_readings(value, self._channels, origin, self._key_rows))
                rows += len(batches[-1])
            except DataError as error:
                self._telemetry.quarantined.labels(error.reason).inc()
                at = TopicPartition(topic(self._config, QUARANTINE), message.partition)
                refused.setdefault(at, []).append(self._refusal(message, error))
        batch = self._keeper.without_applied(concat(batches, self._channels))
        return batch, refused, done

    def _refusal(self, message: Any, error: DataError) -> Record:  # noqa: ANN401  (Faust's)
        payload: bytes = message.value or b""
        return messages_record(
            [
                QuarantinedMessage(
                    ingest_ns=self._clock.wall_ns(),
                    source=f"log:{message.topic}/{message.partition}@{message.offset}",
                    payload=payload[: self._config.ingest.quarantine_payload],
                    reason=error.reason,
                    detail=error.detail,
                    payload_bytes=len(payload),
                )
            ]
        )

    async def _snapshot_some(self) -> None:
        """Write down a part of what has moved, so much that a round ends in its time.

        While state is written no reading is worked on, so it is written a little at a time.
        Partitions have their rounds one after the other, and all within the interval.
        """
        now_ns = self._clock.monotonic_ns()
        interval_ns = self._config.streams.snapshot_interval
        if self._round is None:
            self._round = self._next_round(now_ns, interval_ns)
        if self._round is None:
            return
        current = self._round
        done_by_now = (now_ns - current.start_ns) * len(self._next_offsets) / max(1, interval_ns)
        count = min(len(current.buckets), max(1, math.ceil(done_by_now * BUCKETS) - current.done))
        buckets, current.buckets = current.buckets[:count], current.buckets[count:]
        current.done += count
        with self._telemetry.timed("snapshot"):
            await self._write_down(current.partition, buckets)
        if not current.buckets:
            self._acknowledge(current.partition, current.next_offset)
            self._round = None

    def _next_round(self, now_ns: int, interval_ns: int) -> _Round | None:
        """A round of the partition that has waited longest, if its time has come."""
        if not self._next_offsets:
            return None
        partition = min(self._next_offsets, key=lambda each: self._round_ns.get(each, 0))
        if now_ns < self._round_ns.setdefault(partition, now_ns) + interval_ns:
            return None
        self._round_ns[partition] = now_ns
        buckets = self._keeper.moved_buckets(partition)
        return _Round(partition, self._next_offsets[partition], buckets, now_ns)

    async def _write_down(self, partition: int, buckets: Sequence[int]) -> None:
        """Snapshot buckets as they are, and wait until that is durable."""
        at = TopicPartition(topic(self._config, STATE), partition)
        next_offset = self._next_offsets[partition]
        # Not all in one go: a whole fleet's state need not be in memory twice.
        for first in range(0, len(buckets), _BUCKETS_AT_ONCE):
            some = buckets[first : first + _BUCKETS_AT_ONCE]
            records = await self._in_worker(self._keeper.snapshot, partition, some, next_offset)
            await self._append({at: records})
            self._keeper.settle(partition, some)

    def _acknowledge(self, partition: int, next_offset: int) -> None:
        """Acknowledge the records that snapshots cover: those below an offset, in order."""
        waiting, self._unacknowledged = self._unacknowledged, []
        for event in waiting:
            message = event.message
            if message.partition == partition and message.offset < next_offset:
                event.ack()
            else:
                self._unacknowledged.append(event)

    def _drop_revoked(self) -> None:
        """Forget the partitions that were taken away; what comes back is restored anew."""
        revoked, self._revoked = self._revoked, set()
        for partition in revoked & self._restored:
            self._keeper.forget(partition)
            self._restored.discard(partition)
        for partition in revoked:
            self._next_offsets.pop(partition, None)
            self._round_ns.pop(partition, None)
        if self._round is not None and self._round.partition in revoked:
            self._round = None
        self._unacknowledged = [
            event for event in self._unacknowledged if event.message.partition not in revoked
        ]

    async def _watch_silence(self) -> None:
        """Close the windows of devices that have stopped sending."""
        while True:
            await asyncio.sleep(_SILENCE_CHECK_S)
            async with self._turn:
                self._drop_revoked()
                now_ns = self._clock.monotonic_ns()
                results = await self._in_worker(self._pipeline.advance, now_ns)
                self._telemetry.open_rows.set(self._pipeline.open_rows())
                if len(results.moved):
                    self._keeper.touch(results.moved)
                    await self._append(self._route.records(results))
                # A window closed by the wall clock would close otherwise in a replay: write the
                # decision down before any reading that it makes late is worked on.
                for partition, buckets in self._keeper.buckets_of(results.moved).items():
                    if partition in self._next_offsets:
                        await self._write_down(partition, buckets)
                await self._snapshot_some()

    async def _watch_app(self, app: faust.App) -> None:
        """Turn a crash inside Faust, which it would only log, into the end of this process."""
        while not app.should_stop and not app.crashed:  # noqa: ASYNC110  (Faust has no event)
            await asyncio.sleep(_SILENCE_CHECK_S)
        raise RuntimeError("Faust stopped by itself") from app.crash_reason

    async def _watch_progress(self) -> None:
        """End the process when readings wait in the log and Faust brings none.

        It has been seen to stop reading without a word after Kafka had been away for longer than
        the session lasts. A process that starts anew goes on at the committed offset.
        """
        stalled_ns: int | None = None
        while True:
            worked_ns = self._worked_ns
            await asyncio.sleep(_PROGRESS_CHECK_S)
            if self._worked_ns != worked_ns or self._turn.locked():
                stalled_ns = None
                continue
            try:
                waiting = await self._waiting_records()
            except TransientError:
                # The log is away, and with it the readings.
                waiting = 0
            now_ns = self._clock.monotonic_ns()
            if not waiting:
                stalled_ns = None
            elif stalled_ns is None:
                stalled_ns = now_ns
            elif now_ns - stalled_ns >= _STALL_S * NS_PER_S:
                raise RuntimeError(
                    f"{waiting} records wait in the log, and for {_STALL_S:g} s none has come"
                )

    async def _waiting_records(self) -> int:
        """Records behind what has been worked on, in the partitions that are surely ours."""
        name, group = topic(self._config, READINGS), consumer_group(self._config, STREAMS)
        partitions: Iterable[int] = self._share.partitions(self._config.log.partitions)
        if self._share.count > 1 and not self._config.log.is_embedded:
            partitions = list(self._next_offsets)
        waiting = 0
        every = [TopicPartition(name, partition) for partition in partitions]
        for at, (oldest, end) in (await self._log.offsets_many(every)).items():
            done = self._next_offsets.get(at.partition)
            if done is None:
                done = await self._log.committed(group, at) or 0
            waiting += max(0, end - max(done, oldest))
        return waiting

    async def _finish(self, app: faust.App) -> None:
        async with self._turn:
            self._drop_revoked()
            for partition, next_offset in self._next_offsets.items():
                await self._write_down(partition, self._keeper.moved_buckets(partition))
                self._acknowledge(partition, next_offset)
            # Still inside the turn: the agent can't begin another take while Faust stops.
            await app.stop()

    async def _append(self, records: Mapping[TopicPartition, Sequence[Record]]) -> None:
        """Append, for as long as it takes: readings wait in the log meanwhile."""
        if not records:
            return
        pause_s = 0.1
        while True:
            try:
                await self._log.append_many(records)
            except TransientError as error:
                self._trouble = f"the log does not accept results: {error}"
                _logger.warning("The log does not accept results; will retry.", error=str(error))
                await asyncio.sleep(error.retry_after_s or pause_s * random.uniform(0.5, 1))  # noqa: S311
                pause_s = min(2 * pause_s, _RETRY_CEILING_S)
            else:
                return

    async def _in_worker(self, call: Callable[..., _T], *args: object) -> _T:
        future: Awaitable[_T] = asyncio.get_running_loop().run_in_executor(
            self._worker, call, *args
        )
        return await future

    def _fail(self, error: BaseException) -> None:
        self._trouble = f"failed: {error}"
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)
