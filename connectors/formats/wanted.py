"""Which names a format must not pass over."""

from __future__ import annotations

from collections.abc import Container, Iterable

from headgate.config.feed import FeedConfig


class _Every(Container[object]):
    """All there are."""

    def __contains__(self, name: object) -> bool:
        return True


def wanted(feed: FeedConfig, names: Iterable[str]) -> Container[object]:
    """These names of the feed's channels; or all, where it takes what is not listed, too."""
    return frozenset(names) if feed.other_channels is None else _Every()
