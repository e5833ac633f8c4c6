"""What devices, or others for them, have said of whether they are there, on its way.

It stands among the readings, in the partition of the device, so that both are taken in the order in
which they came. It is no reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from headgate.core.errors import DataError
from headgate.core.ipc import from_ipc, rows_to_ipc
from headgate.core.log import READINGS, Record
from headgate.core.records.arrow import TAGS, TIME, tag_columns, tags_in, with_numbers
from headgate.core.records.kind import RecordKind, Row, Takes, whole
from headgate.core.results import OFFLINE, ONLINE, WITHDRAWN, Availability

AVAILABILITY_SCHEMA = b"availability/1"

_STATES = (ONLINE, OFFLINE, WITHDRAWN)

_AVAILABILITY = pa.schema(
    [
        pa.field("feed", pa.utf8(), nullable=False),
        pa.field("device", pa.utf8(), nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("state", pa.utf8(), nullable=False),
        pa.field("cause", pa.utf8(), nullable=False),
        pa.field("through", pa.bool_(), nullable=False),
        pa.field("adds", pa.bool_(), nullable=False),
        *TAGS,
    ]
)


def encode_availability(said: Sequence[Availability]) -> bytes:
    """What was said as an ``availability`` record's value."""
    rows = [
        {
            "feed": each.feed,
            # No device is called so.
            "device": each.device or "",
            "time": each.time_ns,
            "state": each.state,
            "cause": each.cause,
            "through": each.is_through,
            "adds": each.adds,
            **tag_columns(each.tags),
        }
        for each in said
    ]
    return rows_to_ipc(_AVAILABILITY, rows)


def decode_availability(value: bytes) -> list[Availability]:
    """Read it back.

    Raises:
        DataError: ``bad_record`` when the bytes are no such record.
    """
    table = with_numbers(from_ipc(value, _AVAILABILITY), "time")
    said = [
        Availability(
            feed=row["feed"],
            device=row["device"] or None,
            time_ns=row["time"],
            state=row["state"],
            cause=row["cause"],
            is_through=row["through"],
            adds=row["adds"],
            tags=tags_in(row),
        )
        for row in table.to_pylist()
    ]
    for each in said:
        if each.state not in _STATES:
            raise DataError(
                "bad_record", f"state: expected one of {', '.join(_STATES)}, got {each.state!r}"
            )
    return said


def availability_records(said: Sequence[Availability]) -> list[Record]:
    """``readings`` records of what was said, as many as it takes."""
    return whole(
        len(said),
        lambda first, end: Record(
            encode_availability(said[first:end]), headers=(("schema", AVAILABILITY_SCHEMA),)
        ),
    )


def _no_rows(value: bytes, takes: Takes) -> Iterator[Row]:
    """None: exports of readings have readings; what comes of this is a device's state."""
    del takes
    decode_availability(value)
    return iter(())


KIND = RecordKind(
    "availability",
    READINGS,
    (AVAILABILITY_SCHEMA,),
    count=lambda value: len(decode_availability(value)),
    rows=_no_rows,
    columns=(),
)
