"""What a rule's turn is to those who are told of it."""

from __future__ import annotations

from collections.abc import Mapping

from headgate.config.feed import FeedConfig
from headgate.config.rule import RuleConfig
from headgate.core.channels import Channel, Device
from headgate.core.results import Alarm
from streams.stages.alarms.text import alarm_text
from streams.stages.derive.latch import Turn
from streams.stages.derive.places import place_tags


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
    part = tuple(tag for tag in own if tag not in owner.tags)
    told = {
        # Parts are told apart by what tells them apart elsewhere.
        "device": Device(owner.feed, owner.name, (*owner.tags, *part)).label,
        "feed": owner.feed,
        "rule": turn.rule,
        "severity": rule.given_severity,
    }
    return Alarm(
        feed=owner.feed,
        device=owner.name,
        rule=turn.rule,
        start_ns=turn.start_ns,
        opened_ns=turn.opened_ns,
        time_ns=turn.time_ns,
        is_open=turn.is_open,
        severity=rule.given_severity,
        text=alarm_text(rule, told, turn.shown),
        part=part,
        tags=owner.tags,
    )
