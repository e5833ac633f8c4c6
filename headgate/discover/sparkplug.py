"""Sparkplug B: a namespace of its own, whose births say what metrics there are.

A feed has all messages of a group's nodes, and they mean something only in their order; so they are
not recognized topic by topic, and are tried all together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headgate.core.errors import DataError
from headgate.discover.feeds import Proposed
from headgate.discover.fields import Values, channel_keys, completed, described
from headgate.discover.leaves import path_of
from headgate.discover.names import channel_names
from headgate.discover.traffic import Message, Topic

if TYPE_CHECKING:
    from connectors.formats.decoder import FeedDecoder

_NAMESPACE = "spBv1.0/"

#: Metrics of one group; the commonest where there are more.
_MOST_CHANNELS = 400

#: What nodes say of themselves; no measurement.
_CONTROL = ("bdSeq", "Node Control/", "Device Control/", "Node Info/", "Properties/")

_UNBORN = (
    "metrics without names, whose births were not heard: listen until nodes are born again, or "
    'write a feed with format = "sparkplug", which asks them itself'
)


def is_sparkplug(topic: str) -> bool:
    """Whether a topic is in Sparkplug's namespace."""
    return topic.startswith(_NAMESPACE)


def sparkplug_feeds(topics: Sequence[Topic]) -> tuple[list[Proposed], dict[str, str]]:
    """A feed for each group; and by topic, why those of the others have none.

    Args:
        topics: Topics in Sparkplug's namespace.
    """
    groups: defaultdict[str, list[Topic]] = defaultdict(list)
    for topic in topics:
        groups[topic.name.split("/")[1]].append(topic)
    proposed, refused = [], {}
    for group in sorted(groups):
        one = _feed(group, groups[group])
        if isinstance(one, str):
            refused.update({topic.name: one for topic in groups[group]})
        else:
            proposed.append(one)
    return proposed, refused


def decoded_in_order(decoder: FeedDecoder, topics: Sequence[Topic]) -> tuple[float, Counter[str]]:
    """The part of messages that is not refused, of one, and why others are.

    Only messages up to the first that was not kept are tried: after a gap nothing is believed.
    """
    gaps = [topic.first[-1].arrived_ns for topic in topics if topic.count > len(topic.messages)]
    end_ns = min(gaps, default=None)
    every: list[tuple[int, int, bytes, Message]] = [
        (each.arrived_ns, number, topic.name.encode(), each)
        for topic in topics
        for number, each in enumerate(topic.messages)
        if end_ns is None or each.arrived_ns <= end_ns
    ]
    every.sort(key=lambda each: each[:2])
    if not every:
        return 0.0, Counter(["none of them was kept"])
    decoded = decoder.decode(
        [name for _, _, name, _ in every],
        [each.payload for *_, each in every],
        np.array([arrived for arrived, *_ in every], np.int64),
    )
    why = Counter(f"{error.reason}: {error.detail}"[:200] for _, error in decoded.refused)
    return 1 - len(decoded.refused) / len(every), why


def _feed(group: str, topics: Sequence[Topic]) -> Proposed | str:
    if group == "STATE":
        return "what host applications say of themselves"
    found: dict[str, Values] = {}
    for topic in topics:
        for message in topic.messages:
            for name, value in _metrics(message.payload):
                if not name.startswith(_CONTROL) and (name in found or len(found) < 5000):
                    found.setdefault(name, Values()).add(value, topic.name)
    paths = {name: path for name in sorted(found) if (path := path_of((name,))) is not None}
    common = sorted(paths, key=lambda name: (-found[name].count, name))[:_MOST_CHANNELS]
    names = channel_names([paths[name] for name in sorted(common)])
    channels: dict[str, Any] = {}
    notes: dict[str, str] = {}
    for name in sorted(common):
        keys = channel_keys(found[name])
        if keys is None:
            continue
        path, called = paths[name], names[paths[name]]
        place = {} if path == called else {"path": path}
        channels[called] = {**place, **completed(path, keys, found[name])}
        notes[called] = described(found[name])
    if not channels:
        return _UNBORN
    # Only whole groups: a level that may be any is one of other feeds' as well.
    pattern = f"{_NAMESPACE}{group}/#"
    table = {"topic": pattern, "format": "sparkplug", "channels": channels}
    called = "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in group)
    made = Proposed(f"sparkplug_{called}"[:60], pattern, table, notes, [], topics[0].name)
    made.messages = sum(topic.count for topic in topics)
    return made


def _metrics(payload: bytes) -> list[tuple[str, object]]:
    """The metrics of a message that have names, with their values."""
    # Protobuf is loaded where there is something to read.
    from connectors.formats.sparkplug.schema import parsed  # noqa: PLC0415
    from connectors.formats.sparkplug.values import value_of  # noqa: PLC0415

    try:
        message = parsed("Payload", payload)
    except DataError:
        return []
    found = []
    for metric in message.metrics:
        if metric.name and metric.WhichOneof("value") is not None:
            try:
                found.append((metric.name, value_of(metric, metric.datatype)))
            except DataError:
                continue
    return found
