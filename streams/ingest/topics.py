"""Which feed a message is of, by its topic and the source that it came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from connectors.formats.devices import MAX_TOPIC_BYTES
from connectors.formats.topics import FeedPatterns, IgnoredTopics, wanted_filters
from headgate.config.feed import FeedConfig
from headgate.config.overlap import united

#: Names of no feed: that of messages that are passed over, and that of those which say whether
#: devices are there.
NO_FEED: Final = ""
AVAILABILITY: Final = "{availability}"


class FeedTopics:
    """The topics of one source. Remembers those that it has met, bounded.

    Args:
        feeds: By name, the feeds whose messages come from the source.
        ignore: Topic filters of messages that are of no feed.
        most: Topics that are remembered at most: a device that makes up topics must not fill the
            memory.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], ignore: Iterable[str], most: int) -> None:
        self._feeds = tuple(feeds)
        self._patterns = FeedPatterns(feeds, ignore)
        # Of a placeholder within a level, such as dev-{device}, the broker sends all of the level,
        # and of topics that cross all that is matched by a filter for both.
        self._wider = IgnoredTopics(_wider(feeds))
        self._feed_of_topic: dict[bytes, str] = {}
        self._most = most

    def __len__(self) -> int:
        """Topics that are remembered."""
        return len(self._feed_of_topic)

    @property
    def is_full(self) -> bool:
        """Whether no more topics are remembered."""
        return len(self._feed_of_topic) >= self._most

    @property
    def is_one_feed(self) -> bool:
        """Whether all messages are of one feed, if they are of any."""
        return len(self._feeds) == 1

    def whose(self, topic: bytes) -> str | None:
        """The feed that a message would be of if it were not passed over."""
        return self._patterns.whose(topic).topic_of

    def said_of(self, topic: bytes) -> list[str]:
        """The feeds of whose devices a message says whether they are there."""
        return self._patterns.said_of(topic)

    def forget(self) -> None:
        """Remember none; those that are heard come back by themselves."""
        self._feed_of_topic = {}

    def known(self, topics: Sequence[bytes]) -> list[str | None]:
        """Of each topic that is remembered, the feed."""
        return list(map(self._feed_of_topic.get, topics))

    def feed_of(self, topic: bytes) -> str | None:
        """The feed of a message, or what it is of in place of one; None where there is none."""
        known = self._feed_of_topic.get(topic)
        if known is not None:
            return known
        if self._patterns.said_of(topic):
            return AVAILABILITY
        feed, passed_by, _ = self._patterns.whose(topic)
        if passed_by is not None or (feed is None and topic in self._wider):
            return NO_FEED
        if feed is not None and len(topic) <= MAX_TOPIC_BYTES and not self.is_full:
            self._feed_of_topic[topic] = feed
        return feed


def _wider(feeds: Mapping[str, FeedConfig]) -> Iterator[str]:
    """Topic filters that have more than the topics which they are for."""
    yield from (feed.topic_filter for feed in feeds.values() if feed.is_within_levels)
    wanted = wanted_filters(feeds.values())
    yield from (each for each in united(dict.fromkeys(wanted, None)) if each not in wanted)
