"""What a rule's turn is to those who are told of it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from headgate.config.feed import FeedConfig
from headgate.config.rule import RuleConfig, TextPart
from headgate.core.channels import Channel
from headgate.core.results import Alarm
from headgate.core.text import shortest
from streams.stages.derive.places import place_tags
from streams.stages.derive.rule import Turn

#: Stands in a text for a value that is missing.
_MISSING = "?"


def alarm_of(
    turn: Turn,
    channel: Channel,
    feeds: Mapping[str, FeedConfig],
    rules: Mapping[str, RuleConfig],
) -> Alarm:
    """The alarm that a rule's turn is of.

    Args:
        turn: The turn.
        channel: The channel whose reading brought it about.
        feeds: ``config.feed``.
        rules: ``config.rule``.
    """
    rule, owner = rules[turn.rule], channel.owner
    own = place_tags(feeds[channel.feed], channel)
    told = {
        "device": owner.label,
        "feed": owner.feed,
        "rule": turn.rule,
        "severity": rule.severity,
    }
    return Alarm(
        feed=owner.feed,
        device=owner.name,
        rule=turn.rule,
        start_ns=turn.start_ns,
        opened_ns=turn.opened_ns,
        time_ns=turn.time_ns,
        is_open=turn.is_open,
        severity=rule.severity,
        text="".join(_put_in(part, told, turn.shown) for part in rule.parts),
        part=tuple(tag for tag in own if tag not in owner.tags),
        tags=owner.tags,
    )


def _put_in(part: TextPart, told: Mapping[str, str], shown: Mapping[str, float]) -> str:
    """A part of a rule's text, with what it names."""
    if not part.name:
        return part.plain
    if part.name in told:
        return part.plain + told[part.name]
    value = shown[part.name]
    if math.isnan(value):
        return part.plain + _MISSING
    if not part.form:
        return part.plain + shortest(value)
    number = round(value) if part.form.endswith("d") else value
    return part.plain + format(number, part.form)
