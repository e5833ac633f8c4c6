"""Commands to devices, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from headgate.core.commands import Command
from headgate.core.ipc import from_ipc, rows_to_ipc
from headgate.core.iso import iso_text
from headgate.core.log import ANOMALIES, Record
from headgate.core.records.arrow import (
    TAGS,
    TIME,
    tag_columns,
    tags_in,
    with_numbers,
)
from headgate.core.records.kind import RecordKind, Row, Takes, whole

COMMANDS_SCHEMA = b"commands/1"

_TEXTS: Final = ("action", "id", "feed", "device", "rule", "model", "channel", "severity")
_SAID: Final = ("state", "reason", "detail", "topic", "payload")

#: Columns of times, each with the attribute that it is.
_TIMES: Final = {
    "start": "start_ns",
    "time": "time_ns",
    "asked": "asked_ns",
    "sent": "sent_ns",
    "answered": "answered_ns",
}

#: Times that there may be none of.
_MAY_BE_NONE: Final = ("sent", "answered")

_COMMANDS = pa.schema(
    [
        *(pa.field(name, pa.utf8(), nullable=False) for name in _TEXTS),
        pa.field("start", TIME, nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("is_open", pa.bool_(), nullable=False),
        *(pa.field(name, pa.utf8(), nullable=False) for name in _SAID),
        pa.field("asked", TIME, nullable=False),
        pa.field("sent", TIME, nullable=False),
        pa.field("answered", TIME, nullable=False),
        pa.field("answer", pa.utf8(), nullable=False),
        *TAGS,
    ]
)

_PLAIN: Final = (*_TEXTS, "is_open", *_SAID, "answer")


def encode_commands(commands: Sequence[Command]) -> bytes:
    """Commands as a ``commands`` record's value."""
    rows = [
        {
            **{name: getattr(each, name) for name in _PLAIN},
            **{name: getattr(each, attribute) for name, attribute in _TIMES.items()},
            **tag_columns(each.tags),
        }
        for each in commands
    ]
    return rows_to_ipc(_COMMANDS, rows)


def decode_commands(value: bytes) -> list[Command]:
    """Read commands back; raises DataError ``bad_record`` when the bytes are no such record."""
    table = with_numbers(from_ipc(value, _COMMANDS), *_TIMES)
    return [
        Command(
            **{name: row[name] for name in _PLAIN},
            **{attribute: row[name] for name, attribute in _TIMES.items()},
            tags=tags_in(row),
        )
        for row in table.to_pylist()
    ]


def commands_record(commands: Sequence[Command]) -> Record:
    """An ``anomalies`` record that tells what becomes of commands."""
    return Record(encode_commands(commands), headers=(("schema", COMMANDS_SCHEMA),))


def commands_records(commands: Sequence[Command]) -> list[Record]:
    """Commands as as many records as it takes."""
    return whole(len(commands), lambda first, end: commands_record(commands[first:end]))


def _rows(commands: Sequence[Command], takes: Takes) -> Iterator[Row]:
    for each in commands:
        if takes(each.time_ns, each.device):
            times: dict[str, Any] = {
                name: iso_text(getattr(each, attribute)) for name, attribute in _TIMES.items()
            }
            times.update({name: None for name in _MAY_BE_NONE if not getattr(each, _TIMES[name])})
            plain = {name: getattr(each, name) for name in _PLAIN}
            row = {**times, **plain, "tags": dict(each.tags)}
            yield {name: row[name] for name in KIND.columns}


KIND = RecordKind(
    "commands",
    ANOMALIES,
    (COMMANDS_SCHEMA,),
    count=lambda value: len(decode_commands(value)),
    rows=lambda value, takes: _rows(decode_commands(value), takes),
    columns=(
        "time",
        "action",
        "id",
        "state",
        "reason",
        "detail",
        "feed",
        "device",
        "rule",
        "model",
        "channel",
        "severity",
        "is_open",
        "start",
        "topic",
        "payload",
        "asked",
        "sent",
        "answered",
        "answer",
        "tags",
    ),
)
