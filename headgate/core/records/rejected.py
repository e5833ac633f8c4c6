"""Readings that were rejected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headgate.core.batch import Batch
from headgate.core.channels import ChannelTable
from headgate.core.ipc import from_ipc, numbers, to_ipc
from headgate.core.log import QUARANTINE, Headers, Record
from headgate.core.records.arrow import NAMES
from headgate.core.records.kind import RecordKind, Row, Takes, schema_of, whole
from headgate.core.records.messages import QUARANTINE_COLUMNS
from headgate.core.records.readings import (
    READING_FIELDS,
    batch_of,
    reading_columns,
    reading_rows,
    rows_between,
)
from headgate.core.records.said import SAID, has_texts, said_columns

REJECTED_SCHEMA = b"rejected/1"

#: A part of rejected readings that are too many for one record; see ``rejected_records``.
REJECTED_PART_SCHEMA = b"rejected/2"

#: Rejected readings, or a part of them, of which some are of text channels.
TEXT_REJECTED_SCHEMA = b"rejected/3"

REJECTED_SCHEMAS = (REJECTED_SCHEMA, REJECTED_PART_SCHEMA, TEXT_REJECTED_SCHEMA)

_REJECTED = pa.schema(
    [
        *READING_FIELDS,
        pa.field("reason", NAMES, nullable=False),
        pa.field("source_partition", pa.int32(), nullable=False),
        pa.field("source_offset", pa.int64(), nullable=False),
    ]
)
_TEXT_REJECTED = pa.schema([*_REJECTED, SAID])


@dataclass(frozen=True, slots=True)
class RejectedReadings:
    """Readings read back from quarantine.

    Attributes:
        batch: n readings, without origin.
        reasons: Why each was rejected.
        partition: int32[n], partition of the ``readings`` record each came from.
        offset: int64[n], that record's offset.
    """

    batch: Batch
    reasons: list[str]
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]


def encode_rejected(batch: Batch, reasons: Sequence[str]) -> bytes:
    """Rejected readings as a ``quarantine`` record's value; ``reasons`` has one entry a reading.

    The readings must come from the log: each is written with the record it came from, so that a
    replay, which rejects the same readings again, can be told from new ones.
    """
    said = None
    if has_texts(batch):
        value, said = said_columns(batch)
        batch = batch.with_value(value)
    columns = reading_columns(batch)
    columns.append(pa.array(reasons, pa.utf8()).dictionary_encode())
    partitions = np.array([record.partition for record in batch.origin], np.int32)
    offsets = np.array([record.offset for record in batch.origin], np.int64)
    columns.append(pa.array(partitions[batch.source]))
    columns.append(pa.array(offsets[batch.source]))
    return to_ipc(_REJECTED, columns) if said is None else to_ipc(_TEXT_REJECTED, [*columns, said])


def decode_rejected(value: bytes, channels: ChannelTable) -> RejectedReadings:
    """Read rejected readings back; raises DataError like ``decode_readings``."""
    table = from_ipc(value, _REJECTED, _TEXT_REJECTED)
    return RejectedReadings(
        batch_of(table, channels, None),
        table.column("reason").cast(pa.utf8()).to_pylist(),
        numbers(table.column("source_partition"), np.int32),
        numbers(table.column("source_offset"), np.int64),
    )


def rejected_record(batch: Batch, reasons: Sequence[str]) -> Record:
    """A ``quarantine`` record of readings."""
    schema = TEXT_REJECTED_SCHEMA if has_texts(batch) else REJECTED_SCHEMA
    return Record(encode_rejected(batch, reasons), headers=(("schema", schema),))


def rejected_records(batch: Batch, reasons: Sequence[str]) -> list[Record]:
    """Rejected readings as one ``quarantine`` record, or in parts when they are too large for that.

    Parts say so: they are of another version, and each has a header with its number, from 0, and
    how many there are. Only together they are all that was rejected of their source records.
    """
    records = whole(
        len(batch),
        lambda first, end: rejected_record(rows_between(batch, first, end), reasons[first:end]),
    )
    if len(records) == 1:
        return records
    return [_as_part(record, n, len(records)) for n, record in enumerate(records)]


def part_of(headers: Headers) -> tuple[int, int]:
    """Which part of how many a record of rejected readings is; ``(0, 1)`` is all of them."""
    for name, value in headers:
        number, slash, count = value.partition(b"/")
        if name == "part" and slash and number.isdigit() and count.isdigit():
            return int(number), int(count)
    return 0, 1


def _as_part(record: Record, number: int, count: int) -> Record:
    schema = schema_of(record.headers)
    schema = REJECTED_PART_SCHEMA if schema == REJECTED_SCHEMA else schema
    part = f"{number}/{count}".encode()
    return replace(record, headers=(("schema", schema), ("part", part)))


def _rows(value: bytes, takes: Takes) -> Iterator[Row]:
    rejected = decode_rejected(value, ChannelTable())
    return _rejected(rejected.batch, rejected.reasons, takes)


def _rejected(batch: Batch, reasons: list[str], takes: Takes) -> Iterator[Row]:
    """Readings in quarantine, in the shape that messages there have."""
    rows = reading_rows(batch, lambda *_: True)
    for row, time_ns, reason in zip(rows, batch.time_ns.tolist(), reasons, strict=True):
        if takes(time_ns, row["device"]):
            yield {
                "time": row["time"],
                "source": f"reading:{row['feed']}/{row['device']}/{row['channel']}",
                "reason": reason,
                "detail": row["quality"],
                "payload": str(row["value"]),
                "payload_bytes": 0,
                "tags": row["tags"],
            }


KIND = RecordKind(
    "rejected",
    QUARANTINE,
    REJECTED_SCHEMAS,
    count=lambda value: len(decode_rejected(value, ChannelTable()).batch),
    rows=_rows,
    columns=QUARANTINE_COLUMNS,
)
