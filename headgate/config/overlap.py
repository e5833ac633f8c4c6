"""Topics of feeds that one message may be of: which feed takes it, and what to subscribe to.

The feed whose topic is more specific takes the message: level by level from the left, text before
text with a placeholder in it, that before a wildcard or a placeholder alone, and these before those
that stand for all levels that are left. So a topic that another one covers is always before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from headgate.config.topics import topic_filter

_T = TypeVar("_T")

#: Text with a placeholder in it, such as ``dev-{device}``.
_is_part = re.compile(r"[^{].*\{|\}.").search


def rank(topic: str) -> list[tuple[int, int]]:
    """How specific a topic is: of two that a message may be of, the lesser one is more so."""
    return [_rank(level) for level in _levels(topic)]


def most_specific_first(topics: Mapping[str, str]) -> list[str]:
    """The names of feeds in the order in which they are asked, by their topics."""
    return sorted(topics, key=lambda name: rank(topics[name]))


def topics_overlap(topic: str, other: str) -> bool:
    """Whether a message could be of both of two feeds' topics."""
    return _overlap(_levels(topic), _levels(other))


def are_tied(topic: str, other: str) -> bool:
    """Whether a message could be of both of two feeds' topics, and neither is more specific."""
    return rank(topic) == rank(other) and topics_overlap(topic, other)


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


def _rank(level: str) -> tuple[int, int]:
    if level == "#":
        return 3, 0
    if level == "+":
        return 2, 0
    if "{" in level:
        before, _, behind = level.partition("{")
        # Where both match, longer text is more specific.
        return 1, -len(before) - len(behind.partition("}")[2])
    return 0, 0


def _levels(topic: str) -> list[str]:
    """The levels of a topic's filter, of those with text around a placeholder all of it."""
    levels = zip(topic.split("/"), topic_filter(topic).split("/"), strict=True)
    return [level if _is_part(level) else wild for level, wild in levels]


def _meet(one: str, other: str) -> bool:
    """Whether a broker would send some message for both of two topic filters."""
    left, right = one.split("/"), other.split("/")
    # Wildcards at the beginning don't mean the broker's own topics.
    is_own = left[0][:1] == "$" or right[0][:1] == "$"
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


def _overlap(left: list[str], right: list[str]) -> bool:
    """Whether some topic matches both filters."""
    for position in range(max(len(left), len(right))):
        mine, others = left[position : position + 1], right[position : position + 1]
        if ["#"] in (mine, others):
            return True  # "a/#" matches "a" as well
        if not mine or not others:
            return False
        if mine != others and ["+"] not in (mine, others) and not _fit(mine[0], others[0]):
            return False
    return True


def _fit(left: str, right: str) -> bool:
    """Whether a level may be of both of two that have text around a placeholder, if they have."""
    if "{" not in left:
        left, right = right, left
    if "{" not in left:
        return False  # two different texts
    before, _, behind = left.partition("{")
    behind = behind.partition("}")[2]
    if "{" not in right:
        is_long = len(right) >= len(before) + len(behind)
        return is_long and right.startswith(before) and right.endswith(behind)
    other_before, _, other_behind = right.partition("{")
    other_behind = other_behind.partition("}")[2]
    begins = before.startswith(other_before) or other_before.startswith(before)
    return begins and (behind.endswith(other_behind) or other_behind.endswith(behind))
