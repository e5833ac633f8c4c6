"""From a message that was refused to the line of configuration that would take it.

What may help is guessed from the refusal and from what stands in the payload, and then tried on
the message by the gateway's own decoder. Only what takes it is told.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from headgate.config.content_types import read_as
from headgate.config.feed import FeedConfig
from headgate.config.schema import Config, IngestConfig
from headgate.core.errors import DataError
from headgate.discover.plan import plan
from headgate.discover.toml import toml_key, toml_value
from headgate.discover.traffic import Traffic
from headgate.discover.trial import Outcome, as_table, feed_of, tried
from headgate.inspect.guesses import guesses
from headgate.inspect.value_guesses import Changes

#: The reason of messages that no feed has the topic of.
UNKNOWN_TOPIC = "unknown_topic"

#: The reason of messages that say nothing known of whether a device is there.
UNKNOWN_STATE = "unknown_state"

#: So many feeds are tried for one message, and so many remedies told.
_MOST_TRIED = 150
_MOST_TOLD = 3

#: So many changes, one after the other, are made at most.
_DEEPEST = 3


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to write into the configuration so that a message is read.

    Attributes:
        lines: Each with the table it belongs in: ``("[feed.meter.channels]", 'temp = { … }')``.
        gives: What the message gives then, for a person.
    """

    lines: tuple[tuple[str, str], ...]
    gives: str

    def __str__(self) -> str:
        """All on one line."""
        return "; ".join(f"in {table} {line}" for table, line in self.lines)


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that was refused, or an example of a bad field.

    Attributes:
        topic: Its topic.
        payload: All of it.
        arrived_ns: When, ns since 1970 UTC.
        reason: Why it is in quarantine.
        detail: What exactly was wrong.
        content_type: What it said itself that it was; empty where it said nothing.
    """

    topic: bytes
    payload: bytes
    arrived_ns: int
    reason: str
    detail: str
    content_type: bytes = b""


def remedies(config: Config, feed: str, refused: Refused) -> list[Remedy]:
    """What takes a message, the nearest first; empty when nothing is known that does.

    Args:
        config: The configuration that refused it.
        feed: The name of the feed that the message is of.
        refused: The message.
    """
    if refused.reason == UNKNOWN_STATE:
        return []
    of_all = config.feed[feed]
    # What it says itself that it is, is believed, and what follows from that.
    its_own = read_as(of_all, refused.content_type)
    fixed = set() if its_own is of_all else {"format", "charset", "time"}
    if its_own.time == of_all.time:
        fixed.discard("time")
    return _Search(its_own, config.ingest, refused, fixed).run(feed)


def new_feed(config: Config, refused: Refused) -> list[Remedy]:
    """A feed for a message that no feed has the topic of, if one can be made from it alone.

    Args:
        config: The configuration; the feed gets a name that is none of its own.
        refused: The message.
    """
    traffic = Traffic()
    traffic.add(refused.topic, refused.payload, refused.arrived_ns)
    found = plan(traffic)
    if len(found.feeds) != 1 or found.part < 1:
        return []
    ((name, proposed),) = found.feeds.items()
    while name in config.feed:
        name += "_2"
    feed = feed_of(proposed.table)
    message = ([refused.topic], [refused.payload], [refused.arrived_ns])
    outcome = None if feed is None else tried(feed, config.ingest, *message)
    if outcome is None or outcome.refusal is not None or not outcome.has_value:
        return []
    table = f"[feed.{toml_key(name)}]"
    lines = [
        (table, f"{toml_key(key)} = {toml_value(value)}") for key, value in proposed.table.items()
    ]
    return [Remedy(tuple(lines), outcome.shown())]


class _Search:
    """Changes are tried breadth first, so that one comes before two."""

    def __init__(
        self, feed: FeedConfig, limits: IngestConfig, refused: Refused, fixed: Collection[str]
    ) -> None:
        self._feed = feed
        #: Keys of the feed's table that stay as they are.
        self._fixed = fixed
        self._limits = limits
        self._refused = refused
        #: The channel that a bad field is of; others may stay as they are.
        self._channel = refused.detail.partition(":")[0] if refused.reason == "bad_field" else None

    def run(self, name: str) -> list[Remedy]:
        found: list[Remedy] = []
        waiting: deque[tuple[Changes, str, str]] = deque()
        waiting.append(((), self._refused.reason, self._refused.detail))
        left = _MOST_TRIED
        seen = {(self._refused.reason, self._refused.detail)}
        original = as_table(self._feed)
        message = (self._refused.topic, self._refused.payload)
        while waiting and len(found) < _MOST_TOLD:
            changes, reason, detail = waiting.popleft()
            table = _changed(original, changes)
            feed = feed_of(table)
            if feed is None:
                continue
            error = DataError(reason, detail)
            for more in filter(self._may, guesses(feed, table, self._limits, message, error)):
                left -= 1
                if left < 0 or len(found) == _MOST_TOLD:
                    return found
                every = (*changes, *more)
                outcome = None if _is_bold(every) else self._outcome(_changed(original, every))
                if outcome is None:
                    continue
                problem = self._problem(outcome)
                if problem is None:
                    remedy = Remedy(_lines(name, original, every), outcome.shown())
                    if remedy not in found:
                        found.append(remedy)
                elif problem not in seen and len(every) < _DEEPEST:
                    seen.add(problem)
                    waiting.append((every, *problem))
            if found:
                # What needs more changes is farther away.
                return found
        return found

    def _may(self, changes: Changes) -> bool:
        return not any(keys[0] in self._fixed for keys, _ in changes)

    def _outcome(self, table: dict[str, Any]) -> Outcome | None:
        feed = feed_of(table)
        message = self._refused
        if feed is None:
            return None
        return tried(feed, self._limits, [message.topic], [message.payload], [message.arrived_ns])

    def _problem(self, outcome: Outcome) -> tuple[str, str] | None:
        """What is still wrong, as reason and detail; None when the message is read."""
        if outcome.refusal is not None:
            return outcome.refusal.reason, outcome.refusal.detail
        bad = outcome.bad_fields
        if self._channel is not None:
            bad = {name: each for name, each in bad.items() if name == self._channel}
        if bad:
            return "bad_field", next(iter(bad.values())).detail
        if not outcome.readings:
            return "no_channels", "no reading in it"
        if not outcome.has_value and self._channel is None:
            return "missing", "all of its readings are missing"
        return None


def _is_bold(changes: Changes) -> bool:
    """Whether anything at all would be read: as another format, and that as a text."""
    is_text = any(keys[-1] == "type" and value == "text" for keys, value in changes)
    return is_text and any(keys[0] == "format" for keys, _ in changes)


def _changed(table: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    changed = copy.deepcopy(dict(table))
    for keys, value in changes:
        place = changed
        for key in keys[:-1]:
            inner = place.get(key)
            place[key] = place = inner if isinstance(inner, dict) else {}
        if value is None:
            place.pop(keys[-1], None)
        else:
            place[keys[-1]] = value
    return changed


def _lines(name: str, original: Mapping[str, Any], changes: Changes) -> tuple[tuple[str, str], ...]:
    """The keys that have changed, whole, with the tables that they stand in."""
    changed = _changed(original, changes)
    heads: dict[tuple[str, ...], None] = {}
    for keys, _ in changes:
        heads[keys[:2] if keys[0] == "channels" else keys[:1]] = None
    lines = []
    for head in heads:
        place: Any = changed
        for key in head:
            place = place.get(key) if isinstance(place, dict) else None
        table = ".".join(map(toml_key, ("feed", name, *head[:-1])))
        line = (
            f"without {head[-1]}"
            if place is None
            else f"{toml_key(head[-1])} = {toml_value(place)}"
        )
        lines.append((f"[{table}]", line))
    return tuple(lines)
