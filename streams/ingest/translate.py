"""MQTT messages into records of the log: which feed each is of, its readings, and its refusal."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from connectors.formats.availability import AvailabilityTopics
from connectors.formats.columns import Decoded, in_time
from connectors.formats.reader import FeedReader
from headgate.config.schema import Config
from headgate.core.batch import Quality, concat
from headgate.core.channels import (
    Channel,
    ChannelTable,
    Remaining,
    Tags,
    telling_tags,
)
from headgate.core.clock import NS_PER_S
from headgate.core.errors import DataError
from headgate.core.grown import grown
from headgate.core.log import StoredRecord
from headgate.core.records import (
    READINGS_SCHEMAS,
    check_schema,
    decode_readings,
)
from headgate.core.results import Availability
from headgate.core.telemetry import Telemetry
from streams.ingest.doubted import DoubtedReadings
from streams.ingest.refusals import Messages, Refusals, shown_topic
from streams.ingest.topics import AVAILABILITY, NO_FEED, FeedTopics
from streams.ingest.translated import Encoder, Translated
from streams.ingest.unheard import UnheardFeeds

_logger = structlog.get_logger()

#: Behind what was expected and found of a message that was no reading, of which so much is kept.
WAS_RETAINED: Final = "; retained"
_MOST_DETAIL: Final = 380

#: How often there is a look whether something has been silent for long, and how often while
#: something that is bounded is full, ns.
_LOOK_EVERY_NS = 3600 * NS_PER_S
_FULL_EVERY_NS = 60 * NS_PER_S


class Translator:
    """Knows the feeds, and the channels that have been met.

    Args:
        config: The whole configuration.
        telemetry: Where messages and readings are counted.
        refusals: Where to go with what can't be used.
        unheard: Is told of feeds that are heard.
        now_ns: Time by which devices are silent for long.
    """

    def __init__(
        self,
        config: Config,
        telemetry: Telemetry,
        refusals: Refusals,
        unheard: UnheardFeeds,
        *,
        now_ns: Callable[[], int] = lambda: 0,
    ) -> None:
        self._config = config
        self._telemetry = telemetry
        self._refusals = refusals
        self._unheard = unheard
        self._channels = ChannelTable(identities=config.identities)
        self._readers = {
            name: FeedReader(name, feed, self._channels, config.ingest)
            for name, feed in config.feed.items()
        }
        #: Of the feeds whose format has one.
        self.conversations = {
            name: reader.conversation
            for name, reader in self._readers.items()
            if reader.conversation is not None
        }
        # Of the feeds that have such topics.
        self._availability = {
            name: AvailabilityTopics(name, feed, feed.availability, config.ingest)
            for name, feed in config.feed.items()
            if feed.availability is not None
        }
        self._zoneless: set[str] = set()
        self._doubted = DoubtedReadings(config.feed, telemetry)
        self._topics = {
            name: FeedTopics(config.feeds_of(name), table.ignore, 2 * config.ingest.max_devices)
            for name, table in config.sources.items()
        }
        self._encoder = Encoder(config, self._channels)
        self._now_ns = now_ns
        # By channel row, of so many as are dated; a channel counts as heard when it is added.
        self._heard_ns = np.empty(0, np.int64)
        self._dated = 0
        self._looked_ns = now_ns()

    def take(self, messages: Messages, into: Translated) -> None:
        """Decode messages; never raises for what they hold."""
        of_source = self._topics[messages.source]
        by_feed, others = self._by_feed(messages, into)
        for feed, positions in by_feed.items():
            rest = positions
            held: list[int] = []
            for at in others.get(feed, ()):
                # In their order: the next message may mean something else for it.
                cut = bisect_left(rest, at)
                if held and (cut or at not in messages.held):
                    self._take_held(feed, messages, held, into)
                    held = []
                self._take(feed, messages, rest[:cut], into)
                rest = rest[cut:]
                if at in messages.held:
                    held.append(at)
                elif of_source.feed_of(messages.topics[at]) == AVAILABILITY:
                    self._take_availability(feed, messages, at, into)
                else:
                    self._note_unread(feed, messages, at)
            if held:
                self._take_held(feed, messages, held, into)
            self._take(feed, messages, rest, into)

    def _take_availability(self, feed: str, messages: Messages, at: int, into: Translated) -> None:
        """Take what a message says of whether devices of a feed are there."""
        arrived_ns = int(messages.arrival_ns[at])
        try:
            said = self._availability[feed].read(
                messages.topics[at], messages.payloads[at], arrived_ns, self._now_ns()
            )
        except DataError as error:
            refused = [(at, error.with_traceback(None))]
            self._refusals.refuse(feed, messages, refused, into.quarantined)
            return
        for each in said:
            into.say(each)
        self._telemetry.availability.labels(feed, said[-1].state).inc()

    def _take_held(
        self, feed: str, messages: Messages, positions: Sequence[int], into: Translated
    ) -> None:
        """Decode what channels hold that is no reading: nothing counts as heard by it."""
        self._channels.texts.now_ns = self._now_ns()
        of_feed = messages.only(positions)
        decoded = self._readers[feed].decode(
            of_feed.topics, of_feed.payloads, of_feed.arrival_ns, of_feed.properties
        )
        # So that nobody takes it for a reading later on.
        refused = [
            (at, DataError(error.reason, f"{error.detail[:_MOST_DETAIL]}{WAS_RETAINED}"))
            for at, error in decoded.refused
        ]
        self._refuse(feed, of_feed, replace(decoded, refused=refused), into)
        self._telemetry.ignored.inc(self._readers[feed].take_passed())
        self._date_new()
        batch = decoded.batch(self._channels)
        batch = batch.take(batch.usable)
        if len(batch):
            into.hold(feed, batch)
        self._telemetry.messages.labels(feed).inc(len(positions))
        self._unheard.heard(feed)
        self._telemetry.received_bytes.labels(feed).inc(sum(map(len, of_feed.payloads)))

    def _refuse(self, feed: str, of_feed: Messages, decoded: Decoded, into: Translated) -> None:
        """Put aside what could not be read."""
        if decoded.refused:
            taken = decoded.taken_of([position for position, _ in decoded.refused])
            self._refusals.refuse(feed, of_feed, decoded.refused, into.quarantined, taken)
        if decoded.bad_fields:
            self._refusals.keep_examples(feed, of_feed, decoded, into.quarantined)

    def _note_unread(self, feed: str, messages: Messages, at: int) -> None:
        """Have a format that remembers know of a message that is none of its feed's readings."""
        topic_name, payload = messages.topics[at], messages.payloads[at]
        if at in messages.cut or len(payload) > self._config.ingest.max_payload:
            self.conversations[feed].skip(topic_name)
            return
        # It is passed over, and not missed: others of the same node follow it.
        with suppress(DataError):
            self._readers[feed].content(topic_name, payload)

    def _take(
        self, feed: str, messages: Messages, positions: Sequence[int], into: Translated
    ) -> None:
        """Decode those of a feed at these positions."""
        if not positions:
            return
        self._channels.texts.now_ns = self._now_ns()
        of_feed = messages.only(positions)
        payloads = of_feed.payloads
        reader = self._readers[feed]
        decoded = reader.read(
            of_feed.topics,
            payloads,
            of_feed.arrival_ns,
            of_feed.unheard_ns,
            of_feed.properties,
        )
        decoded = in_time(decoded, self._channels.device_of)
        into.has_caught_up |= reader.has_caught_up
        self._telemetry.ignored.inc(reader.take_passed())
        self._refuse(feed, of_feed, decoded, into)
        if len(decoded.value):
            self._date_new()
            self._heard_ns[decoded.channel] = self._now_ns()
            into.rows[feed] = into.rows.get(feed, 0) + len(decoded.value)
        self._doubted.note(feed, decoded, self._channels)
        self._add(feed, decoded, of_feed.arrival_ns, into)
        if reader.zoneless and feed not in self._zoneless:
            self._tell_zoneless(feed, reader.zoneless)
        self._telemetry.messages.labels(feed).inc(len(positions))
        self._unheard.heard(feed)
        self._telemetry.received_bytes.labels(feed).inc(sum(map(len, payloads)))

    def _add(
        self, feed: str, decoded: Decoded, arrival_ns: NDArray[np.int64], into: Translated
    ) -> None:
        """Add readings, and what messages among theirs say of whether devices are there."""
        if not len(decoded.value) and not decoded.stated:
            return
        batch, first = decoded.batch(self._channels), 0
        places = [*decoded.stated, None]
        for place in places:
            end = len(batch)
            if place is not None:
                end = int(np.searchsorted(decoded.owner, place[0], side="right"))
            if end > first:
                part = batch if end - first == len(batch) else batch.take(np.arange(first, end))
                into.batches.setdefault(feed, []).append(part)
                first = end
            if place is not None:
                at, (tags, device), stated = place
                tags = telling_tags(tags, self._config.feed[feed].telling)
                arrived_ns = int(arrival_ns[at])
                said = Availability(feed, device, arrived_ns, stated.state, stated.cause, tags=tags)
                into.say(said)

    @property
    def gives_times(self) -> bool:
        """Whether there are readings without times of their own."""
        return any(
            each.time.may_be_arrival or each.time.is_uptime
            for feed in self._config.feed.values()
            for each in (feed, *feed.by_content_type.values())
        )

    @property
    def dates_by_arrival(self) -> bool:
        """Whether there are readings whose times come from that of their arrival."""
        return self.gives_times or any(
            each.time.is_from_arrival
            for feed in self._config.feed.values()
            for each in (feed, *feed.by_content_type.values())
        )

    def recall(self, records: Sequence[StoredRecord]) -> None:
        """Learn when devices were last heard from earlier records of ``readings``, in order."""
        # Into a table of their own: channels stand in ours in the order that their feed has now.
        earlier = ChannelTable(identities=self._config.identities)
        batches = []
        for record in records:
            try:
                check_schema(record.headers, *READINGS_SCHEMAS)
                batches.append(decode_readings(record.value, earlier))
            except DataError:
                # What is said of devices; or no record of ours, which the streams lane puts aside.
                continue
        batch = concat(batches, earlier)
        batch = batch.take((batch.quality & np.uint16(Quality.ARRIVAL_TIME)) != 0)
        feeds = np.array([each.feed for each in earlier.devices], np.object_)[batch.device]
        for name, reader in self._readers.items():
            reader.recall(batch.take(feeds == name))

    def know(self, channels: Iterable[Channel]) -> None:
        """Count channels of earlier among those that there may be, as if they had been met."""
        for channel in channels:
            if channel.feed in self._readers:
                self._readers[channel.feed].know(channel)

    def recall_away(self, away: Mapping[str, object]) -> None:
        """Learn by feed what was away as an earlier process ended, as ``news_of_away`` gave it."""
        for name, topics in self._availability.items():
            topics.recall(away.get(name), self._now_ns())

    def news_of_away(self) -> dict[str, list[Tags]] | None:
        """By feed, what is away that devices are connected through; None where that is no news."""
        if not any(topics.is_away_news for topics in self._availability.values()):
            return None
        return {name: topics.away() for name, topics in self._availability.items()}

    def put_aside(self, message: Messages, into: Translated) -> None:
        """Refuse a message that ends the process in which it is decoded."""
        feed = self._topics[message.source].feed_of(message.topics[0]) or ""
        feed = "" if feed == AVAILABILITY else feed
        _logger.error(
            "A message ends every process that decodes it; it goes to quarantine.",
            feed=feed,
            topic=shown_topic(message.topics[0]),
            payload_bytes=len(message.payloads[0]),
        )
        if feed in self.conversations:
            self.conversations[feed].skip(message.topics[0])
        poison = DataError("poison", "ends the process in which it is decoded")
        self._refusals.refuse(feed, message, [(0, poison)], into.quarantined)

    def encode(self, translated: Translated) -> None:
        """Make records of what was taken so far."""
        self._encoder.encode(translated)

    def forget_silent(self) -> None:
        """Forget what has been silent for ``gateway.forget_after``; while nothing is in hand.

        Once an hour there is a look, and once a minute while anything is refused because something
        that is bounded is full.
        """
        now_ns = self._now_ns()
        is_full = any(reader.is_full for reader in self._readers.values())
        is_full |= any(topics.is_full for topics in self._availability.values())
        if now_ns - self._looked_ns < (_FULL_EVERY_NS if is_full else _LOOK_EVERY_NS):
            return
        self._looked_ns = now_ns
        self._channels.texts.forget_before(now_ns - self._config.forget_after)
        self._date_new()
        known = len(self._channels)
        is_kept = self._heard_ns[:known] >= now_ns - self._config.forget_after
        for reader in self._readers.values():
            reader.keep_whole(is_kept)
        for topics in self._availability.values():
            topics.forget(now_ns - self._config.forget_after)
        are_topics_full = any(of_source.is_full for of_source in self._topics.values())
        if is_kept.all() and not are_topics_full:
            return
        # Topics are not noted with a time: those that are heard come back by themselves.
        for of_source in self._topics.values():
            of_source.forget()
        remaining = self._channels.only(is_kept)
        channels = known - len(remaining.table)
        devices = len(self._channels.devices) - len(remaining.table.devices)
        self._keep(remaining)
        if channels:
            self._telemetry.forgotten.labels("devices").inc(devices)
            self._telemetry.forgotten.labels("channels").inc(channels)
            _logger.info("Forgot what has been silent.", devices=devices, channels=channels)

    def _keep(self, remaining: Remaining) -> None:
        self._heard_ns = self._heard_ns[: self._dated][remaining.channels >= 0]
        self._dated = len(self._heard_ns)
        self._channels = remaining.table
        self._encoder.keep(remaining)
        for reader in self._readers.values():
            reader.keep(remaining)

    def _date_new(self) -> None:
        known = len(self._channels)
        self._heard_ns = grown(self._heard_ns, known, 0)
        if known > self._dated:
            self._heard_ns[self._dated : known] = self._now_ns()
            self._dated = known

    def count(self) -> None:
        """Tell how much is known of what is bounded; call it now and then."""
        known = self._telemetry.known
        known.labels("devices").set(len(self._channels.devices))
        known.labels("channels").set(len(self._channels))
        known.labels("topics").set(sum(map(len, self._topics.values())))
        values = max(reader.tag_values for reader in self._readers.values())
        known.labels("tag_values").set(values)

    def _by_feed(
        self, messages: Messages, into: Translated
    ) -> tuple[dict[str, Sequence[int]], dict[str, list[int]]]:
        """Positions of each feed's messages; what is refused unseen is put aside.

        The second are those that are no readings of a feed: of one with a conversation, what is
        refused so, or passed over; of others, what says whether devices are there, or is what
        channels hold.
        """
        limit = self._config.ingest.max_payload
        topics, payloads, cut = messages.topics, messages.payloads, messages.cut
        of_source = self._topics[messages.source]
        feeds = of_source.known(topics)
        first = feeds[0]
        is_plain = of_source.is_one_feed and None not in feeds and not cut and not messages.held
        if first is not None and is_plain and max(map(len, payloads)) <= limit:
            return {first: range(len(topics))}, {}
        by_feed: dict[str, list[int]] = {}
        others: dict[str, list[int]] = {}
        refused: list[tuple[int, DataError]] = []
        for position, topic_name in enumerate(topics):
            feed = feeds[position] or of_source.feed_of(topic_name)
            told: Sequence[str] = ()
            if feed == NO_FEED:
                self._telemetry.ignored.inc()
                told = self._talking(of_source.whose(topic_name) if self.conversations else None)
            elif feed is None:
                refused.append((position, DataError("unknown_topic", "no feed has this topic")))
            elif position in cut or len(payloads[position]) > limit:
                size = cut.get(position, len(payloads[position]))
                detail = f"{size} bytes; ingest.max_payload is {limit}"
                if size <= limit:
                    detail = "more or larger properties than are looked at"
                refused.append((position, DataError("too_large", detail)))
                told = self._talking(feed)
            elif feed == AVAILABILITY:
                told = of_source.said_of(topic_name)
            elif position in messages.held:
                told = (feed,)
            else:
                by_feed.setdefault(feed, []).append(position)
            for each in told:
                by_feed.setdefault(each, [])
                others.setdefault(each, []).append(position)
        self._refusals.refuse("", messages, refused, into.quarantined)
        return {**by_feed}, others

    def _talking(self, feed: str | None) -> tuple[str, ...]:
        """The feed, if it has a conversation; else none."""
        return () if feed is None or feed not in self.conversations else (feed,)

    def _tell_zoneless(self, feed: str, example: str) -> None:
        self._zoneless.add(feed)
        self._telemetry.zoneless.labels(feed).set(1)
        line = (
            f"feed.{feed}: times without a zone, such as {example[:40]!r}, are taken for UTC; if "
            f'they are local, set feed.{feed}.time.zone, such as "Europe/Berlin"'
        )
        self._telemetry.warn(f"zone of {feed}", line)
        _logger.warning("Times without a zone are taken for UTC.", about=line)
