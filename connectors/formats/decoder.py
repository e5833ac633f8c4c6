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

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, nan

import numpy as np
from numpy.typing import NDArray

from connectors.formats.columns import Columns, Decoded, Rows, joined
from connectors.formats.devices import Devices
from connectors.formats.paths import ABSENT, first, getter
from connectors.formats.payload import loads
from connectors.formats.times import iso8601_to_ns, ns_per_unit, number_to_ns
from connectors.formats.typed import Typed, TypedDecoder
from headgate.config.schema import Feed
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable, Tags
from headgate.core.errors import DataError

#: No event time is before this one, of the year 1823; before it is an impossible one.
_EARLIEST_NS = -(2**62)
_NO_TIME_NS = -(2**63)

#: Stands for a value that is not there; an object of its own, told by identity.
_SKIP = float("nan")


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
        self._devices = Devices(name, feed, channels, max_devices)
        self._records = None if feed.records is None else getter(feed.records)
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

    def matches(self, topic: bytes) -> bool:
        """Whether a topic belongs to this feed."""
        return self._devices.matches(topic)

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
            return joined(None, self._carefully(range(len(topics)), topics, payloads, arrival_ns))
        typed = self._typed.decode(payloads)
        failed = set(typed.failed)
        places = self._devices.places_of(topics, typed, failed)
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
        return joined(columns, careful)

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
    ) -> Columns:
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
        columns = Columns(
            np.repeat(owner, channels),
            np.repeat(time_ns, channels),
            self._devices.rows[places].ravel(),
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
    ) -> Rows:
        """Decode the messages at these positions record by record."""
        rows = Rows()
        for position in positions:
            try:
                tags, texts = self._devices.names(topics[position])
                envelope, records = self._records_of(payloads[position])
            except DataError as error:
                rows.refused.append((position, error))
                continue
            arrived_ns = int(arrival_ns[position])
            for record in records:
                try:
                    self._decode_record(record, envelope, tags, texts, arrived_ns, position, rows)
                except DataError as error:
                    rows.refused.append((position, error))
        return rows

    def _records_of(self, payload: bytes) -> tuple[object, Sequence[object]]:
        """The payload, and the records in it."""
        envelope = content = loads(payload)
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
        texts: tuple[str, ...],
        arrived_ns: int,
        owner: int,
        decoded: Rows,
    ) -> None:
        if type(record) is not dict:
            raise DataError("not_object", f"expected a JSON object, got {record!r:.60}")
        device = self._devices.named_by(record, envelope, tags, texts)
        flags = 0
        if self._time is None:
            time_ns = arrived_ns
            flags = int(Quality.ARRIVAL_TIME)
        else:
            time_ns = self._event_time_ns(first(self._time, record, envelope), arrived_ns)
        rows = self._devices.rows[self._devices.place_of(tags, device)].tolist()
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


def _typed_decoder(feed: Feed) -> TypedDecoder | None:
    """The feed's typed way; None when its paths need the careful one throughout."""
    if feed.records is not None:
        return None
    paths = [mapping.path or channel for channel, mapping in feed.channels.items()]
    time = None if feed.time.path is None else (feed.time.path, feed.time.unit == "iso8601")
    try:
        return TypedDecoder(paths, time, feed.device_name.paths)
    except ValueError:
        return None


def _multiplied(times: NDArray[np.int64], ns_per_unit: int) -> NDArray[np.int64]:
    """Times in ns; what does not fit is an impossible time, as it should be."""
    most = (2**63 - 1) // ns_per_unit
    return np.where(np.abs(times) <= most, times * ns_per_unit, _NO_TIME_NS)


def _flags_of_no_number(value: float) -> int:
    if value in (inf, -inf):
        return int(Quality.MISSING | Quality.NOT_FINITE)
    return int(Quality.MISSING)


def _as_float(value: int | bool) -> float:  # noqa: FBT001  (JSON's true and false are numbers here)
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf
