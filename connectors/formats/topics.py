"""MQTT topic patterns with placeholders: ``plant/{line}/{device}/telemetry``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from headgate.config.feed import FeedConfig
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
        self._expression = re.compile(_expression(pattern, r"(?P<{}>[^/]*)"), re.DOTALL)

    def match(self, topic: str) -> dict[str, str] | None:
        """Values by placeholder; None when the topic is not of this pattern."""
        found = self._expression.fullmatch(topic)
        return None if found is None else found.groupdict()


class TopicPatterns:
    """Finds which of several patterns a topic is of, in one look whatever their number."""

    def __init__(self, patterns: Iterable[str]) -> None:
        every = "|".join(f"({_expression(pattern, '[^/]*')})" for pattern in patterns)
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


class PassedOver:
    """Which messages of one source are passed over.

    Args:
        feeds: By name, the source's feeds.
        ignore: Topic filters of messages that are of no feed.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], ignore: Iterable[str]) -> None:
        self._of_source = IgnoredTopics(ignore)
        self._of_feeds = {
            name: IgnoredTopics(feed.ignore) for name, feed in feeds.items() if feed.ignore
        }

    def key_of(self, topic: bytes, feed: str | None) -> str | None:
        """The feed that says so, empty for the source; None where the message is not passed over.

        Args:
            topic: The message's topic.
            feed: The feed whose topic it has; None where it is of none.
        """
        if topic in self._of_source:
            return ""
        # A filter of several levels brings more than a topic means: of that any feed may say so.
        names = self._of_feeds if feed is None else (feed,)
        return next(
            (name for name in names if name in self._of_feeds and topic in self._of_feeds[name]),
            None,
        )


def _filter_expression(text: str) -> str:
    levels = {"+": "[^/]*", "#": ".*"}
    expression = "/".join(levels.get(level, re.escape(level)) for level in text.split("/"))
    # The level above what # stands for is meant, too.
    expression = re.sub(r"/\.\*$", "(?:/.*)?", expression)
    # Wildcards at the beginning don't mean the broker's own topics.
    return rf"(?!\$){expression}" if text[0] in "+#" else expression


def _expression(pattern: str, placeholder: str) -> str:
    levels = []
    for level in pattern.split("/"):
        if level.endswith("...}"):
            # The levels that are left, of which there is one at least.
            levels.append(placeholder.format(level[1:-4]).replace("[^/]*", ".+"))
        elif "{" in level:
            before, _, rest = level.partition("{")
            name, _, behind = rest.partition("}")
            levels.append(re.escape(before) + placeholder.format(name) + re.escape(behind))
        elif level == "+":
            levels.append("[^/]*")
        elif level == "#":
            levels.append(".*")
        else:
            levels.append(re.escape(level))
    expression = "/".join(levels)
    # The level above what # stands for is meant, too.
    return re.sub(r"/\.\*$", "(?:/.*)?", expression) if pattern[-1] == "#" else expression
