"""What the log holds, record by record: for checking it, and for taking it out as text."""

from __future__ import annotations

import base64
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from connectors.logs.configured import topic, topic_specs
from headgate.config.schema import Config
from headgate.core.batch import Batch, Quality
from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError
from headgate.core.log import AGGREGATES, READINGS, Log, StoredRecord, TopicPartition
from headgate.core.lookup import ByChannel
from headgate.core.results import STATISTICS, Aggregates, Anomaly, SensorHealth
from headgate.core.wire import (
    AGGREGATES_SCHEMA,
    ANOMALIES_SCHEMA,
    HEALTH_SCHEMA,
    MESSAGES_SCHEMA,
    OLD_ANOMALIES_SCHEMAS,
    OLD_HEALTH_SCHEMA,
    READINGS_SCHEMA,
    REJECTED_PART_SCHEMA,
    REJECTED_SCHEMA,
    QuarantinedMessage,
    decode_aggregates,
    decode_anomalies,
    decode_health,
    decode_messages,
    decode_readings,
    decode_rejected,
    schema_of,
)

#: Read at once.
_READ_BYTES = 4 << 20

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
        async for records in _records(log, at, start, end):
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
        async for records in _records(log, at, start, end):
            for record in records:
                try:
                    yield _rows_of(record, wanted)
                except DataError:
                    continue  # ``verify`` tells of it


async def readings_of(
    config: Config, log: Log, feed: str, wanted: Filter, channels: ChannelTable
) -> AsyncIterator[Batch]:
    """A feed's readings, a record at a time, each partition's oldest first.

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
        lambda each: each.feed == feed and wanted.device in (None, each.device),
    )
    for partition in range(config.log.partitions):
        at = TopicPartition(topic(config, READINGS), partition)
        start, end = await log.offsets(at)
        async for records in _records(log, at, start, end):
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
    """A feed's closed windows without their sketches, a record at a time, oldest first.

    Args:
        config: Says what the topic is called in the log.
        log: A started log.
        feed: Which feed.
        channels: The table that the windows are to point into.
    """
    is_ours = ByChannel(channels, np.bool_, lambda each: each.feed == feed)
    for partition in range(config.log.partitions):
        at = TopicPartition(topic(config, AGGREGATES), partition)
        start, end = await log.offsets(at)
        async for records in _records(log, at, start, end):
            for record in records:
                try:
                    rows = decode_aggregates(record.value, channels, has_sketches=False)
                except DataError:
                    continue  # ``verify`` tells of it
                yield rows.take(np.flatnonzero(is_ours[rows.channel]))


async def _records(
    log: Log, at: TopicPartition, position: int, end: int
) -> AsyncIterator[list[StoredRecord]]:
    while position < end:
        records = await log.read(at, position, max_bytes=_READ_BYTES)
        records = [record for record in records if record.offset < end]
        if not records:
            return
        yield records
        position = records[-1].offset + 1


def _rows_in(record: StoredRecord) -> int:
    schema, value = schema_of(record.headers), record.value
    if schema.startswith(_OPAQUE):
        return 1
    if schema not in _LENGTHS:
        raise DataError("bad_record", f"unknown schema {schema.decode(errors='replace')!r}")
    return _LENGTHS[schema](value)


def _rows_of(record: StoredRecord, wanted: Filter) -> Iterator[dict[str, Any]]:
    schema, value = schema_of(record.headers), record.value
    channels = ChannelTable()
    if schema == READINGS_SCHEMA:
        return _readings(decode_readings(value, channels), wanted)
    if schema in (REJECTED_SCHEMA, REJECTED_PART_SCHEMA):
        rejected = decode_rejected(value, channels)
        return _rejected(rejected.batch, rejected.reasons, wanted)
    if schema == AGGREGATES_SCHEMA:
        return _windows(decode_aggregates(value, channels, has_sketches=False), channels, wanted)
    if schema in (ANOMALIES_SCHEMA, *OLD_ANOMALIES_SCHEMAS):
        return _anomalies(decode_anomalies(value), wanted)
    if schema in (HEALTH_SCHEMA, OLD_HEALTH_SCHEMA):
        return _health(decode_health(value), wanted)
    if schema == MESSAGES_SCHEMA:
        return _messages(decode_messages(value), wanted)
    raise DataError("bad_record", "unknown schema")


#: Counts the rows of a record's value, by its schema.
_LENGTHS: Mapping[bytes, Callable[[bytes], int]] = {
    READINGS_SCHEMA: lambda value: len(decode_readings(value, ChannelTable())),
    AGGREGATES_SCHEMA: lambda value: len(decode_aggregates(value, ChannelTable())),
    ANOMALIES_SCHEMA: lambda value: len(decode_anomalies(value)),
    **dict.fromkeys(OLD_ANOMALIES_SCHEMAS, lambda value: len(decode_anomalies(value))),
    HEALTH_SCHEMA: lambda value: len(decode_health(value)),
    OLD_HEALTH_SCHEMA: lambda value: len(decode_health(value)),
    REJECTED_SCHEMA: lambda value: len(decode_rejected(value, ChannelTable()).batch),
    REJECTED_PART_SCHEMA: lambda value: len(decode_rejected(value, ChannelTable()).batch),
    MESSAGES_SCHEMA: lambda value: len(decode_messages(value)),
}


def _rejected(batch: Batch, reasons: list[str], wanted: Filter) -> Iterator[dict[str, Any]]:
    """Readings in quarantine, in the shape that messages there have."""
    for row, reason in zip(_readings(batch, Filter()), reasons, strict=True):
        time_ns = int(datetime.fromisoformat(row["time"]).timestamp() * 1e9)
        if wanted.takes(time_ns, row["device"]):
            yield {
                "time": row["time"],
                "source": f"reading:{row['feed']}/{row['device']}/{row['channel']}",
                "reason": reason,
                "detail": row["quality"],
                "payload": str(row["value"]),
                "payload_bytes": 0,
                "tags": row["tags"],
            }


def _readings(batch: Batch, wanted: Filter) -> Iterator[dict[str, Any]]:
    columns = (batch.channel, batch.time_ns, batch.value, batch.quality)
    for row, time_ns, value, quality in zip(*(column.tolist() for column in columns), strict=True):
        channel = batch.channels.channels[row]
        if not wanted.takes(time_ns, channel.device):
            continue
        flags = [flag.name.lower() for flag in Quality if flag.name and quality & flag]
        yield {
            "time": _text(time_ns),
            "feed": channel.feed,
            "device": channel.device,
            "channel": channel.field,
            "value": value if math.isfinite(value) else None,
            "unit": channel.unit,
            "quality": " ".join(flags) or "good",
            "tags": dict(channel.tags),
        }


def _windows(rows: Aggregates, channels: ChannelTable, wanted: Filter) -> Iterator[dict[str, Any]]:
    for row in np.flatnonzero(rows.window_ns).tolist():
        channel = channels.channels[int(rows.channel[row])]
        start_ns = int(rows.start_ns[row])
        if wanted.takes(start_ns, channel.device):
            yield {
                "time": _text(start_ns),
                "feed": channel.feed,
                "device": channel.device,
                "channel": channel.field,
                "window_s": int(rows.window_ns[row]) / 1e9,
                "n": int(rows.n[row]),
                "flagged": int(rows.flagged[row]),
                **{name: _number(rows.stats[name][row]) for name in STATISTICS},
                "tags": dict(channel.tags),
            }


#: Of rows of the topic ``anomalies``; a row has a value where it concerns its kind.
_ANOMALY_COLUMNS: dict[str, Any] = dict.fromkeys(
    (
        "time",
        "end",
        "feed",
        "device",
        "model",
        "severity",
        "peak_score",
        "threshold",
        "top_channel",
        "verdict",
        "faulty",
        "is_open",
        "revision",
        "channel",
        "sensor",
        "since",
        "found",
        "usual",
        "tags",
    )
)


def _anomalies(anomalies: list[Anomaly], wanted: Filter) -> Iterator[dict[str, Any]]:
    for anomaly in anomalies:
        if wanted.takes(anomaly.start_ns, anomaly.device):
            yield _ANOMALY_COLUMNS | {
                "time": _text(anomaly.start_ns),
                "end": _text(anomaly.end_ns),
                "feed": anomaly.feed,
                "device": anomaly.device,
                "model": anomaly.model,
                "severity": anomaly.severity,
                "peak_score": anomaly.peak_score,
                "threshold": anomaly.threshold,
                "top_channel": anomaly.shares[0][0] if anomaly.shares else "",
                "verdict": anomaly.verdict,
                "faulty": " ".join(anomaly.faulty),
                "is_open": anomaly.is_open,
                "revision": anomaly.revision,
                "tags": dict(anomaly.tags),
            }


def _health(health: list[SensorHealth], wanted: Filter) -> Iterator[dict[str, Any]]:
    """Sensors' health, in the shape that anomalies have."""
    for each in health:
        if wanted.takes(each.time_ns, each.device):
            yield _ANOMALY_COLUMNS | {
                "time": _text(each.time_ns),
                "feed": each.feed,
                "device": each.device,
                "channel": each.channel,
                "sensor": each.state,
                "since": _text(each.since_ns),
                "found": _number(each.found),
                "usual": _number(each.usual),
                "tags": dict(each.tags),
            }


def _messages(messages: list[QuarantinedMessage], wanted: Filter) -> Iterator[dict[str, Any]]:
    for message in messages:
        if wanted.takes(message.ingest_ns, ""):
            try:
                payload = message.payload.decode()
            except UnicodeDecodeError:
                payload = "base64:" + base64.b64encode(message.payload).decode()
            yield {
                "time": _text(message.ingest_ns),
                "source": message.source,
                "reason": message.reason,
                "detail": message.detail,
                "payload": payload,
                "payload_bytes": message.payload_bytes,
                "tags": {},
            }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _text(time_ns: int) -> str:
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns:09d}Z"
