"""Topics of feeds that one message may be of: which feed takes it, and what to subscribe to.

The feed whose topic is more specific takes the message: level by level from the left, text before
text with a placeholder in it, that before a wildcard or a placeholder alone, and these before those
that stand for all levels that are left. So a topic that another one covers is always before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TypeVar

from headgate.config.topics import Level, filter_levels, levels_of

_T = TypeVar("_T")


def rank(topic: str) -> list[tuple[int, int]]:
    """How specific a topic is: of two that a message may be of, the lesser one is more so."""
    return [_rank(level) for level in levels_of(topic)]


def most_specific_first(topics: Mapping[str, str]) -> list[str]:
    """The names of feeds in the order in which they are asked, by their topics."""
    return sorted(topics, key=lambda name: rank(topics[name]))


def topics_overlap(topic: str, other: str) -> bool:
    """Whether a message could be of both of two feeds' topics."""
    return _overlap(levels_of(topic), levels_of(other))


def are_tied(topic: str, other: str) -> bool:
    """Whether a message could be of both of two feeds' topics, and neither is more specific."""
    return rank(topic) == rank(other) and topics_overlap(topic, other)


def covers(one: Sequence[Level], other: Sequence[Level]) -> bool:
    """Whether every message that is of one of two, topics or filters, is of the first."""
    if other[:1] and other[0].before.startswith("$") and one[0].wild:
        return False  # wildcards at the beginning don't mean the broker's own topics
    for at, level in enumerate(one):
        if level == Level(wild="#"):
            return at <= len(other)
        if at >= len(other) or not _has_all(level, other[at]):
            return False
        if level.wild == "#":
            # What stands behind a name of several levels is told only where both are alike.
            return at == len(one) - 1 or [*one] == [*other]
    return len(one) == len(other)


def united(filters: Mapping[str, _T]) -> dict[str, list[_T]]:
    """Topic filters of which no two overlap, that have all that these have.

    A broker may send a message once for each of a client's subscriptions that it matches, and what
    it retains it does send so: two that overlap become one that has both.

    Args:
        filters: By topic filter, something about it.

    Returns:
        By topic filter, that of those which it stands for.
    """
    found: dict[str, list[_T]] = {}
    for name, about in filters.items():
        wanted, every = name, [about]
        while other := next((each for each in found if _meet(each, wanted)), None):
            wanted, every = _union(other, wanted), [*found.pop(other), *every]
        found[wanted] = every
    return found


def _rank(level: Level) -> tuple[int, int]:
    if level.is_part:
        # Where both match, longer text is more specific.
        return 1, -len(level.before) - len(level.behind)
    return {"": 0, "+": 2, "#": 3}[level.wild], 0


def _meet(one: str, other: str) -> bool:
    """Whether a broker would send some message for both of two topic filters."""
    left, right = filter_levels(one), filter_levels(other)
    # Wildcards at the beginning don't mean the broker's own topics.
    is_own = one[:1] == "$" or other[:1] == "$"
    return (not is_own or left[0] == right[0]) and _overlap(left, right)


def _union(one: str, other: str) -> str:
    """The narrowest topic filter that has all of two."""
    left, right = one.split("/"), other.split("/")
    levels: list[str] = []
    for at in range(max(len(left), len(right))):
        mine, others = left[at : at + 1], right[at : at + 1]
        if not mine or not others or "#" in (mine[0], others[0]):
            return "/".join([*levels, "#"])
        levels.append(mine[0] if mine == others else "+")
    return "/".join(levels)


def _overlap(left: Sequence[Level], right: Sequence[Level]) -> bool:
    """Whether some topic matches both."""
    for mine, others in zip_longest(left, right):
        if "#" in (mine and mine.wild, others and others.wild):
            return True  # "a/#" matches "a" as well
        if mine is None or others is None or not _fit(mine, others):
            return False
    return True


def _has_all(one: Level, other: Level) -> bool:
    """Whether each text of the second level is one of the first."""
    if one.wild and not one.is_part:
        return one.wild == "#" or other.wild != "#"
    if not one.wild or not other.wild:
        return not other.wild and _fit(one, other)
    is_within = other.before.startswith(one.before) and other.behind.endswith(one.behind)
    return other.is_part and is_within


def _fit(one: Level, other: Level) -> bool:
    """Whether some text is of both levels."""
    if not one.wild:
        one, other = other, one
    if not one.wild:
        return one == other
    if not other.wild:
        text, is_long = other.before, len(other.before) >= len(one.before) + len(one.behind)
        return is_long and text.startswith(one.before) and text.endswith(one.behind)
    begins = one.before.startswith(other.before) or other.before.startswith(one.before)
    return begins and (one.behind.endswith(other.behind) or other.behind.endswith(one.behind))
