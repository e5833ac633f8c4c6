"""Messages and records that are passed over for what stands in them: heartbeats, other kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from connectors.formats.paths import ABSENT, first, getter
from connectors.formats.records import Around
from connectors.formats.said import Words
from headgate.config.feed import FeedConfig


class Passing:
    """What a feed's ``skip`` and ``only`` say of its messages.

    Args:
        feed: The feed's configuration.
    """

    def __init__(self, feed: FeedConfig) -> None:
        self._skip = _conditions(feed.skip)
        self._only = _conditions(feed.only)
        # Those of which the message's envelope has said nothing.
        self._open = self._only
        #: Messages of which nothing was left, since somebody took note.
        self.messages = 0

    @classmethod
    def of(cls, feed: FeedConfig) -> Passing | None:
        """That of a feed; None where it takes whatever comes."""
        return cls(feed) if feed.skip or feed.only else None

    def begin(self, envelope: object = ABSENT) -> bool:
        """A new message; whether it is passed over for what stands in its envelope.

        What that says holds for all that is in it: of ``only`` it is not asked again.

        Args:
            envelope: What is around the message; ``ABSENT``: nothing is.
        """
        self._open = self._only
        if envelope is ABSENT:
            return False
        is_passed = self.is_message(envelope)
        self._open = [each for each in self._only if each.holds(envelope, ()) is None]
        return is_passed

    def is_message(self, content: object) -> bool:
        """Whether a message without records is passed over for what stands in it."""
        if type(content) is not dict:
            return False
        if any(condition.holds(content, ()) for condition in self._skip):
            return True
        return any(condition.holds(content, ()) is False for condition in self._open)

    def is_record(self, record: object, around: Around) -> bool:
        """Whether a record is."""
        if any(condition.holds(record, around) for condition in self._skip):
            return True
        return not all(condition.holds(record, around) for condition in self._open)


class _Condition:
    """Whether what stands at a path is one of some words."""

    def __init__(self, path: str, words: Sequence[object]) -> None:
        self._get: Callable[[object], object] = getter(path)
        self._holds = Words(words).holds

    def holds(self, record: object, around: Around) -> bool | None:
        """Whether it is; None where there is nothing."""
        value = first(self._get, record, around)
        return None if value is ABSENT else self._holds(value)


def _conditions(given: Mapping[str, Sequence[object]]) -> list[_Condition]:
    return [_Condition(path, words) for path, words in given.items()]
