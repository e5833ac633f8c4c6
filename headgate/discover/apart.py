"""Feeds whose topics could match the same message, told apart: no configuration may have such.

What is not needed of a pattern is given up: a channel that the topic names gets a feed of its own,
with its level as it is; a feed whose topics another one matches as well goes into that.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from headgate.config.payload_path import parts_of
from headgate.config.references import topics_overlap
from headgate.discover.feeds import Proposed, of_roles

#: Channels of a feed that is divided by them.
_MOST_DIVIDED = 60

#: Rounds of looking; each has one feed less in conflict, or more feeds with fewer wildcards.
_MOST_ROUNDS = 1000


def apart(proposed: Sequence[Proposed]) -> tuple[list[Proposed], list[Proposed]]:
    """Feeds that no message is of two of, and those that were given up for that."""
    kept, given_up = list(proposed), []
    for _ in range(_MOST_ROUNDS):
        pair = _overlapping(kept)
        if pair is None:
            break
        first, second = pair
        others = [each for each in kept if each is not first and each is not second]
        fewest = sorted(pair, key=lambda each: len(each.table["channels"]))
        for one, other in (fewest, fewest[::-1]):
            parts = _divided(one)
            if parts and not any(topics_overlap(part.topic, other.topic) for part in parts):
                kept = [*others, other, *parts]
                break
        else:
            joined = _joined(first, second) or _joined(second, first)
            if joined is None:
                less = min(first, second, key=_weight)
                given_up.append(less)
                joined = first if less is second else second
            kept = [*others, joined]
    return kept, given_up


def _overlapping(proposed: Sequence[Proposed]) -> tuple[Proposed, Proposed] | None:
    ordered = sorted(proposed, key=lambda each: each.topic)
    return next(
        (pair for pair in combinations(ordered, 2) if topics_overlap(pair[0].topic, pair[1].topic)),
        None,
    )


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
        parts.append(part)
    return parts


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


def _weight(one: Proposed) -> int:
    return 0 if one.source is None else sum(topic.count for topic in one.source[1])
