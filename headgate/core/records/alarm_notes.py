"""What people have said of alarms."""

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
from headgate.core.results import AlarmNote

ALARM_NOTES_SCHEMA = b"alarm_notes/2"

#: As they were written before alarms could be shelved.
OLD_ALARM_NOTES_SCHEMA = b"alarm_notes/1"

ALARM_NOTES_SCHEMAS = (ALARM_NOTES_SCHEMA, OLD_ALARM_NOTES_SCHEMA)

_NOTES_1 = pa.schema(
    [
        pa.field("feed", pa.utf8(), nullable=False),
        pa.field("device", pa.utf8(), nullable=False),
        pa.field("rule", pa.utf8(), nullable=False),
        pa.field("channel", pa.utf8(), nullable=False),
        pa.field("start", TIME, nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("by", pa.utf8(), nullable=False),
        pa.field("acknowledges", pa.bool_(), nullable=False),
        pa.field("comment", pa.utf8(), nullable=False),
        *tag_fields("part"),
        *TAGS,
    ]
)
_NOTES = pa.schema([*_NOTES_1, pa.field("until", TIME, nullable=False)])


def encode_alarm_notes(notes: Sequence[AlarmNote]) -> bytes:
    """Notes as an ``alarm_notes`` record's value."""
    rows = [
        {
            "feed": each.feed,
            "device": each.device,
            "rule": each.rule,
            "channel": each.channel,
            "start": each.start_ns,
            "time": each.time_ns,
            "by": each.by,
            "acknowledges": each.acknowledges,
            "comment": each.comment,
            **tag_columns(each.part, "part"),
            **tag_columns(each.tags),
            "until": each.until_ns,
        }
        for each in notes
    ]
    return rows_to_ipc(_NOTES, rows)


def decode_alarm_notes(value: bytes) -> list[AlarmNote]:
    """Read notes back, in this version or the one before.

    Raises:
        DataError: ``bad_record`` when the bytes are no such record.
    """
    table = with_numbers(from_ipc(value, _NOTES, _NOTES_1), "start", "time", "until")
    return [
        AlarmNote(
            feed=row["feed"],
            device=row["device"],
            rule=row["rule"],
            channel=row["channel"],
            start_ns=row["start"],
            time_ns=row["time"],
            by=row["by"],
            acknowledges=row["acknowledges"],
            comment=row["comment"],
            part=tags_in(row, "part"),
            tags=tags_in(row),
            until_ns=row.get("until", 0),
        )
        for row in table.to_pylist()
    ]


def alarm_notes_record(notes: Sequence[AlarmNote]) -> Record:
    """An ``anomalies`` record that tells what was said of alarms."""
    return Record(encode_alarm_notes(notes), headers=(("schema", ALARM_NOTES_SCHEMA),))


def alarm_notes_records(notes: Sequence[AlarmNote]) -> list[Record]:
    """Notes as as many records as it takes."""
    return whole(len(notes), lambda first, end: alarm_notes_record(notes[first:end]))


def _rows(notes: Sequence[AlarmNote], takes: Takes) -> Iterator[Row]:
    for each in notes:
        if takes(each.time_ns, each.device):
            yield {
                "time": iso_text(each.time_ns),
                "by": each.by,
                "acknowledges": each.acknowledges,
                "comment": each.comment,
                "feed": each.feed,
                "device": each.device,
                "rule": each.rule,
                "channel": each.channel,
                "start": iso_text(each.start_ns),
                "part": dict(each.part),
                "tags": dict(each.tags),
                "until": iso_text(each.until_ns) if each.until_ns else None,
            }


KIND = RecordKind(
    "alarm_notes",
    ANOMALIES,
    ALARM_NOTES_SCHEMAS,
    count=lambda value: len(decode_alarm_notes(value)),
    rows=lambda value, takes: _rows(decode_alarm_notes(value), takes),
    columns=(
        "time",
        "by",
        "acknowledges",
        "comment",
        "feed",
        "device",
        "rule",
        "channel",
        "start",
        "part",
        "tags",
        "until",
    ),
)
