"""The ingest lane: messages from the broker into the log, then acknowledged.

A message goes through these steps, and only in this order:

1. received and put into the waiting list; past a limit the socket is read no more
2. decoded with those that arrived within the same few milliseconds
3. its readings, or its refusal, appended to the log, which answers once they are durable
4. acknowledged to the broker, if the connection it came over still stands

A message that ends each process that decodes it is put aside (``poison.py``).

A crash before step 4 makes the broker send it again; what the log has twice then is recognized by
channel and event time and rejected as a duplicate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import structlog

from connectors.logs.configured import topic
from connectors.mqtt.connection import Connection
from connectors.mqtt.received import Received
from connectors.mqtt.session import BrokerSession
from headgate.config.schema import Config
from headgate.core.backoff import Backoff
from headgate.core.batch import Quality
from headgate.core.clock import NS_PER_S, ArrivalClock, Clock, built_ns
from headgate.core.errors import PermanentError, TransientError
from headgate.core.log import READINGS, Log, Record, TopicPartition
from headgate.core.note import Note
from headgate.core.pulse import PULSE_INTERVAL_S, HeardTime, Pulse
from headgate.core.telemetry import Telemetry
from headgate.core.watchdog import Watchdog
from streams.ingest.certificates import CertificateWatch
from streams.ingest.conversations import Conversations
from streams.ingest.kept import KeptMessages
from streams.ingest.poison import MessagesInHand
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.retained import RetainedMessages, subscriptions
from streams.ingest.translate import Translated, Translator
from streams.ingest.unheard import UnheardFeeds

_logger = structlog.get_logger()

#: Longest pause between two tries to write to the log, s.
_RETRY_CEILING_S = 5.0

#: A single call to the log that takes this long hangs, s. A log that is away fails earlier.
_LOG_LIMIT_S = 120.0

#: Messages that arrive are left in the kernel's buffer for so long, s, or the feeds' whole wait if
#: that is shorter. Halving it costs a gateway with little to do twice the wake-ups.
_READ_INTERVAL_S = 0.005

#: Newest records of a partition that are read at the start, where devices send no times: what is in
#: them tells when those were last heard, and at what pace.
_RECALLED_RECORDS = 500

#: What is decoded and written at once, bytes.
_PART_BYTES = 4 << 20


@dataclass(slots=True)
class _Waiting:
    """Messages that have arrived and are not in the log yet, by the read that brought them."""

    received: list[Received] = field(default_factory=list)
    arrival_ns: list[int] = field(default_factory=list)
    unheard_ns: list[int] = field(default_factory=list)
    messages: int = 0
    size_bytes: int = 0

    def add(self, received: Received, arrived_ns: int, unheard_ns: int) -> None:
        """Add what was read."""
        self.received.append(received)
        self.arrival_ns.append(arrived_ns)
        self.unheard_ns.append(unheard_ns)
        self.messages += len(received.topics)
        self.size_bytes += received.size_bytes

    @property
    def connection(self) -> int:
        """The connection that all of them came over, if they are a part of ``split``."""
        return self.received[0].connection

    def joined(self) -> Messages:
        """All of them in one run."""
        topics = list(chain.from_iterable(each.topics for each in self.received))
        payloads = list(chain.from_iterable(each.payloads for each in self.received))
        counts = [len(each.topics) for each in self.received]
        arrival_ns = np.repeat(np.array(self.arrival_ns, np.int64), counts)
        cut: dict[int, int] = {}
        first = 0
        for received in self.received:
            for position, size_bytes in received.cut.items():
                cut[first + position] = size_bytes
            first += len(received.topics)
        unheard_ns = None
        if any(self.unheard_ns):
            unheard_ns = np.repeat(np.array(self.unheard_ns, np.int64), counts)
        return Messages(topics, payloads, arrival_ns, cut, unheard_ns)

    def split(self, most: int, most_bytes: int) -> Iterator[_Waiting]:
        """The same in parts, each of so many messages and bytes, or a single read.

        Of each part all came over one connection.
        """
        part = _Waiting()
        for received, arrived_ns, unheard_ns in zip(
            self.received, self.arrival_ns, self.unheard_ns, strict=True
        ):
            is_other = bool(part.received) and part.connection != received.connection
            is_full = (
                is_other
                or part.messages + len(received.topics) > most
                or part.size_bytes + received.size_bytes > most_bytes
            )
            if (part.messages or is_other) and is_full:
                yield part
                part = _Waiting()
            part.add(received, arrived_ns, unheard_ns)
        if part.received:
            yield part


class IngestLane:
    """Reads the feeds' topics, writes ``readings`` and ``quarantine``.

    Args:
        config: The whole configuration.
        log: A started log.
        clock: Source of time: arrival times, and timers.
        telemetry: Metrics of this lane.
        connect: Makes the connection to the broker; takes what ``Connection`` takes.
    """

    def __init__(
        self,
        config: Config,
        log: Log,
        clock: Clock,
        telemetry: Telemetry,
        *,
        connect: Callable[..., Connection] = Connection,
    ) -> None:
        self.watchdog = Watchdog(clock)
        self._config = config
        self._log = log
        self._clock = clock
        self._telemetry = telemetry
        self._connect = connect
        # This program was not there before its own files were.
        self._arrival = ArrivalClock(clock, built_ns())
        self._is_estimating = False
        self._pulse = Pulse(config.gateway.data_dir)
        self._unheard = UnheardFeeds(config.feed, telemetry)
        density = max(feed.density for feed in config.feed.values())
        self._in_hand = MessagesInHand(config.gateway.data_dir / "ingest.in-hand", density)
        self._refusals = Refusals(config, telemetry, clock)
        self._heard_time = HeardTime()
        self._translator = Translator(
            config,
            telemetry,
            self._refusals,
            self._unheard,
            now_ns=self._heard_time.now_ns,
        )
        self._conversations = Conversations(
            self._translator.conversations,
            Note(config.gateway.data_dir / "conversations.json"),
            telemetry,
        )
        self._readings = topic(config, READINGS)
        self._retained = RetainedMessages(config, telemetry)
        self._kept = KeptMessages()
        self._certificates = CertificateWatch(config, clock, telemetry)
        self._waiting = _Waiting()
        self._in_flight_bytes = 0
        self._arrived = asyncio.Event()
        self._log_trouble = ""
        self._connection: Connection | None = None
        self._session: BrokerSession | None = None

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
        await self._look_up_time()
        self._in_hand.open()
        self._conversations.open()
        session = self._session = BrokerSession(self._config, self._clock, self._telemetry)
        await self._retained.load()
        connection = self._connection = self._connect(
            settings=self._config.mqtt,
            client_id=session.client_id,
            clock=self._clock,
            on_messages=self._on_messages,
            read_interval_s=min(_READ_INTERVAL_S, self._config.ingest_wait / NS_PER_S),
            subscriptions=subscriptions(self._config),
            session=session,
            max_payload_bytes=self._config.ingest.max_payload,
            on_certificate=self._certificates.take_brokers,
        )
        connecting = asyncio.create_task(connection.run(), name="mqtt")
        writing = asyncio.create_task(self._write(connection, stop), name="write")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        beating = asyncio.create_task(self._beat(connection), name="pulse")
        is_all_safe = False
        try:
            await asyncio.wait({connecting, writing, stopping}, return_when="FIRST_COMPLETED")
            connection.pause()
            self._arrived.set()
            if not connecting.done():
                await writing  # raises what went wrong, or ends with everything acknowledged
                is_all_safe = True
                await connection.settle()
        finally:
            connection.close()
            for task in (stopping, writing, beating):
                task.cancel()
            self._conversations.put_down()
            await self._retained.close(is_all_safe=is_all_safe)
        await connecting

    async def _look_up_time(self) -> None:
        """See how far time had come when the log was last written to."""
        every = [
            TopicPartition(self._readings, number) for number in range(self._config.log.partitions)
        ]
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
                    self._kept.listened(newest_ns)
                    if self._translator.gives_times:
                        self._translator.recall(records)
                    first = records[-1].offset + 1
        except TransientError as error:
            # It matters only if the clock is wrong as well.
            _logger.debug("The log's newest records can't be read.", error=str(error))
        # The last process may have listened for long after the last record. Its clock may have been
        # wrong.
        self._kept.listened(min(self._pulse.flowed_ns(), self._arrival.now_ns()))

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

    async def _beat(self, connection: Connection) -> None:
        """Tell the streams lanes whether devices can be heard."""
        while True:
            is_flowing = not (connection.trouble or connection.is_paused or self._log_trouble)
            now_ns, arrival_ns = self._clock.monotonic_ns(), self._arrival.now_ns()
            if not connection.trouble:
                self._kept.connected(
                    connection.generation,
                    arrival_ns,
                    has_session=self._session is None or self._session.is_present,
                )
            if is_flowing:
                self._kept.listened(arrival_ns)
            self._pulse.beat(now_ns, arrival_ns, is_flowing=is_flowing)
            self._unheard.look(now_ns, is_listening=is_flowing)
            self._heard_time.look(now_ns, is_heard=is_flowing)
            self._look_at_clock()
            self._refusals.tell()
            self._certificates.look()
            self._translator.count()
            self._talk(connection, now_ns)
            await asyncio.sleep(PULSE_INTERVAL_S)

    def _talk(self, connection: Connection, now_ns: int) -> None:
        """Say what formats have to say to devices."""
        if not connection.trouble:
            if not self._size_bytes:
                self._conversations.heard_over(connection.generation)
            for each in self._conversations.to_publish(now_ns, self._arrival.now_ns()):
                connection.say(each.topic, each.payload)
        self._conversations.look(now_ns)

    def _on_messages(self, received: Received) -> None:
        now_ns = self._arrival.now_ns()
        has_session = self._session is None or self._session.is_present
        unheard_ns = self._kept.read(received.connection, now_ns, has_session=has_session)
        self._waiting.add(self._retained.sift(received), now_ns, unheard_ns)
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
            if not stop.is_set() and self._waiting.messages < ingest.max_rows:
                # Whatever arrives meanwhile shares the cost of one write.
                await asyncio.sleep(self._config.ingest_wait / NS_PER_S)
            self._arrived.clear()
            taken, self._waiting = self._waiting, _Waiting()
            self._in_flight_bytes = taken.size_bytes
            # Much may have waited for the log while the clock was being set.
            self._arrival.now_ns()
            taken.arrival_ns = self._arrival.corrected(taken.arrival_ns)
            for part in taken.split(ingest.max_rows, _PART_BYTES):
                self._conversations.heard_over(part.connection)
                if part.messages:
                    await self._write_messages(part.joined())
                await self._retained.keep(part.received)
                for received in part.received:
                    connection.ack(received)
            self._in_flight_bytes = 0
            if stop.is_set():
                if not self._waiting.received:
                    return
                self._arrived.set()
            elif self._size_bytes <= ingest.max_pending:
                if connection.is_paused:
                    self._kept.resumed(self._arrival.now_ns())
                connection.resume()

    async def _write_messages(self, messages: Messages) -> None:
        self._translator.forget_silent()
        translated = Translated()
        for first, end in self._in_hand.pieces(messages):
            part = messages.part(first, end)
            if self._in_hand.is_poison(part):
                self._translator.put_aside(part, translated)
            else:
                is_suspect = self._in_hand.take(part, first, len(messages))
                with self._telemetry.timed("decode"):
                    self._translator.take(part, translated)
                    if is_suspect:
                        self._encode(translated)
            # A keepalive, or the watchdog, waits for one slice and not for all.
            await asyncio.sleep(0)
        if translated.has_caught_up:
            self._kept.caught_up()
        with self._telemetry.timed("encode"):
            self._encode(translated)
        self._in_hand.put_down()
        with self._telemetry.timed("append"):
            await self._append(translated.records)
        self._in_hand.finished(len(messages))
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
