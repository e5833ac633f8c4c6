"""Protocol Buffers as one of the formats: messages of a schema as objects."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.message import DecodeError, EncodeError

from connectors.formats.bounds import Bounds
from connectors.formats.protobuf.component import ProtobufConfig
from connectors.formats.protobuf.schema import is_map, message_class
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.errors import DataError

#: What an object and a value of it take, bytes.
_OBJECT, _VALUE = 300, 48

#: Of so many bytes a message may be as dense as can be; else what is made of it is bounded.
_FREE_BYTES = 7 << 20
_MAX_RATIO = 12

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ProtobufFormat:
    """Reads messages of a schema; a ``Format``.

    Args:
        table: Which schema.
        feed: The feed's configuration.
        limits: What one message may hold.
    """

    make_typed = None
    is_utf8 = False
    pick = None

    def __init__(self, table: ProtobufConfig, feed: FeedConfig, limits: IngestConfig) -> None:
        self._class = message_class(table.file, table.message)
        self._name = table.message
        self._has_names = table.enums == "names"
        bounds = Bounds(limits.max_records, len(feed.channels))
        self.check_count = bounds.check_count
        self.unseen_bytes = bounds.unseen_bytes

    def check(self, payload: bytes) -> bool:
        """Look at a payload before it is parsed; see ``Format.check``."""
        del payload  # what it holds is counted while records are made of it
        return False

    def read(self, topic: bytes, payload: bytes) -> object:
        """What a payload holds; see ``Format.read``."""
        del topic
        if not payload:
            raise DataError("empty", "nothing in it; so are retained messages cleared")
        message = self._class()
        try:
            message.ParseFromString(payload)
        except (DecodeError, EncodeError, ValueError, RecursionError) as error:
            detail = f"no {self._name}: {error}"[:200]
            if payload.lstrip()[:1] in (b"{", b"["):
                detail += '; it looks like JSON, which format = "json" reads'
            raise DataError("not_protobuf", detail) from None
        if not message.ListFields():
            raise DataError("not_protobuf", f"none of the fields of {self._name} is in it")
        room = max(_MAX_RATIO * len(payload), _FREE_BYTES)
        return _Reader(room, has_names=self._has_names).content(message)


class _Reader:
    """Makes objects of one message.

    Args:
        room: What may be made of it, bytes.
        has_names: Whether values of enumerations are names.
    """

    def __init__(self, room: int, *, has_names: bool) -> None:
        self._room = room
        self._has_names = has_names

    def content(self, message: Any) -> dict[str, object]:  # noqa: ANN401  (made while it runs)
        """A message by the names of its fields."""
        fields = message.DESCRIPTOR.fields
        self._take(_OBJECT + _VALUE * len(fields))
        found: dict[str, object] = {}
        for field in fields:
            name = field.name
            if field.is_repeated:
                found[name] = self._several(field, getattr(message, name))
            elif not field.has_presence or message.HasField(name):
                found[name] = self._one(field, getattr(message, name))
        return found

    def _several(self, field: Any, values: Any) -> object:  # noqa: ANN401
        if not len(values):
            return {} if is_map(field) else []
        if is_map(field):
            value = field.message_type.fields_by_name["value"]
            self._take(_OBJECT + 3 * _VALUE * len(values))
            return {_key(key): self._one(value, values[key]) for key in values}
        self._take(_VALUE * len(values))
        if field.type in (field.TYPE_MESSAGE, field.TYPE_GROUP, field.TYPE_ENUM):
            return [self._one(field, each) for each in values]
        return list(values)

    def _one(self, field: Any, value: Any) -> object:  # noqa: ANN401
        if field.type in (field.TYPE_MESSAGE, field.TYPE_GROUP):
            made = _WELL_KNOWN.get(field.message_type.full_name)
            return self.content(value) if made is None else made(value)
        if field.type == field.TYPE_ENUM and self._has_names:
            named = field.enum_type.values_by_number.get(value)
            return value if named is None else named.name
        return value

    def _take(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise DataError(
                "too_many_records",
                f"so many and small messages or values that they would take more than "
                f"{_MAX_RATIO} times its size",
            )


def _key(key: object) -> str:
    """A map's key as JSON has it."""
    return str(key).lower() if isinstance(key, bool) else str(key)


def _timestamp(message: Any) -> object:  # noqa: ANN401
    """An event time by itself; seconds as a number where no year has it."""
    try:
        return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError:
        return message.seconds


#: Messages that everybody has, as what they mean.
_WELL_KNOWN: dict[str, Callable[[Any], object]] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": lambda message: message.seconds + message.nanos / 1e9,
    **{
        f"google.protobuf.{kind}Value": lambda message: message.value
        for kind in (
            "Double",
            "Float",
            "Int64",
            "UInt64",
            "Int32",
            "UInt32",
            "Bool",
            "String",
            "Bytes",
        )
    },
}
