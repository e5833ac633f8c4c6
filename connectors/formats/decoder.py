"""Messages of one feed to readings, many at a time.

There are two ways, with the same result. Payloads that are just as the feed says, nearly all, go
the typed way (``typed.py``), and their readings are made as whole columns. What fails there goes
the careful way, record by record, which finds the reason.

What the bytes are, the feed's format says (``format.py``). A message is an object, an array of
objects, or an object that holds such an array at the feed's ``records`` path. Each object is a
*record*: one time, and a value for any of the feed's channels. A record that can't be used is
refused by itself; its neighbours in the same message are kept, and the message is put into
quarantine once, whatever is refused of it. Time and device may stand in the record or, for all
records, in the payload around them.

What a value may be: a number, also as a text, or a boolean; null, which makes a MISSING reading;
absent, which makes none unless the channel is ``required``. Anything else is a bad field.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from connectors.formats.absent import NO_CHANNELS, AbsentChannels
from connectors.formats.bounds import no_garbage_collection
from connectors.formats.columns import Decoded, Rows, joined
from connectors.formats.compressed import format_of
from connectors.formats.devices import Devices, Failed
from connectors.formats.format import NOTHING, Conversation, Stated, Typed
from connectors.formats.numbers import shown
from connectors.formats.others import Others
from connectors.formats.passing import Passing
from connectors.formats.paths import ABSENT
from connectors.formats.reading_columns import ReadingColumns
from connectors.formats.records import Around, Found, Records
from connectors.formats.shape import shape_of
from connectors.formats.signals import SKIP, Signal
from connectors.formats.texts import TextSignal, TextSignals
from connectors.formats.times import EventTimes
from connectors.formats.typed_texts import fast_way, note_texts
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable, Remaining, Tags
from headgate.core.errors import DataError

#: Whole numbers of this size and more may not fit into a float.
_LARGE = 2**1000

#: Reasons for which something may help that can be guessed.
_EXPLAINED = ("bad_time", "no_channels", "bad_device")


class FeedDecoder:
    """Decodes the messages of one feed.

    Args:
        name: The feed's name.
        feed: Its configuration.
        channels: The table that readings point into.
        limits: What one message may hold, and the table.
        takes_fast_way: False decodes all carefully, with the same result.
        devices: Its devices, where messages in other formats are of them, too.
    """

    def __init__(
        self,
        name: str,
        feed: FeedConfig,
        channels: ChannelTable,
        limits: IngestConfig,
        *,
        takes_fast_way: bool = True,
        devices: Devices | None = None,
    ) -> None:
        self._devices = devices or Devices(name, feed, channels, limits)
        self._format = format_of(feed, limits)
        # As the devices have them: numbers first, and then texts.
        self._signals = [
            Signal.of(channel, feed.channels[channel], is_strict=feed.strict)
            for channel in self._devices.listed
        ]
        texts = [
            TextSignal(signal, place, feed.channels[signal.name])
            for place, signal in enumerate(self._signals)
            if feed.channels[signal.name].is_text
        ]
        self._texts = TextSignals(texts, self._devices.text_code) if texts else None
        self._numbers = self._signals[: len(self._signals) - len(texts)]
        self._passing = Passing.of(feed)
        is_passed = None if self._passing is None else self._passing.is_record
        self._records = Records(feed, self._signals, self._format.check_count, is_passed)
        self._times = None if feed.time.path is None else EventTimes(feed.time)
        # Of the readings whose time needs no second look.
        is_arrival = feed.time.path is None or feed.time.is_age
        self._flags = int(Quality.ARRIVAL_TIME if is_arrival else Quality.GOOD)
        others = feed.other_channels
        self._others = None if others is None else Others(others, feed, self._format, self._devices)
        # Of the device that channels were looked up for last.
        self._place = 0
        self._shape = shape_of(feed, self._signals, self._format)
        self._made = ReadingColumns(self._signals, self._devices, self._flags, feed)
        self._absent = AbsentChannels(self._signals, is_flat=self._shape is None)
        fast = fast_way(feed, self._format, self._signals, texts) if takes_fast_way else None
        self._typed = fast

    @property
    def conversation(self) -> Conversation | None:
        """What the feed's format remembers and has to say; None where it is a matter of none."""
        found: Conversation | None = getattr(self._format, "conversation", None)
        return found

    @property
    def tag_values(self) -> int:
        """How many values the placeholder has had that has had most."""
        return self._devices.tag_values

    @property
    def is_full(self) -> bool:
        """Whether something was refused, since ``keep``, for being one too many."""
        return self._devices.is_full

    def keep_whole(self, is_kept: NDArray[np.bool_]) -> None:
        """Mark all channels that belong together with one that is marked, bool[channels]."""
        self._devices.keep_whole(is_kept)

    def keep(self, remaining: Remaining) -> None:
        """Forget all but what remains of the table, which takes its place."""
        self._devices.keep(remaining)

    @property
    def zoneless(self) -> str:
        """An event time without a zone that was taken for UTC; empty when there was none."""
        return "" if self._times is None else self._times.zoneless

    def take_passed(self) -> int:
        """How many messages were passed over, since this was asked, for what stands in them."""
        if self._passing is None:
            return 0
        count, self._passing.messages = self._passing.messages, 0
        return count

    def take_repeated(self) -> bool:
        """Whether a time was met, since this was asked, that may be of an hour that comes twice."""
        if self._times is None or not self._times.is_repeated:
            return False
        self._times.is_repeated = False
        return True

    def content(self, topic: bytes, payload: bytes) -> Found:
        """What the format reads in a message: all of it, and the records in that; for people.

        Raises:
            DataError: It can't be read, or has no records.
        """
        if len(payload) > self._format.unseen_bytes:
            self._format.check(payload)
        return self._records_of(topic, payload)

    def decode(
        self, topics: Sequence[bytes], payloads: Sequence[bytes], arrival_ns: NDArray[np.int64]
    ) -> Decoded:
        """Decode messages; never raises for what they hold.

        Args:
            topics: The topic of each.
            payloads: The payload of each.
            arrival_ns: int64[n], when each arrived, ns since 1970 UTC.
        """
        if max(map(len, payloads), default=0) <= self._format.unseen_bytes:
            return self._decode(topics, payloads, payloads, arrival_ns)
        refused: list[tuple[int, DataError]] = []
        seen = list(payloads)
        kept = []
        for position, payload in enumerate(payloads):
            try:
                if len(payload) > self._format.unseen_bytes and not self._format.check(payload):
                    seen[position] = b""  # no record: the careful way takes it
            except DataError as error:
                refused.append((position, error.with_traceback(None)))
            else:
                kept.append(position)
        with no_garbage_collection():
            decoded = self._decode(
                [topics[at] for at in kept],
                [payloads[at] for at in kept],
                [seen[at] for at in kept],
                arrival_ns[kept],
            )
        return decoded.moved_to(kept, refused)

    def _decode(
        self,
        topics: Sequence[bytes],
        payloads: Sequence[bytes],
        seen: Sequence[bytes],
        arrival_ns: NDArray[np.int64],
    ) -> Decoded:
        """Decode messages; the typed way only looks at what is ``seen`` of each."""
        if self._typed is None:
            every: Failed = dict.fromkeys(range(len(topics)))
            return joined(None, self._carefully(every, topics, payloads, arrival_ns))
        typed = self._typed.decode(topics, seen)
        failed: Failed = dict.fromkeys(typed.failed)
        if typed.has_arrays:
            # Of arrays without an element the careful way says so.
            is_empty = np.bincount(typed.owner, minlength=len(topics)) == 0
            failed = {**dict.fromkeys(np.flatnonzero(is_empty).tolist()), **failed}
        places = self._devices.places_of(topics, typed, failed)
        time_ns = self._times_of(typed, arrival_ns[typed.owner], failed)
        self._absent.fail(typed, payloads, failed)
        if self._texts is not None:
            note_texts(self._devices, len(self._texts.names), typed, places, failed)
        if failed:
            is_good = np.ones(len(topics), np.bool_)
            is_good[list(failed)] = False
            is_good = is_good[typed.owner]
            typed, places, time_ns = typed.readings(is_good), places[is_good], time_ns[is_good]
        careful = Rows()
        columns = self._made.columns(typed, places, time_ns, careful)
        if failed:
            self._carefully(failed, topics, payloads, arrival_ns, careful)
        return joined(columns, careful)

    def _times_of(
        self, typed: Typed, arrival_ns: NDArray[np.int64], failed: Failed
    ) -> NDArray[np.int64]:
        """int64[r]: the records' event times; those without a believable one fail."""
        if typed.time is None or self._times is None:
            return arrival_ns
        times_ns, is_bad = self._times.column(typed.time, arrival_ns)
        for row in np.flatnonzero(is_bad).tolist():
            # Where there is none, the careful way looks around for one.
            value, arrived_ns = typed.time[row], int(arrival_ns[row])
            position = int(typed.owner[row])
            if position not in failed:
                # Nor is it known whether another thing would be said first.
                is_other = typed.has_arrays or self._times.falls_back or self._shape is not None
                is_known = value is not None and not is_other
                failed[position] = self._times.refusal(value, arrived_ns) if is_known else None
        return times_ns

    def _carefully(
        self,
        failed: Failed,
        topics: Sequence[bytes],
        payloads: Sequence[bytes],
        arrival_ns: NDArray[np.int64],
        rows: Rows | None = None,
    ) -> Rows:
        """Decode these messages record by record."""
        rows = Rows() if rows is None else rows
        for position, refusal in sorted(failed.items(), key=itemgetter(0)):
            if refusal is not None:
                rows.refused.append((position, refusal))
                continue
            try:
                self._decode_message(
                    position, topics[position], payloads[position], int(arrival_ns[position]), rows
                )
            except DataError as error:
                # Without frames: a run of messages would keep thousands of them.
                rows.refused.append((position, error.with_traceback(None)))
        return rows

    def _decode_message(
        self, position: int, topic: bytes, payload: bytes, arrived_ns: int, rows: Rows
    ) -> None:
        """Add a message's readings, and raise DataError once if anything of it is refused."""
        tags, texts = self._devices.names(topic)
        found = self._records_of(topic, payload)
        is_named = self._devices.is_named_by_topic
        # The device that was met last, which is that of all records as a rule, and its channels.
        last, channels = (tags, texts[0] if is_named else ""), list[int]()
        refusal: DataError | None = None
        number = count = 0
        for index, (record, around) in enumerate(found):
            try:
                if type(record) is not dict:
                    self._take_stated(record, (tags, texts), position, rows)
                    continue
                if not is_named:
                    named = self._devices.named_by(record, around, tags, texts)
                    if named != last:
                        last, channels = named, self._channels_of(*named)
                if self._shape is not None:
                    self._add_parts(record, around, last, position, arrived_ns, rows)
                    continue
                dated = self._dated(record, around, arrived_ns)
                channels = channels or self._channels_of(*last)
                self._add_record(record, channels, position, dated, rows)
            except DataError as error:
                count += 1
                if refusal is None:
                    number = index + 1
                    is_helped = error.reason in _EXPLAINED
                    refusal = (
                        self._explained(error, record, around, arrived_ns) if is_helped else error
                    )
        if refusal is not None:
            raise found.refusal(refusal, count, number)
        self._check_found(found, position, rows)

    def _check_found(self, found: Found, position: int, rows: Rows) -> None:
        """Refuse a message in whose records there was nothing of the feed's, unless that is so."""
        if self._passing is not None:
            self._passing.messages += 0 < found.passed == found.count
        may_be_none = (self._shape is not None or self._records.is_keyed) and not found.passed
        has_none = may_be_none and self._others is None and rows.newest_owner != position
        if has_none and found.payload is not NOTHING and not found.stated:
            raise DataError(
                "no_channels", f"none of the feed's channels is in it, of {found.count} records"
            )

    def _take_stated(
        self, record: object, names: tuple[Tags, tuple[str, ...]], position: int, rows: Rows
    ) -> None:
        """Note what is said of a device, unless another has its name; refuse all else."""
        if isinstance(record, DataError):
            raise record  # the format has said why it is none
        if type(record) is not Stated:
            raise DataError("not_object", f"expected an object, got {shown(record)}")
        named = self._devices.named_by(record.names, (), *names)
        if record.but is None or named != self._devices.named_by(record.but, (), *names):
            rows.stated.append((position, named, record))

    def _add_parts(
        self,
        record: dict[str, object],
        around: Around,
        named: tuple[Tags, str],
        position: int,
        arrived_ns: int,
        rows: Rows,
    ) -> None:
        """Add the readings of a record of another shape, and raise DataError for the first bad."""
        refusal: DataError | None = None
        for part in self._shape.parts(record, around) if self._shape is not None else ():
            try:
                dated = self._dated(part.timed, around, arrived_ns, part.later_ns)
                before = len(rows.channel)
                self._add_record(part.record, self._channels_of(*named), position, dated, rows)
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

    def _channels_of(self, tags: Tags, device: str) -> list[int]:
        # First the place: a new one may need larger rows, which take the place of these.
        self._place = place = self._devices.place_of(tags, device)
        rows: list[int] = self._devices.rows[place].tolist()
        return rows

    def _records_of(self, topic: bytes, payload: bytes) -> Found:
        content = self._format.read(topic, payload)
        if self._passing is not None and self._passing.is_message(content):
            self._passing.messages += 1
            content = NOTHING
        found = self._records.found(content)
        if self._others is not None:
            self._others.begin()
        if self._shape is not None:
            self._shape.begin(topic, found)
        return found

    def _add_record(
        self,
        record: dict[str, object],
        channels: Sequence[int],
        owner: int,
        dated: tuple[int, int],
        rows: Rows,
    ) -> None:
        """Add a record's readings: all of them, or none and DataError."""
        time_ns, flags = dated
        before = len(rows.channel)
        bad: list[tuple[str, str, object]] = []
        refusal = None
        try:
            self._add_listed(record, channels, flags, rows, bad)
            if self._texts is not None:
                refusal = self._texts.add(record, channels, flags, rows, bad)
            if len(rows.channel) == before and self._others is None:
                raise DataError("no_channels", NO_CHANNELS)
            if self._others is not None:
                other = self._others.add(record, self._place, owner, flags, rows)
                refusal = refusal or other
        except DataError:
            rows.cut(before)
            raise
        count = len(rows.channel) - before
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
            if signal.power is not None:
                value = signal.scaled(value, record)
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
            hint = self._records.hint(record) or hint
        return DataError(error.reason, f"{error.detail}; {hint}") if hint else error
