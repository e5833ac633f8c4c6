"""Topics to patterns: which levels are names, and which are the same for all.

Branches of the tree of topics that look alike below are one level with many names. What stands at
the end of a topic of one value is a channel; what stands at the end of a topic of objects is a kind
of message where it comes again under several devices or is called as kinds are, and a device else.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

#: Ends of topics that say what kind of message it is, in small letters without what is no letter.
_KINDS = frozenset(
    """state states status sensor sensors telemetry data info result results event events up down
    uplink downlink join ack energy attributes config log logging health summary update report
    reports metrics metric measurement measurements measure reading readings value values raw json
    online lwt ddata dbirth nbirth ndata rpc shadow system heartbeat diagnostics messages message
    output input notify stats statistics current get response payload decoded result daten messwerte
    werte zustand mesures donnees dados datos dati stato estado""".split()  # noqa: SIM905
)

#: So alike are the branches of one level: what they have in common, of all they have.
_ALIKE = 0.5

#: Keys that payloads under one level have in common, of the smaller ones'.
_KEYS_ALIKE = 0.4

#: Branches of a level that a new one is held against, one by one.
_MOST_CLUSTERS = 200


@dataclass(frozen=True, slots=True)
class Told:
    """A topic, as far as it matters here.

    Attributes:
        levels: Its levels.
        label: What it has in common with topics of one feed; see ``Written.label``.
        is_value: Whether it has one value a message.
        keys: Of objects, the keys in them.
    """

    levels: tuple[str, ...]
    label: str
    is_value: bool
    keys: frozenset[str] = frozenset()


@dataclass(slots=True)
class Pattern:
    """Topics of one shape.

    Attributes:
        levels: A text for a level that is the same for all, and None where names stand.
        topics: Which of the topics.
    """

    levels: tuple[str | None, ...]
    topics: list[int] = field(default_factory=list)


def patterns(topics: Sequence[Told]) -> list[Pattern]:
    """Patterns that each topic is of one of, in an order that does not depend on theirs."""
    found = list(_below(topics, range(len(topics)), 0, (), 1))
    return sorted(found, key=lambda each: [level or "" for level in each.levels])


def is_kind(level: str) -> bool:
    """Whether a level is called as kinds of messages are."""
    return re.sub(r"[^a-z]", "", level.casefold()) in _KINDS


def _below(
    topics: Sequence[Told],
    members: Sequence[int],
    depth: int,
    prefix: tuple[str | None, ...],
    parents: int,
) -> Iterator[Pattern]:
    """Patterns of topics that agree up to a depth.

    Args:
        topics: All of them.
        members: Which.
        depth: Levels that are dealt with.
        prefix: Those levels.
        parents: How many names stand for the last of them.
    """
    ends = [at for at in members if len(topics[at].levels) == depth + 1]
    yield from _ends(topics, ends, depth, prefix, parents)
    branches: defaultdict[str, list[int]] = defaultdict(list)
    for at in members:
        if len(topics[at].levels) > depth + 1:
            branches[topics[at].levels[depth]].append(at)
    for names, alike in _clusters(topics, branches, depth):
        level = names[0] if len(names) == 1 else None
        yield from _below(topics, alike, depth + 1, (*prefix, level), len(names))


def _ends(
    topics: Sequence[Told],
    ends: Sequence[int],
    depth: int,
    prefix: tuple[str | None, ...],
    parents: int,
) -> Iterator[Pattern]:
    """Patterns of topics that end at a depth."""
    by_label: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
    for at in ends:
        by_label[topics[at].label].setdefault(topics[at].levels[depth], []).append(at)
    for names in by_label.values():
        free = []
        for name, members in names.items():
            is_value = topics[members[0]].is_value
            comes_again = parents > 1 and len(members) > 1
            if not is_value and (is_kind(name) or comes_again):
                yield Pattern((*prefix, name), members)
            else:
                free += members
        if free:
            yield Pattern((*prefix, None), free)


def _clusters(
    topics: Sequence[Told], branches: Mapping[str, list[int]], depth: int
) -> Iterator[tuple[list[str], list[int]]]:
    """Names of branches that look alike below, and the topics in them."""
    clusters: list[_Cluster] = []
    for name in sorted(branches):
        shape, keys = _shape(topics, branches[name], depth)
        for cluster in clusters[:_MOST_CLUSTERS]:
            if _are_alike(shape, keys, cluster.shape, cluster.keys):
                cluster.add(name, branches[name], shape, keys)
                break
        else:
            clusters.append(_Cluster([name], [*branches[name]], shape, keys))
    for cluster in clusters:
        yield cluster.names, cluster.members


@dataclass(slots=True)
class _Cluster:
    """Branches of one level that look alike below: their names, topics, ends, and keys at these."""

    names: list[str]
    members: list[int]
    shape: set[object]
    keys: dict[object, set[str]]

    def add(
        self, name: str, members: Sequence[int], shape: set[object], keys: dict[object, set[str]]
    ) -> None:
        self.names.append(name)
        self.members += members
        self.shape |= shape
        for end, some in keys.items():
            self.keys.setdefault(end, set()).update(some)


def _shape(
    topics: Sequence[Told], members: Sequence[int], depth: int
) -> tuple[set[object], dict[object, set[str]]]:
    """What a branch looks like below: its ends, and the keys at each of them."""
    shape: set[object] = set()
    keys: defaultdict[object, set[str]] = defaultdict(set)
    for at in members:
        topic = topics[at]
        rest = [_plain_level(level) for level in topic.levels[depth + 1 :]]
        if topic.is_value or not is_kind(rest[-1]):
            rest[-1] = "*"
        end = (*rest, topic.label)
        shape.add(end)
        keys[end] |= topic.keys
    return shape, keys


def _plain_level(level: str) -> str:
    """A level without the digits that only count."""
    return re.sub(r"\d+", "#", level)


def _are_alike(
    shape: set[object],
    keys: Mapping[object, set[str]],
    other: set[object],
    other_keys: Mapping[object, set[str]],
) -> bool:
    common = shape & other
    if not common or len(common) < _ALIKE * min(len(shape), len(other)):
        return False
    if len(common) < _ALIKE * len(shape | other) and len(common) < 2:
        return False
    for end in common:
        mine, theirs = keys.get(end, set()), other_keys.get(end, set())
        least = min(len(mine), len(theirs))
        if least and len(mine & theirs) < _KEYS_ALIKE * least:
            return False
    return True
