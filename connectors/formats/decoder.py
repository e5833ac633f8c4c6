"""JSON messages of one feed to readings, many at a time.

There are two ways, with the same result. Payloads that are just as the feed says, nearly all, go
the typed way (``typed.py``), and their readings are made as whole columns. What fails there goes
the careful way, record by record, which finds the reason.

A message is a JSON object, an array of objects, or an object that holds such an array at the
feed's ``records`` path. Each object is a *record*: one time, and a value for any of the feed's
channels. A record that can't be used is quarantined by itself; its neighbours in the same message
are kept. Time and device may stand in the record or, for all records, in the payload around them.

What a value may be: a number or a boolean; null, which makes a MISSING reading; absent, which
makes none unless the channel is ``required``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from connectors.formats.paths import ABSENT, getter
from connectors.formats.times import iso8601_to_ns, ns_per_unit, number_to_ns
from connectors.formats.topics import TopicPattern
from connectors.formats.typed import Typed, TypedDecoder
from headgate.config.schema import Feed
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.errors import DataError

#: Longest device name, in characters. It becomes a tag of every point.
MAX_DEVICE_NAME = 256

#: Deepest nesting of a payload; telemetry needs a handful of levels. orjson parses 1,024 at most
#: and refuses more, so this is what it refuses.
_TOO_DEEP = "depth limit"

#: What orjson says of a number that is too large for a float.
_TOO_LARGE = "infinity when parsed as double"

#: Placeholders of a topic other than the device, sorted by name.
Tags: TypeAlias = tuple[tuple[str, str], ...]

#: No event time is before this one, of the year 1823; before it is an impossible one.
_EARLIEST_NS = -(2**62)
_NO_TIME_NS = -(2**63)

#: Stands for a value that is not there; an object of its own, told by identity.
_SKIP = float("nan")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Readings and refusals of a run of messages, in their order.

    Attributes:
        time_ns: int64[n], event time, ns since 1970 UTC.
        channel: int32[n], row of the ``ChannelTable``.
        value: float64[n], in the channel's unit; NaN where missing.
        quality: uint16[n], ``Quality`` bits.
        refused: ``(message's position in the run, error)``; a message may stand more than once.
    """

    time_ns: NDArray[np.int64]
    channel: NDArray[np.int32]
    value: NDArray[np.float64]
    quality: NDArray[np.uint16]
    refused: list[tuple[int, DataError]]

    def batch(self, channels: ChannelTable) -> Batch:
        """The readings as a batch without origin."""
        return Batch.from_columns(
            channels, self.time_ns, self.channel, self.value, quality=self.quality
        )


@dataclass(slots=True)
class _Rows:
    """Readings on their way, as lists, and the position of the message each came from."""

    owner: list[int] = field(default_factory=list)
    time_ns: list[int] = field(default_factory=list)
    channel: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    quality: list[int] = field(default_factory=list)
    refused: list[tuple[int, DataError]] = field(default_factory=list)


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
        self._scale = np.array([signal.scale for signal in self._signals])
        self._offset = np.array([signal.offset for signal in self._signals])
        self._is_required = np.array([signal.is_required for signal in self._signals])
        self._time = None if feed.time.path is None else getter(feed.time.path)
        self._is_text_time = feed.time.unit == "iso8601"
        self._ns_per_unit = 1 if self._is_text_time else ns_per_unit(feed.time.unit)
        # What int64 holds, with room to add and subtract, is all there is.
        self._not_before_ns = max(iso8601_to_ns(feed.time.not_before), _EARLIEST_NS)
        self._max_ahead_ns = min(feed.time.max_ahead, -_EARLIEST_NS)
        self._typed = _typed_decoder(feed)
        # Topics repeat: what they say is worked out once. (tags, device) by topic, and by (tags,
        # device) the device's place in ``_rows``. Bounded by max_devices through ``_place_of``.
        self._topics: dict[bytes, tuple[Tags, str | None]] = {}
        self._places: dict[tuple[Tags, str], int] = {}
        # What the two say together, for the typed way.
        self._place_of_topic: dict[bytes, int] = {}
        self._place_of_pair: dict[tuple[bytes, object], int] = {}
        # int32[place, channel], rows of the table; grown by doubling.
        self._rows = np.empty((16, len(self._signals)), np.int32)

    def matches(self, topic: bytes) -> bool:
        """Whether a topic belongs to this feed."""
        return self._pattern.match(topic.decode(errors="replace")) is not None

    def decode(
        self, topics: Sequence[bytes], payloads: Sequence[bytes], arrival_ns: NDArray[np.int64]
    ) -> Decoded:
        """Decode messages; never raises for what they hold.

        Args:
            topics: The topic of each.
            payloads: The payload of each.
            arrival_ns: int64[n], when each arrived, ns since 1970 UTC.
        """
        if self._typed is None:
            return _joined(None, self._carefully(range(len(topics)), topics, payloads, arrival_ns))
        typed = self._typed.decode(payloads)
        failed = set(typed.failed)
        places = self._places_of(topics, typed, failed)
        time_ns = self._times_of(typed, arrival_ns[typed.owner], failed)
        is_absent = typed.is_absent
        is_odd = is_absent.all(axis=1) | (is_absent & self._is_required).any(axis=1)
        if is_odd.any():
            failed.update(typed.owner[is_odd].tolist())
        owner, value = typed.owner, typed.value
        if failed:
            is_good = ~np.isin(owner, np.fromiter(failed, np.intp))
            owner, places, time_ns = owner[is_good], places[is_good], time_ns[is_good]
            value, is_absent = value[is_good], is_absent[is_good]
        columns = self._columns(owner, places, time_ns, value, is_absent)
        careful = self._carefully(sorted(failed), topics, payloads, arrival_ns) if failed else None
        return _joined(columns, careful)

    def _places_of(
        self, topics: Sequence[bytes], typed: Typed, failed: set[int]
    ) -> NDArray[np.intp]:
        """intp[r]: the place of each record's device; those that have none fail."""
        known: list[int | None]
        if typed.device is None:
            is_plain = typed.is_one_each
            names = topics if is_plain else [topics[at] for at in typed.owner.tolist()]
            known = list(map(self._place_of_topic.get, names))
            keys: Sequence[Any] = names
        else:
            keys = [
                (topics[at], device)
                for at, device in zip(typed.owner.tolist(), typed.device, strict=True)
            ]
            known = list(map(self._place_of_pair.get, keys))
        if None in known:
            for position, place in enumerate(known):
                if place is None:
                    known[position] = self._new_place(keys[position], typed, position, failed)
        return np.array(known, np.intp)

    def _new_place(self, key: Any, typed: Typed, position: int, failed: set[int]) -> int:  # noqa: ANN401
        topic, named = (key, None) if typed.device is None else key
        try:
            tags, device = self._names(topic)
            if device is None:
                device = self._device_name(named)
            place = self._place_of(tags, device)
        except DataError:
            failed.add(int(typed.owner[position]))
            return 0
        known: dict[Any, int] = (
            self._place_of_topic if typed.device is None else self._place_of_pair
        )
        if len(known) < 2 * self._max_devices:
            known[key] = place
        return place

    def _times_of(
        self, typed: Typed, arrival_ns: NDArray[np.int64], failed: set[int]
    ) -> NDArray[np.int64]:
        """int64[r]: the records' event times; those without a believable one fail."""
        if typed.time is None:
            return arrival_ns
        try:
            if self._is_text_time:
                times_ns = np.array(list(map(iso8601_to_ns, typed.time)), np.int64)
            elif set(map(type, typed.time)) <= {int}:
                times_ns = _multiplied(np.array(typed.time, np.int64), self._ns_per_unit)
            else:
                unit = self._ns_per_unit
                times_ns = np.array([number_to_ns(each, unit) for each in typed.time], np.int64)
        except (DataError, OverflowError, TypeError):
            # Somebody's is not a time: one by one.
            times_ns = np.empty(len(typed.time), np.int64)
            for position, each in enumerate(typed.time):
                try:
                    times_ns[position] = self._event_time_ns(each, int(arrival_ns[position]))
                except DataError:
                    times_ns[position] = _NO_TIME_NS
        is_bad = (times_ns < self._not_before_ns) | (times_ns > arrival_ns + self._max_ahead_ns)
        if is_bad.any():
            failed.update(typed.owner[is_bad].tolist())
        return times_ns

    def _columns(
        self,
        owner: NDArray[np.intp],
        places: NDArray[np.intp],
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        is_absent: NDArray[np.bool_],
    ) -> _Columns:
        """Readings of good records, record by record, channels in the feed's order."""
        channels = len(self._signals)
        with np.errstate(over="ignore"):
            numbers = (value * self._scale + self._offset).ravel()
        flags = np.uint16(Quality.ARRIVAL_TIME if self._time is None else 0)
        quality = np.full(len(numbers), flags, np.uint16)
        is_finite = np.isfinite(numbers)
        if not is_finite.all():
            is_null = np.isnan(value).ravel()
            quality[~is_finite] |= np.uint16(Quality.MISSING)
            quality[~is_finite & ~is_null] |= np.uint16(Quality.NOT_FINITE)
            numbers[~is_finite] = np.nan
        columns = _Columns(
            np.repeat(owner, channels),
            np.repeat(time_ns, channels),
            self._rows[places].ravel(),
            numbers,
            quality,
        )
        return columns.take(~is_absent.ravel()) if is_absent.any() else columns

    def _carefully(
        self,
        positions: Iterable[int],
        topics: Sequence[bytes],
        payloads: Sequence[bytes],
        arrival_ns: NDArray[np.int64],
    ) -> _Rows:
        """Decode the messages at these positions record by record."""
        rows = _Rows()
        for position in positions:
            try:
                tags, device = self._names(topics[position])
                envelope, records = self._records_of(payloads[position])
            except DataError as error:
                rows.refused.append((position, error))
                continue
            arrived_ns = int(arrival_ns[position])
            for record in records:
                try:
                    self._decode_record(record, envelope, tags, device, arrived_ns, position, rows)
                except DataError as error:
                    rows.refused.append((position, error))
        return rows

    def _names(self, topic: bytes) -> tuple[Tags, str | None]:
        known = self._topics.get(topic)
        if known is not None:
            return known
        values = self._pattern.match(topic.decode(errors="replace"))
        if values is None:
            raise DataError("unknown_topic", f"not a topic of feed {self._name}")
        device = None if self._device is not None else values.pop("device")
        names = (tuple(sorted(values.items())), device)
        if device is not None:
            _check_device(device)
            self._place_of(names[0], device)  # refuses one device too many
        if len(self._topics) < 2 * self._max_devices:
            self._topics[topic] = names
        return names

    def _records_of(self, payload: bytes) -> tuple[object, Sequence[object]]:
        """The payload, and the records in it."""
        envelope = content = _loads(payload)
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
        tags: Tags,
        device: str | None,
        arrived_ns: int,
        owner: int,
        decoded: _Rows,
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
        rows = self._rows[self._place_of(tags, device)].tolist()
        # Looked at before anything is added: a record is taken whole or refused whole.
        values = [signal.value_in(record) for signal in self._signals]
        kept = [(row, value) for row, value in zip(rows, values, strict=True) if value is not _SKIP]
        if not kept:
            raise DataError("no_channels", "none of the feed's channels is in the record")
        for row, value in kept:
            decoded.owner.append(owner)
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
        return self._device_name(device)

    def _device_name(self, device: object) -> str:
        if type(device) is int:
            device = str(device)
        if type(device) is not str:
            raise DataError("bad_device", f"expected a device name, got {device!r:.60}")
        _check_device(device)
        return device

    def _place_of(self, tags: Tags, device: str) -> int:
        """The device's place in ``_rows``, added when it is new."""
        place = self._places.get((tags, device))
        if place is not None:
            return place
        if len(self._channels.devices) >= self._max_devices and not self._is_known(device):
            raise DataError("too_many_devices", f"ingest.max_devices is {self._max_devices}")
        place = len(self._places)
        if place == len(self._rows):
            self._rows = np.resize(self._rows, (2 * place, self._rows.shape[1]))
        self._rows[place] = [
            self._channels.row(
                Channel(self._name, device, self._measurement, signal.name, signal.unit, tags)
            )
            for signal in self._signals
        ]
        self._places[tags, device] = place
        return place

    def _is_known(self, device: str) -> bool:
        return any(device == known for _, known in self._places)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Readings as columns, and the position of the message each came from."""

    owner: NDArray[np.intp]
    time_ns: NDArray[np.int64]
    channel: NDArray[np.int32]
    value: NDArray[np.float64]
    quality: NDArray[np.uint16]

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> _Columns:
        """The readings at these positions, or under this mask."""
        return _Columns(
            self.owner[rows],
            self.time_ns[rows],
            self.channel[rows],
            self.value[rows],
            self.quality[rows],
        )


def _joined(columns: _Columns | None, careful: _Rows | None) -> Decoded:
    """What both ways gave, in the messages' order."""
    if careful is not None:
        more = _Columns(
            np.array(careful.owner, np.intp),
            np.array(careful.time_ns, np.int64),
            np.array(careful.channel, np.int32),
            np.array(careful.value, np.float64),
            np.array(careful.quality, np.uint16),
        )
        if columns is None or not len(columns.owner):
            columns = more
        elif len(more.owner):
            columns = _Columns(
                np.concatenate([columns.owner, more.owner]),
                np.concatenate([columns.time_ns, more.time_ns]),
                np.concatenate([columns.channel, more.channel]),
                np.concatenate([columns.value, more.value]),
                np.concatenate([columns.quality, more.quality]),
            )
            columns = columns.take(np.argsort(columns.owner, kind="stable"))
    assert columns is not None  # noqa: S101  (one of the two is always there)
    refused = [] if careful is None else careful.refused
    return Decoded(columns.time_ns, columns.channel, columns.value, columns.quality, refused)


def _typed_decoder(feed: Feed) -> TypedDecoder | None:
    """The feed's typed way; None when its paths need the careful one throughout."""
    if feed.records is not None:
        return None
    paths = [mapping.path or channel for channel, mapping in feed.channels.items()]
    time = None if feed.time.path is None else (feed.time.path, feed.time.unit == "iso8601")
    try:
        return TypedDecoder(paths, time, feed.device)
    except ValueError:
        return None


def _multiplied(times: NDArray[np.int64], ns_per_unit: int) -> NDArray[np.int64]:
    """Times in ns; what does not fit is an impossible time, as it should be."""
    most = (2**63 - 1) // ns_per_unit
    return np.where(np.abs(times) <= most, times * ns_per_unit, _NO_TIME_NS)


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


def _loads(payload: bytes) -> object:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        trouble = error
    if _TOO_LARGE in str(trouble):
        # A number that no float can hold does not make a message bad, least of all in a field that
        # nobody wants: it is infinite here, as a whole number of as many digits is.
        try:
            return json.loads(payload.decode(), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            pass
    raise _why_not_json(payload, trouble)


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is no JSON")


def _why_not_json(payload: bytes, error: orjson.JSONDecodeError) -> DataError:
    try:
        payload.decode()
    except UnicodeDecodeError as invalid:
        return DataError("not_utf8", f"byte {invalid.start}: {invalid.reason}")
    reason = "too_deep" if _TOO_DEEP in str(error).lower() else "not_json"
    return DataError(reason, str(error)[:200])
