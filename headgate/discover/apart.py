"""Feeds whose topics could match the same message, told apart.

What is not needed of a pattern is given up: a channel that the topic names gets a feed of its own,
with its level as it is; a feed whose topics another one matches as well goes into that. Where
neither helps both stand if each gets what it was made of: the topic that says more is asked first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from headgate.config.overlap import are_tied, rank, topics_overlap
from headgate.config.payload_path import parts_of
from headgate.discover.feeds import Proposed, of_roles
from headgate.discover.payloads import together

#: Channels of a feed that is divided by them.
_MOST_DIVIDED = 60

#: So many steps for each feed are enough; what is left then is given up.
_STEPS = 50


def apart(proposed: Sequence[Proposed]) -> tuple[list[Proposed], list[Proposed]]:
    """Feeds that take what they were made of, and those that were given up for that."""
    waiting = deque(sorted(proposed, key=lambda each: each.topic))
    kept: list[Proposed] = []
    given_up: list[Proposed] = []
    steps = _STEPS * len(waiting)
    beside: set[frozenset[str]] = set()
    while waiting:
        one = waiting.popleft()
        meeting = (each for each in kept if topics_overlap(each.topic, one.topic))
        free = (each for each in meeting if frozenset((each.topic, one.topic)) not in beside)
        other = next(free, None)
        if other is None:
            kept.append(one)
            continue
        steps -= 1
        if steps < 0:
            given_up.append(one)
            continue
        kept = [each for each in kept if each is not other]
        parts, less = _resolved(one, other)
        if less and _take_their_own(one, other):
            beside.add(frozenset((one.topic, other.topic)))
            parts, less = [one, other], []
        waiting.extendleft(parts)
        given_up += less
    return kept, given_up


def _resolved(one: Proposed, other: Proposed) -> tuple[list[Proposed], list[Proposed]]:
    """What takes the place of two that overlap, and what is given up."""
    fewest = sorted((one, other), key=lambda each: len(each.table["channels"]))
    for first, second in (fewest, fewest[::-1]):
        parts = _divided(first)
        if parts and not any(topics_overlap(part.topic, second.topic) for part in parts):
            return [second, *parts], []
    joined = _joined(one, other) or _joined(other, one) or _by_type(one, other)
    if joined is not None:
        return [joined], []
    less, more = sorted((one, other), key=lambda each: (each.messages, each.topic))
    return [more], [less]


def _take_their_own(one: Proposed, other: Proposed) -> bool:
    """Whether each of two feeds gets the messages that it was made of, beside the other."""
    if one.source is None or other.source is None or are_tied(one.topic, other.topic):
        return False
    first, second = sorted((one, other), key=lambda each: rank(each.topic))
    topics = second.source[1] if second.source is not None else []
    return not any(topics_overlap(first.topic, topic.name) for topic in topics)


def _divided(one: Proposed) -> list[Proposed]:
    """A feed for each channel that the topic names; empty where it names none."""
    form = one.table.get("format", "json")
    if "{channel}" not in one.topic or len(one.table["channels"]) > _MOST_DIVIDED:
        return []
    keys = form if isinstance(form, dict) else {"type": form}
    parts = []
    for name, channel in one.table["channels"].items():
        level = parts_of(channel.get("path", name))[0]
        topic = one.topic.replace("{channel}", level)
        table: dict[str, Any] = {
            **one.table,
            "topic": topic,
            "format": {**keys, "channel": name},
            "channels": {name: channel},
        }
        called = f"{one.name}_{name}"[:60]
        notes = {name: one.notes.get(name, "")}
        part = Proposed(called, topic, table, notes, one.comments, one.example)
        if one.source is not None:
            found, topics, how = one.source
            own = [each for each in topics if topics_overlap(topic, each.name)]
            part.source = (found, own, how)
            part.messages = sum(each.count for each in own)
            part.example = own[0].name if own else one.example
        parts.append(part)
    return parts


def _by_type(one: Proposed, other: Proposed) -> Proposed | None:
    """One feed for both, where content types tell their formats apart."""
    if one.source is None or other.source is None:
        return None
    (found, topics, how), (_, others, other_how) = one.source, other.source
    counts = [sum(topic.count for topic in some) for some in (topics, others)]
    both = together([(how, counts[0]), (other_how, counts[1])])
    if both is None or not all(topics_overlap(one.topic, topic.name) for topic in others):
        return None
    joined = of_roles(found, [*topics, *others], both)
    return None if isinstance(joined, str) else joined


def _joined(one: Proposed, other: Proposed) -> Proposed | None:
    """The first with the topics of the second, where it matches them all and they are alike."""
    if one.source is None or other.source is None or "{channel}" not in one.topic:
        return None
    found, topics, how = one.source
    _, others, other_how = other.source
    if how != other_how or not all(topics_overlap(one.topic, topic.name) for topic in others):
        return None
    joined = of_roles(found, [*topics, *others], how)
    return None if isinstance(joined, str) else joined
