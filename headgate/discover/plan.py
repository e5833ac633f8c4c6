"""From what was heard to feeds that read it, and what they read of it."""

from __future__ import annotations

import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from connectors.formats.decoder import FeedDecoder
from connectors.formats.reader import FeedReader
from connectors.formats.topics import FeedPatterns, IgnoredTopics, TopicPatterns
from headgate.config.schema import Config, IngestConfig
from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError
from headgate.core.properties import Properties
from headgate.discover.apart import apart
from headgate.discover.feeds import Proposed, propose
from headgate.discover.leaves import leaves
from headgate.discover.payloads import Written, together, written
from headgate.discover.presence import ENDS, add_availability
from headgate.discover.sparkplug import decoded_in_order, is_sparkplug, sparkplug_feeds
from headgate.discover.toml import toml_value
from headgate.discover.topics import Pattern, Told, patterns
from headgate.discover.traffic import Topic, Traffic
from headgate.discover.trial import content_by, feed_of, reader

#: Levels under which nothing is measured: commands to devices, and how they are set up.
_NO_READINGS = frozenset(
    """set get cmnd cmd command commands request req config discovery
    $implementation""".split()  # noqa: SIM905
)

#: Messages, and records of each, that are looked at for their keys.
_FOR_KEYS = 3

#: What topics have in common whose messages say by their content types how they are written.
_TYPED = "objects by content type"

#: Feeds that are written; with more kinds of messages the commonest are.
_MOST_FEEDS = 300

#: Filters of ``mqtt.ignore``.
_MOST_IGNORED = 200


@dataclass(slots=True)
class Share:
    """What a feed makes of its messages.

    Attributes:
        heard: Messages, by the counts of their topics.
        decoded: Those of which readings came.
        devices: How many devices.
        why: Why the rest is refused: by reason, how many, and an example.
    """

    heard: float = 0.0
    decoded: float = 0.0
    devices: int = 0
    why: Counter[str] = field(default_factory=Counter)

    @property
    def part(self) -> float:
        """Of one."""
        return self.decoded / self.heard if self.heard else 1.0


@dataclass(slots=True)
class Passed:
    """Topics that are passed over.

    Attributes:
        filter: The filter that matches them, if ``mqtt.ignore`` is to have it.
        why: Why.
        messages: How many came of them.
        example: One of the topics.
    """

    filter: str
    why: str
    messages: int
    example: str


@dataclass(slots=True)
class Plan:
    """What to write into the configuration.

    Attributes:
        feeds: Tables by name, in the order they must stand.
        passed: What is passed over.
        shares: By feed, what it makes of its messages.
        lost: Messages that no feed takes and that are not passed over, by why.
        heard: All messages.
        unkept: Messages that there was no room for.
    """

    feeds: dict[str, Proposed] = field(default_factory=dict)
    passed: list[Passed] = field(default_factory=list)
    shares: dict[str, Share] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    heard: int = 0
    unkept: int = 0

    @property
    def part(self) -> float:
        """Of the messages that are not passed over, how many are decoded, of one."""
        heard = sum(each.heard for each in self.shares.values()) + self.lost.total()
        decoded = sum(each.decoded for each in self.shares.values())
        return decoded / heard if heard else 1.0

    @property
    def ignore(self) -> list[str]:
        """``mqtt.ignore``."""
        return [each.filter for each in self.passed if each.filter][:_MOST_IGNORED]


def plan(traffic: Traffic) -> Plan:
    """What reads what was heard; the same for the same messages."""
    every = list(traffic)
    topics = [topic for topic in every if not is_sparkplug(topic.name)]
    proposed, unborn = sparkplug_feeds([each for each in every if is_sparkplug(each.name)])
    how = [written(topic.messages) for topic in topics]
    made = Plan(heard=traffic.count, unkept=traffic.unkept)
    wanted = [at for at in range(len(topics)) if not _why_passed(topics[at], how[at])]
    mixed = _mixed([how[at] for at in wanted])
    told = [_told(topics[at], how[at], mixed) for at in wanted]
    refused: dict[int, str] = {}
    for pattern in patterns(told):
        members = [wanted[at] for at in pattern.topics]
        some = [topics[at] for at in members]
        several = [(how[at], topics[at].count) for at in members]
        one = propose(Pattern(pattern.levels, members), some, together(several) or how[members[0]])
        if isinstance(one, str):
            refused.update(dict.fromkeys(members, one))
        else:
            proposed.append(one)
    proposed.sort(key=lambda each: (-each.messages, each.topic))
    kept, given_up = apart(proposed[:_MOST_FEEDS])
    for each in [*given_up, *proposed[_MOST_FEEDS:]]:
        clash = "a feed for it would take messages of another one, or there are too many kinds"
        numbers = {topics[at].name: at for at in wanted}
        names = [topic.name for topic in each.source[1]] if each.source else []
        refused |= {numbers[name]: clash for name in names if name in numbers}
    # What says more of a topic is asked first.
    kept.sort(key=lambda each: (_places(each.topic), each.topic))
    for each in kept:
        made.feeds[_free_name(each.name, made.feeds)] = each
    passed = {at: _why_passed(topics[at], how[at]) for at in range(len(topics)) if at not in wanted}
    passed |= refused
    made.passed = _passed(topics, passed, made)
    made.passed += _not_read(every, unborn)
    add_availability(made.feeds.values(), [topics[at] for at in sorted(passed)], made.ignore)
    _check(made, every, {topics[at].name for at in passed} | set(unborn))
    return made


def _mixed(how: Sequence[Written]) -> set[str]:
    """Content types that tell formats apart; none where all are of one format."""
    types: dict[str, str] = {}
    for each in how:
        for said, form in each.types:
            own = toml_value(form)
            if types.setdefault(said, own) != own:
                types[said] = ""
    known = {said for said, own in types.items() if own}
    return known if len({types[said] for said in known}) > 1 else set()


def _told(topic: Topic, how: Written, mixed: Collection[str]) -> Told:
    keys: set[str] = set()
    label = how.label
    if how.kind == "objects":
        if how.is_typed and all(said in mixed for said, _ in how.types):
            label = _TYPED
        forms = dict(how.types)
        for message in topic.messages[:_FOR_KEYS]:
            decoder = _reader(toml_value(forms.get(message.content_type, how.format)))
            found = decoder and content_by(decoder, topic.name.encode(), message.payload)
            for record in found[1][:_FOR_KEYS] if found else ():
                keys.update(path for path, _ in leaves(record))
    is_value = how.kind == "value"
    return Told(tuple(topic.name.split("/")), label, is_value, frozenset(keys))


@lru_cache(64)
def _reader(form: str) -> FeedDecoder | None:
    """What reads messages of a format, as it stands in a file."""
    raw = tomllib.loads(f"format = {form}")
    feed = feed_of({"topic": "{device...}", **raw, "channels": {"x": {}}})
    return None if feed is None else reader(feed, IngestConfig())


def _why_passed(topic: Topic, how: Written) -> str:
    """Why a topic is passed over; empty when it is not."""
    if how.kind in ("words", "presence", "nothing"):
        return how.why
    levels = [level.casefold() for level in topic.name.split("/")]
    if levels[-1] in ENDS and how.kind == "value" and _are_truths(topic):
        return "says whether a device is there; no measurement"
    if not _NO_READINGS.isdisjoint(levels[1:]):
        return "commands to devices, or how they are set up"
    return ""


def _not_read(topics: Sequence[Topic], why: Mapping[str, str]) -> list[Passed]:
    """Topics that no feed is subscribed to, by reason."""
    passed: dict[str, Passed] = {}
    for topic in topics:
        if topic.name in why:
            each = passed.setdefault(why[topic.name], Passed("", why[topic.name], 0, topic.name))
            each.messages += topic.count
    return list(passed.values())


def _are_truths(topic: Topic) -> bool:
    words = {each.payload.strip().lower() for each in topic.messages}
    return words <= {b"true", b"false", b"1", b"0", b"on", b"off"}


def _passed(topics: Sequence[Topic], why: Mapping[int, str], made: Plan) -> list[Passed]:
    """Topics to be passed over as filters; those that would hide a feed's are one by one."""
    feeds = TopicPatterns(each.topic for each in made.feeds.values())
    by_reason: defaultdict[str, list[int]] = defaultdict(list)
    for at, reason in why.items():
        by_reason[reason].append(at)
    names = [topic.name.encode() for at, topic in enumerate(topics) if at not in why]
    passed: list[Passed] = []
    for reason in sorted(by_reason):
        members = by_reason[reason]
        told = [Told(tuple(topics[at].name.split("/")), reason, is_value=False) for at in members]
        for pattern in patterns(told):
            some = [topics[members[at]] for at in pattern.topics]
            text = "/".join("+" if level is None else level for level in pattern.levels)
            # What no feed would get need not be passed over.
            needed = [each for each in some if feeds.first(each.name.encode()) is not None]
            filters = [""]
            if needed and sum(bool(each.filter) for each in passed) >= _MOST_IGNORED:
                # No room for a filter: the feed gets them, and says what it makes of them.
                some = [each for each in some if each not in needed]
                if not some:
                    continue
            elif needed:
                ignored = IgnoredTopics([text])
                hides = any(name in ignored for name in names)
                filters = [each.name for each in needed[:_MOST_IGNORED]] if hides else [text]
            count = sum(topic.count for topic in some)
            passed.append(Passed(filters[0], reason, count, some[0].name))
            passed += [Passed(more, reason, 0, more) for more in filters[1:]]
    return passed


def _check(made: Plan, topics: Sequence[Topic], passed: set[str]) -> None:
    """Have the feeds decode what was heard, as the gateway would."""
    if not made.feeds:
        return
    config = Config.model_validate(
        {
            "feed": {name: each.table for name, each in made.feeds.items()},
            "mqtt": {"ignore": made.ignore},
            "sink": {"none_is_opened": "local_store"},
        }
    )
    channels = ChannelTable(identities=config.identities)
    names = list(config.feed)
    decoders = {
        name: FeedDecoder(name, feed, channels, config.ingest) for name, feed in config.feed.items()
    }
    readers = {
        name: FeedReader(name, feed, channels, config.ingest)
        for name, feed in config.feed.items()
        if feed.content_types
    }
    patterns = FeedPatterns(config.feed, config.sources["mqtt"].ignore)
    made.shares = {name: Share() for name in names}
    in_order: dict[str, list[Topic]] = {}
    for topic in topics:
        feed, passed_by, _ = patterns.whose(topic.name.encode())
        if passed_by is not None or (feed is None and topic.name in passed):
            continue
        if feed is None:
            made.lost["no feed has its topic"] += topic.count
            continue
        if is_sparkplug(topic.name):
            in_order.setdefault(feed, []).append(topic)
        else:
            _decode(topic, readers.get(feed, decoders[feed]), made.shares[feed])
    for name, some in in_order.items():
        share, count = made.shares[name], sum(topic.count for topic in some)
        part, why = decoded_in_order(decoders[name], some)
        share.heard, share.decoded, share.why = count, part * count, why
    for device in channels.devices:
        made.shares[device.feed].devices += 1


def _decode(topic: Topic, decoder: FeedDecoder | FeedReader, share: Share) -> None:
    messages = topic.messages
    share.heard += topic.count
    if not messages:
        share.why["too large to be kept"] += topic.count
        return
    arrival_ns = np.array([each.arrived_ns for each in messages], np.int64)
    names = [topic.name.encode()] * len(messages)
    payloads = [each.payload for each in messages]
    if isinstance(decoder, FeedReader):
        types = enumerate(each.content_type.encode() for each in messages)
        said = {at: Properties(content_type) for at, content_type in types}
        decoded = decoder.read(names, payloads, arrival_ns, properties=said)
    else:
        decoded = decoder.decode(names, payloads, arrival_ns)
    refused: dict[int, DataError] = dict(decoded.refused)
    good = {*decoded.owner.tolist()} - set(refused)
    weight = topic.count / len(messages)
    share.decoded += weight * len(good)
    for error in refused.values():
        share.why[f"{error.reason}: {error.detail}"[:200]] += 1


def _places(topic: str) -> int:
    """How much a pattern leaves open."""
    many = 100 if topic.endswith("...}") else 0
    return many + len(re.findall(r"\{|\+", topic))


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    number, free = 2, name
    while free in taken:
        free = f"{name}_{number}"
        number += 1
    return free
