"""Records of ``readings`` as what they hold, and refusals of those that can't be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from typing import TypeAlias, TypeVar

from headgate.core.batch import Batch, Origin
from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError
from headgate.core.log import Headers, Record, TopicPartition
from headgate.core.records import (
    AVAILABILITY_SCHEMA,
    HELD_SCHEMA,
    READINGS_SCHEMA,
    READINGS_SCHEMAS,
    KeyRows,
    check_schema,
    decode_availability,
    decode_readings,
    schema_of,
)
from headgate.core.results import Availability
from headgate.core.telemetry import Telemetry
from streams.process.events import Event, Message
from streams.process.refusals import Refusals

#: Readings worked on at once, and bytes of their records; one more record may come on top.
_BATCH_ROWS = 16_384
_BATCH_BYTES = 4 << 20

_Held = TypeVar("_Held", bound=Sized)

#: What records were refused for, by partition of quarantine.
Refused: TypeAlias = dict[TopicPartition, list[Record]]


def kind_of_record(message: Message) -> bytes:
    """What a record holds: readings, unless it is one of the other kinds that stand among them.

    That is what was said of whether devices are there, and what channels hold.
    """
    schema = schema_of(_headers(message))
    return schema if schema in (AVAILABILITY_SCHEMA, HELD_SCHEMA) else READINGS_SCHEMA


class RecordReader:
    """Reads records of ``readings``.

    Args:
        channels: The table that readings point into.
        refusals: Makes refusals.
        telemetry: Where they are counted.
        kept_bytes: So much of a refused record is kept.
    """

    def __init__(
        self, channels: ChannelTable, refusals: Refusals, telemetry: Telemetry, kept_bytes: int
    ) -> None:
        self._channels = channels
        self._key_rows = KeyRows(channels)
        self._refusals = refusals
        self._telemetry = telemetry
        self._kept_bytes = kept_bytes

    def readings_of(self, message: Message) -> Batch:
        """The readings of a record.

        Raises:
            DataError: ``bad_record``: it has none.
        """
        check_schema(_headers(message), *READINGS_SCHEMAS)
        return self._batch_of(message)

    def _batch_of(self, message: Message) -> Batch:
        origin = Origin(message.topic, message.partition, message.offset)
        return decode_readings(message.value or b"", self._channels, origin, self._key_rows)

    def readings(self, events: Sequence[Event]) -> tuple[list[Batch], Refused, int]:
        """Readings of the first of these events, refusals, and how many events it were.

        They are as many as make a batch: that is what bounds a process's memory, and larger ones
        are hardly faster. They end before a record of the other kind.
        """
        found, refused, done = self._some(events, self.readings_of)
        return [batch for _, batch in found], refused, done

    def held(self, events: Sequence[Event]) -> tuple[list[Batch], Refused, int]:
        """The same of what channels hold."""
        found, refused, done = self._some(events, self._batch_of)
        return [batch for _, batch in found], refused, done

    def availability(
        self, events: Sequence[Event]
    ) -> tuple[list[tuple[Message, list[Availability]]], Refused, int]:
        """The same of what was said, each record's with the record."""
        return self._some(events, lambda message: decode_availability(message.value or b""))

    def _some(
        self, events: Sequence[Event], read: Callable[[Message], _Held]
    ) -> tuple[list[tuple[Message, _Held]], Refused, int]:
        kind = kind_of_record(events[0].message)
        found: list[tuple[Message, _Held]] = []
        refused: Refused = {}
        done = rows = size = 0
        for event in events:
            message = event.message
            if rows >= _BATCH_ROWS or size >= _BATCH_BYTES or kind_of_record(message) != kind:
                break
            done += 1
            size += len(message.value or b"")
            try:
                found.append((message, read(message)))
                rows += len(found[-1][1])
            except DataError as error:
                self._telemetry.refused.note(error.reason, "", b"the log", detail=error.detail)
                at, record = self._refusals.of_record(message, error, self._kept_bytes)
                refused.setdefault(at, []).append(record)
        return found, refused, done


def _headers(message: Message) -> Headers:
    headers = message.headers or {}
    return tuple(headers.items() if isinstance(headers, Mapping) else headers)
