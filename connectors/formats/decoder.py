"""Messages of one feed to readings, many at a time.

There are two ways, with the same result. Payloads that are just as the feed says, nearly all, go
the typed way (``typed.py``), and their readings are made as whole columns. What fails there goes
the careful way (``careful.py``), record by record, which finds the reason.

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

from connectors.formats.absent import AbsentChannels
from connectors.formats.bounds import no_garbage_collection
from connectors.formats.careful import CarefulWay
from connectors.formats.columns import Decoded, Rows, joined
from connectors.formats.compressed import format_of
from connectors.formats.devices import Devices, Failed
from connectors.formats.format import Conversation, Stated, Typed
from connectors.formats.other_columns import OtherColumns
from connectors.formats.passing import Passing
from connectors.formats.reading_columns import ReadingColumns
from connectors.formats.records import Found
from connectors.formats.signals import Signal
from connectors.formats.texts import TextSignal, TextSignals
from connectors.formats.times import EventTimes
from connectors.formats.typed_texts import fast_way, note_texts
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable, Remaining, Tags
from headgate.core.errors import DataError


class FeedDecoder:
    """Decodes the messages of one feed.

    Args:
        name: The feed's name.
        feed: Its configuration.
        channels: The table that readings point into.
        limits: What one message may hold, and the table.
        takes_fast_way: False decodes all carefully, with the same result.
        devices: Its devices, where messages in other formats are of them, too.
        least_columns: Messages of so many records go the careful way column by column, with the
            same result as record by record.
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
        least_columns: int = 64,
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
        devices = self._devices
        self._texts = None
        if texts:
            self._texts = TextSignals(texts, devices.text_code, devices.has_room_for)
        self._passing = Passing.of(feed)
        self._times = None if feed.time.path is None else EventTimes(feed.time)
        # Of the readings whose time needs no second look.
        is_arrival = feed.time.path is None or feed.time.is_from_arrival
        self._flags = int(Quality.ARRIVAL_TIME if is_arrival else Quality.GOOD)
        self._careful = CarefulWay(
            feed,
            self._format,
            self._signals,
            self._devices,
            self._times,
            self._passing,
            self._texts,
            least_columns=least_columns,
        )
        self._made = ReadingColumns(self._signals, self._devices, self._flags, feed)
        others = self._careful.others
        self._others = None
        if others is not None:
            self._others = OtherColumns(others, self._devices, len(self._signals))
        self._absent = AbsentChannels(self._signals, is_flat=not self._careful.has_shape)
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
        return self._careful.records_of(topic, payload)

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
            return joined(None, self._careful.decode(every, topics, payloads, arrival_ns))
        typed = self._typed.decode(topics, seen)
        read = typed.read
        failed: Failed = dict.fromkeys(typed.failed)
        if typed.has_arrays:
            # Of arrays without an element the careful way says so.
            is_empty = np.bincount(typed.owner, minlength=len(topics)) == 0
            failed = {**dict.fromkeys(np.flatnonzero(is_empty).tolist()), **failed}
        places = self._devices.places_of(topics, typed, failed)
        others = None if self._others is None else self._others.readings(typed, places, failed)
        time_ns = self._times_of(typed, arrival_ns[typed.owner], failed)
        self._absent.fail(typed, payloads, failed)
        if self._texts is not None:
            note_texts(self._devices, len(self._texts.names), typed, places, failed)
        stated = self._stated(typed, places, failed)
        if failed:
            is_good = np.ones(len(topics), np.bool_)
            is_good[list(failed)] = False
            is_good = is_good[typed.owner]
            typed, places, time_ns = typed.readings(is_good), places[is_good], time_ns[is_good]
            others = None if others is None else others.of(is_good)
        careful = Rows(stated=stated)
        columns = self._made.columns(typed, places, time_ns, careful, others)
        if failed:
            self._careful.decode(failed, topics, payloads, arrival_ns, careful, read)
            careful.stated.sort(key=itemgetter(0))
        return joined(columns, careful)

    def _stated(
        self, typed: Typed, places: NDArray[np.intp], failed: Failed
    ) -> list[tuple[int, tuple[Tags, str], Stated]]:
        """What messages state that have readings: of the device that these are of."""
        if not typed.stated:
            return []
        first = np.searchsorted(typed.owner, [position for position, _ in typed.stated])
        return [
            (position, self._devices.named_at(place), stated)
            for (position, stated), place in zip(typed.stated, places[first].tolist(), strict=True)
            if position not in failed
        ]

    def _times_of(
        self, typed: Typed, arrival_ns: NDArray[np.int64], failed: Failed
    ) -> NDArray[np.int64]:
        """int64[r]: the records' event times; those without a believable one fail."""
        if typed.time is None or self._times is None:
            return arrival_ns
        # In arrays one that is odd takes all to the careful way, which reads it again.
        times_ns, is_bad = self._times.column(typed.time, arrival_ns, leaves_odd=typed.has_arrays)
        for row in np.flatnonzero(is_bad).tolist():
            # Where there is none, the careful way looks around for one.
            value, arrived_ns = typed.time[row], int(arrival_ns[row])
            if isinstance(value, np.integer):
                value = int(value)
            position = int(typed.owner[row])
            if position not in failed:
                # Nor is it known whether another thing would be said first.
                may_be_elsewhere = self._times.falls_back or self._times.has_others
                is_other = typed.has_arrays or may_be_elsewhere or self._careful.has_shape
                is_known = value is not None and not is_other
                failed[position] = self._times.refusal(value, arrived_ns) if is_known else None
        return times_ns
