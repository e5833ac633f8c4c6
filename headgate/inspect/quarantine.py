"""What stands in quarantine: by reason and feed, with an example, and what would take it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Container
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from connectors.formats.topics import patterns_by_source
from connectors.logs.configured import topic
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError
from headgate.core.log import QUARANTINE, Log, StoredRecord, TopicPartition, records_between
from headgate.core.records import (
    MESSAGES_SCHEMA,
    OLD_MESSAGES_SCHEMA,
    RETRIED_SCHEMA,
    Place,
    QuarantinedMessage,
    decode_messages,
    decode_rejected,
    decode_retried,
    kind_of,
    schema_of,
)
from headgate.inspect.remedies import UNKNOWN_TOPIC, Refused, Remedy, new_feed, remedies

#: Sources of one kind that are told apart, and how many of them are told.
_MOST_SOURCES = 1000
_TOLD_SOURCES = 3

#: Kinds that are told apart. Reasons and feeds are few; what claims more is no gateway's log.
_MOST_KINDS = 1000


@dataclass(slots=True)
class Kind:
    """What stands in quarantine for one reason, of one feed.

    Attributes:
        reason: Short fixed word.
        feed: The feed; empty for what is of none.
        count: Messages, or readings.
        sources: How many of each topic or device, of the first so many.
        example: The newest message that is there whole, or else the newest.
        newest_ns: When the newest was refused, ns since 1970 UTC; of readings their event time.
        remedies: What takes the example.
    """

    reason: str
    feed: str
    count: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    example: QuarantinedMessage | None = None
    newest_ns: int = 0
    remedies: list[Remedy] = field(default_factory=list)

    @property
    def most_from(self) -> list[tuple[str, int]]:
        """Where most of it is from."""
        return self.sources.most_common(_TOLD_SOURCES)

    def add(self, source: str, time_ns: int) -> None:
        """Count one."""
        self.count += 1
        if source in self.sources or len(self.sources) < _MOST_SOURCES:
            self.sources[source] += 1
        self.newest_ns = max(self.newest_ns, time_ns)


async def kinds(config: Config, log: Log) -> list[Kind]:
    """All kinds, the most first, each with what takes its example.

    Args:
        config: The configuration as it is now.
        log: A started log.
    """
    found = _Kinds(config)
    retried = await retried_rows(config, log)
    for partition in range(config.log.partitions):
        async for record in quarantined(config, log, partition):
            try:
                found.add(record, retried.get((partition, record.offset), ()))
            except DataError:
                continue  # ``headgate log verify`` tells of it
    listed = sorted(found.kinds(), key=lambda each: (-each.count, each.reason, each.feed))
    for each in listed:
        if each.example is None or not is_whole(each.example):
            continue
        if each.feed in config.feed:
            each.remedies = remedies(config, each.feed, refused_of(config, each.example))
        elif each.reason == UNKNOWN_TOPIC:
            each.remedies = new_feed(config, refused_of(config, each.example))
    return listed


class _Kinds:
    """Sorts what stands in quarantine."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._feed_of = FeedOf(config)
        self._found: dict[tuple[str, str], Kind] = {}

    def kinds(self) -> list[Kind]:
        return list(self._found.values())

    def add(self, record: StoredRecord, retried: Container[int]) -> None:
        """Add what a record holds; raises DataError for one that can't be read.

        Args:
            record: A record of quarantine.
            retried: Places in it of messages that have been taken after all.
        """
        kind = kind_of(record.headers).name
        if kind == "retried":
            return
        if kind == "messages":
            for row, message in enumerate(decode_messages(record.value)):
                if row in retried:
                    continue
                each = self._kind(message.reason, self._feed_of(message))
                each.add(origin_of(self._config, message)[1], message.ingest_ns)
                if each.example is None or is_whole(message) or not is_whole(each.example):
                    each.example = message
            return
        rejected = decode_rejected(record.value, ChannelTable())
        columns = (rejected.batch.channel.tolist(), rejected.batch.time_ns.tolist())
        for row, time_ns, reason in zip(*columns, rejected.reasons, strict=True):
            channel = rejected.batch.channels.channels[row]
            self._kind(reason, channel.feed).add(channel.owner.label, time_ns)

    def _kind(self, reason: str, feed: str) -> Kind:
        if (reason, feed) not in self._found and len(self._found) >= _MOST_KINDS:
            reason, feed = "others", ""
        return self._found.setdefault((reason, feed), Kind(reason, feed))


async def quarantined(config: Config, log: Log, partition: int) -> AsyncIterator[StoredRecord]:
    """Every record of a partition of quarantine that there is now, the oldest first."""
    at = TopicPartition(topic(config, QUARANTINE), partition)
    start, end = await log.offsets(at)
    async for records in records_between(log, at, start, end):
        for record in records:
            yield record


async def retried_rows(config: Config, log: Log) -> dict[tuple[int, int], set[int]]:
    """By partition and offset of a record, the places in it of messages that have been taken."""
    rows: dict[tuple[int, int], set[int]] = {}
    for partition in range(config.log.partitions):
        async for record in quarantined(config, log, partition):
            if schema_of(record.headers) != RETRIED_SCHEMA:
                continue
            try:
                retried = decode_retried(record.value)
            except DataError:
                continue  # ``headgate log verify`` tells of it
            for each in retried:
                rows.setdefault((partition, each.offset), set()).add(each.row)
    return rows


class StoredMessage(NamedTuple):
    """A message, and where it stands."""

    place: Place
    message: QuarantinedMessage


async def by_arrival(config: Config, log: Log) -> AsyncIterator[StoredMessage]:
    """Every message in quarantine, in the order in which they arrived, about.

    Messages of one device may be in several partitions there; in its own they must not come in
    another order than they did, or the later ones would be late.
    """
    parts = [_messages_of(config, log, number) for number in range(config.log.partitions)]
    waiting: list[tuple[int, int, StoredMessage]] = []
    for number, part in enumerate(parts):
        first = await anext(part, None)
        if first is not None:
            heappush(waiting, (first.message.ingest_ns, number, first))
    while waiting:
        _, number, stored = heappop(waiting)
        yield stored
        following = await anext(parts[number], None)
        if following is not None:
            heappush(waiting, (following.message.ingest_ns, number, following))


async def _messages_of(config: Config, log: Log, partition: int) -> AsyncIterator[StoredMessage]:
    async for record in quarantined(config, log, partition):
        if schema_of(record.headers) not in (MESSAGES_SCHEMA, OLD_MESSAGES_SCHEMA):
            continue
        try:
            messages = decode_messages(record.value)
        except DataError:
            continue  # ``headgate log verify`` tells of it
        for row, message in enumerate(messages):
            place = Place(partition, record.offset, row, message.ingest_ns)
            yield StoredMessage(place, message)


class FeedOf:
    """Finds the feed of a message in quarantine.

    Args:
        config: The configuration as it is now.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._patterns = patterns_by_source(config)

    def __call__(self, message: QuarantinedMessage) -> str:
        """Its feed; empty for what is of none."""
        source, name = origin_of(self._config, message)
        if source not in self._patterns:
            return ""
        patterns, topic = self._patterns[source], name.encode()
        found = patterns.whose(topic)
        return next(iter(patterns.said_of(topic)), found.feed or found.topic_of or "")


def origin_of(config: Config, message: QuarantinedMessage) -> tuple[str, str]:
    """The source and the topic of a message in quarantine.

    Of what came from no source that there is, such as a record of the log, the source is empty and
    the topic all that is said of where it came from.
    """
    source, colon, topic_name = message.source.partition(":")
    # Without a colon it is a sink, which may be called like a source.
    is_message = bool(colon) and source in config.source
    return (source, topic_name) if is_message else ("", message.source)


def is_whole(message: QuarantinedMessage) -> bool:
    """Whether all of a message's payload was kept."""
    return len(message.payload) == message.payload_bytes


def refused_of(config: Config, message: QuarantinedMessage) -> Refused:
    """A message of quarantine as what looks for remedies has it."""
    return Refused(
        origin_of(config, message)[1].encode(),
        message.payload,
        message.ingest_ns,
        message.reason,
        message.detail,
        message.content_type.encode(),
    )
