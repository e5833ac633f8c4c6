"""Quarantined messages as values of records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

import pyarrow as pa

from headgate.core.ipc import from_ipc, to_ipc
from headgate.core.wire.schemas import TIME

_MESSAGES = pa.schema(
    [
        pa.field("ingest_time", TIME, nullable=False),
        pa.field("source", pa.utf8(), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
        pa.field("reason", pa.utf8(), nullable=False),
        pa.field("detail", pa.utf8(), nullable=False),
        pa.field("payload_bytes", pa.int64(), nullable=False),
    ]
)


class QuarantinedMessage(NamedTuple):
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


def encode_messages(messages: Sequence[QuarantinedMessage]) -> bytes:
    """Quarantined messages as a ``quarantine`` record's value."""
    # Column by column: rows of Python objects would take several times as long.
    columns = zip(*messages, strict=True) if messages else repeat((), len(_MESSAGES))
    return to_ipc(
        _MESSAGES,
        [_array(column, field.type) for column, field in zip(columns, _MESSAGES, strict=True)],
    )


def decode_messages(value: bytes) -> list[QuarantinedMessage]:
    """Read quarantined messages back; raises DataError like ``decode_readings``."""
    table = from_ipc(value, _MESSAGES)
    times = table.column("ingest_time").cast(pa.int64())
    columns = [times, *(table.column(name) for name in _MESSAGES.names[1:])]
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    return list(map(QuarantinedMessage._make, rows))


def _array(values: Sequence[object], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array([_clean_text(str(text)) for text in values], kind)


def _clean_text(text: str) -> str:
    """Text that UTF-8 can carry: lone surrogates, which JSON allows, become ``?``."""
    return text.encode("utf-8", "replace").decode()
