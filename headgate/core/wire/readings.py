"""Readings, on their way and rejected, as values of records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headgate.core.batch import Batch, Origin, Quality
from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError
from headgate.core.ipc import from_ipc, numbers, to_ipc
from headgate.core.wire.keys import KeyGroup, KeyRows, channel_rows, key_column
from headgate.core.wire.schemas import NAMES, TIME, check_times

_READING_FIELDS = [
    pa.field("time", TIME, nullable=False),
    pa.field("channel", NAMES, nullable=False),
    pa.field("value", pa.float64(), nullable=False),
    pa.field("quality", pa.uint16(), nullable=False),
]
_READINGS = pa.schema(_READING_FIELDS)
_REJECTED = pa.schema(
    [
        *_READING_FIELDS,
        pa.field("reason", NAMES, nullable=False),
        pa.field("source_partition", pa.int32(), nullable=False),
        pa.field("source_offset", pa.int64(), nullable=False),
    ]
)


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


def encode_readings(batch: Batch, group: KeyGroup | None = None) -> bytes:
    """The batch as a record's value; ``origin`` is not written.

    Args:
        batch: What to write.
        group: Channels that this one is often written with, of the same table.
    """
    return to_ipc(_READINGS, _reading_columns(batch, group))


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
    return _batch_of(from_ipc(value, _READINGS), channels, origin, key_rows)


def encode_rejected(batch: Batch, reasons: Sequence[str]) -> bytes:
    """Rejected readings as a ``quarantine`` record's value; ``reasons`` has one entry a reading.

    The readings must come from the log: each is written with the record it came from, so that a
    replay, which rejects the same readings again, can be told from new ones.
    """
    columns = _reading_columns(batch)
    columns.append(pa.array(reasons, pa.utf8()).dictionary_encode())
    partitions = np.array([record.partition for record in batch.origin], np.int32)
    offsets = np.array([record.offset for record in batch.origin], np.int64)
    columns.append(pa.array(partitions[batch.source]))
    columns.append(pa.array(offsets[batch.source]))
    return to_ipc(_REJECTED, columns)


def decode_rejected(value: bytes, channels: ChannelTable) -> RejectedReadings:
    """Read rejected readings back; raises DataError like ``decode_readings``."""
    table = from_ipc(value, _REJECTED)
    return RejectedReadings(
        _batch_of(table, channels, None),
        table.column("reason").cast(pa.utf8()).to_pylist(),
        numbers(table.column("source_partition"), np.int32),
        numbers(table.column("source_offset"), np.int64),
    )


def _reading_columns(batch: Batch, group: KeyGroup | None = None) -> list[pa.Array]:
    channel = batch.channel
    return [
        pa.array(batch.time_ns, TIME),
        key_column(channel, batch.channels) if group is None else group.column(channel),
        pa.array(batch.value),
        pa.array(batch.quality),
    ]


def _batch_of(
    table: pa.Table,
    channels: ChannelTable,
    origin: Origin | None,
    key_rows: KeyRows | None = None,
) -> Batch:
    partition = 0 if origin is None else origin.partition
    time_ns = numbers(table.column("time").cast(pa.int64()), np.int64)
    value = numbers(table.column("value"), np.float64)
    quality = numbers(table.column("quality"), np.uint16)
    check_times(time_ns)
    if not (np.isfinite(value) | (quality & np.uint16(Quality.MISSING) != 0)).all():
        raise DataError("bad_record", "a value is no number, and is not marked as missing")
    return Batch(
        channels,
        time_ns,
        channel_rows(table.column("channel"), channels, partition, key_rows),
        value,
        quality,
        () if origin is None else (origin,),
        np.zeros(table.num_rows, np.int32),
    )
