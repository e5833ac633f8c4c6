"""Topics by which devices say whether they are there, found among those that are passed over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from connectors.formats.json.payload import loads
from connectors.formats.topics import IgnoredTopics
from headgate.config.availability import word_of
from headgate.core.errors import DataError
from headgate.discover.feeds import Proposed
from headgate.discover.traffic import Topic
from headgate.discover.trial import feed_of

#: Words for both, as they are compared; the usual ones first.
_ONLINE = ("online", "connected", "true", "1", "available", "alive", "ready")
_OFFLINE = ("offline", "disconnected", "false", "0", "unavailable", "lost", "dead")

#: Ends of topics under which these words mean that.
ENDS = frozenset(["online", "availability", "available", "lwt", "connected", "$state", "alive"])

#: Ends under which no truth value does.
_OF_WORDS = frozenset(["status", "state"])


def add_availability(
    feeds: Iterable[Proposed], passed: Sequence[Topic], ignore: Sequence[str]
) -> None:
    """Have feeds know by which topics their devices say whether they are there.

    Args:
        feeds: Those that are written.
        passed: Topics that no feed takes.
        ignore: ``mqtt.ignore``, behind which nothing is heard.
    """
    ignored = IgnoredTopics(ignore)
    said = [
        (topic.name.split("/"), found)
        for topic in passed
        if topic.name.encode() not in ignored and (found := _said(topic)) is not None
    ]
    for each in feeds:
        at, devices = _devices(each)
        tables: dict[str, tuple[int, dict[str, Any]]] = {}
        for levels, table in said:
            named = [place for place, level in enumerate(levels) if level in devices]
            if len(named) != 1:
                continue
            topic = "/".join([*levels[: named[0]], "{device}", *levels[named[0] + 1 :]])
            count, before = tables.get(topic, (0, table))
            tables[topic] = (count + 1, before)
        if not tables or at is None:
            continue
        topic, (_, table) = max(tables.items(), key=lambda found: (found[1][0], found[0]))
        availability = {"topic": topic, **table}
        if feed_of({**each.table, "availability": availability}) is not None:
            each.table["availability"] = availability


def _devices(each: Proposed) -> tuple[int | None, set[str]]:
    """Which level of a feed's topic is its device, if that alone tells devices apart, and these."""
    levels = each.topic.split("/")
    others = [level for level in levels if "{" in level and level not in ("{device}", "{channel}")]
    if "device" in each.table or "{device}" not in levels or others or each.source is None:
        return None, set()
    at = levels.index("{device}")
    return at, {topic.name.split("/")[at] for topic in each.source[1]}


def _said(topic: Topic) -> dict[str, Any] | None:
    """What ``availability`` says of a topic's messages; None where they are something else."""
    end = topic.name.rpartition("/")[2].casefold()
    if not topic.messages or end not in ENDS | _OF_WORDS:
        return None
    found = [_word(message.payload) for message in topic.messages]
    paths, words = {path for path, _ in found}, {word for _, word in found}
    if len(paths) > 1 or not words <= {*_ONLINE, *_OFFLINE}:
        return None
    if end in _OF_WORDS and words <= {"true", "false", "1", "0"}:
        return None
    places = {(_ONLINE if word in _ONLINE else _OFFLINE).index(str(word)) for word in words}
    if len(places) > 1:
        return None
    (place,), (path,) = places, paths
    keys: dict[str, Any] = {"path": path} if path else {}
    return {**keys, "online": [_ONLINE[place]], "offline": [_OFFLINE[place]]} if place else keys


def _word(payload: bytes) -> tuple[str, str | None]:
    """Where in a message a word stands that is all of it, and the word; None where none does."""
    try:
        value: object = loads(payload)
    except DataError:
        value = payload.decode(errors="replace")
    if not isinstance(value, dict):
        return "", word_of(value)
    if len(value) != 1:
        return "", None
    ((path, word),) = value.items()
    return str(path), word_of(word)
