"""The ingest lane: messages from the sources into the log, then acknowledged.

A message goes through these steps, and only in this order:

1. received and put into the waiting list; past a limit its source takes no more
2. decoded with those that arrived within the same few milliseconds
3. its readings, or its refusal, appended to the log, which answers once they are durable
4. acknowledged to its source, if the connection it came over still stands

A message that ends each process that decodes it is put aside (``poison.py``).

A crash before step 4 makes the source send it again; what the log has twice then is recognized by
channel and event time and rejected as a duplicate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import structlog

from connectors.logs.configured import topic
from connectors.sources.configured import make_source, source_key
from connectors.sources.source import ReceivedMessages, Source, SourceContext
from headgate.config.chosen import Chosen
from headgate.config.schema import Config
from headgate.core.backoff import Backoff
from headgate.core.batch import Quality
from headgate.core.beat import until_beat
from headgate.core.clock import NS_PER_S, ArrivalClock, Clock, built_ns
from headgate.core.errors import PermanentError, TransientError
from headgate.core.heartbeat import HEARTBEAT_FILE, HEARTBEAT_INTERVAL_S, HeardTime, Heartbeat
from headgate.core.log import READINGS, Log, Record, TopicPartition
from headgate.core.note import Note
from headgate.core.records import is_retried
from headgate.core.telemetry import Telemetry
from headgate.core.watchdog import Watchdog
from streams.ingest.certificates import CertificateWatch
from streams.ingest.conversations import Conversations
from streams.ingest.gathering import Gathering
from streams.ingest.intake import Intake
from streams.ingest.poison import MessagesInFlight
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.translate import Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds

_logger = structlog.get_logger()

#: Longest pause between two tries to write to the log, s.
_RETRY_CEILING_S = 5.0

#: A single call to the log that takes this long hangs, s. A log that is away fails earlier.
_LOG_LIMIT_S = 120.0

#: Messages that arrive are left in the kernel's buffer for so long, s, or the feeds' whole wait if
#: that is shorter. Halving it costs a gateway with little to do twice the wake-ups. Where readings
#: get the times at which they were read, these are not to be coarser than they need be.
_READ_INTERVAL_S, _EXACT_READ_INTERVAL_S = 0.025, 0.005

#: Newest records of a partition that are read at the start, where devices send no times: what is in
#: them tells when those were last heard, and at what pace.
_RECALLED_RECORDS = 500

#: What is decoded and written at once, bytes.
_PART_BYTES = 4 << 20


class IngestLane:
    """Reads the feeds' topics, writes ``readings`` and ``quarantine``.

    Args:
        config: The whole configuration.
        log: A started log.
        clock: Source of time: arrival times, and timers.
        telemetry: Metrics of this lane.
        make_source: Makes a configured source; within the event loop.
        not_before_ns: A time that has surely been, ns since 1970 UTC; a clock that is behind it is
            not believed. None: that of this program's own files.
    """

    def __init__(
        self,
        config: Config,
        log: Log,
        clock: Clock,
        telemetry: Telemetry,
        *,
        make_source: Callable[[Chosen, SourceContext], Source] = make_source,
        not_before_ns: int | None = None,
    ) -> None:
        self.watchdog = Watchdog(clock)
        self._config = config
        self._log = log
        self._clock = clock
        self._telemetry = telemetry
        self._make_source = make_source
        # This program was not there before its own files were.
        self._arrival = ArrivalClock(clock, built_ns() if not_before_ns is None else not_before_ns)
        self._is_estimating = False
        self._unheard = UnheardFeeds(config.feed, telemetry)
        self._refusals = Refusals(config, telemetry, clock)
        self._heard_time = HeardTime()
        self._translator = Translator(
            config,
            telemetry,
            self._refusals,
            self._unheard,
            now_ns=self._heard_time.now_ns,
        )
        self._read_interval_s = (
            _EXACT_READ_INTERVAL_S if self._translator.dates_by_arrival else _READ_INTERVAL_S
        )
        self._readings = topic(config, READINGS)
        # A broker may never repeat that a bridge is away.
        self._away = Note(config.gateway.data_dir / "away.json")
        self._certificates = CertificateWatch(config, clock, telemetry)
        #: One for each source, in the configuration's order.
        self.intakes = [self._intake(name) for name in config.source]
        self._arrived = asyncio.Event()
        self._log_trouble = ""
        telemetry.details["clock"] = lambda: {"is_set": not self._arrival.is_estimating}

    def health(self) -> tuple[bool, str]:
        """Whether messages are taken in, from every source; when not, why."""
        troubles = {intake.name: intake.trouble for intake in self.intakes}
        for name, trouble in troubles.items():
            self._telemetry.connected.labels(name).set(not trouble)
        if self._log_trouble:
            return False, self._log_trouble
        if len(troubles) == 1:
            (trouble,) = troubles.values()
        else:
            trouble = "; ".join(f"{name}: {why}" for name, why in troubles.items() if why)
        return not trouble, trouble

    async def run(self, stop: asyncio.Event) -> None:
        """Take messages in until ``stop`` is set; then write and acknowledge what is in hand."""
        await self._look_up_time()
        self._translator.recall_away(self._away.read())
        for intake in self.intakes:
            intake.open()
        # Those that are made are closed, also when the next can't be.
        receiving: list[asyncio.Task[None]] = []
        others: list[asyncio.Task[Any]] = []
        sources: list[Source] = []
        is_all_safe = False
        try:
            for intake in self.intakes:
                intake.source = self._open(intake)
                sources.append(intake.source)
            receiving += [
                asyncio.create_task(each.source.run(), name=each.name) for each in self.intakes
            ]
            writing = asyncio.create_task(self._write(stop), name="write")
            stopping = asyncio.create_task(stop.wait(), name="stop")
            others += [writing, stopping, asyncio.create_task(self._beat(), name="heartbeat")]
            await asyncio.wait({*receiving, writing, stopping}, return_when="FIRST_COMPLETED")
            for source in sources:
                source.pause()
            self._arrived.set()
            if not any(task.done() for task in receiving):
                await writing  # raises what went wrong, or ends with everything acknowledged
                is_all_safe = True
                await asyncio.gather(*(source.settle() for source in sources))
        finally:
            for task in others:
                task.cancel()
            for intake in self.intakes:
                intake.conversations.put_down()
            for source in sources:
                await source.close(is_all_safe=is_all_safe)
        await asyncio.gather(*receiving)

    def _intake(self, name: str) -> Intake:
        config = self._config
        density = max((feed.density for feed in config.feeds_of(name).values()), default=1)
        # A conversation is led with one peer: of a feed with several sources, with the first.
        conversations = {
            feed: conversation
            for feed, conversation in self._translator.conversations.items()
            if config.sources_of(feed)[0] == name
        }
        return Intake(
            name,
            MessagesInFlight(config.source_file(name, "ingest.in-flight"), density),
            Heartbeat(config.gateway.data_dir, config.source_file(name, HEARTBEAT_FILE).name),
            Conversations(
                conversations, Note(config.source_file(name, "conversations.json")), self._telemetry
            ),
            config.ingest.max_pending // len(config.bringing),
        )

    def _open(self, intake: Intake) -> Source:
        """Make an intake's source."""

        def take(received: ReceivedMessages) -> None:
            intake.add(received, self._arrival.now_ns())
            self._arrived.set()

        context = SourceContext(
            intake.name,
            source_key(self._config, intake.name),
            self._config,
            self._clock,
            self._telemetry,
            take,
            min(self._read_interval_s, self._config.ingest_wait / NS_PER_S),
            self._certificates.take_peers,
        )
        return self._make_source(self._config.source[intake.name], context)

    async def _look_up_time(self) -> None:
        """See how far time had come when the log was last written to."""
        every = [
            TopicPartition(self._readings, number) for number in range(self._config.log.partitions)
        ]
        written_ns = 0
        try:
            for at, (start, end) in (await self._log.offsets_many(every)).items():
                # More of them where they tell when devices were heard that send no time.
                count = _RECALLED_RECORDS if self._translator.gives_times else 1
                first = max(start, end - count)
                while first < end:
                    records = await self._log.read(at, first, max_bytes=1 << 20)
                    if not records:
                        break
                    newest_ns = 1_000_000 * self._log.wall_ms(records[-1].timestamp_ms)
                    self._arrival.has_been(newest_ns)
                    if not is_retried(records[-1].headers):
                        # What had been in quarantine says nothing of when somebody listened.
                        written_ns = max(written_ns, newest_ns)
                    if self._translator.gives_times:
                        self._translator.recall(records)
                    first = records[-1].offset + 1
        except TransientError as error:
            # It matters only if the clock is wrong as well.
            _logger.debug("The log's newest records can't be read.", error=str(error))
        for intake in self.intakes:
            # Of several sources, nobody knows from which of them the last record came. The last
            # process may have listened for long after it.
            is_only = len(self.intakes) == 1
            intake.listened(written_ns if is_only else 0, self._arrival.now_ns())

    def _look_at_clock(self) -> None:
        """Tell when the clock is not believed, and when it is again."""
        self._arrival.now_ns()
        if self._arrival.is_estimating == self._is_estimating:
            return
        self._is_estimating = self._arrival.is_estimating
        if self._is_estimating:
            _logger.warning(
                "The clock is not set: it is behind what has been. Arrival times are estimated; "
                "readings that have no other time are marked so."
            )
        else:
            _logger.warning(
                "The clock is set. Arrival times before were estimated, and wrong by so much.",
                behind_s=round(self._arrival.correction_ns / NS_PER_S, 3),
            )

    async def _beat(self) -> None:
        """Tell the streams lanes whether devices can be heard."""
        while True:
            now_ns, arrival_ns = self._clock.monotonic_ns(), self._arrival.now_ns()
            is_log_there = not self._log_trouble
            flowing = {
                intake.name
                for intake in self.intakes
                if intake.beat(now_ns, arrival_ns, is_log_there=is_log_there)
            }
            heard = {
                name
                for name in self._config.feed
                if not flowing.isdisjoint(self._config.sources_of(name))
            }
            self._unheard.look(now_ns, heard)
            self._heard_time.look(now_ns, is_heard=len(flowing) == len(self.intakes))
            self._look_at_clock()
            self._refusals.tell()
            self._certificates.look()
            self._translator.count()
            for intake in self.intakes:
                intake.talk(now_ns, self._arrival.now_ns())
            await until_beat(HEARTBEAT_INTERVAL_S)

    async def _write(self, stop: asyncio.Event) -> None:
        gathering = Gathering(self._config.ingest_wait, self._config.ingest.max_rows)
        while True:
            await self._arrived.wait()
            if not stop.is_set():
                await gathering.wait(lambda: sum(intake.waiting for intake in self.intakes))
            self._arrived.clear()
            # In turn, so that what one source had kept for long holds up no other's.
            while any([await self._write_part(intake, stop) for intake in self.intakes]):
                pass
            if stop.is_set():
                if all(intake.is_done for intake in self.intakes):
                    return
                self._arrived.set()

    async def _write_part(self, intake: Intake, stop: asyncio.Event) -> bool:
        """Write some of what has come from one source; whether there is more of what was taken."""
        part = intake.next_part(self._arrival, self._config.ingest.max_rows, _PART_BYTES)
        if part is None:
            return False
        intake.conversations.heard_over(part.connection)
        if part.messages:
            await self._write_messages(part.joined(intake.name), intake)
        await intake.source.acknowledge(part.received)
        intake.written(self._arrival.now_ns(), goes_on=not stop.is_set())
        return intake.is_in_parts

    async def _write_messages(self, messages: Messages, intake: Intake) -> None:
        in_flight = intake.in_flight
        self._translator.forget_silent()
        translated = Translated()
        for first, end in in_flight.pieces(messages):
            part = messages.part(first, end)
            if in_flight.is_poison(part):
                self._translator.put_aside(part, translated)
            else:
                is_suspect = in_flight.take(part, first, len(messages))
                with self._telemetry.timed("decode"):
                    self._translator.take(part, translated)
                    if is_suspect:
                        self._encode(translated)
            # A keepalive, or the watchdog, waits for one slice and not for all.
            await asyncio.sleep(0)
        if translated.has_caught_up:
            intake.kept.caught_up()
        with self._telemetry.timed("encode"):
            self._encode(translated)
        in_flight.put_down()
        with self._telemetry.timed("append"):
            await self._append(translated.records)
        away = self._translator.news_of_away()
        if away is not None:
            self._away.write(away)
        in_flight.finished(len(messages))
        for feed, count in translated.rows.items():
            self._telemetry.rows.labels(feed).inc(count)

    def _encode(self, translated: Translated) -> None:
        self._mark_estimated(translated)
        self._translator.encode(translated)

    def _mark_estimated(self, translated: Translated) -> None:
        """Flag the readings that have nothing but an estimated time."""
        for batches in translated.batches.values():
            for position, batch in enumerate(batches):
                is_estimated = self._arrival.estimated(batch.time_ns)
                if is_estimated is None:
                    return
                is_estimated &= (batch.quality & np.uint16(Quality.ARRIVAL_TIME)) != 0
                flags = np.where(is_estimated, np.uint16(Quality.ESTIMATED_TIME), np.uint16(0))
                batches[position] = replace(batch, quality=batch.quality | flags)

    async def _append(self, records: dict[TopicPartition, list[Record]]) -> None:
        """Write to the log, for as long as it takes; meanwhile the broker keeps the rest."""
        backoff = Backoff(0.1, _RETRY_CEILING_S)
        while records:
            try:
                with self.watchdog.limit("the log", _LOG_LIMIT_S):
                    await self._log.append_many(records)
            except TransientError as error:
                if not self._log_trouble:
                    _logger.warning(
                        "The log does not accept readings; will retry.", error=str(error)
                    )
                self._log_trouble = f"the log does not accept readings: {error}"
                await asyncio.sleep(error.retry_after_s or backoff.pause_s())
            except PermanentError as error:
                # Nothing was acknowledged, so nothing is lost by ending here; a person is needed.
                raise PermanentError(f"the log refuses readings: {error}") from error
            else:
                break
        if self._log_trouble:
            _logger.info("The log accepts readings again.")
            self._log_trouble = ""
