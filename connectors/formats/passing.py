"""Messages and records that are passed over for what stands in them: heartbeats, other kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from connectors.formats.others import pattern_of
from connectors.formats.paths import ABSENT, first, getter
from connectors.formats.records import Around
from connectors.formats.shape import comparable
from headgate.config.channel import plain
from headgate.config.feed import FeedConfig

#: No text is looked at that is longer.
_LONGEST = 256


class Passing:
    """What a feed's ``skip`` and ``only`` say of its messages.

    Args:
        feed: The feed's configuration.
    """

    def __init__(self, feed: FeedConfig) -> None:
        self._skip = _conditions(feed.skip)
        self._only = _conditions(feed.only)
        #: Messages of which nothing was left, since somebody took note.
        self.messages = 0

    @classmethod
    def of(cls, feed: FeedConfig) -> Passing | None:
        """That of a feed; None where it takes whatever comes."""
        return cls(feed) if feed.skip or feed.only else None

    def is_message(self, content: object) -> bool:
        """Whether a message without records is passed over for what stands in it."""
        if type(content) is not dict:
            return False
        if any(condition.holds(content, ()) for condition in self._skip):
            return True
        return any(condition.holds(content, ()) is False for condition in self._only)

    def is_record(self, record: object, around: Around) -> bool:
        """Whether a record is."""
        if any(condition.holds(record, around) for condition in self._skip):
            return True
        return not all(condition.holds(record, around) for condition in self._only)


class _Condition:
    """Whether what stands at a path is one of some words."""

    def __init__(self, path: str, words: Sequence[object]) -> None:
        self._get: Callable[[object], object] = getter(path)
        globs = [word for word in words if isinstance(word, str) and "*" in word]
        self._words = {comparable(word) for word in words if word not in globs}
        self._globs = pattern_of(map(plain, globs)) if globs else None

    def holds(self, record: object, around: Around) -> bool | None:
        """Whether it is; None where there is nothing."""
        value = first(self._get, record, around)
        if value is ABSENT:
            return None
        if comparable(value) in self._words:
            return True
        if self._globs is None or not isinstance(value, str):
            return False
        return self._globs.fullmatch(plain(value[:_LONGEST])) is not None


def _conditions(given: Mapping[str, Sequence[object]]) -> list[_Condition]:
    return [_Condition(path, words) for path, words in given.items()]
