"""The careful way through messages: record by record, with a reason for whatever is refused.

Messages of many records go through it column by column (``long_messages.py``), with the
same result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from connectors.formats.absent import NO_CHANNELS
from connectors.formats.bounds import no_garbage_collection
from connectors.formats.columns import Rows
from connectors.formats.devices import Devices, Failed
from connectors.formats.format import NOTHING, Enveloped, Format, Stated
from connectors.formats.long_messages import LongMessages, Message
from connectors.formats.numbers import shown
from connectors.formats.others import Others
from connectors.formats.passing import Passing
from connectors.formats.paths import ABSENT, getter
from connectors.formats.records import Around, Found, Records
from connectors.formats.shape import shape_of
from connectors.formats.signals import SKIP, Signal
from connectors.formats.texts import TextSignals
from connectors.formats.times import EventTimes
from headgate.config.feed import FeedConfig
from headgate.core.batch import Quality
from headgate.core.errors import DataError

#: Whole numbers of this size and more may not fit into a float.
_LARGE = 2**1000

#: Reasons for which something may help that can be guessed.
_EXPLAINED = ("bad_time", "no_channels", "bad_device")


class CarefulWay:
    """Decodes the messages of one feed record by record.

    Args:
        feed: The feed's configuration.
        form: The format that reads its messages.
        signals: Its channels.
        devices: Its devices.
        times: Its event times; None: it has none.
        passing: Which messages and records are passed over; None: none are.
        texts: The channels that are texts, the last ones; None: there are none.
        least_columns: Messages of so many records are decoded column by column.
    """

    def __init__(
        self,
        feed: FeedConfig,
        form: Format,
        signals: Sequence[Signal],
        devices: Devices,
        times: EventTimes | None,
        passing: Passing | None,
        texts: TextSignals | None,
        *,
        least_columns: int = 64,
    ) -> None:
        self._format, self._signals, self._devices = form, signals, devices
        self._times, self._passing = times, passing
        self._texts = texts
        self._remembers = getattr(form, "conversation", None) is not None
        # Where what is asked for of each message may stand, by the reason that it does not.
        self._asked = {
            "bad_device": [getter(path) for path in feed.device_name.paths],
            "bad_time": [getter(path) for path in (*feed.time.paths, *feed.time.or_path)],
        }
        self._envelope: object = ABSENT
        self._numbers = signals[: len(signals) - (0 if texts is None else len(texts.names))]
        is_passed = None if passing is None else passing.is_record
        self._records = Records(feed, signals, form.check_count, is_passed)
        self._shape = shape_of(feed, signals, form)
        others = feed.other_channels
        #: What takes channels that are not listed; None: nothing does.
        self.others = None if others is None else Others(others, feed, form, devices)
        self._others = self.others
        # Of the readings whose time needs no second look.
        self._flags = int(Quality.ARRIVAL_TIME if times is None else Quality.GOOD)
        self._long = LongMessages(self._numbers, devices, self._shape, times, texts)
        # Of fewer records, or parts of some, each goes by itself.
        self._least_columns = least_columns
        self._parts = 0

    @property
    def has_shape(self) -> bool:
        """Whether records are more than one object with all channels in it."""
        return self._shape is not None

    def decode(
        self,
        failed: Failed,
        topics: Sequence[bytes],
        payloads: Sequence[bytes],
        arrival_ns: NDArray[np.int64],
        rows: Rows | None = None,
        read: Callable[[int], object] | None = None,
    ) -> Rows:
        """Decode messages.

        Args:
            failed: Those that are for this way, and why they are refused where it is known.
            topics: The topic of each message.
            payloads: The payload of each.
            arrival_ns: int64[n], when each arrived, ns since 1970 UTC.
            rows: What their readings are added to; None: nothing.
            read: Has what each holds; None: it is read here.
        """
        rows = Rows() if rows is None else rows
        for position, refusal in sorted(failed.items(), key=itemgetter(0)):
            if refusal is not None:
                rows.refused.append((position, refusal))
                continue
            try:
                topic = topics[position]
                content = partial(self._format.read, topic, payloads[position])
                if read is not None:
                    content = partial(read, position)
                self._decode_message(position, topic, content, int(arrival_ns[position]), rows)
            except DataError as error:
                # Without frames: a run of messages would keep thousands of them.
                rows.refused.append((position, error.with_traceback(None)))
        self._envelope = ABSENT
        return rows

    def records_of(self, topic: bytes, payload: bytes) -> Found:
        """The records of a message; raises DataError where it has none that can be read."""
        return self._records_in(topic, self._format.read(topic, payload))

    def _records_in(self, topic: bytes, content: object) -> Found:
        self._envelope = ABSENT
        if type(content) is Enveloped:
            content, self._envelope = content
        if self._passing is not None and self._passing.begin(self._envelope):
            self._passing.messages += 1
            content = NOTHING
        try:
            found = self._records.found(content)
        except DataError:
            # What says itself that it is passed over need not have records.
            if self._passing is None or not self._passing.is_message(content):
                raise
            self._passing.messages += 1
            found = self._records.found(NOTHING)
        if self._others is not None:
            self._others.begin()
        # Of records that hold arrays each is many.
        self._parts = found.count
        if self._shape is not None:
            self._parts = max(found.count, self._shape.begin(topic, found))
        return found

    def _decode_message(
        self,
        position: int,
        topic: bytes,
        read: Callable[[], object],
        arrived_ns: int,
        rows: Rows,
    ) -> None:
        """Add a message's readings, and raise DataError once if anything of it is refused."""
        try:
            names = self._devices.names(topic)
        except DataError:
            if self._remembers:
                # It was heard all the same, and others follow it.
                with suppress(DataError):
                    read()
            raise
        found = self._records_in(topic, read())
        message = Message(position, arrived_ns, self._devices, names, topic)
        before = len(rows.channel)
        refused = self._add_all(found, message, rows)
        if refused is not None:
            raise refused
        if self._passing is not None:
            self._passing.messages += 0 < found.passed == found.count
        may_be_none = (self._shape is not None or self._records.is_keyed) and not found.passed
        has_none = may_be_none and self._others is None and len(rows.channel) == before
        if has_none and found.payload is not NOTHING and not found.stated:
            raise DataError(
                "no_channels", f"none of the feed's channels is in it, of {found.count} records"
            )

    def _add_all(self, found: Found, message: Message, rows: Rows) -> DataError | None:
        """Add the readings of all records; the refusal of those that are refused."""
        is_long = self._parts >= self._least_columns
        if is_long and self._others is None:
            with no_garbage_collection():
                return self._add_columns(found, message, rows)
        dates = self._long.dates(found, message.arrived_ns) if is_long else None
        refusal: DataError | None = None
        number = count = 0
        for index, (record, around) in enumerate(found):
            if refusal is not None and self._has_nothing_left(record):
                count += 1
                continue
            dated = None if dates is None else dates[index]
            if refusal is not None and dates is not None and dated is None and self._is_bad(record):
                count += 1
                continue
            try:
                self._add(record, around, message, rows, dated)
            except DataError as error:
                count += 1
                if refusal is None:
                    number, refusal = index + 1, error
                    if error.reason in _EXPLAINED:
                        refusal = self._explained(error, record, around, message.arrived_ns)
        return None if refusal is None else found.refusal(refusal, count, number)

    def _hint_of_envelope(self, reason: str) -> str:
        """Whether what is not there stands around the message, which is not looked at."""
        gets = self._asked.get(reason, ())
        if all(get(self._envelope) is ABSENT for get in gets):
            return ""
        return (
            "it stands around what is inside, where nothing is looked for: leave inside out, and "
            "begin paths with its path; if that is a text, name it in embedded"
        )

    def _is_bad(self, record: object) -> bool:
        """Whether a record whose time is none is refused for that, and nothing is new in it."""
        is_known = self._shape is None and self._devices.is_named_by_topic
        return is_known and type(record) is dict

    def _has_nothing_left(self, record: object) -> bool:
        """Whether a record is refused whatever is in it, and leaves nothing behind."""
        is_spent = self._others is not None and self._others.is_spent
        return is_spent and not self._signals and type(record) is dict

    def _add_columns(self, found: Found, message: Message, rows: Rows) -> DataError | None:
        """The same column by column; the reason of the first refusal is found out by itself."""
        refused = self._long.add(found, message, rows, self._take_stated)
        if not refused:
            return None
        record, around = next(islice(found, refused[0], None))
        try:
            self._add(record, around, message, Rows(), None)
        except DataError as error:
            first = error
            if error.reason in _EXPLAINED:
                first = self._explained(error, record, around, message.arrived_ns)
            return found.refusal(first, len(refused), refused[0] + 1)
        raise AssertionError(f"record {refused[0] + 1} is refused without a reason")

    def _add(
        self,
        record: object,
        around: Around,
        message: Message,
        rows: Rows,
        dated: tuple[int, int] | None,
    ) -> None:
        """Add what a record says: all of it, or none and DataError.

        Args:
            record: The record.
            around: What is around it.
            message: What it stands in.
            rows: Where its readings go.
            dated: Its time, ns, and the quality that it gives; None: it is to be found out.
        """
        if type(record) is not dict:
            self._take_stated(record, message, rows)
            return
        message.find_device(record, around)
        if self._shape is not None:
            self._add_parts(record, around, message, rows)
            return
        dated = dated or self._dated(record, around, message.arrived_ns)
        self._add_record(record, message, dated, rows)

    def _take_stated(self, record: object, message: Message, rows: Rows) -> None:
        """Note what is said of a device, unless another has its name; refuse all else."""
        if isinstance(record, DataError):
            raise record  # the format has said why it is none
        if type(record) is not Stated:
            raise DataError("not_object", f"expected an object, got {shown(record)}")
        named = self._devices.named_by(record.names, (), *message.names)
        if record.but is None or named != self._devices.named_by(record.but, (), *message.names):
            rows.stated.append((message.position, named, record))

    def _add_parts(
        self, record: dict[str, object], around: Around, message: Message, rows: Rows
    ) -> None:
        """Add the readings of a record of another shape, and raise DataError for the first bad."""
        refusal: DataError | None = None
        for part in self._shape.parts(record, around) if self._shape is not None else ():
            try:
                dated = self._dated(part.timed, around, message.arrived_ns, part.later_ns)
                before = len(rows.channel)
                self._add_record(part.record, message, dated, rows, part.said)
                if part.later_ns:
                    rows.note_later(before, part.later_ns)
                if not part.is_good:
                    rows.doubt(before)
            except DataError as error:
                refusal = refusal or error
        if refusal is not None:
            raise refusal

    def _dated(
        self, record: object, around: Around, arrived_ns: int, later_ns: int = 0
    ) -> tuple[int, int]:
        """A record's time, ns, and the quality that it gives its readings."""
        if self._times is None:
            return arrived_ns, self._flags
        return self._times.dated(self._times.find(record, around), arrived_ns, later_ns)

    def _add_record(
        self,
        record: dict[str, object],
        message: Message,
        dated: tuple[int, int],
        rows: Rows,
        said: object = None,
    ) -> None:
        """Add a record's readings: all of them, or none and DataError.

        Args:
            record: The record, or a part of one.
            message: What it stands in.
            dated: Its time, ns, and the quality that it gives.
            rows: Where they go.
            said: See ``Part``.
        """
        time_ns, flags = dated
        owner = message.position
        before = len(rows.channel)
        bad: list[tuple[str, str, object]] = []
        refusal = None
        try:
            self._add_listed(record, said, message.channels, flags, rows, bad)
            if self._texts is not None:
                refusal = self._texts.add(record, message.channels, flags, rows, bad)
            if len(rows.channel) == before and self._others is None:
                raise DataError("no_channels", NO_CHANNELS)
            if self._others is not None:
                other = self._others.add(record, message.place, owner, flags, rows)
                refusal = refusal or other
        except DataError:
            rows.cut(before)
            raise
        count = len(rows.channel) - before
        if count:
            rows.owner.extend([owner] * count)
            rows.time_ns.extend([time_ns] * count)
        for name, word, value in bad:
            is_text = self._texts is not None and name in self._texts.names
            rows.note_bad(name, word, owner, value, expected="a text" if is_text else "a number")
        if refusal is not None:
            try:
                raise refusal
            finally:
                # Its traceback holds this frame: with the name it would be a cycle a record.
                del refusal

    def _add_listed(
        self,
        record: dict[str, object],
        said: object,
        channels: Sequence[int],
        flags: int,
        rows: Rows,
        bad: list[tuple[str, str, object]],
    ) -> None:
        """Add channel, value and quality of the numbers that are listed; note what is bad."""
        for signal, channel in zip(self._numbers, channels, strict=False):
            key = signal.key
            value = signal.get(record) if key is None else record.get(key, ABSENT)
            more, word = 0, ""
            if signal.beside is not None:
                value = signal.meant(value, record, said)
            if (type(value) is float or (type(value) is int and -_LARGE < value < _LARGE)) and not (
                signal.no_reading and float(value) in signal.no_reading
            ):
                number = signal.kept(value)
            else:
                number, more, word = signal.odd_value(value)
                if number is SKIP:
                    continue
            if more == 0 and number - number != 0:
                number, more, word = signal.overflown()
            if word:
                bad.append((signal.name, word, value))
            rows.channel.append(channel)
            rows.value.append(number)
            rows.quality.append(flags | more)

    def _explained(
        self, error: DataError, record: object, around: Around, arrived_ns: int
    ) -> DataError:
        """The error with what may help, where something can be guessed."""
        hint, value = "", ABSENT
        if error.reason == "bad_time" and self._times is not None:
            value = self._times.find(record, around)
            hint = self._times.hint(value, arrived_ns, error)
        # A name that is there and bad is where it should be.
        is_there = error.reason == "bad_device" and self._devices.is_named_in(record, around)
        if value is ABSENT and not is_there:
            hint = self._records.hint(record) or hint or self._hint_of_envelope(error.reason)
        return DataError(error.reason, f"{error.detail}; {hint}") if hint else error
