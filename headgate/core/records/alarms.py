"""Alarms of rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from headgate.core.ipc import from_ipc, rows_to_ipc
from headgate.core.iso import iso_text
from headgate.core.log import ANOMALIES, Record
from headgate.core.records.arrow import (
    TAGS,
    TIME,
    tag_columns,
    tag_fields,
    tags_in,
    with_numbers,
)
from headgate.core.records.kind import RecordKind, Row, Takes, whole
from headgate.core.results import Alarm

ALARMS_SCHEMA = b"alarms/1"

_ALARMS = pa.schema(
    [
        pa.field("feed", pa.utf8(), nullable=False),
        pa.field("device", pa.utf8(), nullable=False),
        pa.field("rule", pa.utf8(), nullable=False),
        pa.field("start", TIME, nullable=False),
        pa.field("opened", TIME, nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("is_open", pa.bool_(), nullable=False),
        pa.field("severity", pa.utf8(), nullable=False),
        pa.field("text", pa.utf8(), nullable=False),
        pa.field("channel", pa.utf8(), nullable=False),
        pa.field("revision", pa.int32(), nullable=False),
        *tag_fields("part"),
        *TAGS,
    ]
)


def encode_alarms(alarms: Sequence[Alarm]) -> bytes:
    """Alarms as an ``alarms`` record's value."""
    rows = [
        {
            "feed": each.feed,
            "device": each.device,
            "rule": each.rule,
            "start": each.start_ns,
            "opened": each.opened_ns,
            "time": each.time_ns,
            "is_open": each.is_open,
            "severity": each.severity,
            "text": each.text,
            "channel": each.channel,
            "revision": each.revision,
            **tag_columns(each.part, "part"),
            **tag_columns(each.tags),
        }
        for each in alarms
    ]
    return rows_to_ipc(_ALARMS, rows)


def decode_alarms(value: bytes) -> list[Alarm]:
    """Read alarms back; raises DataError ``bad_record`` when the bytes are no such record."""
    table = with_numbers(from_ipc(value, _ALARMS), "start", "opened", "time")
    return [
        Alarm(
            feed=row["feed"],
            device=row["device"],
            rule=row["rule"],
            start_ns=row["start"],
            opened_ns=row["opened"],
            time_ns=row["time"],
            is_open=row["is_open"],
            severity=row["severity"],
            text=row["text"],
            channel=row["channel"],
            revision=row["revision"],
            part=tags_in(row, "part"),
            tags=tags_in(row),
        )
        for row in table.to_pylist()
    ]


def alarms_record(alarms: Sequence[Alarm]) -> Record:
    """An ``anomalies`` record that tells of alarms."""
    return Record(encode_alarms(alarms), headers=(("schema", ALARMS_SCHEMA),))


def alarms_records(alarms: Sequence[Alarm]) -> list[Record]:
    """Alarms as as many records as it takes."""
    return whole(len(alarms), lambda first, end: alarms_record(alarms[first:end]))


def _rows(alarms: Sequence[Alarm], takes: Takes) -> Iterator[Row]:
    for each in alarms:
        if takes(each.start_ns, each.device):
            yield {
                "time": iso_text(each.start_ns),
                "opened": iso_text(each.opened_ns),
                "over": None if each.is_open else iso_text(each.time_ns),
                "feed": each.feed,
                "device": each.device,
                "rule": each.rule,
                "channel": each.channel,
                "severity": each.severity,
                "text": each.text,
                "is_open": each.is_open,
                "part": dict(each.part),
                "tags": dict(each.tags),
            }


KIND = RecordKind(
    "alarms",
    ANOMALIES,
    (ALARMS_SCHEMA,),
    count=lambda value: len(decode_alarms(value)),
    rows=lambda value, takes: _rows(decode_alarms(value), takes),
    columns=(
        "time",
        "opened",
        "over",
        "feed",
        "device",
        "rule",
        "channel",
        "severity",
        "text",
        "is_open",
        "part",
        "tags",
    ),
)
