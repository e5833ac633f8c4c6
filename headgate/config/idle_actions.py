"""Actions that will command nothing, or more than is meant, as far as the configuration tells.

``headgate check`` warns of them. Each warning reads ``key: what is wrong; what to do``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from headgate.config.action import PAYLOAD_NAMES, ActionConfig, reader_of, tags_of
from headgate.config.feed import FeedConfig
from headgate.config.problems import shown_key
from headgate.config.schema import Config
from headgate.core.units import format_duration

#: Periods of a device after which it is taken for away.
_PERIODS = 3


def idle_actions(config: Config) -> Iterator[str]:
    """What of actions does not do what it seems to, a line each."""
    if config.action and "#" in config.actions.topics:
        yield (
            'actions.topics: "#" lets commands go to any topic; name those that devices take '
            "commands from"
        )
    for name, action in config.action.items():
        for key, what in (
            *_not_put_in(action, config),
            *_whose_answer(action, config),
            *_too_old(action, config),
            *_too_often(action, config),
        ):
            yield f"{shown_key(('action', name, key))}: {what}"


def summaries(config: Config) -> Iterator[str]:
    """What each action does, in a line."""
    for name, action in config.action.items():
        mode = "dry run, nothing is sent" if action.dry_run else "sends commands"
        yield f"{shown_key(('action', name))}: {mode}; to {action.topic}"


#: What people write elsewhere where a name is put in, and what is sent here as it stands.
_OTHER_WAYS: Final = r"\{\{\s*(?:NAMES)\s*\}\}|\$\{|<(?:NAMES)>|%(?:NAMES)%"


def _not_put_in(action: ActionConfig, config: Config) -> Iterator[tuple[str, str]]:
    """Where what looks like a name is sent as it stands."""
    tags = {tag for feed in action.feeds_in(config).values() for tag in tags_of(feed) or ()}
    names = "|".join(map(re.escape, sorted({*PAYLOAD_NAMES, *tags})))
    other_ways = re.compile(_OTHER_WAYS.replace("NAMES", names))
    texts = {"topic": [action.topic], "answer": [action.answer or ""], "payload": action.texts}
    for key, those in texts.items():
        for found in filter(None, map(other_ways.search, those)):
            name = re.sub(r"\W", "", found[0]) or "device"
            yield key, f'"{found[0]}" is sent as it stands; to put the name in, write "{{{name}}}"'
        if key != "payload" and any(each != each.strip() for each in those[0].split("/")):
            yield key, f'"{those[0]}" has blanks at the ends of a level; leave them out'


def _whose_answer(action: ActionConfig, config: Config) -> Iterator[tuple[str, str]]:
    """Where nobody can tell whose answer it is."""
    if not action.answer or action.carries_id:
        return
    for name, other in config.action.items():
        is_same = other.answer == action.answer and other is not action
        if is_same and other.source_in(config) == action.source_in(config):
            yield (
                "answer",
                (
                    f"action.{name} has its answers there, too, and without an id in the payload "
                    "nobody can tell whose one is; put {id} into the payload, or take another topic"
                ),
            )


def _too_old(action: ActionConfig, config: Config) -> Iterator[tuple[str, str]]:
    rules = [rule for _, rule in action.rules_in(config)]
    limit = format_duration(action.max_age)
    for name, feed in action.feeds_in(config).items():
        if action.max_age <= feed.grace:
            yield (
                "max_age",
                (
                    f"readings of feed.{name} are looked at when they are "
                    f"{format_duration(feed.grace)} old (grace), so all that they tell is older "
                    f"than {limit} then; make it longer"
                ),
            )
        silence = _silence(feed, config)
        is_away = any(rule.offline and name in rule.feed for rule in rules)
        if is_away and action.max_age <= silence:
            yield (
                "max_age",
                (
                    f"devices of feed.{name} are taken for away after {format_duration(silence)}, "
                    f"from their last reading on, so that is older than {limit} then; make it "
                    "longer"
                ),
            )


def _too_often(action: ActionConfig, config: Config) -> Iterator[tuple[str, str]]:
    source = action.source_in(config)
    expires = source is None or getattr(config.source[source].table, "version", "5") != "3.1.1"
    if action.retain:
        until = "until it expires" if expires else "for ever: over MQTT 3.1.1 nothing expires"
        yield (
            "retain",
            (
                "a command that is kept by the broker is carried out by each device that "
                f"subscribes, {until}; leave it out, unless it may be carried out again and again"
            ),
        )
    knows = action.payload is None or "expires" in action.payload_names
    if not expires and action.qos > 0 and not knows:
        yield (
            "payload",
            (
                "over MQTT 3.1.1 nothing expires: a device that was away gets what is old when it "
                'comes back; name {expires}, for it to look at, or give the source version = "5"'
            ),
        )
    if source and action.answer and (feed := reader_of(action.answer, source, config)):
        yield (
            "answer",
            (
                f"feed.{feed} reads it, too, and takes answers for readings, or puts them into "
                "quarantine; put it into ignore there, or of the source"
            ),
        )


def _silence(feed: FeedConfig, config: Config) -> int:
    """After how long its devices are taken for away, at least, ns."""
    return max(_PERIODS * (feed.expect_every or feed.period), config.streams.silent_after)
