"""What could not even be decoded, in quarantine."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from itertools import repeat, starmap
from typing import NamedTuple

import pyarrow as pa

from headgate.core.divide import DIVIDE_BYTES, divided
from headgate.core.errors import DataError
from headgate.core.ipc import from_ipc, to_ipc
from headgate.core.iso import iso_text
from headgate.core.log import QUARANTINE, Record
from headgate.core.properties import noted
from headgate.core.records.arrow import TIME
from headgate.core.records.kind import RecordKind, Row, Takes

MESSAGES_SCHEMA = b"messages/2"

#: As it was written before it told what had been taken of a message, and its content type.
OLD_MESSAGES_SCHEMA = b"messages/1"

#: Of rows of the topic ``quarantine``, whatever they tell of.
QUARANTINE_COLUMNS = ("time", "source", "reason", "detail", "payload", "payload_bytes", "tags")

#: What is kept of a quarantined message that is too large for a record by itself: bytes of its
#: payload, and characters of each of its texts.
_CUT_PAYLOAD_BYTES = 1 << 20
_CUT_TEXT = 16 << 10

_MESSAGES_1 = pa.schema(
    [
        pa.field("ingest_time", TIME, nullable=False),
        pa.field("source", pa.utf8(), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
        pa.field("reason", pa.utf8(), nullable=False),
        pa.field("detail", pa.utf8(), nullable=False),
        pa.field("payload_bytes", pa.int64(), nullable=False),
    ]
)
_MESSAGES = pa.schema(
    [
        *_MESSAGES_1,
        pa.field("readings", pa.int32(), nullable=False),
        pa.field("content_type", pa.utf8(), nullable=False),
    ]
)

#: What ``readings`` is where nobody knows it.
UNKNOWN_READINGS = -1


class QuarantinedMessage(NamedTuple):
    """Something that could not even be decoded: an MQTT message, a log record, a refused point.

    Attributes:
        ingest_ns: When the gateway gave up on it, ns since 1970 UTC.
        source: Where it came from: ``SOURCE:TOPIC``, such as ``mqtt:TOPIC``,
            ``log:TOPIC/PARTITION@OFFSET``, ``influxdb``.
        payload: Its bytes, cut to the configured length.
        reason: Short fixed word, a counter's label.
        detail: What exactly was wrong.
        payload_bytes: Length of the payload before cutting.
        readings: How many readings were taken of it all the same, words of whether devices are
            there included: 0 where it was refused as a whole, and ``UNKNOWN_READINGS`` where
            nobody noted it.
        content_type: What was said beside it that it is, as ``kept_type`` has it; empty where
            nothing was, or nobody asked or noted it.
    """

    ingest_ns: int
    source: str
    payload: bytes
    reason: str
    detail: str
    payload_bytes: int
    readings: int = UNKNOWN_READINGS
    content_type: str = ""

    @property
    def told(self) -> str:
        """The detail and the content type, for people."""
        return noted(self.detail, self.content_type)


def encode_messages(messages: Sequence[QuarantinedMessage]) -> bytes:
    """Quarantined messages as a ``quarantine`` record's value."""
    # Column by column: rows of Python objects would take several times as long.
    columns = zip(*messages, strict=True) if messages else repeat((), len(_MESSAGES))
    return to_ipc(
        _MESSAGES,
        [_array(column, field.type) for column, field in zip(columns, _MESSAGES, strict=True)],
    )


def decode_messages(value: bytes) -> list[QuarantinedMessage]:
    """Read messages back, of this version or the one before; raises DataError likewise."""
    table = from_ipc(value, _MESSAGES, _MESSAGES_1)
    times = table.column("ingest_time").cast(pa.int64())
    columns = [times, *(table.column(name) for name in table.column_names[1:])]
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    return list(starmap(QuarantinedMessage, rows))


def _array(values: Sequence[object], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array([_clean_text(str(text)) for text in values], kind)


def _clean_text(text: str) -> str:
    """Text that UTF-8 can carry: lone surrogates, which JSON allows, become ``?``."""
    return text.encode("utf-8", "replace").decode()


def messages_record(messages: Sequence[QuarantinedMessage]) -> Record:
    """A ``quarantine`` record of messages."""
    return Record(encode_messages(messages), headers=(("schema", MESSAGES_SCHEMA),))


def messages_records(messages: Sequence[QuarantinedMessage]) -> list[Record]:
    """Quarantined messages as as many records as it takes.

    One that is too large for a record by itself is cut: its ``payload_bytes`` still tell.
    """

    def encode(first: int, end: int) -> Record:
        some = messages[first:end]
        size = sum(len(message.payload) for message in some)
        if len(some) > 1 and size > DIVIDE_BYTES:
            raise DataError("too_large", f"payloads of {size} bytes")
        return messages_record(some)

    records, too_large = divided(len(messages), encode)
    return records + [messages_record([_cut(messages[at])]) for at, _ in too_large]


def _cut(message: QuarantinedMessage) -> QuarantinedMessage:
    return message._replace(
        source=message.source[:_CUT_TEXT],
        payload=message.payload[:_CUT_PAYLOAD_BYTES],
        detail=message.detail[:_CUT_TEXT],
        content_type=message.content_type[:_CUT_TEXT],
    )


def _rows(messages: Sequence[QuarantinedMessage], takes: Takes) -> Iterator[Row]:
    for message in messages:
        if takes(message.ingest_ns, ""):
            try:
                payload = message.payload.decode()
            except UnicodeDecodeError:
                payload = "base64:" + base64.b64encode(message.payload).decode()
            yield {
                "time": iso_text(message.ingest_ns),
                "source": message.source,
                "reason": message.reason,
                "detail": message.told,
                "payload": payload,
                "payload_bytes": message.payload_bytes,
                "tags": {},
            }


KIND = RecordKind(
    "messages",
    QUARANTINE,
    (MESSAGES_SCHEMA, OLD_MESSAGES_SCHEMA),
    count=lambda value: len(decode_messages(value)),
    rows=lambda value, takes: _rows(decode_messages(value), takes),
    columns=QUARANTINE_COLUMNS,
)
