"""Messages of one feed to readings with their times, and what is said beside them.

A feed has one format as a rule. Where it names others by content type, there is a decoder for
each, and all of them know the same devices. Messages in one format are decoded together, and what
comes of them is put back into the order in which they came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectors.formats.arrivals import Arrivals
from connectors.formats.columns import Decoded, in_order
from connectors.formats.decoder import FeedDecoder
from connectors.formats.devices import MAX_TOPIC_BYTES, Devices
from connectors.formats.format import Conversation
from connectors.formats.records import Found
from connectors.formats.topics import TaggedTopic
from headgate.config.content_types import canonical_bytes
from headgate.config.event_time import TimeConfig
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable, Remaining
from headgate.core.properties import Properties

#: What there is where nothing is said beside any message.
_NONE: Final[Mapping[int, Properties]] = MappingProxyType({})

#: The decoders of so many content types are remembered, each of so many bytes.
_MOST_TYPES: Final = 1000
_MOST_TYPE_BYTES: Final = 256


class FeedReader:
    """Reads the messages of one feed.

    Args:
        name: The feed's name.
        feed: Its configuration.
        channels: The table that readings point into.
        limits: What one message may hold, and the table.
    """

    def __init__(
        self, name: str, feed: FeedConfig, channels: ChannelTable, limits: IngestConfig
    ) -> None:
        self._devices = devices = Devices(name, feed, channels, limits)
        feeds = [feed]
        # By content type, the place of its decoder.
        self._places: dict[bytes, int] = {}
        for content_type, other in feed.by_content_type.items():
            same = (at for at, each in enumerate(feeds) if _are_alike(each, other))
            place = next(same, len(feeds))
            if place == len(feeds):
                feeds.append(other)
            self._places[content_type.encode()] = place
        # The same of content types as they were sent, parameters and all.
        self._places_as_sent: dict[bytes, int] = {}
        self._decoders = [
            FeedDecoder(name, each, channels, limits, devices=devices) for each in feeds
        ]
        # What have their times in one way are settled together: a device's follow each other.
        times: list[TimeConfig] = []
        self._arrivals: list[Arrivals] = []
        self._settled_by: list[int] = []
        for each in feeds:
            if each.time not in times:
                times.append(each.time)
                self._arrivals.append(Arrivals(each, channels))
            self._settled_by.append(times.index(each.time))
        # By user property, the tags that it says.
        self._tags: dict[bytes, list[str]] = {}
        for tag, said_by in feed.property_tags.items():
            self._tags.setdefault(said_by.encode(), []).append(tag)
        # Topics with what stands beside their messages, and what comes of both.
        self._tagged_topics: dict[tuple[bytes, tuple[tuple[bytes, bytes], ...]], bytes] = {}
        self._most_topics = 2 * limits.max_devices
        #: Whether what was read last had not waited, for the most part, after all.
        self.has_caught_up = False

    def read(
        self,
        topics: Sequence[bytes],
        payloads: Sequence[bytes],
        arrival_ns: NDArray[np.int64],
        unheard_ns: NDArray[np.int64] | None = None,
        properties: Mapping[int, Properties] = _NONE,
    ) -> Decoded:
        """Decode messages, and settle their times; never raises for what they hold.

        Args:
            topics: The topic of each.
            payloads: The payload of each.
            arrival_ns: int64[n], when each arrived, ns since 1970 UTC.
            unheard_ns: See ``Arrivals.settle``.
            properties: By position, what is said beside those of which that is known.
        """
        parts = self._decoded(topics, payloads, arrival_ns, properties)
        self.has_caught_up = False
        settled = []
        for at, (some, is_repeated) in parts.items():
            arrivals = self._arrivals[at]
            whole = in_order(some)
            settled.append(arrivals.settle(whole, arrival_ns, unheard_ns, is_repeated=is_repeated))
            self.has_caught_up |= arrivals.has_caught_up
        return in_order(settled)

    def decode(
        self,
        topics: Sequence[bytes],
        payloads: Sequence[bytes],
        arrival_ns: NDArray[np.int64],
        properties: Mapping[int, Properties] = _NONE,
    ) -> Decoded:
        """The same with times as they stand in the messages; of arrival where these are uptimes."""
        parts = self._decoded(topics, payloads, arrival_ns, properties)
        return in_order(
            [
                self._arrivals[at].placed(each, arrival_ns)
                for at, (some, _) in parts.items()
                for each in some
            ]
        )

    def content(self, topic: bytes, payload: bytes, content_type: bytes = b"") -> Found:
        """What the format reads in a message; see ``FeedDecoder.content``."""
        return self._decoders[self._place(content_type)].content(topic, payload)

    def take_passed(self) -> int:
        """See ``FeedDecoder.take_passed``."""
        return sum(each.take_passed() for each in self._decoders)

    @property
    def conversation(self) -> Conversation | None:
        """See ``FeedDecoder.conversation``."""
        return self._decoders[0].conversation

    @property
    def tag_values(self) -> int:
        """See ``FeedDecoder.tag_values``."""
        return self._decoders[0].tag_values

    @property
    def is_full(self) -> bool:
        """See ``FeedDecoder.is_full``."""
        return self._decoders[0].is_full

    @property
    def zoneless(self) -> str:
        """See ``FeedDecoder.zoneless``."""
        return next((each.zoneless for each in self._decoders if each.zoneless), "")

    def know(self, channel: Channel) -> None:
        """See ``Devices.know``."""
        self._devices.know(channel)

    def keep_whole(self, is_kept: NDArray[np.bool_]) -> None:
        """See ``FeedDecoder.keep_whole``."""
        self._decoders[0].keep_whole(is_kept)

    def keep(self, remaining: Remaining) -> None:
        """Forget all but what remains of the table, which takes its place."""
        # Once: all have the same devices.
        self._decoders[0].keep(remaining)
        for arrivals in self._arrivals:
            arrivals.keep(remaining)

    def recall(self, batch: Batch) -> None:
        """See ``Arrivals.recall``."""
        for arrivals in self._arrivals:
            arrivals.recall(batch)

    def _decoded(
        self,
        topics: Sequence[bytes],
        payloads: Sequence[bytes],
        arrival_ns: NDArray[np.int64],
        properties: Mapping[int, Properties],
    ) -> dict[int, tuple[list[Decoded], bool]]:
        """By what settles them, what came of messages, and whether an hour may come twice."""
        found: dict[int, tuple[list[Decoded], bool]] = {}
        if self._tags:
            topics = self._tagged(topics, properties)
        for place, positions in self._by_decoder(len(topics), properties).items():
            decoder = self._decoders[place]
            if len(positions) == len(topics):
                decoded = decoder.decode(topics, payloads, arrival_ns)
            else:
                decoded = decoder.decode(
                    [topics[at] for at in positions],
                    [payloads[at] for at in positions],
                    arrival_ns[positions],
                ).moved_to(positions, ())
            some, is_repeated = found.get(self._settled_by[place], ([], False))
            is_repeated |= decoder.take_repeated()
            found[self._settled_by[place]] = [*some, decoded], is_repeated
        return found

    def _tagged(self, topics: Sequence[bytes], properties: Mapping[int, Properties]) -> list[bytes]:
        """The topics, with the tags that stand beside their messages."""
        tagged = list(topics)
        for at, said in properties.items():
            if not said.user:
                continue
            key = (topics[at], said.user)
            known = self._tagged_topics.get(key)
            tagged[at] = self._new_tagged(*key) if known is None else known
        return tagged

    def _new_tagged(self, topic: bytes, user: Sequence[tuple[bytes, bytes]]) -> bytes:
        beside = {
            tag: value.decode(errors="replace")
            for name, value in user
            for tag in self._tags.get(name, ())
        }
        tagged = TaggedTopic.of(topic, tuple(sorted(beside.items()))) if beside else topic
        sizes = map(len, chain((topic,), chain.from_iterable(user)))
        if sum(sizes) <= MAX_TOPIC_BYTES:
            if len(self._tagged_topics) >= self._most_topics:
                self._tagged_topics.clear()
            self._tagged_topics[topic, tuple(user)] = tagged
        return tagged

    def _by_decoder(
        self, count: int, properties: Mapping[int, Properties]
    ) -> dict[int, Sequence[int]]:
        """By a decoder's place, positions of the messages that are its own."""
        if not properties or len(self._decoders) == 1:
            return {0: range(count)}
        places = np.zeros(count, np.intp)
        for at, said in properties.items():
            places[at] = self._place(said.content_type)
        return {
            place: np.flatnonzero(places == place).tolist() for place in np.unique(places).tolist()
        }

    def _place(self, content_type: bytes) -> int:
        """The place of the decoder for a content type; of one that is not listed, the feed's."""
        place = self._places_as_sent.get(content_type)
        if place is None:
            names = canonical_bytes(content_type)
            place = next((self._places[name] for name in names if name in self._places), 0)
            if len(content_type) <= _MOST_TYPE_BYTES:
                if len(self._places_as_sent) >= _MOST_TYPES:
                    self._places_as_sent.clear()
                self._places_as_sent[content_type] = place
        return place


def _are_alike(one: FeedConfig, other: FeedConfig) -> bool:
    """Whether two formats of one feed read alike."""
    return (one.format, one.time, one.charset) == (other.format, other.time, other.charset)
