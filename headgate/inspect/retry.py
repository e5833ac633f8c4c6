"""Messages of quarantine that the configuration reads by now: decoded anew, and taken.

They are decoded as the ingest lane would have, with the time they arrived at, in the order in which
they came as far as that is known, and their readings go into the log behind all that is there. With
them it is noted which messages those are (``headgate/core/records/retried.py``): on the embedded
log in one transaction, so that each is taken once, whenever this ends; on Kafka behind them, so
that after a kill in between some are tried again, and the streams lane rejects the second as it
rejects all that comes twice.

A message is taken as a whole or not at all, and only if nothing of it was taken before. What would
be late is left where it is: as a reading that is late it would be in quarantine as well, and old
readings behind newer ones say of a device's clock what is not so. While a gateway runs, nobody
could tell what will be late, nor is it sure that it has the configuration that this has. So nothing
is taken then; who calls this with ``takes`` has to see to it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Final, NamedTuple

import numpy as np

from connectors.formats.devices import MAX_TOPIC_BYTES
from connectors.logs.configured import consumer_group, topic
from headgate.config.schema import Config
from headgate.core.batch import Batch, Quality
from headgate.core.channels import ChannelTable, Device
from headgate.core.clock import Clock
from headgate.core.errors import DataError
from headgate.core.log import (
    QUARANTINE,
    READINGS,
    STATE,
    STREAMS,
    Log,
    Record,
    TopicPartition,
    records_between,
)
from headgate.core.properties import Properties
from headgate.core.records import (
    MESSAGES_SCHEMA,
    OLD_MESSAGES_SCHEMA,
    READINGS_SCHEMA,
    RETRIED_HEADER,
    QuarantinedMessage,
    RetriedMessage,
    check_schema,
    decode_messages,
    decode_readings,
    retried_records,
    schema_of,
)
from headgate.core.telemetry import Telemetry
from headgate.inspect.quarantine import FeedOf, is_whole, origin_of, quarantined, retried_rows
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.topics import AVAILABILITY, FeedTopics
from streams.ingest.translate import Translated, Translator
from streams.ingest.unheard import UnheardFeeds
from streams.process.state import newest_records, read_snapshot
from streams.stages.arrays import NO_TIME_NS

#: Why a message is left where it is, in a word, and in words.
WHY_LEFT: Final = {
    "cut": "not all of it was kept; ingest.quarantine_payload says how much of the next ones is",
    "part": "other readings of the same message were taken when it came",
    "unknown": "an older version put it there, and did not note whether anything of it was taken",
    "memory": "its format goes by what was said before, as it was then",
    "beside": "what stood beside it, user properties or content type, was not kept",
    "state": "it says whether a device is there, as it was then",
    "poison": "it ended the process that decoded it",
    "late": "its device has gone on: what is older than its watermark would be late",
    "nothing": "it is passed over by now, or holds no reading",
    "other": "it is no message of a source that there is: a point, or a record of the log",
}

#: What is taken at once: messages, and bytes of their payloads.
_MOST_MESSAGES = 500
_MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages are tried.

    Attributes:
        feed: Of the feed that their topic is of now; None: of any.
        reason: Refused for this reason; None: for any.
        since_ns: Arrived then or later, ns since 1970 UTC.
    """

    feed: str | None = None
    reason: str | None = None
    since_ns: int = -(2**63)

    def has(self, feed: str, message: QuarantinedMessage) -> bool:
        """Whether a message is one of them."""
        return (
            self.feed in (None, feed)
            and self.reason in (None, message.reason)
            and message.ingest_ns >= self.since_ns
        )


@dataclass(slots=True)
class Outcome:
    """What becomes of the messages of one feed that were refused for one reason.

    Attributes:
        feed: The feed that their topic is of now; empty for none.
        reason: What they were refused for.
        messages: How many there are.
        taken: Those that are taken.
        readings: How many readings they give.
        refused: Those that are still refused, by reason.
        left: Those that are left where they are, by word of ``WHY_LEFT``.
    """

    feed: str
    reason: str
    messages: int = 0
    taken: int = 0
    readings: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)


async def retry(
    config: Config, log: Log, clock: Clock, wanted: Wanted, *, takes: bool
) -> list[Outcome]:
    """Decode messages of quarantine anew, and take those that are readings now.

    Args:
        config: The configuration as it is now.
        log: A started log.
        clock: Says when they were taken.
        wanted: Which messages.
        takes: Whether they are taken; if not, only what would be is told. No gateway may run on
            this log then.

    Returns:
        By feed and reason what becomes of them, most messages first.

    Raises:
        TransientError: The log can't be read or written. What was taken before is noted.
        PermanentError: Likewise, and it never can.
    """
    return await _Retry(config, log, clock, wanted, takes=takes).run()


class _Entry(NamedTuple):
    """A message, and where it stands: the record's partition and offset, and its place in it."""

    partition: int
    offset: int
    row: int
    message: QuarantinedMessage


class _Read(NamedTuple):
    """A message that is read by now, and what it gives."""

    entry: _Entry
    found: Translated
    readings: int

    @property
    def arrival_ns(self) -> int:
        """When it arrived, ns since 1970 UTC."""
        return self.entry.message.ingest_ns

    @property
    def earliest_ns(self) -> int:
        """The earliest event time in it."""
        batches = (batch for some in self.found.batches.values() for batch in some)
        return min(int(batch.time_ns.min()) for batch in batches if len(batch))


class _Retry:
    """One pass over quarantine. The arguments are those of ``retry``."""

    def __init__(
        self, config: Config, log: Log, clock: Clock, wanted: Wanted, *, takes: bool
    ) -> None:
        self._config = config
        self._log = log
        self._clock = clock
        self._wanted = wanted
        self._takes = takes
        telemetry = Telemetry(clock)
        self._translator = Translator(
            config,
            telemetry,
            Refusals(config, telemetry, clock),
            UnheardFeeds(config.feed, telemetry),
        )
        self._topics = {
            name: FeedTopics(config.feeds_of(name), table.ignore, config.ingest.max_devices)
            for name, table in config.sources.items()
        }
        self._feed_of = FeedOf(config)
        self._watermarks: dict[Device, int] = {}
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        # What arrived together, and is read by now.
        self._together: list[_Read] = []
        # What is taken next: its readings, and which messages those are, by partition.
        self._translated = Translated()
        self._retried: defaultdict[int, list[RetriedMessage]] = defaultdict(list)
        self._bytes = 0

    async def run(self) -> list[Outcome]:
        retried = await retried_rows(self._config, self._log)
        self._watermarks = await watermarks(self._config, self._log)
        async for entry in _by_arrival(self._config, self._log):
            if entry.row in retried.get((entry.partition, entry.offset), ()):
                continue
            if self._together and entry.message.ingest_ns > self._together[-1].arrival_ns:
                await self._add_together()
            feed = self._feed_of(entry.message)
            if self._wanted.has(feed, entry.message):
                self._try(entry, feed)
        await self._add_together()
        await self._take()
        return sorted(
            self._outcomes.values(), key=lambda each: (-each.messages, each.reason, each.feed)
        )

    def _try(self, entry: _Entry, feed: str) -> None:
        """Decode a message, and put what it gives to what is taken next."""
        message = entry.message
        outcome = self._outcomes.setdefault((feed, message.reason), Outcome(feed, message.reason))
        outcome.messages += 1
        why = self._why_untried(message)
        if why:
            outcome.left[why] += 1
            return
        source, name = origin_of(self._config, message)
        found = Translated()
        self._translator.take(
            Messages(
                [name.encode()],
                [message.payload],
                np.array([message.ingest_ns]),
                {},
                source=source,
                properties={0: Properties(message.content_type.encode())},
            ),
            found,
        )
        refused = [each.reason for each in _quarantined(found) if each.reason != "bad_field"]
        if refused:
            outcome.refused[refused[0]] += 1
            return
        why = self._why_left(found)
        if why:
            outcome.left[why] += 1
            return
        count = sum(found.rows.values())
        outcome.taken += 1
        outcome.readings += count
        if self._takes:
            self._together.append(_Read(entry, found, count))

    def _why_untried(self, message: QuarantinedMessage) -> str:
        """Why a message can't be decoded anew; empty where it can."""
        source, name = origin_of(self._config, message)
        if not source:
            return "other"
        topic_name = name.encode()
        feed = self._topics[source].feed_of(topic_name)
        # What was no UTF-8, and what was cut, is not the topic that it came on.
        is_cut = not is_whole(message) or len(topic_name) > MAX_TOPIC_BYTES or "\ufffd" in name
        reasons = {
            "poison": message.reason == "poison",
            "part": message.reason == "bad_field" or message.readings > 0,
            "unknown": message.readings < 0,
            "cut": is_cut,
            "state": feed == AVAILABILITY,
            "memory": feed in self._translator.conversations,
            "beside": self._is_told_beside(feed, message),
        }
        return next((word for word, is_so in reasons.items() if is_so), "")

    def _is_told_beside(self, feed: str | None, message: QuarantinedMessage) -> bool:
        """Whether it takes what stood beside a message to read it, and that was not kept."""
        settings = None if feed is None else self._config.feed.get(feed)
        if settings is None:
            return False
        # Where there is none, nobody may have asked for it then; and a long one was cut.
        is_kept = bool(message.content_type) and not message.content_type.endswith("…")
        return bool(settings.property_tags) or (bool(settings.by_content_type) and not is_kept)

    def _why_left(self, found: Translated) -> str:
        """Why what was decoded is not taken; empty where it is."""
        if found.said:
            return "state"
        batches = [batch for some in found.batches.values() for batch in some]
        if not any(map(len, batches)):
            return "nothing"
        return "late" if any(map(self._is_late, batches)) else ""

    def _is_late(self, batch: Batch) -> bool:
        """Whether a reading is older than its device's watermark."""
        devices = batch.channels.devices
        pairs = zip(batch.device.tolist(), batch.time_ns.tolist(), strict=True)
        return any(
            time_ns < self._watermarks.get(devices[row], NO_TIME_NS) for row, time_ns in pairs
        )

    async def _add_together(self) -> None:
        """Have those that arrived together taken, in the order of their event times.

        Nobody knows any more in which order they came, if not by the same topic. Together comes
        what had waited, and that may be of hours: in another order some of it would be late.
        """
        together, self._together = self._together, []
        for read in sorted(together, key=lambda each: each.earliest_ns):
            self._add(read.entry, read.found, read.readings)
            if self._is_full():
                await self._take()

    def _add(self, entry: _Entry, found: Translated, count: int) -> None:
        for feed, batches in found.batches.items():
            self._translated.batches.setdefault(feed, []).extend(batches)
        for partition, examples in found.quarantined.items():
            self._translated.quarantined.setdefault(partition, []).extend(examples)
        retried = RetriedMessage(
            self._clock.wall_ns(), entry.offset, entry.row, count, entry.message.reason
        )
        self._retried[entry.partition].append(retried)
        self._bytes += len(entry.message.payload)

    def _is_full(self) -> bool:
        count = sum(map(len, self._retried.values()))
        return count >= _MOST_MESSAGES or self._bytes >= _MOST_BYTES

    async def _take(self) -> None:
        """Append the readings that there are, and which messages they are of."""
        if not self._retried:
            return
        self._translator.encode(self._translated)
        readings = topic(self._config, READINGS)
        records: dict[TopicPartition, list[Record]] = {
            at: _marked(some) if at.topic == readings else some
            for at, some in self._translated.records.items()
        }
        notes = {
            TopicPartition(topic(self._config, QUARANTINE), partition): retried_records(some)
            for partition, some in self._retried.items()
        }
        if self._config.log.is_embedded:
            for at, some in notes.items():
                records.setdefault(at, []).extend(some)
            await self._log.append_many(records)
        else:
            # Not together: what is noted must be there.
            await self._log.append_many(records)
            await self._log.append_many(notes)
        self._translated, self._bytes = Translated(), 0
        self._retried.clear()


def _quarantined(found: Translated) -> Iterable[QuarantinedMessage]:
    return (each for some in found.quarantined.values() for each in some)


def _marked(records: Iterable[Record]) -> list[Record]:
    """Records of readings that say that these had been in quarantine."""
    return [replace(each, headers=(*each.headers, RETRIED_HEADER)) for each in records]


async def watermarks(config: Config, log: Log) -> dict[Device, int]:
    """By device, what older than is late, ns since 1970 UTC, as far as the log tells.

    It is that of the newest snapshots, and what the readings behind them will make of it.
    """
    found: dict[Device, int] = {}
    for partition in range(config.log.partitions):
        for record in await newest_records(log, TopicPartition(topic(config, STATE), partition)):
            try:
                snapshot = read_snapshot(record)
            except DataError:
                continue  # the gateway tells of it
            count = len(snapshot.devices)
            column = snapshot.blocks.get("watermark", {}).get("watermark_ns", np.empty(0))
            if column.shape == (count,) and np.issubdtype(column.dtype, np.integer):
                found.update(zip(snapshot.devices, column.tolist(), strict=True))
        for device, newest_ns in (await _newest_waiting(config, log, partition)).items():
            mark_ns = newest_ns - config.feed[device.feed].grace
            found[device] = max(mark_ns, found.get(device, mark_ns))
    return found


async def _newest_waiting(config: Config, log: Log, partition: int) -> dict[Device, int]:
    """By device, the newest event time of the readings that the streams lane has yet to note."""
    at = TopicPartition(topic(config, READINGS), partition)
    start, end = await log.offsets(at)
    committed = await log.committed(consumer_group(config, STREAMS), at) or 0
    newest: dict[Device, int] = {}
    async for records in records_between(log, at, max(start, committed), end):
        for record in records:
            channels = ChannelTable(identities=config.identities)
            try:
                check_schema(record.headers, READINGS_SCHEMA)
                batch = decode_readings(record.value, channels)
            except DataError:
                continue
            # Whether a clock that is ahead is right is not known yet.
            batch = batch.take((batch.quality & np.uint16(Quality.AHEAD)) == 0)
            for row in np.unique(batch.device).tolist():
                device, time_ns = channels.devices[row], batch.time_ns[batch.device == row]
                if device.feed in config.feed:
                    newest[device] = max(int(time_ns.max()), newest.get(device, NO_TIME_NS))
    return newest


async def _by_arrival(config: Config, log: Log) -> AsyncIterator[_Entry]:
    """Every message in quarantine, in the order in which they arrived, about.

    Messages of one device may be in several partitions there; in its own they must not come in
    another order than they did, or the later ones would be late.
    """
    parts = [_of_partition(config, log, number) for number in range(config.log.partitions)]
    waiting: list[tuple[int, int, _Entry]] = []
    for number, part in enumerate(parts):
        first = await anext(part, None)
        if first is not None:
            heappush(waiting, (first.message.ingest_ns, number, first))
    while waiting:
        _, number, entry = heappop(waiting)
        yield entry
        following = await anext(parts[number], None)
        if following is not None:
            heappush(waiting, (following.message.ingest_ns, number, following))


async def _of_partition(config: Config, log: Log, partition: int) -> AsyncIterator[_Entry]:
    async for record in quarantined(config, log, partition):
        if schema_of(record.headers) not in (MESSAGES_SCHEMA, OLD_MESSAGES_SCHEMA):
            continue
        try:
            messages = decode_messages(record.value)
        except DataError:
            continue  # ``headgate log verify`` tells of it
        for row, message in enumerate(messages):
            yield _Entry(partition, record.offset, row, message)
