"""What text channels say anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from headgate.core.ipc import from_ipc, rows_to_ipc
from headgate.core.iso import iso_text
from headgate.core.log import ANOMALIES, Record
from headgate.core.records.arrow import TAGS, TIME, tag_columns, tags_in, with_numbers
from headgate.core.records.kind import RecordKind, Row, Takes, whole
from headgate.core.results import StateChange

CHANGES_SCHEMA = b"channel_state/1"

_CHANGES = pa.schema(
    [
        pa.field("feed", pa.utf8(), nullable=False),
        pa.field("device", pa.utf8(), nullable=False),
        pa.field("channel", pa.utf8(), nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("state", pa.utf8(), nullable=False),
        pa.field("before", pa.utf8(), nullable=False),
        pa.field("before_ns", pa.int64(), nullable=False),
        *TAGS,
    ]
)


def encode_changes(changes: Sequence[StateChange]) -> bytes:
    """Changes of channels' states as a ``channel_state`` record's value."""
    rows = [
        {
            "feed": each.feed,
            "device": each.device,
            "channel": each.channel,
            "time": each.time_ns,
            "state": each.state,
            "before": each.before,
            "before_ns": each.before_ns,
            **tag_columns(each.tags),
        }
        for each in changes
    ]
    return rows_to_ipc(_CHANGES, rows)


def decode_changes(value: bytes) -> list[StateChange]:
    """Read changes of channels' states back; raises DataError likewise."""
    table = with_numbers(from_ipc(value, _CHANGES), "time", "before_ns")
    return [
        StateChange(
            feed=row["feed"],
            device=row["device"],
            channel=row["channel"],
            time_ns=row["time"],
            state=row["state"],
            before=row["before"],
            before_ns=row["before_ns"],
            tags=tags_in(row),
        )
        for row in table.to_pylist()
    ]


def changes_record(changes: Sequence[StateChange]) -> Record:
    """An ``anomalies`` record that tells what channels say anew."""
    return Record(encode_changes(changes), headers=(("schema", CHANGES_SCHEMA),))


def changes_records(changes: Sequence[StateChange]) -> list[Record]:
    """Changes of channels' states as as many records as it takes."""
    return whole(len(changes), lambda first, end: changes_record(changes[first:end]))


def _rows(changes: Sequence[StateChange], takes: Takes) -> Iterator[Row]:
    for each in changes:
        if takes(each.time_ns, each.device):
            yield {
                "time": iso_text(each.time_ns),
                "feed": each.feed,
                "device": each.device,
                "channel": each.channel,
                "state": each.state,
                "before": each.before,
                "before_s": each.before_ns / 1e9,
                "tags": dict(each.tags),
            }


KIND = RecordKind(
    "changes",
    ANOMALIES,
    (CHANGES_SCHEMA,),
    count=lambda value: len(decode_changes(value)),
    rows=lambda value, takes: _rows(decode_changes(value), takes),
    columns=("time", "feed", "device", "channel", "state", "before", "before_s", "tags"),
)
