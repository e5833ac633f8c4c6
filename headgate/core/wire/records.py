"""Whole records: values with their headers, small enough for the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from headgate.core.batch import Batch
from headgate.core.channels import ChannelTable
from headgate.core.divide import DIVIDE_BYTES, divided
from headgate.core.errors import Bug, DataError
from headgate.core.log import Headers, Record
from headgate.core.results import Aggregates, Anomaly, SensorHealth
from headgate.core.wire.keys import KeyGroup
from headgate.core.wire.messages import QuarantinedMessage, encode_messages
from headgate.core.wire.readings import encode_readings, encode_rejected
from headgate.core.wire.results import encode_aggregates, encode_anomalies, encode_health
from headgate.core.wire.schemas import (
    AGGREGATES_SCHEMA,
    ANOMALIES_SCHEMA,
    HEALTH_SCHEMA,
    MESSAGES_SCHEMA,
    READINGS_SCHEMA,
    REJECTED_PART_SCHEMA,
    REJECTED_SCHEMA,
)

#: What is kept of a quarantined message that is too large for a record by itself: bytes of its
#: payload, and characters of each of its texts.
_CUT_PAYLOAD_BYTES = 1 << 20
_CUT_TEXT = 16 << 10


def readings_record(batch: Batch, feed: str, group: KeyGroup | None = None) -> Record:
    """A ``readings`` record. The feed's name is a header, so a reader can skip without decoding."""
    headers = (("schema", READINGS_SCHEMA), ("feed", feed.encode()))
    return Record(encode_readings(batch, group), headers=headers)


def readings_records(batch: Batch, feed: str, group: KeyGroup | None = None) -> list[Record]:
    """The same as as many records as it takes."""
    return _whole(
        len(batch),
        lambda first, end: readings_record(_rows(batch, first, end), feed, group),
    )


def rejected_record(batch: Batch, reasons: Sequence[str]) -> Record:
    """A ``quarantine`` record of readings."""
    return Record(encode_rejected(batch, reasons), headers=(("schema", REJECTED_SCHEMA),))


def rejected_records(batch: Batch, reasons: Sequence[str]) -> list[Record]:
    """Rejected readings as one ``quarantine`` record, or in parts when they are too large for that.

    Parts say so: they are of another version, and each has a header with its number, from 0, and
    how many there are. Only together they are all that was rejected of their source records.
    """
    records = _whole(
        len(batch),
        lambda first, end: rejected_record(_rows(batch, first, end), reasons[first:end]),
    )
    if len(records) == 1:
        return records
    return [replace(record, headers=_part(n, len(records))) for n, record in enumerate(records)]


def part_of(headers: Headers) -> tuple[int, int]:
    """Which part of how many a record of rejected readings is; ``(0, 1)`` is all of them."""
    for name, value in headers:
        number, slash, count = value.partition(b"/")
        if name == "part" and slash and number.isdigit() and count.isdigit():
            return int(number), int(count)
    return 0, 1


def messages_record(messages: Sequence[QuarantinedMessage]) -> Record:
    """A ``quarantine`` record of messages."""
    return Record(encode_messages(messages), headers=(("schema", MESSAGES_SCHEMA),))


def messages_records(messages: Sequence[QuarantinedMessage]) -> list[Record]:
    """Quarantined messages as as many records as it takes.

    One that is too large for a record by itself is cut: its ``payload_bytes`` still tell.
    """

    def encode(first: int, end: int) -> Record:
        some = messages[first:end]
        size = sum(len(message.payload) for message in some)
        if len(some) > 1 and size > DIVIDE_BYTES:
            raise DataError("too_large", f"payloads of {size} bytes")
        return messages_record(some)

    records, too_large = divided(len(messages), encode)
    return records + [messages_record([_cut(messages[at])]) for at, _ in too_large]


def aggregates_record(aggregates: Aggregates, channels: ChannelTable) -> Record:
    """An ``aggregates`` record."""
    headers = (("schema", AGGREGATES_SCHEMA),)
    return Record(encode_aggregates(aggregates, channels), headers=headers)


def aggregates_records(aggregates: Aggregates, channels: ChannelTable) -> list[Record]:
    """Closed windows as as many records as it takes."""
    return _whole(
        len(aggregates),
        lambda first, end: aggregates_record(
            aggregates
            if (first, end) == (0, len(aggregates))
            else aggregates.take(np.arange(first, end)),
            channels,
        ),
    )


def anomalies_record(anomalies: Sequence[Anomaly]) -> Record:
    """An ``anomalies`` record."""
    return Record(encode_anomalies(anomalies), headers=(("schema", ANOMALIES_SCHEMA),))


def anomalies_records(anomalies: Sequence[Anomaly]) -> list[Record]:
    """Anomalies as as many records as it takes."""
    return _whole(len(anomalies), lambda first, end: anomalies_record(anomalies[first:end]))


def health_record(health: Sequence[SensorHealth]) -> Record:
    """An ``anomalies`` record that tells of sensors."""
    return Record(encode_health(health), headers=(("schema", HEALTH_SCHEMA),))


def health_records(health: Sequence[SensorHealth]) -> list[Record]:
    """Sensors' health as as many records as it takes."""
    return _whole(len(health), lambda first, end: health_record(health[first:end]))


def _whole(count: int, encode: Callable[[int, int], Record]) -> list[Record]:
    """Records of items each of which has room in one: no name that is read is too long for that."""
    records, too_large = divided(count, encode)
    if too_large:
        raise Bug(f"expected what a record has room for, got {too_large[0][1]}")
    return records


def _rows(batch: Batch, first: int, end: int) -> Batch:
    return batch if (first, end) == (0, len(batch)) else batch.take(np.arange(first, end))


def _part(number: int, count: int) -> Headers:
    return (("schema", REJECTED_PART_SCHEMA), ("part", f"{number}/{count}".encode()))


def _cut(message: QuarantinedMessage) -> QuarantinedMessage:
    return message._replace(
        source=message.source[:_CUT_TEXT],
        payload=message.payload[:_CUT_PAYLOAD_BYTES],
        detail=message.detail[:_CUT_TEXT],
    )
