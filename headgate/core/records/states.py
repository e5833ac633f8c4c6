"""Whether devices are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from headgate.core.ipc import from_ipc, rows_to_ipc
from headgate.core.iso import iso_text
from headgate.core.log import ANOMALIES, Record
from headgate.core.records.arrow import TAGS, TIME, tag_columns, tags_in, with_numbers
from headgate.core.records.kind import RecordKind, Row, Takes, whole
from headgate.core.results import DeviceState

STATES_SCHEMA = b"device_state/1"

_STATES = pa.schema(
    [
        pa.field("feed", pa.utf8(), nullable=False),
        pa.field("device", pa.utf8(), nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("state", pa.utf8(), nullable=False),
        pa.field("cause", pa.utf8(), nullable=False),
        pa.field("seen", TIME, nullable=False),
        *TAGS,
    ]
)


def encode_states(states: Sequence[DeviceState]) -> bytes:
    """Devices' states as a ``device_state`` record's value."""
    rows = [
        {
            "feed": each.feed,
            "device": each.device,
            "time": each.time_ns,
            "state": each.state,
            "cause": each.cause,
            "seen": each.seen_ns,
            **tag_columns(each.tags),
        }
        for each in states
    ]
    return rows_to_ipc(_STATES, rows)


def decode_states(value: bytes) -> list[DeviceState]:
    """Read devices' states back; raises DataError likewise."""
    table = with_numbers(from_ipc(value, _STATES), "time", "seen")
    return [
        DeviceState(
            feed=row["feed"],
            device=row["device"],
            time_ns=row["time"],
            state=row["state"],
            cause=row["cause"],
            seen_ns=row["seen"],
            tags=tags_in(row),
        )
        for row in table.to_pylist()
    ]


def states_record(states: Sequence[DeviceState]) -> Record:
    """An ``anomalies`` record that tells of devices."""
    return Record(encode_states(states), headers=(("schema", STATES_SCHEMA),))


def states_records(states: Sequence[DeviceState]) -> list[Record]:
    """Devices' states as as many records as it takes."""
    return whole(len(states), lambda first, end: states_record(states[first:end]))


def _rows(states: Sequence[DeviceState], takes: Takes) -> Iterator[Row]:
    for each in states:
        if takes(each.time_ns, each.device):
            yield {
                "time": iso_text(each.time_ns),
                "feed": each.feed,
                "device": each.device,
                "state": each.state,
                "cause": each.cause,
                "seen": iso_text(each.seen_ns),
                "tags": dict(each.tags),
            }


KIND = RecordKind(
    "states",
    ANOMALIES,
    (STATES_SCHEMA,),
    count=lambda value: len(decode_states(value)),
    rows=lambda value, takes: _rows(decode_states(value), takes),
    columns=("time", "feed", "device", "state", "cause", "seen", "tags"),
)
