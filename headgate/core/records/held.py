"""What channels hold by what a broker had retained, on its way.

It stands among the readings, in the partition of the device, so that both are taken in the order in
which they came. It is no reading.
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.core.batch import Batch
from headgate.core.channels import ChannelTable
from headgate.core.log import READINGS, Record
from headgate.core.records.keys import KeyGroup
from headgate.core.records.kind import RecordKind, Row, Takes, whole
from headgate.core.records.readings import decode_readings, encode_readings, rows_between

HELD_SCHEMA = b"held/1"


def held_records(batch: Batch, feed: str, group: KeyGroup | None = None) -> list[Record]:
    """``readings`` records of these, as many as it takes; they are written as readings are."""
    headers = (("schema", HELD_SCHEMA), ("feed", feed.encode()))
    return whole(
        len(batch),
        lambda first, end: Record(
            encode_readings(rows_between(batch, first, end), group), headers=headers
        ),
    )


def _no_rows(value: bytes, takes: Takes) -> Iterator[Row]:
    """None: exports of readings have readings."""
    del takes
    decode_readings(value, ChannelTable())
    return iter(())


KIND = RecordKind(
    "held",
    READINGS,
    (HELD_SCHEMA,),
    count=lambda value: len(decode_readings(value, ChannelTable())),
    rows=_no_rows,
    columns=(),
)
