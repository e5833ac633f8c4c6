"""Results, aggregates and what is told of devices, as values of records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable, Tags
from headgate.core.errors import DataError
from headgate.core.ipc import from_ipc, numbers, rows_to_ipc, to_ipc
from headgate.core.results import STATISTICS, Aggregates, Anomaly, SensorHealth
from headgate.core.sketch import KEY_LIMIT
from headgate.core.wire.keys import channel_rows, key_column
from headgate.core.wire.schemas import NAMES, TIME, check_times

_Scalar = TypeVar("_Scalar", bound=np.generic)

_AGGREGATES = pa.schema(
    [
        pa.field("channel", NAMES, nullable=False),
        pa.field("start", TIME, nullable=False),
        pa.field("window_ns", pa.int64(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("flagged", pa.int64(), nullable=False),
        pa.field("expected", pa.int64(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in STATISTICS),
        pa.field("sketch_keys", pa.list_(pa.int32()), nullable=False),
        pa.field("sketch_counts", pa.list_(pa.int64()), nullable=False),
    ]
)
_TAGS = [
    pa.field("tag_names", pa.list_(pa.utf8()), nullable=False),
    pa.field("tag_values", pa.list_(pa.utf8()), nullable=False),
]
_ANOMALIES_1 = pa.schema(
    [
        pa.field("feed", pa.utf8(), nullable=False),
        pa.field("device", pa.utf8(), nullable=False),
        pa.field("model", pa.utf8(), nullable=False),
        pa.field("start", TIME, nullable=False),
        pa.field("end", TIME, nullable=False),
        pa.field("peak", TIME, nullable=False),
        pa.field("peak_score", pa.float64(), nullable=False),
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("severity", pa.utf8(), nullable=False),
        pa.field("channels", pa.list_(pa.utf8()), nullable=False),
        pa.field("shares", pa.list_(pa.float64()), nullable=False),
        pa.field("is_open", pa.bool_(), nullable=False),
        pa.field("revision", pa.int64(), nullable=False),
    ]
)
_ANOMALIES_2 = pa.schema(
    [
        *_ANOMALIES_1,
        pa.field("opened", TIME, nullable=False),
        pa.field("verdict", pa.utf8(), nullable=False),
        pa.field("faulty", pa.list_(pa.utf8()), nullable=False),
    ]
)
_ANOMALIES = pa.schema([*_ANOMALIES_2, *_TAGS])
_HEALTH_1 = pa.schema(
    [
        pa.field("feed", pa.utf8(), nullable=False),
        pa.field("device", pa.utf8(), nullable=False),
        pa.field("channel", pa.utf8(), nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("state", pa.utf8(), nullable=False),
        pa.field("since", TIME, nullable=False),
        pa.field("found", pa.float64(), nullable=False),
        pa.field("usual", pa.float64(), nullable=False),
    ]
)
_HEALTH = pa.schema([*_HEALTH_1, *_TAGS])


class _Sketches(TypedDict):
    sketch_keys: list[NDArray[np.int32]]
    sketch_counts: list[NDArray[np.int64]]


def encode_aggregates(aggregates: Aggregates, channels: ChannelTable) -> bytes:
    """Closed windows as an ``aggregates`` record's value."""
    columns = [
        key_column(aggregates.channel, channels),
        pa.array(aggregates.start_ns, TIME),
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
    return to_ipc(_AGGREGATES, columns)


def decode_aggregates(
    value: bytes, channels: ChannelTable, *, has_sketches: bool = True
) -> Aggregates:
    """Read closed windows back; raises DataError like ``decode_readings``.

    Args:
        value: The record's value.
        channels: The table that the windows are to point into.
        has_sketches: False leaves the sketches empty, for a reader that has no use for them.
    """
    table = from_ipc(value, _AGGREGATES)
    start_ns = numbers(table.column("start").cast(pa.int64()), np.int64)
    window_ns, n, flagged, expected = (
        numbers(table.column(name), np.int64) for name in ("window_ns", "n", "flagged", "expected")
    )
    check_times(start_ns, window_ns)
    if (window_ns <= 0).any() or min(column.min(initial=0) for column in (n, flagged)) < 0:
        raise DataError("bad_record", "a window has no length, or fewer readings than none")
    return Aggregates(
        channel=channel_rows(table.column("channel"), channels),
        start_ns=start_ns,
        window_ns=window_ns,
        n=n,
        flagged=flagged,
        expected=expected,
        stats={name: numbers(table.column(name), np.float64) for name in STATISTICS},
        **_sketches(table, has_sketches=has_sketches),
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
            **_tag_columns(anomaly.tags),
        }
        for anomaly in anomalies
    ]
    return rows_to_ipc(_ANOMALIES, rows)


def decode_anomalies(value: bytes) -> list[Anomaly]:
    """Read anomalies back, in this version or one before.

    One that has no verdict is taken for one of the process that opened at its start.

    Raises:
        DataError: ``bad_record`` when the bytes are no such record.
    """
    table = from_ipc(value, _ANOMALIES, _ANOMALIES_2, _ANOMALIES_1)
    table = _with_numbers(table, "start", "end", "peak", "opened")
    rows = table.to_pylist()
    if any(len(row["channels"]) != len(row["shares"]) for row in rows):
        raise DataError("bad_record", "an anomaly has not one share for each channel")
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
            tags=_tags_in(row),
        )
        for row in rows
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
            **_tag_columns(each.tags),
        }
        for each in health
    ]
    return rows_to_ipc(_HEALTH, rows)


def decode_health(value: bytes) -> list[SensorHealth]:
    """Read sensors' health back, in this version or the one before; raises DataError likewise."""
    table = _with_numbers(from_ipc(value, _HEALTH, _HEALTH_1), "time", "since")
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
            tags=_tags_in(row),
        )
        for row in table.to_pylist()
    ]


def _tag_columns(tags: Tags) -> dict[str, list[str]]:
    return {"tag_names": [name for name, _ in tags], "tag_values": [value for _, value in tags]}


def _tags_in(row: Mapping[str, Any]) -> Tags:
    """The tags of a row; none where its version has no such columns."""
    names, values = row.get("tag_names", ()), row.get("tag_values", ())
    if len(names) != len(values):
        raise DataError("bad_record", "a device has not one value for each tag")
    return tuple(zip(names, values, strict=True))


def _sketches(table: pa.Table, *, has_sketches: bool) -> _Sketches:
    """Each window's buckets; empty ones when they are of no use."""
    if not has_sketches:
        empty = [np.empty(0, np.int32)] * table.num_rows
        return {"sketch_keys": empty, "sketch_counts": [np.empty(0, np.int64)] * table.num_rows}
    key, ends = _lists(table.column("sketch_keys"), np.int32)
    count, count_ends = _lists(table.column("sketch_counts"), np.int64)
    if not np.array_equal(ends, count_ends):
        raise DataError("bad_record", "a sketch has not one count for each key")
    rises = np.diff(key.astype(np.int64), prepend=0) > 0
    rises[ends[:-1][ends[:-1] < len(key)]] = True
    is_key = (key > -KEY_LIMIT) & (key < KEY_LIMIT)
    if not (rises.all() and is_key.all() and count.min(initial=1) > 0):
        raise DataError("bad_record", "a sketch's keys do not rise, or it counts nothing")
    return {
        "sketch_keys": np.split(key, ends[1:-1]) if len(ends) > 1 else [],
        "sketch_counts": np.split(count, ends[1:-1]) if len(ends) > 1 else [],
    }


def _lists(
    column: pa.ChunkedArray, dtype: type[_Scalar]
) -> tuple[NDArray[_Scalar], NDArray[np.int64]]:
    """What a column's lists hold, one after the other, and where each begins, and the last ends."""
    lists = column.combine_chunks()
    values = lists.flatten().to_numpy(zero_copy_only=False).astype(dtype, copy=False)
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    return values, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _with_numbers(table: pa.Table, *times: str) -> pa.Table:
    """The table with these columns, where it has them, as ns since 1970 UTC."""
    for name in times:
        index = table.schema.get_field_index(name)
        if index >= 0:
            column = table.column(name).cast(pa.int64())
            check_times(numbers(column, np.int64))
            table = table.set_column(index, name, column)
    return table
