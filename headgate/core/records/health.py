"""Sensors' health."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from headgate.core.ipc import from_ipc, rows_to_ipc
from headgate.core.iso import iso_text
from headgate.core.log import ANOMALIES, Record
from headgate.core.records.arrow import TAGS, TIME, tag_columns, tags_in, with_numbers
from headgate.core.records.kind import RecordKind, Row, Takes, finite, whole
from headgate.core.results import SensorHealth

HEALTH_SCHEMA = b"sensor_health/2"

#: As it was written before it had tags.
OLD_HEALTH_SCHEMA = b"sensor_health/1"


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
_HEALTH = pa.schema([*_HEALTH_1, *TAGS])


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
            **tag_columns(each.tags),
        }
        for each in health
    ]
    return rows_to_ipc(_HEALTH, rows)


def decode_health(value: bytes) -> list[SensorHealth]:
    """Read sensors' health back, in this version or the one before; raises DataError likewise."""
    table = with_numbers(from_ipc(value, _HEALTH, _HEALTH_1), "time", "since")
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
            tags=tags_in(row),
        )
        for row in table.to_pylist()
    ]


def health_record(health: Sequence[SensorHealth]) -> Record:
    """An ``anomalies`` record that tells of sensors."""
    return Record(encode_health(health), headers=(("schema", HEALTH_SCHEMA),))


def health_records(health: Sequence[SensorHealth]) -> list[Record]:
    """Sensors' health as as many records as it takes."""
    return whole(len(health), lambda first, end: health_record(health[first:end]))


def _rows(health: Sequence[SensorHealth], takes: Takes) -> Iterator[Row]:
    for each in health:
        if takes(each.time_ns, each.device):
            yield {
                "time": iso_text(each.time_ns),
                "feed": each.feed,
                "device": each.device,
                "channel": each.channel,
                "sensor": each.state,
                "since": iso_text(each.since_ns),
                "found": finite(each.found),
                "usual": finite(each.usual),
                "tags": dict(each.tags),
            }


KIND = RecordKind(
    "health",
    ANOMALIES,
    (HEALTH_SCHEMA, OLD_HEALTH_SCHEMA),
    count=lambda value: len(decode_health(value)),
    rows=lambda value, takes: _rows(decode_health(value), takes),
    columns=(
        "time",
        "feed",
        "device",
        "channel",
        "sensor",
        "since",
        "found",
        "usual",
        "tags",
    ),
)
