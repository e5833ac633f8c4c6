"""Which messages of quarantine have been taken after all.

They stay where they are, for nothing in a log is changed. Behind them, in the same partition, it is
noted which of them have become readings, so that none is taken twice; and because a log deletes its
oldest records first, the note is there for as long as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import starmap
from typing import NamedTuple

import pyarrow as pa

from headgate.core.ipc import from_ipc, to_ipc
from headgate.core.iso import iso_text
from headgate.core.log import QUARANTINE, Headers, Record
from headgate.core.records.arrow import TIME, with_numbers
from headgate.core.records.kind import RecordKind, Row, Takes, whole
from headgate.core.records.messages import QUARANTINE_COLUMNS

RETRIED_SCHEMA = b"retried/1"

#: A record of ``readings`` with this header holds what had been in quarantine.
RETRIED_HEADER = ("retried", b"1")

#: And with one of this name: just the one message of ``quarantine`` that stands there.
_FROM = "retried-from"
_PLACE = re.compile(rb"(\d{1,20})/(\d{1,20})/(\d{1,20})/(-?\d{1,20})")

_RETRIED = pa.schema(
    [
        pa.field("time", TIME, nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("readings", pa.int32(), nullable=False),
        pa.field("reason", pa.utf8(), nullable=False),
    ]
)


class RetriedMessage(NamedTuple):
    """A message of quarantine that was taken.

    Attributes:
        time_ns: When, ns since 1970 UTC.
        offset: The record of the same partition that it stands in.
        row: Its place among the messages in that, from 0.
        readings: How many readings it gave.
        reason: What it had been refused for.
    """

    time_ns: int
    offset: int
    row: int
    readings: int
    reason: str


def encode_retried(retried: Sequence[RetriedMessage]) -> bytes:
    """What was taken as a ``quarantine`` record's value."""
    columns = zip(*retried, strict=True) if retried else [()] * len(_RETRIED)
    return to_ipc(
        _RETRIED,
        [pa.array(column, field.type) for column, field in zip(columns, _RETRIED, strict=True)],
    )


def decode_retried(value: bytes) -> list[RetriedMessage]:
    """Read it back; raises DataError like ``decode_readings``."""
    table = with_numbers(from_ipc(value, _RETRIED), "time")
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return list(starmap(RetriedMessage, rows))


def retried_records(retried: Sequence[RetriedMessage]) -> list[Record]:
    """What was taken as as many ``quarantine`` records as it takes."""
    headers = (("schema", RETRIED_SCHEMA),)
    return whole(
        len(retried), lambda first, end: Record(encode_retried(retried[first:end]), headers=headers)
    )


def is_retried(headers: Headers) -> bool:
    """Whether a record of ``readings`` holds what had been in quarantine."""
    return RETRIED_HEADER in headers


class Place(NamedTuple):
    """Where a message stands in quarantine.

    Attributes:
        partition: Its record's partition.
        offset: Its record's offset.
        row: Its place in that, from 0.
        arrival_ns: When it arrived, ns since 1970 UTC: a topic that was made anew has the same
            offsets as the one before.
    """

    partition: int
    offset: int
    row: int
    arrival_ns: int


def retried_from(headers: Headers) -> Place | None:
    """The only message of which a record of ``readings`` is; None where it says of none."""
    for name, value in headers:
        if name == _FROM and (found := _PLACE.fullmatch(value)):
            return Place(*map(int, found.groups()))
    return None


def from_header(place: Place) -> tuple[str, bytes]:
    """The header that says it."""
    return _FROM, "/".join(map(str, place)).encode()


def _rows(retried: Sequence[RetriedMessage], takes: Takes) -> Iterator[Row]:
    for each in retried:
        if takes(each.time_ns, ""):
            yield {
                "time": iso_text(each.time_ns),
                # Whoever has the record knows which topic and partition that is in.
                "source": f"@{each.offset}/{each.row}",
                "reason": "retried",
                "detail": f"{each.readings} readings of what was refused as {each.reason}",
                "payload": "",
                "payload_bytes": 0,
                "tags": {},
            }


KIND = RecordKind(
    "retried",
    QUARANTINE,
    (RETRIED_SCHEMA,),
    count=lambda value: len(decode_retried(value)),
    rows=lambda value, takes: _rows(decode_retried(value), takes),
    columns=QUARANTINE_COLUMNS,
)
