"""Messages of quarantine that the configuration reads by now: decoded anew, and taken.

They are decoded as the ingest lane would have, with the time they arrived at, in the order in which
they came as far as that is known, and their readings go into the log behind all that is there. With
them it is noted which messages those are (``headgate/core/records/retried.py``), so that each is
taken once, whenever this ends: on the embedded log in one transaction. On Kafka the note is behind
them; there each message is one record of one partition that says which message it is, and where
that record is found without a note, the note is all that is still written.

A message is taken as a whole or not at all, and only if nothing of it was taken before. What the
streams lane would reject, or hold, is left where it is (``retry_marks.py``): as a reading that is
late it would be in quarantine as well, and old readings behind newer ones say of a device's clock
what is not so. While a gateway runs, nobody could tell what will be late, nor is it sure that it
has the configuration that this has. So nothing is taken then; who calls this with ``takes`` has to
see to it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from connectors.formats.devices import MAX_TOPIC_BYTES
from connectors.logs.configured import topic
from headgate.config.schema import Config
from headgate.core.batch import Batch, Quality
from headgate.core.clock import Clock
from headgate.core.log import QUARANTINE, Log, Record, TopicPartition
from headgate.core.properties import Properties
from headgate.core.records import (
    RETRIED_HEADER,
    Place,
    QuarantinedMessage,
    RetriedMessage,
    from_header,
    messages_records,
    retried_records,
)
from headgate.core.telemetry import Telemetry
from headgate.inspect.quarantine import FeedOf, by_arrival, is_whole, origin_of, retried_rows
from headgate.inspect.retry_marks import Marks
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.topics import AVAILABILITY, FeedTopics
from streams.ingest.translate import WAS_RETAINED, Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds

#: Why a message is left where it is, in a word, and in words.
WHY_LEFT: Final = {
    "cut": "not all of it was kept; ingest.quarantine_payload says how much of the next ones is",
    "part": "other readings of the same message were taken when it came",
    "unknown": "an older version put it there, and did not note whether anything of it was taken",
    "memory": "its format goes by what was said before, as it was then",
    "beside": "what stood beside it, user properties or content type, was not kept",
    "state": "it says whether a device is there, as it was then",
    "retained": "it is no reading: the broker had retained it, and sends it at the next start",
    "poison": "it ended the process that decoded it",
    "late": "its device has gone on: what is older than its watermark would be late",
    "behind": "it has no time of its own, and its device was heard after it had arrived",
    "held": "readings of its device wait until it is known whether its clock was right",
    "ahead": "its time is ahead of its arrival, and only what comes next tells whether it is right",
    "spread": "its readings go to several records, which Kafka does not take together",
    "nothing": "it is passed over by now, or holds no reading",
    "other": "it is no message of a source that there is: a point, or a record of the log",
}

#: What is taken at once: messages, and bytes of their payloads.
_MOST_MESSAGES = 500
_MOST_BYTES = 4 << 20

#: Of messages that came together without times each is later than the one before by 1 ns. A time
#: that is later than the arrival by more is not its own, ns.
_MOST_LATER_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages are tried.

    Attributes:
        feed: Of the feed that their topic is of now; None: of any.
        reason: Refused for this reason; None: for any.
        since_ns: Arrived then or later, ns since 1970 UTC.
    """

    feed: str | None = None
    reason: str | None = None
    since_ns: int = -(2**63)

    def has(self, feed: str, message: QuarantinedMessage) -> bool:
        """Whether a message is one of them."""
        return (
            self.feed in (None, feed)
            and self.reason in (None, message.reason)
            and message.ingest_ns >= self.since_ns
        )


@dataclass(slots=True)
class Outcome:
    """What becomes of the messages of one feed that were refused for one reason.

    Attributes:
        feed: The feed that their topic is of now; empty for none.
        reason: What they were refused for.
        messages: How many there are.
        taken: Those that are taken.
        readings: How many readings they give.
        refused: Those that are still refused, by reason.
        left: Those that are left where they are, by word of ``WHY_LEFT``.
    """

    feed: str
    reason: str
    messages: int = 0
    taken: int = 0
    readings: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Read:
    """A message that is read by now.

    Attributes:
        place: Where it stands.
        message: What it is.
        batches: Its readings.
        records: What is appended of them; None where that goes with others'.
        examples: By partition, what of it goes to quarantine.
        outcome: Where it is counted.
    """

    place: Place
    message: QuarantinedMessage
    batches: Mapping[str, list[Batch]]
    records: Mapping[TopicPartition, list[Record]] | None
    examples: Mapping[int, list[QuarantinedMessage]]
    outcome: Outcome

    @property
    def every_batch(self) -> list[Batch]:
        """Its readings, whatever feed they are of."""
        return [batch for some in self.batches.values() for batch in some]

    @property
    def readings(self) -> int:
        """How many readings it gives."""
        return sum(map(len, self.every_batch))

    @property
    def earliest_ns(self) -> int:
        """The earliest event time in it."""
        return min(int(batch.time_ns.min()) for batch in self.every_batch if len(batch))


class Retry:
    """One pass over quarantine: messages are decoded anew, and what is readings now is taken.

    Args:
        config: The configuration as it is now.
        log: A started log.
        clock: Says when they were taken.
        wanted: Which messages.
        takes: Whether they are taken; if not, only what would be is told. No gateway may run on
            this log then.
        at_once: Messages that are taken by one call of the log at most.

    Attributes:
        others: How many messages wait in quarantine that are not wanted.
        reasons: What messages in quarantine were refused for, wanted or not.
    """

    def __init__(
        self,
        config: Config,
        log: Log,
        clock: Clock,
        wanted: Wanted,
        *,
        takes: bool,
        at_once: int = _MOST_MESSAGES,
    ) -> None:
        self.others = 0
        self.reasons: set[str] = set()
        self._config = config
        self._log = log
        self._clock = clock
        self._wanted = wanted
        self._takes = takes
        self._at_once = at_once
        telemetry = Telemetry(clock)
        self._translator = Translator(
            config,
            telemetry,
            Refusals(config, telemetry, clock),
            UnheardFeeds(config.feed, telemetry),
        )
        self._topics = {
            name: FeedTopics(config.feeds_of(name), table.ignore, config.ingest.max_devices)
            for name, table in config.sources.items()
        }
        self._feed_of = FeedOf(config)
        self._marks = Marks(config)
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        # What arrived together, and is read by now.
        self._together: list[_Read] = []
        # What is taken next, and which messages are noted with it, by partition.
        self._next: list[_Read] = []
        self._notes: defaultdict[int, list[RetriedMessage]] = defaultdict(list)
        self._bytes = 0

    @property
    def outcomes(self) -> list[Outcome]:
        """By feed and reason what has become of the messages so far, most messages first."""
        return sorted(
            self._outcomes.values(), key=lambda each: (-each.messages, each.reason, each.feed)
        )

    async def run(self) -> None:
        """Do it, once.

        Raises:
            TransientError: The log can't be read or written. What was taken before is noted.
            PermanentError: Likewise, and it never can.
        """
        retried = await retried_rows(self._config, self._log)
        await self._marks.read(self._log, self._translator)
        arrival_ns = -(2**63)
        async for place, message in by_arrival(self._config, self._log):
            self.reasons.add(message.reason)
            if place.row in retried.get((place.partition, place.offset), ()):
                continue
            if place in self._marks.taken:
                # Whoever took it was ended before the note.
                self._note(place, message, self._marks.taken[place])
                continue
            feed = self._feed_of(message)
            if not self._wanted.has(feed, message):
                self.others += 1
                continue
            if message.ingest_ns > arrival_ns:
                await self._add_together()
                arrival_ns = message.ingest_ns
            self._try(place, message, feed)
        await self._add_together()
        await self._take()

    def _try(self, place: Place, message: QuarantinedMessage, feed: str) -> None:
        """Decode a message, and put what it gives to what arrived together."""
        outcome = self._outcomes.setdefault((feed, message.reason), Outcome(feed, message.reason))
        outcome.messages += 1
        why = self._why_untried(message)
        if why:
            outcome.left[why] += 1
            return
        found = self._decoded(message)
        refused = [each.reason for each in _quarantined(found) if each.reason != "bad_field"]
        if refused:
            outcome.refused[refused[0]] += 1
            return
        records = None if self._config.log.is_embedded else self._records_of(place, found)
        why = self._why_left(message, found, records)
        if why:
            outcome.left[why] += 1
            return
        self._together.append(
            _Read(place, message, found.batches, records, found.quarantined, outcome)
        )

    def _decoded(self, message: QuarantinedMessage) -> Translated:
        """What a message gives, as the ingest lane would have decoded it when it arrived."""
        source, name = origin_of(self._config, message)
        found = Translated()
        self._translator.take(
            Messages(
                [name.encode()],
                [message.payload],
                np.array([message.ingest_ns]),
                {},
                source=source,
                properties={0: Properties(message.content_type.encode())},
            ),
            found,
        )
        found.batches = {
            feed: list(map(_estimated, batches)) for feed, batches in found.batches.items()
        }
        return found

    def _why_untried(self, message: QuarantinedMessage) -> str:
        """Why a message can't be decoded anew; empty where it can."""
        source, name = origin_of(self._config, message)
        if not source:
            return "other"
        topic_name = name.encode()
        feed = self._topics[source].feed_of(topic_name)
        # What was no UTF-8, and what was cut, is not the topic that it came on.
        is_cut = not is_whole(message) or len(topic_name) > MAX_TOPIC_BYTES or "\ufffd" in name
        reasons = {
            "poison": message.reason == "poison",
            "part": message.reason == "bad_field" or message.readings > 0,
            "unknown": message.readings < 0,
            "cut": is_cut,
            "state": feed == AVAILABILITY,
            "retained": WAS_RETAINED in message.detail,
            "memory": feed in self._translator.conversations,
            "beside": self._is_told_beside(feed, message),
        }
        return next((word for word, is_so in reasons.items() if is_so), "")

    def _is_told_beside(self, feed: str | None, message: QuarantinedMessage) -> bool:
        """Whether it takes what stood beside a message to read it, and that was not kept."""
        settings = None if feed is None else self._config.feed.get(feed)
        if settings is None:
            return False
        # Where there is none, nobody may have asked for it then; and a long one was cut.
        is_kept = bool(message.content_type) and not message.content_type.endswith("…")
        return bool(settings.property_tags) or (bool(settings.by_content_type) and not is_kept)

    def _why_left(
        self,
        message: QuarantinedMessage,
        found: Translated,
        records: Mapping[TopicPartition, list[Record]] | None,
    ) -> str:
        """Why what was decoded is not taken, whatever there is before it; empty where it is."""
        batches = [batch for some in found.batches.values() for batch in some if len(batch)]
        latest_ns = message.ingest_ns + _MOST_LATER_NS
        reasons = {
            "state": bool(found.said),
            "nothing": not batches,
            "behind": any(_has_arrived_after(batch, latest_ns) for batch in batches),
            "spread": records is not None and sum(map(len, records.values())) > 1,
        }
        return next((word for word, is_so in reasons.items() if is_so), "")

    def _records_of(self, place: Place, found: Translated) -> dict[TopicPartition, list[Record]]:
        """Records of a message's readings alone, which say that they are of it."""
        alone = Translated(batches=found.batches)
        self._translator.encode(alone)
        return {
            at: _marked(records, RETRIED_HEADER, from_header(place))
            for at, records in alone.records.items()
        }

    async def _add_together(self) -> None:
        """Have those that arrived together taken, in the order of their event times.

        Nobody knows any more in which order they came, if not by the same topic. Together comes
        what had waited, and that may be of hours: in another order some of it would be late.
        """
        together, self._together = self._together, []
        for read in sorted(together, key=lambda each: each.earliest_ns):
            why = self._marks.take(read.every_batch)
            if why:
                read.outcome.left[why] += 1
            elif self._takes:
                self._next.append(read)
                self._note(read.place, read.message, read.readings)
                self._bytes += len(read.message.payload)
            else:
                _count(read)
            if len(self._next) >= self._at_once or self._bytes >= _MOST_BYTES:
                await self._take()

    def _note(self, place: Place, message: QuarantinedMessage, readings: int) -> None:
        """Have it noted with the next ones that a message was taken."""
        retried = RetriedMessage(
            self._clock.wall_ns(), place.offset, place.row, readings, message.reason
        )
        self._notes[place.partition].append(retried)

    async def _take(self) -> None:
        """Append the readings that there are, and which messages they are of."""
        if not self._notes or not self._takes:
            return
        readings = self._readings()
        others: defaultdict[TopicPartition, list[Record]] = defaultdict(list)
        for read in self._next:
            for partition, examples in read.examples.items():
                others[self._quarantine(partition)] += messages_records(examples)
        for partition, notes in self._notes.items():
            others[self._quarantine(partition)] += retried_records(notes)
        if self._config.log.is_embedded:
            await self._log.append_many({**readings, **others})
        else:
            # Not together: what is noted must be there.
            if readings:
                await self._log.append_many(readings)
            await self._log.append_many(others)
        for read in self._next:
            _count(read)
        self._next, self._bytes = [], 0
        self._notes.clear()

    def _readings(self) -> dict[TopicPartition, list[Record]]:
        """What is taken next, as records."""
        together = Translated()
        records: dict[TopicPartition, list[Record]] = {}
        for read in self._next:
            if read.records is None:
                for feed, batches in read.batches.items():
                    together.batches.setdefault(feed, []).extend(batches)
                continue
            for at, some in read.records.items():
                records.setdefault(at, []).extend(some)
        self._translator.encode(together)
        for at, some in together.records.items():
            records[at] = _marked(some, RETRIED_HEADER)
        return records

    def _quarantine(self, partition: int) -> TopicPartition:
        return TopicPartition(topic(self._config, QUARANTINE), partition)


def _count(read: _Read) -> None:
    read.outcome.taken += 1
    read.outcome.readings += read.readings


def _quarantined(found: Translated) -> Iterable[QuarantinedMessage]:
    return (each for some in found.quarantined.values() for each in some)


def _marked(records: Iterable[Record], *headers: tuple[str, bytes]) -> list[Record]:
    """Records of readings that say that these had been in quarantine."""
    return [replace(each, headers=(*each.headers, *headers)) for each in records]


def _estimated(batch: Batch) -> Batch:
    """Readings that say so where they have no other time than their message's arrival.

    It may have waited at the broker; how long was known only then.
    """
    is_arrival = (batch.quality & np.uint16(Quality.ARRIVAL_TIME)) != 0
    return batch.flagged(np.flatnonzero(is_arrival), Quality.ESTIMATED_TIME)


def _has_arrived_after(batch: Batch, latest_ns: int) -> bool:
    """Whether a reading without a time of its own was given a later one than this."""
    is_arrival = (batch.quality & np.uint16(Quality.ARRIVAL_TIME)) != 0
    return bool((is_arrival & (batch.time_ns > latest_ns)).any())
