"""JSON messages of one feed to readings, many at a time.

A message is a JSON object, an array of objects, or an object that holds such an array at the
feed's ``records`` path. Each object is a *record*: one time, and a value for any of the feed's
channels. A record that can't be used is quarantined by itself; its neighbours in the same message
are kept. Time and device may stand in the record or, for all records, in the payload around them.

What a value may be: a number or a boolean; null, which makes a MISSING reading; absent, which
makes none unless the channel is ``required``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, nan

import numpy as np
import orjson

from connectors.formats.paths import ABSENT, getter
from connectors.formats.times import iso8601_to_ns, ns_per_unit, number_to_ns
from connectors.formats.topics import TopicPattern
from headgate.config.schema import Feed
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.errors import DataError

#: Longest device name, in characters. It becomes a tag of every point.
MAX_DEVICE_NAME = 256

#: Deepest nesting of a payload; telemetry needs a handful of levels. orjson parses 1,024 at most
#: and refuses more, so this is what it refuses.
_TOO_DEEP = "depth limit"


#: Stands for a value that is not there; an object of its own, told by identity.
_SKIP = float("nan")


@dataclass(slots=True)
class Decoded:
    """Readings and refusals of a run of messages, in their order.

    Attributes:
        time_ns: Event time of each reading, ns since 1970 UTC.
        channel: Row of the ``ChannelTable`` of each reading.
        value: The values, in the channel's unit; NaN where missing.
        quality: ``Quality`` bits of each reading.
        refused: ``(message's position in the run, error)``; a message may stand more than once.
    """

    time_ns: list[int] = field(default_factory=list)
    channel: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    quality: list[int] = field(default_factory=list)
    refused: list[tuple[int, DataError]] = field(default_factory=list)

    def batch(self, channels: ChannelTable) -> Batch:
        """The readings as a batch without origin."""
        return Batch.from_columns(
            channels,
            np.array(self.time_ns, np.int64),
            np.array(self.channel, np.int32),
            np.array(self.value, np.float64),
            quality=np.array(self.quality, np.uint16),
        )


@dataclass(frozen=True, slots=True)
class _Signal:
    """One channel of the configuration, ready for use."""

    name: str
    get: Callable[[object], object]
    unit: str
    scale: float
    offset: float
    is_required: bool

    def value_in(self, record: object) -> float:
        """The value, NaN for null, infinite for what no float can hold; ``_SKIP`` when absent."""
        value = self.get(record)
        if type(value) is float:
            return value * self.scale + self.offset
        if type(value) is int or type(value) is bool:
            return _as_float(value) * self.scale + self.offset
        if value is None:
            return nan
        if value is not ABSENT:
            raise DataError("wrong_type", f"{self.name}: expected a number, got {value!r:.60}")
        if self.is_required:
            raise DataError("missing_field", f"{self.name} is required and absent")
        return _SKIP


class FeedDecoder:
    """Decodes the messages of one feed.

    Args:
        name: The feed's name.
        feed: Its configuration.
        channels: The table that readings point into.
        max_devices: Devices in the table at most; a message of a further one is refused.
    """

    def __init__(self, name: str, feed: Feed, channels: ChannelTable, max_devices: int) -> None:
        self._name = name
        self._channels = channels
        self._max_devices = max_devices
        self._measurement = feed.measurement or name
        self._pattern = TopicPattern(feed.topic)
        self._records = None if feed.records is None else getter(feed.records)
        self._device = None if feed.device is None else getter(feed.device)
        self._signals = [
            _Signal(
                channel,
                getter(mapping.path or channel),
                mapping.unit,
                mapping.scale,
                mapping.offset,
                mapping.required,
            )
            for channel, mapping in feed.channels.items()
        ]
        self._time = None if feed.time.path is None else getter(feed.time.path)
        self._is_text_time = feed.time.unit == "iso8601"
        self._ns_per_unit = 1 if self._is_text_time else ns_per_unit(feed.time.unit)
        self._not_before_ns = iso8601_to_ns(feed.time.not_before)
        self._max_ahead_ns = feed.time.max_ahead
        # Topics repeat: what they say is worked out once. (tags, device) by topic, and channel
        # rows by (tags, device). Bounded by max_devices through ``_rows_of``.
        self._topics: dict[str, tuple[tuple[tuple[str, str], ...], str | None]] = {}
        self._rows: dict[tuple[tuple[tuple[str, str], ...], str], list[int]] = {}

    def matches(self, topic: str) -> bool:
        """Whether a topic belongs to this feed."""
        return self._pattern.match(topic) is not None

    def decode(self, messages: Sequence[tuple[str, bytes]], arrival_ns: Sequence[int]) -> Decoded:
        """Decode messages; never raises for what they hold.

        Args:
            messages: ``(topic, payload)`` of each.
            arrival_ns: When each arrived, ns since 1970 UTC.
        """
        decoded = Decoded()
        for position, ((topic, payload), arrived_ns) in enumerate(
            zip(messages, arrival_ns, strict=True)
        ):
            try:
                tags, device = self._names(topic)
                envelope, records = self._records_of(payload)
            except DataError as error:
                decoded.refused.append((position, error))
                continue
            for record in records:
                try:
                    self._decode_record(record, envelope, tags, device, arrived_ns, decoded)
                except DataError as error:
                    decoded.refused.append((position, error))
        return decoded

    def _names(self, topic: str) -> tuple[tuple[tuple[str, str], ...], str | None]:
        known = self._topics.get(topic)
        if known is not None:
            return known
        values = self._pattern.match(topic)
        if values is None:
            raise DataError("unknown_topic", f"not a topic of feed {self._name}")
        device = None if self._device is not None else values.pop("device")
        names = (tuple(sorted(values.items())), device)
        if device is not None:
            _check_device(device)
            self._rows_of(names[0], device)  # refuses one device too many
        if len(self._topics) < 2 * self._max_devices:
            self._topics[topic] = names
        return names

    def _records_of(self, payload: bytes) -> tuple[object, Sequence[object]]:
        """The payload, and the records in it."""
        try:
            envelope = content = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise _why_not_json(payload, error) from None
        if self._records is not None:
            content = self._records(content)
            if content is ABSENT:
                raise DataError("missing_records", "no array at the feed's records path")
        if type(content) is list:
            return envelope, content
        return envelope, (content,)

    def _decode_record(
        self,
        record: object,
        envelope: object,
        tags: tuple[tuple[str, str], ...],
        device: str | None,
        arrived_ns: int,
        decoded: Decoded,
    ) -> None:
        if type(record) is not dict:
            raise DataError("not_object", f"expected a JSON object, got {record!r:.60}")
        if device is None:
            device = self._device_in(record, envelope)
        flags = 0
        if self._time is None:
            time_ns = arrived_ns
            flags = int(Quality.ARRIVAL_TIME)
        else:
            time_ns = self._event_time_ns(_first(self._time, record, envelope), arrived_ns)
        rows = self._rows.get((tags, device)) or self._rows_of(tags, device)
        # Looked at before anything is added: a record is taken whole or refused whole.
        values = [signal.value_in(record) for signal in self._signals]
        kept = [(row, value) for row, value in zip(rows, values, strict=True) if value is not _SKIP]
        if not kept:
            raise DataError("no_channels", "none of the feed's channels is in the record")
        for row, value in kept:
            decoded.time_ns.append(time_ns)
            decoded.channel.append(row)
            if value - value == 0:
                decoded.value.append(value)
                decoded.quality.append(flags)
            else:
                decoded.value.append(nan)
                decoded.quality.append(flags | _flags_of_no_number(value))

    def _event_time_ns(self, value: object, arrived_ns: int) -> int:
        if value is ABSENT:
            raise DataError("bad_time", "no event time in the record")
        if self._is_text_time:
            time_ns = iso8601_to_ns(value)
        else:
            time_ns = number_to_ns(value, self._ns_per_unit)
        if time_ns < self._not_before_ns or time_ns > arrived_ns + self._max_ahead_ns:
            raise DataError("bad_time", f"not a believable time: {value!r:.60}")
        return time_ns

    def _device_in(self, record: object, envelope: object) -> str:
        device = ABSENT if self._device is None else _first(self._device, record, envelope)
        if type(device) is int:
            device = str(device)
        if type(device) is not str:
            raise DataError("bad_device", f"expected a device name, got {device!r:.60}")
        _check_device(device)
        return device

    def _rows_of(self, tags: tuple[tuple[str, str], ...], device: str) -> list[int]:
        rows = self._rows.get((tags, device))
        if rows is None:
            if len(self._channels.devices) >= self._max_devices and not self._is_known(device):
                raise DataError("too_many_devices", f"ingest.max_devices is {self._max_devices}")
            rows = [
                self._channels.row(
                    Channel(self._name, device, self._measurement, signal.name, signal.unit, tags)
                )
                for signal in self._signals
            ]
            self._rows[tags, device] = rows
        return rows

    def _is_known(self, device: str) -> bool:
        return any(device == known for _, known in self._rows)


def _first(get: Callable[[object], object], record: object, envelope: object) -> object:
    """What the path leads to in the record or, failing that, in the payload around it."""
    value = get(record)
    return get(envelope) if value is ABSENT else value


def _flags_of_no_number(value: float) -> int:
    if value in (inf, -inf):
        return int(Quality.MISSING | Quality.NOT_FINITE)
    return int(Quality.MISSING)


def _as_float(value: int | bool) -> float:  # noqa: FBT001  (JSON's true and false are numbers here)
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf


def _check_device(device: str) -> None:
    if not device or len(device) > MAX_DEVICE_NAME:
        raise DataError(
            "bad_device", f"expected 1 to {MAX_DEVICE_NAME} characters, got {len(device)}"
        )
    # Spaces, commas, quotes and any letters are fine. Control characters, and lone surrogates,
    # are not: no display shows them and line protocol can't carry a line break.
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in device):
        raise DataError("bad_device", "a control character in the device's name")
    try:
        device.encode()
    except UnicodeEncodeError:
        raise DataError("bad_device", "the device's name is no Unicode text") from None


def _why_not_json(payload: bytes, error: orjson.JSONDecodeError) -> DataError:
    try:
        payload.decode()
    except UnicodeDecodeError as invalid:
        return DataError("not_utf8", f"byte {invalid.start}: {invalid.reason}")
    reason = "too_deep" if _TOO_DEEP in str(error).lower() else "not_json"
    return DataError(reason, str(error)[:200])
