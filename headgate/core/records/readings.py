"""Readings on their way."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from headgate.core.batch import Batch, Origin, Quality
from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError
from headgate.core.ipc import from_ipc, numbers, times, to_ipc
from headgate.core.iso import iso_text
from headgate.core.log import READINGS, Record
from headgate.core.records.arrow import NAMES, TIME, check_times, time_column
from headgate.core.records.keys import KeyGroup, KeyRows, channel_rows, key_column
from headgate.core.records.kind import RecordKind, Row, Takes, whole
from headgate.core.records.said import SAID, has_texts, said_columns, take_said

READINGS_SCHEMA = b"readings/1"

#: Readings of which some are of text channels.
TEXT_READINGS_SCHEMA = b"readings/2"

READINGS_SCHEMAS = (READINGS_SCHEMA, TEXT_READINGS_SCHEMA)

#: Columns of readings, wherever they are written.
READING_FIELDS = [
    pa.field("time", TIME, nullable=False),
    pa.field("channel", NAMES, nullable=False),
    pa.field("value", pa.float64(), nullable=False),
    pa.field("quality", pa.uint16(), nullable=False),
]
_READINGS = pa.schema(READING_FIELDS)
_TEXT_READINGS = pa.schema([*READING_FIELDS, SAID])


def encode_readings(batch: Batch, group: KeyGroup | None = None) -> bytes:
    """The batch as a record's value; ``origin`` is not written.

    Args:
        batch: What to write.
        group: Channels that this one is often written with, of the same table.
    """
    if not has_texts(batch):
        return to_ipc(_READINGS, reading_columns(batch, group))
    value, said = said_columns(batch)
    return to_ipc(_TEXT_READINGS, [*reading_columns(batch.with_value(value), group), said])


def decode_readings(
    value: bytes,
    channels: ChannelTable,
    origin: Origin | None = None,
    key_rows: KeyRows | None = None,
) -> Batch:
    """Read a ``readings`` record back, adding unknown channels to the table.

    Args:
        value: The record's value.
        channels: The table that the batch is to point into.
        origin: Where the record stands in the log.
        key_rows: Of the same table, to be faster; it needs an origin.

    Raises:
        DataError: ``bad_record`` when the bytes are not such a record.
    """
    return batch_of(from_ipc(value, _READINGS, _TEXT_READINGS), channels, origin, key_rows)


def reading_columns(batch: Batch, group: KeyGroup | None = None) -> list[pa.Array]:
    """The columns ``READING_FIELDS`` of a batch."""
    channel = batch.channel
    return [
        time_column(batch.time_ns),
        key_column(channel, batch.channels) if group is None else group.column(channel),
        pa.array(batch.value),
        pa.array(batch.quality),
    ]


def batch_of(
    table: pa.Table,
    channels: ChannelTable,
    origin: Origin | None,
    key_rows: KeyRows | None = None,
) -> Batch:
    """The batch in a table that has the columns ``READING_FIELDS``, and it may be ``SAID``."""
    partition = 0 if origin is None else origin.partition
    time_ns = times(table.column("time"))
    value = numbers(table.column("value"), np.float64)
    quality = numbers(table.column("quality"), np.uint16)
    check_times(time_ns)
    if not (np.isfinite(value) | (quality & np.uint16(Quality.MISSING) != 0)).all():
        raise DataError("bad_record", "a value is no number, and is not marked as missing")
    channel = channel_rows(table.column("channel"), channels, partition, key_rows)
    said = table.column(SAID.name) if SAID.name in table.column_names else None
    return Batch(
        channels,
        time_ns,
        channel,
        take_said(said, channel, value, quality, channels),
        quality,
        () if origin is None else (origin,),
        np.zeros(table.num_rows, np.int32),
    )


def readings_record(batch: Batch, feed: str, group: KeyGroup | None = None) -> Record:
    """A ``readings`` record. The feed's name is a header, so a reader can skip without decoding."""
    schema = TEXT_READINGS_SCHEMA if has_texts(batch) else READINGS_SCHEMA
    headers = (("schema", schema), ("feed", feed.encode()))
    return Record(encode_readings(batch, group), headers=headers)


def readings_records(batch: Batch, feed: str, group: KeyGroup | None = None) -> list[Record]:
    """The same as as many records as it takes."""
    return whole(
        len(batch),
        lambda first, end: readings_record(rows_between(batch, first, end), feed, group),
    )


def rows_between(batch: Batch, first: int, end: int) -> Batch:
    """Readings of a batch, from the first to before the end."""
    return batch if (first, end) == (0, len(batch)) else batch.take(np.arange(first, end))


def reading_rows(batch: Batch, takes: Takes) -> Iterator[Row]:
    """Readings, for people."""
    columns = (batch.channel, batch.time_ns, batch.value, batch.quality)
    for row, time_ns, value, quality in zip(*(column.tolist() for column in columns), strict=True):
        channel = batch.channels.channels[row]
        if not takes(time_ns, channel.device):
            continue
        flags = [flag.name.lower() for flag in Quality if flag.name and quality & flag]
        yield {
            "time": iso_text(time_ns),
            "feed": channel.feed,
            "device": channel.device,
            "channel": channel.field,
            "value": batch.channels.said(row, value) if math.isfinite(value) else None,
            "unit": channel.unit,
            "quality": " ".join(flags) or "good",
            "tags": dict(channel.tags),
        }


KIND = RecordKind(
    "readings",
    READINGS,
    READINGS_SCHEMAS,
    count=lambda value: len(decode_readings(value, ChannelTable())),
    rows=lambda value, takes: reading_rows(decode_readings(value, ChannelTable()), takes),
    columns=("time", "feed", "device", "channel", "value", "unit", "quality", "tags"),
)
