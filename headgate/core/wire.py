"""How records of the log's topics are written: Arrow IPC streams, LZ4 compressed.

Any Kafka consumer with Arrow can read them; ``docs/formats.md`` is the description for such
readers. Every record carries the headers ``schema`` (its kind and version) and ``feed`` or
nothing. A reader refuses a version it does not know instead of guessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headgate.core.batch import Batch, Origin
from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError
from headgate.core.log import Headers, Record
from headgate.core.stage import STATISTICS, Aggregates, Anomaly, SensorHealth

READINGS_SCHEMA = b"readings/1"
AGGREGATES_SCHEMA = b"aggregates/1"
ANOMALIES_SCHEMA = b"anomalies/2"
HEALTH_SCHEMA = b"sensor_health/1"
REJECTED_SCHEMA = b"rejected/1"
MESSAGES_SCHEMA = b"messages/1"

#: Anomalies as they were written before they had a verdict.
OLD_ANOMALIES_SCHEMA = b"anomalies/1"

#: A record with this part of a group's channels, as many readings that is, gets the group's keys.
_GROUP_PART = 4

_Scalar = TypeVar("_Scalar", bound=np.generic)

_TIME = pa.timestamp("ns", "UTC")
_NAMES = pa.dictionary(pa.int32(), pa.utf8())
# Records are small: handing columns to other threads takes ten times as long as packing them.
_WRITE_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_READ_OPTIONS = pa.ipc.IpcReadOptions(use_threads=False)

_READING_FIELDS = [
    pa.field("time", _TIME, nullable=False),
    pa.field("channel", _NAMES, nullable=False),
    pa.field("value", pa.float64(), nullable=False),
    pa.field("quality", pa.uint16(), nullable=False),
]
_READINGS = pa.schema(_READING_FIELDS)
_REJECTED = pa.schema(
    [
        *_READING_FIELDS,
        pa.field("reason", _NAMES, nullable=False),
        pa.field("source_partition", pa.int32(), nullable=False),
        pa.field("source_offset", pa.int64(), nullable=False),
    ]
)
_MESSAGES = pa.schema(
    [
        pa.field("ingest_time", _TIME, nullable=False),
        pa.field("source", pa.utf8(), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
        pa.field("reason", pa.utf8(), nullable=False),
        pa.field("detail", pa.utf8(), nullable=False),
        pa.field("payload_bytes", pa.int64(), nullable=False),
    ]
)
_AGGREGATES = pa.schema(
    [
        pa.field("channel", _NAMES, nullable=False),
        pa.field("start", _TIME, nullable=False),
        pa.field("window_ns", pa.int64(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("flagged", pa.int64(), nullable=False),
        pa.field("expected", pa.int64(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in STATISTICS),
        pa.field("sketch_keys", pa.list_(pa.int32()), nullable=False),
        pa.field("sketch_counts", pa.list_(pa.int64()), nullable=False),
    ]
)
_OLD_ANOMALIES = pa.schema(
    [
        pa.field("feed", pa.utf8(), nullable=False),
        pa.field("device", pa.utf8(), nullable=False),
        pa.field("model", pa.utf8(), nullable=False),
        pa.field("start", _TIME, nullable=False),
        pa.field("end", _TIME, nullable=False),
        pa.field("peak", _TIME, nullable=False),
        pa.field("peak_score", pa.float64(), nullable=False),
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("severity", pa.utf8(), nullable=False),
        pa.field("channels", pa.list_(pa.utf8()), nullable=False),
        pa.field("shares", pa.list_(pa.float64()), nullable=False),
        pa.field("is_open", pa.bool_(), nullable=False),
        pa.field("revision", pa.int64(), nullable=False),
    ]
)
_ANOMALIES = pa.schema(
    [
        *_OLD_ANOMALIES,
        pa.field("opened", _TIME, nullable=False),
        pa.field("verdict", pa.utf8(), nullable=False),
        pa.field("faulty", pa.list_(pa.utf8()), nullable=False),
    ]
)
_HEALTH = pa.schema(
    [
        pa.field("feed", pa.utf8(), nullable=False),
        pa.field("device", pa.utf8(), nullable=False),
        pa.field("channel", pa.utf8(), nullable=False),
        pa.field("time", _TIME, nullable=False),
        pa.field("state", pa.utf8(), nullable=False),
        pa.field("since", _TIME, nullable=False),
        pa.field("found", pa.float64(), nullable=False),
        pa.field("usual", pa.float64(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class QuarantinedMessage:
    """Something that could not even be decoded: an MQTT message, a log record, a refused point.

    Attributes:
        ingest_ns: When the gateway gave up on it, ns since 1970 UTC.
        source: Where it came from: ``mqtt:TOPIC``, ``log:TOPIC/PARTITION@OFFSET``, ``influxdb``.
        payload: Its bytes, cut to the configured length.
        reason: Short fixed word, a counter's label.
        detail: What exactly was wrong.
        payload_bytes: Length of the payload before cutting.
    """

    ingest_ns: int
    source: str
    payload: bytes
    reason: str
    detail: str
    payload_bytes: int


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


def schema_of(headers: Headers) -> bytes:
    """The record's kind and version; empty when the header is missing."""
    for name, value in headers:
        if name == "schema":
            return value
    return b""


def check_schema(headers: Headers, *expected: bytes) -> None:
    """Refuse a record of other kinds or versions, or a damaged one, with DataError."""
    found = schema_of(headers)
    if found not in expected:
        kinds = " or ".join(kind.decode() for kind in expected)
        raise DataError("bad_record", f"expected {kinds}, got {found.decode(errors='replace')!r}")


class KeyGroup:
    """Channels that are often written together, their keys encoded once.

    A record has a dictionary of its channels' keys. Making it anew for each record costs more than
    all its numbers, so a record that has a good part of the group gets the whole group's.
    """

    def __init__(self, channels: ChannelTable) -> None:
        self._channels = channels
        self._rows = np.empty(0, np.int32)
        # By channel row, its place in the group, or -1.
        self._place = np.empty(0, np.int32)
        self._keys: pa.StringArray | None = None

    def column(self, channel: NDArray[np.int32]) -> pa.DictionaryArray:
        """The channels, which become part of the group, as a column with dictionary."""
        self._add(channel)
        if len(channel) * _GROUP_PART < len(self._rows):
            return _key_column(channel, self._channels)
        if self._keys is None:
            self._keys = pa.array(self._channels.keys(self._rows), pa.utf8())
        return pa.DictionaryArray.from_arrays(pa.array(self._place[channel]), self._keys)

    def _add(self, channel: NDArray[np.int32]) -> None:
        missing = len(self._channels) - len(self._place)
        if missing > 0:
            room = np.full(max(missing, len(self._place)), -1, np.int32)
            self._place = np.concatenate([self._place, room])
        is_new = self._place[channel] < 0
        if is_new.any():
            new = np.unique(channel[is_new])
            count = len(self._rows)
            self._place[new] = np.arange(count, count + len(new))
            self._rows = np.concatenate([self._rows, new])
            self._keys = None


class KeyRows:
    """Rows of the keys in records' dictionaries, remembered for each partition.

    Records in a row mostly have the same dictionary, and comparing two takes a hundredth of the
    time that looking up its keys takes.
    """

    def __init__(self, channels: ChannelTable) -> None:
        self._channels = channels
        self._last: dict[int, tuple[pa.StringArray, NDArray[np.int32]]] = {}

    def rows(self, keys: pa.StringArray, partition: int) -> NDArray[np.int32]:
        """int32[k]: the channel row of each key; raises DataError for what is no key."""
        last = self._last.get(partition)
        if last is not None and last[0].equals(keys):
            return last[1]
        rows = _rows_of_keys(keys, self._channels)
        self._last[partition] = (keys, rows)
        return rows


def encode_readings(batch: Batch, group: KeyGroup | None = None) -> bytes:
    """The batch as a record's value; ``origin`` is not written.

    Args:
        batch: What to write.
        group: Channels that this one is often written with, of the same table.
    """
    return _to_ipc(_READINGS, _reading_columns(batch, group))


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
    return _batch_of(_from_ipc(value, _READINGS), channels, origin, key_rows)


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
    return _to_ipc(_REJECTED, columns)


def decode_rejected(value: bytes, channels: ChannelTable) -> RejectedReadings:
    """Read rejected readings back; raises DataError like ``decode_readings``."""
    table = _from_ipc(value, _REJECTED)
    return RejectedReadings(
        _batch_of(table, channels, None),
        table.column("reason").cast(pa.utf8()).to_pylist(),
        _numpy(table.column("source_partition"), np.int32),
        _numpy(table.column("source_offset"), np.int64),
    )


def encode_messages(messages: Sequence[QuarantinedMessage]) -> bytes:
    """Quarantined messages as a ``quarantine`` record's value."""
    rows = [
        {
            "ingest_time": message.ingest_ns,
            "source": _clean_text(message.source),
            "payload": message.payload,
            "reason": message.reason,
            "detail": _clean_text(message.detail),
            "payload_bytes": message.payload_bytes,
        }
        for message in messages
    ]
    return _rows_to_ipc(_MESSAGES, rows)


def decode_messages(value: bytes) -> list[QuarantinedMessage]:
    """Read quarantined messages back; raises DataError like ``decode_readings``."""
    table = _from_ipc(value, _MESSAGES)
    return [
        QuarantinedMessage(time, source, payload, reason, detail, size)
        for time, source, payload, reason, detail, size in zip(
            table.column("ingest_time").cast(pa.int64()).to_pylist(),
            table.column("source").to_pylist(),
            table.column("payload").to_pylist(),
            table.column("reason").to_pylist(),
            table.column("detail").to_pylist(),
            table.column("payload_bytes").to_pylist(),
            strict=True,
        )
    ]


def encode_aggregates(aggregates: Aggregates, channels: ChannelTable) -> bytes:
    """Closed windows as an ``aggregates`` record's value."""
    columns = [
        _key_column(aggregates.channel, channels),
        pa.array(aggregates.start_ns, _TIME),
        *(
            pa.array(column)
            for column in (
                aggregates.window_ns,
                aggregates.n,
                aggregates.flagged,
                aggregates.expected,
            )
        ),
        *(pa.array(aggregates.stats[name]) for name in STATISTICS),
        pa.array(aggregates.sketch_keys, pa.list_(pa.int32())),
        pa.array(aggregates.sketch_counts, pa.list_(pa.int64())),
    ]
    return _to_ipc(_AGGREGATES, columns)


def decode_aggregates(
    value: bytes, channels: ChannelTable, *, has_sketches: bool = True
) -> Aggregates:
    """Read closed windows back; raises DataError like ``decode_readings``.

    Args:
        value: The record's value.
        channels: The table that the windows are to point into.
        has_sketches: False leaves the sketches empty, for a reader that has no use for them.
    """
    table = _from_ipc(value, _AGGREGATES)

    def sketches(name: str, dtype: type[_Scalar]) -> list[NDArray[_Scalar]]:
        rows = table.column(name).to_pylist() if has_sketches else [()] * table.num_rows
        return [np.array(row, dtype) for row in rows]

    return Aggregates(
        channel=_channel_rows(table.column("channel"), channels),
        start_ns=_numpy(table.column("start").cast(pa.int64()), np.int64),
        window_ns=_numpy(table.column("window_ns"), np.int64),
        n=_numpy(table.column("n"), np.int64),
        flagged=_numpy(table.column("flagged"), np.int64),
        expected=_numpy(table.column("expected"), np.int64),
        stats={name: _numpy(table.column(name), np.float64) for name in STATISTICS},
        sketch_keys=sketches("sketch_keys", np.int32),
        sketch_counts=sketches("sketch_counts", np.int64),
    )


def encode_anomalies(anomalies: Sequence[Anomaly]) -> bytes:
    """Anomalies as an ``anomalies`` record's value."""
    rows = [
        {
            "feed": anomaly.feed,
            "device": anomaly.device,
            "model": anomaly.model,
            "start": anomaly.start_ns,
            "end": anomaly.end_ns,
            "peak": anomaly.peak_ns,
            "peak_score": anomaly.peak_score,
            "threshold": anomaly.threshold,
            "severity": anomaly.severity,
            "channels": [name for name, _ in anomaly.shares],
            "shares": [share for _, share in anomaly.shares],
            "is_open": anomaly.is_open,
            "revision": anomaly.revision,
            "opened": anomaly.opened_ns,
            "verdict": anomaly.verdict,
            "faulty": list(anomaly.faulty),
        }
        for anomaly in anomalies
    ]
    return _rows_to_ipc(_ANOMALIES, rows)


def decode_anomalies(value: bytes) -> list[Anomaly]:
    """Read anomalies back, in this version or the one before.

    One from before that has no verdict is taken for one of the process that opened at its start.

    Raises:
        DataError: ``bad_record`` when the bytes are no such record.
    """
    table = _from_ipc(value, _ANOMALIES, _OLD_ANOMALIES)
    table = _with_numbers(table, "start", "end", "peak", "opened")
    return [
        Anomaly(
            feed=row["feed"],
            device=row["device"],
            model=row["model"],
            start_ns=row["start"],
            end_ns=row["end"],
            peak_ns=row["peak"],
            peak_score=row["peak_score"],
            threshold=row["threshold"],
            severity=row["severity"],
            shares=tuple(zip(row["channels"], row["shares"], strict=True)),
            opened_ns=row.get("opened", row["start"]),
            verdict=row.get("verdict", "process"),
            faulty=tuple(row.get("faulty", ())),
            is_open=row["is_open"],
            revision=row["revision"],
        )
        for row in table.to_pylist()
    ]


def encode_health(health: Sequence[SensorHealth]) -> bytes:
    """Sensors' health as a ``sensor_health`` record's value."""
    rows = [
        {
            "feed": each.feed,
            "device": each.device,
            "channel": each.channel,
            "time": each.time_ns,
            "state": each.state,
            "since": each.since_ns,
            "found": each.found,
            "usual": each.usual,
        }
        for each in health
    ]
    return _rows_to_ipc(_HEALTH, rows)


def decode_health(value: bytes) -> list[SensorHealth]:
    """Read sensors' health back; raises DataError like ``decode_readings``."""
    table = _with_numbers(_from_ipc(value, _HEALTH), "time", "since")
    return [
        SensorHealth(
            feed=row["feed"],
            device=row["device"],
            channel=row["channel"],
            time_ns=row["time"],
            state=row["state"],
            since_ns=row["since"],
            found=row["found"],
            usual=row["usual"],
        )
        for row in table.to_pylist()
    ]


def readings_record(batch: Batch, feed: str, group: KeyGroup | None = None) -> Record:
    """A ``readings`` record. The feed's name is a header, so a reader can skip without decoding."""
    headers = (("schema", READINGS_SCHEMA), ("feed", feed.encode()))
    return Record(encode_readings(batch, group), headers=headers)


def messages_record(messages: Sequence[QuarantinedMessage]) -> Record:
    """A ``quarantine`` record of messages."""
    return Record(encode_messages(messages), headers=(("schema", MESSAGES_SCHEMA),))


def rejected_record(batch: Batch, reasons: Sequence[str]) -> Record:
    """A ``quarantine`` record of readings."""
    return Record(encode_rejected(batch, reasons), headers=(("schema", REJECTED_SCHEMA),))


def aggregates_record(aggregates: Aggregates, channels: ChannelTable) -> Record:
    """An ``aggregates`` record."""
    headers = (("schema", AGGREGATES_SCHEMA),)
    return Record(encode_aggregates(aggregates, channels), headers=headers)


def anomalies_record(anomalies: Sequence[Anomaly]) -> Record:
    """An ``anomalies`` record."""
    return Record(encode_anomalies(anomalies), headers=(("schema", ANOMALIES_SCHEMA),))


def health_record(health: Sequence[SensorHealth]) -> Record:
    """An ``anomalies`` record that tells of sensors."""
    return Record(encode_health(health), headers=(("schema", HEALTH_SCHEMA),))


def _clean_text(text: str) -> str:
    """Text that UTF-8 can carry: lone surrogates, which JSON allows, become ``?``."""
    return text.encode("utf-8", "replace").decode()


def _key_column(channel: NDArray[np.int32], channels: ChannelTable) -> pa.DictionaryArray:
    rows, codes = np.unique(channel, return_inverse=True)
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), pa.array(channels.keys(rows), pa.utf8())
    )


def _reading_columns(batch: Batch, group: KeyGroup | None = None) -> list[pa.Array]:
    channel = batch.channel
    return [
        pa.array(batch.time_ns, _TIME),
        _key_column(channel, batch.channels) if group is None else group.column(channel),
        pa.array(batch.value),
        pa.array(batch.quality),
    ]


def _rows_of_keys(keys: pa.StringArray, channels: ChannelTable) -> NDArray[np.int32]:
    try:
        return np.array([channels.row_of_key(key) for key in keys.to_pylist()], np.int32)
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError("bad_record", f"a channel key can't be read: {error}") from error


def _channel_rows(
    column: pa.ChunkedArray,
    channels: ChannelTable,
    partition: int = 0,
    key_rows: KeyRows | None = None,
) -> NDArray[np.int32]:
    parts = []
    for chunk in column.chunks:
        if key_rows is None:
            rows = _rows_of_keys(chunk.dictionary, channels)
        else:
            rows = key_rows.rows(chunk.dictionary, partition)
        indices: NDArray[np.int32] = chunk.indices.to_numpy(zero_copy_only=False)
        parts.append(rows[indices])
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, np.int32)


def _batch_of(
    table: pa.Table,
    channels: ChannelTable,
    origin: Origin | None,
    key_rows: KeyRows | None = None,
) -> Batch:
    partition = 0 if origin is None else origin.partition
    return Batch(
        channels,
        _numpy(table.column("time").cast(pa.int64()), np.int64),
        _channel_rows(table.column("channel"), channels, partition, key_rows),
        _numpy(table.column("value"), np.float64),
        _numpy(table.column("quality"), np.uint16),
        () if origin is None else (origin,),
        np.zeros(table.num_rows, np.int32),
    )


def _numpy(column: pa.ChunkedArray, dtype: type[_Scalar]) -> NDArray[_Scalar]:
    array: NDArray[_Scalar] = column.to_numpy().astype(dtype, copy=False)
    return array


def _to_ipc(schema: pa.Schema, columns: Sequence[pa.Array]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=_WRITE_OPTIONS) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(list(columns), schema=schema))
    value: bytes = sink.getvalue().to_pybytes()
    return value


def _rows_to_ipc(schema: pa.Schema, rows: Sequence[dict[str, object]]) -> bytes:
    table = pa.Table.from_pylist(list(rows), schema=schema)
    return _to_ipc(schema, [column.combine_chunks() for column in table.columns])


def _with_numbers(table: pa.Table, *times: str) -> pa.Table:
    """The table with these columns, where it has them, as ns since 1970 UTC."""
    for name in times:
        index = table.schema.get_field_index(name)
        if index >= 0:
            table = table.set_column(index, name, table.column(name).cast(pa.int64()))
    return table


def _from_ipc(value: bytes, *schemas: pa.Schema) -> pa.Table:
    try:
        table = pa.ipc.open_stream(value, options=_READ_OPTIONS).read_all()
    except (pa.ArrowException, OSError) as error:
        raise DataError("bad_record", f"no Arrow IPC stream: {error}") from error
    if not any(table.schema.equals(schema) for schema in schemas):
        found = ", ".join(f"{field.name}: {field.type}" for field in table.schema)
        raise DataError("bad_record", f"unexpected columns: {found}")
    return table
