"""What the log holds, record by record: for checking it, and for taking it out as text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from connectors.logs.configured import topic, topic_specs
from headgate.config.schema import Config
from headgate.core.batch import Batch
from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError
from headgate.core.log import (
    AGGREGATES,
    READINGS,
    Log,
    StoredRecord,
    TopicPartition,
    records_between,
)
from headgate.core.lookup import ByChannel
from headgate.core.records import KINDS, decode_aggregates, decode_readings, kind_of, schema_of
from headgate.core.results import Aggregates

#: Records of these kinds are checked by their schema and checksum only: their readers know more.
_OPAQUE = (b"state/", b"forwarded/")


@dataclass(slots=True)
class TopicReport:
    """What was found in a topic.

    Attributes:
        topic: Its name in the log.
        partitions: How many it has.
        records: Records.
        rows: Readings, windows, anomalies or messages in them.
        size_bytes: Bytes of the records' values.
        oldest_ms: When the oldest was written, ms since 1970 UTC; None when there is none.
        newest_ms: Likewise the newest.
        damaged: ``TOPIC/PARTITION@OFFSET: what is wrong``, for each damaged record.
    """

    topic: str
    partitions: int
    records: int = 0
    rows: int = 0
    size_bytes: int = 0
    oldest_ms: int | None = None
    newest_ms: int | None = None
    damaged: list[str] = field(default_factory=list)

    def add(self, at: TopicPartition, record: StoredRecord, time_ms: int) -> None:
        """Take up a record that was written then, ms since 1970 UTC."""
        self.records += 1
        self.size_bytes += len(record.value)
        self.oldest_ms = min(time_ms, self.oldest_ms or time_ms)
        self.newest_ms = max(time_ms, self.newest_ms or time_ms)
        try:
            self.rows += _rows_in(record)
        except (DataError, ValueError, TypeError, OverflowError) as error:
            self.damaged.append(f"{at.topic}/{at.partition}@{record.offset}: {error}")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows are wanted: event times from ``begin_ns`` to before ``end_ns``, of one device."""

    begin_ns: int | None = None
    end_ns: int | None = None
    device: str | None = None

    def takes(self, time_ns: int, device: str) -> bool:
        """Whether a row is wanted."""
        return (
            (self.begin_ns is None or time_ns >= self.begin_ns)
            and (self.end_ns is None or time_ns < self.end_ns)
            and (self.device is None or device == self.device)
        )


async def verify(
    config: Config, log: Log, progress: Callable[[int, int], None]
) -> list[TopicReport]:
    """Read every record of every topic, and see whether it can be read.

    Args:
        config: Says which topics there are.
        log: A started log.
        progress: Called with the records that are done, and how many there are.
    """
    specs = topic_specs(config)
    every = [
        TopicPartition(spec.name, number) for spec in specs for number in range(spec.partitions)
    ]
    offsets = await log.offsets_many(every)
    total = sum(end - start for start, end in offsets.values())
    reports = {spec.name: TopicReport(spec.name, spec.partitions) for spec in specs}
    done = 0
    for at, (start, end) in offsets.items():
        async for records in records_between(log, at, start, end):
            for record in records:
                reports[at.topic].add(at, record, log.wall_ms(record.timestamp_ms))
            progress(done + records[-1].offset + 1 - start, total)
        done += end - start
    return list(reports.values())


async def exported(
    config: Config, log: Log, name: str, wanted: Filter
) -> AsyncIterator[Iterator[dict[str, Any]]]:
    """Rows of a topic as plain values, some at a time, each partition's oldest first.

    Args:
        config: Says what the topic is called in the log.
        log: A started log.
        name: ``readings``, ``aggregates``, ``anomalies`` or ``quarantine``.
        wanted: Which rows.
    """
    for partition in range(config.log.partitions):
        at = TopicPartition(topic(config, name), partition)
        start, end = await log.offsets(at)
        async for records in records_between(log, at, start, end):
            for record in records:
                try:
                    yield _rows_of(at, record, wanted)
                except DataError:
                    continue  # ``verify`` tells of it


async def readings_of(
    config: Config, log: Log, feed: str, wanted: Filter, channels: ChannelTable
) -> AsyncIterator[Batch]:
    """A feed's readings that are numbers, a record at a time, each partition's oldest first.

    Args:
        config: Says what the topic is called in the log.
        log: A started log.
        feed: Which feed.
        wanted: Which times, and of which device.
        channels: The table that the batches are to point into.
    """
    is_ours = ByChannel(
        channels,
        np.bool_,
        lambda each: (
            each.feed == feed and wanted.device in (None, each.device) and not each.is_text
        ),
    )
    for partition in range(config.log.partitions):
        at = TopicPartition(topic(config, READINGS), partition)
        start, end = await log.offsets(at)
        async for records in records_between(log, at, start, end):
            for record in records:
                try:
                    batch = decode_readings(record.value, channels)
                except DataError:
                    continue  # ``verify`` tells of it
                rows = is_ours[batch.channel]
                if wanted.begin_ns is not None:
                    rows &= batch.time_ns >= wanted.begin_ns
                if wanted.end_ns is not None:
                    rows &= batch.time_ns < wanted.end_ns
                yield batch.take(rows)


async def aggregates_of(
    config: Config, log: Log, feed: str, channels: ChannelTable
) -> AsyncIterator[Aggregates]:
    """A feed's closed windows of numbers, without sketches, a record at a time, oldest first.

    Args:
        config: Says what the topic is called in the log.
        log: A started log.
        feed: Which feed.
        channels: The table that the windows are to point into.
    """
    is_ours = ByChannel(channels, np.bool_, lambda each: each.feed == feed and not each.is_text)
    for partition in range(config.log.partitions):
        at = TopicPartition(topic(config, AGGREGATES), partition)
        start, end = await log.offsets(at)
        async for records in records_between(log, at, start, end):
            for record in records:
                try:
                    rows = decode_aggregates(record.value, channels, has_sketches=False)
                except DataError:
                    continue  # ``verify`` tells of it
                yield rows.take(np.flatnonzero(is_ours[rows.channel]))


def _rows_in(record: StoredRecord) -> int:
    if schema_of(record.headers).startswith(_OPAQUE):
        return 1
    return kind_of(record.headers).count(record.value)


def _rows_of(at: TopicPartition, record: StoredRecord, wanted: Filter) -> Iterator[dict[str, Any]]:
    kind = kind_of(record.headers)
    blank = dict.fromkeys(_columns(kind.topic))
    rows = kind.rows(record.value, wanted.takes)
    if kind.name == "retried":
        # What it is about stands in the same partition.
        place = f"log:{at.topic}/{at.partition}"
        rows = (row | {"source": place + row["source"]} for row in rows)
    return (blank | row for row in rows)


@cache
def _columns(name: str) -> tuple[str, ...]:
    """Of rows of a topic; a row has a value where it concerns its kind."""
    kinds = (kind for kind in KINDS.values() if kind.topic == name)
    columns = dict.fromkeys(column for kind in kinds for column in kind.columns)
    return (*(column for column in columns if column != "tags"), "tags")
