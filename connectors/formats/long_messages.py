"""Messages of many records on the careful way, column by column.

What ``careful.py`` says of each record by itself is said here of all of them at once: which time it
has, what there is of each channel, whether it is refused. Only why it is refused is not; that is
found out of the first one, which is the one that a person is told of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress, repeat
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from connectors.formats.columns import BAD_AT_SOURCE, Rows
from connectors.formats.devices import Devices
from connectors.formats.paths import ABSENT
from connectors.formats.records import Around, Found
from connectors.formats.shape import Shape
from connectors.formats.signal_columns import SignalColumn
from connectors.formats.signals import Signal
from connectors.formats.text_columns import TextColumn
from connectors.formats.texts import TextSignals
from connectors.formats.times import EventTimes
from headgate.core.batch import Quality
from headgate.core.channels import Tags
from headgate.core.errors import DataError

#: Of a message without times of its own.
_ARRIVAL_TIME = int(Quality.ARRIVAL_TIME)

#: So many parts of records are held at once, and some more where one record has many.
_MOST_PARTS = 2500

#: Takes what is no record, or refuses it with DataError.
TakeOther: TypeAlias = "Callable[[object, Message, Rows], None]"


class Message:
    """A message on its way, and the device that its newest record is of.

    Args:
        position: Its place in its run.
        arrived_ns: When it arrived, ns since 1970 UTC.
        devices: The feed's devices.
        names: What they say of its topic.
        topic: Its topic.
    """

    def __init__(
        self,
        position: int,
        arrived_ns: int,
        devices: Devices,
        names: tuple[Tags, tuple[str, ...]],
        topic: bytes,
    ) -> None:
        self.position, self.arrived_ns, self.names = position, arrived_ns, names
        self._devices, self._topic = devices, topic
        # Of the device that they were asked for last: its place, and its channels' rows.
        self._channels: tuple[int, list[int]] = (-2, [])
        #: The device's place; below 0 before the first record.
        self.place = -1

    @property
    def channels(self) -> list[int]:
        """The rows of the device's channels."""
        place, rows = self._channels
        if place != self.place:
            rows = self._devices.rows[self.place].tolist()
            self._channels = self.place, rows
        return rows

    def find_device(self, record: object, around: Around) -> None:
        """Turn to the device of a record; raises DataError where it has none, or one too many."""
        devices = self._devices
        if devices.is_named_by_topic:
            if self.place < 0:
                self.place = devices.place_of(self.names[0], self.names[1][0])
            return
        place = devices.known_place(self._topic, record, around)
        if place is None:
            named = devices.named_by(record, around, *self.names)
            place = devices.place_of(*named)
            devices.note_place(self._topic, record, around, place)
        self.place = place

    def places(self, records: Sequence[object], around: Around) -> list[int | None]:
        """The place of each record's device, None where it has none, or one too many."""
        if self._devices.is_named_by_topic and self.place >= 0:
            return [self.place] * len(records)
        places: list[int | None] = []
        for record in records:
            try:
                self.find_device(record, around)
            except DataError:
                places.append(None)
            else:
                places.append(self.place)
        return places


@dataclass(slots=True)
class _Parts:
    """Records, or parts of some, on their way to columns.

    Attributes:
        record: What channels are looked up in.
        timed: What the time is looked up in.
        around: What is around that.
        number: The number of the record in its message, from 0.
        place: The device's.
        later_ns: How much later it is than its time says.
        doubted: Those in which the sender does not believe.
        said: What is said beside their values, see ``Part``; empty where nothing is.
    """

    record: list[dict[str, object]] = field(default_factory=list)
    timed: list[object] = field(default_factory=list)
    around: list[Around] = field(default_factory=list)
    number: list[int] = field(default_factory=list)
    place: list[int] = field(default_factory=list)
    later_ns: list[int] = field(default_factory=list)
    doubted: list[int] = field(default_factory=list)
    said: list[object] = field(default_factory=list)


class LongMessages:
    """Decodes messages of one feed column by column.

    Args:
        signals: The feed's channels that are numbers.
        devices: Its devices.
        shape: How its records are made of parts; None: each is one object with all channels in it.
        times: Its event times; None: it has none.
        texts: The channels that are texts, whose places are behind those of ``signals``; None:
            there are none.
    """

    def __init__(
        self,
        signals: Sequence[Signal],
        devices: Devices,
        shape: Shape | None,
        times: EventTimes | None,
        texts: TextSignals | None = None,
    ) -> None:
        self._signals, self._devices, self._texts = signals, devices, texts
        self._shape, self._times = shape, times

    def add(self, found: Found, message: Message, rows: Rows, take_other: TakeOther) -> list[int]:
        """Add the readings of a message's records; the numbers of those that are refused.

        Args:
            found: The records.
            message: What they stand in.
            rows: Where the readings go.
            take_other: Is asked for what is no record.
        """
        records = found.plain
        if self._shape is None and records is not None and set(map(type, records)) <= {dict}:
            return self._add_plain(records, found, message, rows)
        refused: set[int] = set()
        parts = _Parts()
        for number, (record, around) in enumerate(found):
            try:
                if type(record) is not dict:
                    take_other(record, message, rows)
                else:
                    message.find_device(record, around)
                    self._divide(record, around, number, message.place, parts)
            except DataError:
                refused.add(number)
            if len(parts.record) >= _MOST_PARTS:
                refused.update(self._add(parts, message, rows))
                parts = _Parts()
        if parts.record:
            refused.update(self._add(parts, message, rows))
        return sorted(refused)

    def _add_plain(
        self, records: Sequence[Any], found: Found, message: Message, rows: Rows
    ) -> list[int]:
        """The same of records that are all objects, in one array."""
        refused: set[int] = set()
        for first in range(0, len(records), _MOST_PARTS):
            some: list[Any] = [*records[first : first + _MOST_PARTS]]
            numbers = list(range(first, first + len(some)))
            around = [found.around] * len(some)
            places = message.places(some, found.around)
            if None in places:
                refused.update(compress(numbers, (place is None for place in places)))
                is_there = [place is not None for place in places]
                some, around = list(compress(some, is_there)), list(compress(around, is_there))
                numbers = list(compress(numbers, is_there))
            known = [place for place in places if place is not None]
            if known:
                parts = _Parts(some, some, around, numbers, known)
                refused.update(self._add(parts, message, rows))
        return sorted(refused)

    def dates(self, found: Found, arrived_ns: int) -> list[tuple[int, int] | None]:
        """When each record is, ns, and the quality that this gives; None: not to be believed."""
        records, arounds = [], []
        for record, around in found:
            records.append(record)
            arounds.append(around)
        later_ns = np.zeros(len(records), np.int64)
        times_ns, flags, is_bad = self._dated(records, arounds, arrived_ns, later_ns)
        dated = zip(times_ns.tolist(), flags.tolist(), is_bad.tolist(), strict=True)
        return [None if bad else (time_ns, flag) for time_ns, flag, bad in dated]

    def _divide(
        self, record: dict[str, object], around: Around, number: int, place: int, parts: _Parts
    ) -> None:
        """Note the parts of a record."""
        if self._shape is None:
            parts.record.append(record)
            parts.timed.append(record)
            parts.around.append(around)
            parts.number.append(number)
            parts.place.append(place)
            return
        single = self._shape.single
        for part in self._shape.parts(record, around) if single is None else single(record, around):
            if not part.is_good:
                parts.doubted.append(len(parts.record))
            parts.record.append(part.record)
            parts.timed.append(part.timed)
            parts.around.append(around)
            parts.number.append(number)
            parts.place.append(place)
            parts.later_ns.append(part.later_ns)
            parts.said.append(part.said)

    def _dated(
        self,
        timed: Sequence[object],
        around: Sequence[Around],
        arrived_ns: int,
        later_ns: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.bool_]]:
        """Times, ns, their quality, and which of them are none to believe."""
        count = len(timed)
        arrival_ns = np.full(count, arrived_ns, np.int64)
        if self._times is None:
            flags = np.full(count, _ARRIVAL_TIME, np.uint16)
            return arrival_ns, flags, np.zeros(count, np.bool_)
        values = self._times.find_all(timed, around)
        return self._times.dated_column(values, arrival_ns, later_ns)

    def _add(self, parts: _Parts, message: Message, rows: Rows) -> list[int]:
        """Add the readings of parts; the numbers of records of which one is refused."""
        texts = () if self._texts is None else self._texts.signals
        count, width = len(parts.record), len(self._signals) + len(texts)
        later_ns = np.array(parts.later_ns or np.zeros(count), np.int64)
        time_ns, flags, is_refused = self._dated(
            parts.timed, parts.around, message.arrived_ns, later_ns
        )
        value = np.empty((count, width))
        quality, is_there = np.empty((count, width), np.uint16), np.empty((count, width), np.bool_)
        columns = []
        for at, signal in enumerate(self._signals):
            values = _values(parts, signal)
            column = SignalColumn.of(signal, values)
            value[:, at], quality[:, at] = column.value, column.quality | flags
            is_there[:, at] = ~column.is_absent
            is_refused |= column.is_refused
            if column.bad:
                columns.append((signal.name, "a number", column.bad, values))
        is_full = np.zeros(count, np.bool_)
        for at, text_signal in enumerate(texts, len(self._signals)):
            assert self._texts is not None  # noqa: S101  (for the type checker)
            channels = self._devices.rows[parts.place, at].tolist()
            said = TextColumn.of(text_signal, parts.record, channels, is_refused, self._texts)
            value[:, at], quality[:, at] = said.code, said.quality | flags
            is_there[:, at] = ~said.is_absent
            is_full |= said.is_full
            if said.bad:
                columns.append((text_signal.name, "a text", said.bad, said.values))
        is_refused |= ~is_there.any(axis=1)
        is_there &= ~is_refused[:, None]
        if parts.doubted:
            value[parts.doubted] = np.nan
            quality[parts.doubted] |= np.uint16(BAD_AT_SOURCE)
        before = len(rows.channel)
        row, _ = np.nonzero(is_there)
        channel = self._devices.rows[parts.place][is_there]
        rows.extend(message.position, time_ns[row], channel, value[is_there], quality[is_there])
        if later_ns[row].any():
            rows.note_later(before, later_ns[row])
        self._note_bad(columns, is_refused, message.position, rows)
        return list(compress(parts.number, (is_refused | is_full).tolist()))

    def _note_bad(
        self,
        columns: Sequence[tuple[str, str, dict[int, str], Sequence[object]]],
        is_refused: NDArray[np.bool_],
        position: int,
        rows: Rows,
    ) -> None:
        """Count the bad fields of what is not refused, in the order in which they are met."""
        counts: dict[tuple[str, str, str], tuple[int, int, int, object]] = {}
        for at, (name, expected, bad, values) in enumerate(columns):
            for row, word in bad.items():
                if is_refused[row]:
                    continue
                key = (name, word, expected)
                first, place, count, value = counts.get(key, (row, at, 0, values[row]))
                if row < first:
                    first, value = row, values[row]
                counts[key] = (first, place, count + 1, value)
        for (name, word, expected), (_, _, count, value) in sorted(
            counts.items(), key=lambda item: item[1][:2]
        ):
            rows.note_bad(name, word, position, value, expected=expected, count=count)


def _values(parts: _Parts, signal: Signal) -> list[object]:
    key, get, records = signal.key, signal.get, parts.record
    if key is None:
        values = [get(record) for record in records]
    else:
        values = [record.get(key, ABSENT) for record in records]
    if signal.beside is not None:
        values = list(map(signal.meant, values, records, parts.said or repeat(None)))
    return values
