"""MQTT topic patterns with placeholders: ``plant/{line}/{device}/telemetry``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from headgate.config.feed import FeedConfig
from headgate.config.overlap import most_specific_first
from headgate.config.schema import Config
from headgate.config.topics import Level, filter_levels, levels_of, topic_filter
from headgate.core.channels import Tags


class TaggedTopic(bytes):
    """A topic with the tags that stand beside its message.

    To whoever remembers what a topic says it is another topic than that without them.

    Attributes:
        beside: Names and values of the tags, as they came.
    """

    beside: Tags
    _hash: int

    @classmethod
    def of(cls, topic: bytes, beside: Tags) -> TaggedTopic:
        """A topic with these tags."""
        tagged = cls(topic)
        tagged.beside = beside
        tagged._hash = hash((topic, beside))
        return tagged

    def __eq__(self, other: object) -> bool:
        """Whether both are one topic with the same tags."""
        if not isinstance(other, TaggedTopic) or self.beside != other.beside:
            return False
        return bytes.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        """Whether they are not; that of bytes knows nothing of tags."""
        return not self == other

    def __hash__(self) -> int:
        """By the topic and its tags."""
        return self._hash


class TopicPattern:
    """Matches topics of one feed and takes the placeholders' values out of them."""

    def __init__(self, pattern: str) -> None:
        self._expression = re.compile(_expression(levels_of(pattern), keeps_names=True), re.DOTALL)

    def match(self, topic: str) -> dict[str, str] | None:
        """Values by placeholder; None when the topic is not of this pattern."""
        found = self._expression.fullmatch(topic)
        return None if found is None else found.groupdict()


class TopicPatterns:
    """Finds which of several patterns a topic is of, in one look whatever their number."""

    def __init__(self, patterns: Iterable[str]) -> None:
        every = "|".join(f"({_expression(levels_of(pattern))})" for pattern in patterns)
        # On bytes: no part of a longer character is a slash, so nothing has to be decoded.
        self._expression = re.compile(every.encode(), re.DOTALL)

    def first(self, topic: bytes) -> int | None:
        """The place of the first pattern that matches; None when none does."""
        found = self._expression.fullmatch(topic)
        return None if found is None or found.lastindex is None else found.lastindex - 1


class IgnoredTopics:
    """Topics that one of some MQTT topic filters matches."""

    def __init__(self, filters: Iterable[str]) -> None:
        every = "|".join(map(_filter_expression, filters))
        self._expression = re.compile(every.encode(), re.DOTALL) if every else None

    def __contains__(self, topic: bytes) -> bool:
        return self._expression is not None and self._expression.fullmatch(topic) is not None


class Whose(NamedTuple):
    """Whose a topic is.

    Attributes:
        feed: The feed that takes its messages; None where they are of none, or passed over.
        passed_by: The feed whose ``ignore`` has them passed over, empty for the source's; None
            where they are not.
        topic_of: The feed that would take them if nothing were passed over; None for none.
    """

    feed: str | None = None
    passed_by: str | None = None
    topic_of: str | None = None


class FeedPatterns:
    """Finds which feed of one source takes a topic.

    It is the most specific one of those that don't pass it over.

    Args:
        feeds: By name, the source's feeds.
        ignore: Topic filters of messages that are of no feed.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], ignore: Iterable[str] = ()) -> None:
        #: The feeds in the order in which they are asked.
        self.order = most_specific_first({name: feed.topic for name, feed in feeds.items()})
        self._patterns = TopicPatterns(feeds[name].topic for name in self.order)
        self._each = [TopicPatterns([feeds[name].topic]) for name in self.order]
        self._of_source = IgnoredTopics(ignore)
        self._of_feeds = {
            name: IgnoredTopics(feed.ignore) for name, feed in feeds.items() if feed.ignore
        }
        self._said_of = {
            name: TopicPatterns(feed.availability_topics)
            for name, feed in feeds.items()
            if feed.availability_topics
        }

    def whose(self, topic: bytes) -> Whose:
        """Whose a topic is."""
        first = self._patterns.first(topic)
        name = None if first is None else self.order[first]
        if topic in self._of_source:
            return Whose(None, "", name)
        if name is None or first is None:
            # A filter of several levels brings more than a topic means: any feed may say so of it.
            passing = (each for each in self._of_feeds if self.is_passed(each, topic))
            return Whose(None, next(passing, None))
        if not self.is_passed(name, topic):
            return Whose(name, None, name)
        rest = zip(self.order[first + 1 :], self._each[first + 1 :], strict=True)
        matching = (each for each, pattern in rest if pattern.first(topic) is not None)
        taker = next((each for each in matching if not self.is_passed(each, topic)), None)
        return Whose(taker, name if taker is None else None, name)

    def said_of(self, topic: bytes) -> list[str]:
        """The feeds of whose devices a message says whether they are there."""
        every = self._said_of.items()
        return [name for name, topics in every if topics.first(topic) is not None]

    def is_passed(self, name: str, topic: bytes) -> bool:
        """Whether a feed passes a topic over."""
        return name in self._of_feeds and topic in self._of_feeds[name]


def patterns_by_source(config: Config) -> dict[str, FeedPatterns]:
    """Of each source, the patterns of its feeds."""
    return {
        name: FeedPatterns(config.feeds_of(name), table.ignore)
        for name, table in config.sources.items()
    }


def wanted_filters(feeds: Iterable[FeedConfig]) -> list[str]:
    """Topic filters of all that feeds want: their topics, and those of availability."""
    topics = (topic for feed in feeds for topic in (feed.topic, *feed.availability_topics))
    return list(dict.fromkeys(map(topic_filter, topics)))


def _filter_expression(text: str) -> str:
    expression = _expression(filter_levels(text))
    # Wildcards at the beginning don't mean the broker's own topics.
    return rf"(?!\$){expression}" if text[0] in "+#" else expression


def _expression(levels: Sequence[Level], *, keeps_names: bool = False) -> str:
    """What matches the topics of these levels, with a group for each placeholder if they count."""
    *above, last = levels
    if last != Level(wild="#"):
        return "/".join(_of_level(level, keeps_names=keeps_names) for level in levels)
    # The level above what # stands for is meant, too.
    return f"{_expression(above, keeps_names=keeps_names)}(?:/.*)?" if above else ".*"


def _of_level(level: Level, *, keeps_names: bool) -> str:
    # Of the levels that are left there is one at least.
    wild = {"": "", "+": "[^/]*", "#": ".+"}[level.wild]
    if keeps_names and level.name:
        wild = f"(?P<{level.name}>{wild})"
    return re.escape(level.before) + wild + re.escape(level.behind)
