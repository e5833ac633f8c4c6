"""Rules that will never open an alarm, as far as that can be told from the configuration.

``headgate check`` warns of them. Each warning reads ``key: what is wrong; what to do``.
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.derived import usual_age_ns
from headgate.config.problems import shown_key
from headgate.config.rule import RuleConfig
from headgate.config.schema import Config
from headgate.core.expressions.nodes import Node
from headgate.core.expressions.parse import parse
from headgate.core.units import format_duration


def idle_rules(config: Config) -> Iterator[str]:
    """What of rules never happens, a line each."""
    for name, rule in config.rule.items():
        if rule.enabled and name in config.looked_at and not len(config.looked_at[name]):
            yield (
                f"{shown_key(('rule', name, 'during' if rule.during else 'except'))}: its "
                "schedules leave no time at which it is looked at; leave one of them out"
            )
        if rule.when is None or not rule.enabled:
            continue
        missing = _asked_whether_missing(parse(rule.when))
        if missing == set(rule.names):
            yield (
                f"{shown_key(('rule', name, 'when'))}: it is looked at when "
                f"{', '.join(sorted(missing))} has a reading, and then it is not missing; name a "
                "channel, too, that comes when this one does not"
            )
        for feed in rule.feed:
            yield from _too_young(name, rule, feed, config)


def _asked_whether_missing(node: Node) -> set[str]:
    """Channels of which it is asked whether they are missing."""
    return {name for part in node.walk() if part.op == "isnan" for name in part.names}


def _too_young(name: str, rule: RuleConfig, feed: str, config: Config) -> Iterator[str]:
    """Where a channel's value counts no longer than until the device sends again."""
    period = config.feed[feed].period
    lasts_ns = rule.lasts_ns(usual_age_ns(config.feed[feed]))
    needs = max(rule.for_, rule.clear_for)
    if needs > lasts_ns < period:
        yield (
            f"{shown_key(('rule', name, 'max_age'))}: a value counts for "
            f"{format_duration(lasts_ns)}, and feed.{feed} has a reading every "
            f"{format_duration(period)}, so nothing ever holds for {format_duration(needs)}; make "
            "it longer, or leave it out"
        )
