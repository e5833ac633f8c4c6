"""Topics of a preset that stand beside its ``topic``: where that is another, they go with it.

A preset's ``ignore`` and its topics of ``availability`` are written beside its own topic. Under a
prefix of one's own, ``esphome/{device}/…`` in place of ``{device}/…``, they would be of other
messages, or of none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headgate.config.topics import Level, levels_of


def follow_topic(merged: dict[str, Any], preset: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Rewrite what a feed has of its preset's topics as its own topic is written.

    What the feed says itself stays as it is, and so does what can't be told.

    Args:
        merged: The feed's table with the preset's keys; changed.
        preset: The preset's table.
        own: The feed's table as it was parsed.
    """
    topic = own.get("topic")
    if not isinstance(topic, str) or topic == preset["topic"]:
        return
    moves = _moves(preset["topic"], topic)
    if "ignore" not in own and "ignore" in preset:
        merged["ignore"] = [_moved(each, moves, _as_filter) for each in preset["ignore"]]
    said, own_said = merged.get("availability"), own.get("availability")
    if isinstance(own_said, Mapping) and "topic" in own_said:
        return
    if isinstance(said, Mapping) and "availability" in preset:
        given = said["topic"]
        topics = [given] if isinstance(given, str) else given
        found = [_moved(each, moves, _as_written) for each in topics]
        if "{device...}" in topic:
            found = [each.replace("{device}", "{device...}") for each in found]
        merged["availability"] = {**said, "topic": found[0] if given is not topics else found}


#: The levels that a topic begins with, and those that stand there instead.
_Move = tuple[Sequence[str], Sequence[str]]


def _moves(preset: str, own: str) -> list[_Move]:
    """What differs between two topics: before the end that both have, and before a placeholder."""
    before, after = preset.split("/"), own.split("/")
    ended = 0
    while ended < min(len(before), len(after)) and _is_same(before[-1 - ended], after[-1 - ended]):
        ended += 1
    moves: list[_Move] = [(before[: len(before) - ended], after[: len(after) - ended])]
    first = next((at for at, each in enumerate(levels_of(preset)) if each.name), None)
    names = [each.name for each in levels_of(own)]
    if first is not None and (name := levels_of(preset)[first].name) in names:
        head, rest = before[:first], after[names.index(name) :]
        # With its levels in another order nothing is before and behind.
        if not {*head} & {*rest}:
            moves.append((head, after[: names.index(name)]))
    return moves


def _is_same(one: str, other: str) -> bool:
    """Whether two levels are the same, be it that a name has one level or several."""
    return one.replace("...}", "}") == other.replace("...}", "}")


def _moved(text: str, moves: Sequence[_Move], written: Callable[[str], str]) -> str:
    """A topic or filter with other levels at its beginning, where it has those that they are for.

    One that says more there than the topic does, such as which component, stays as it is.
    """
    levels = text.split("/")
    for before, after in moves:
        count = len(before)
        if len(levels) > count and levels[:count] == [written(each) for each in before]:
            return "/".join([*(written(each) for each in after), *levels[count:]])
    return text


def _as_written(level: str) -> str:
    return level


def _as_filter(level: str) -> str:
    """A topic's level as filters have it."""
    found: Level = levels_of(level)[0]
    return found.wild or found.before
