"""Which cleaning rules the configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.channels import ChannelTable
from headgate.core.components import component
from headgate.core.errors import ConfigError
from headgate.core.stage import StateBlock
from streams.stages.clean.rule import Rule, RuleComponent, RuleContext, RuleTables
from streams.stages.clean.rules.components import BUILT_IN


@dataclass(frozen=True, slots=True)
class ActiveRule:
    """A rule at work.

    Attributes:
        rule: The rule.
        flag: What readings get that break it.
        sees_steps: Whether it looks at steps.
        prefix: What the names of its state begin with, among those of the stage.
    """

    rule: Rule[Any]
    flag: np.uint16
    sees_steps: bool
    prefix: str

    def named(self, block: StateBlock) -> StateBlock:
        """Its state, under the names that it has in the stage's."""
        return {f"{self.prefix}{name}": array for name, array in block.items()}

    def own(self, block: Mapping[str, NDArray[np.generic]]) -> StateBlock:
        """Its state out of the stage's; nothing where the stage had no such rule, or another."""
        return {
            name.removeprefix(self.prefix): array
            for name, array in block.items()
            if name.startswith(self.prefix)
        }


def configured_rules(feeds: Mapping[str, FeedConfig], channels: ChannelTable) -> list[ActiveRule]:
    """The rules of all channels, in the order in which they speak.

    Those that come with Headgate are there whether a channel has them or not: what they remember
    is then known when one gets them.

    Raises:
        ConfigError: What is installed as a rule is none.
    """
    tables = {name: RuleTables(feeds) for name in BUILT_IN}
    for feed_name, feed in feeds.items():
        for channel_name, channel in feed.channels.items():
            for name, table in channel.rules.items():
                tables.setdefault(name, RuleTables(feeds)).listed[feed_name, channel_name] = table
        if feed.other_channels is not None:
            for name, table in feed.other_channels.rules.items():
                tables.setdefault(name, RuleTables(feeds)).others[feed_name] = table
    others = sorted(tables.keys() - BUILT_IN.keys())
    rules = [_active(name, channels, feeds, tables[name]) for name in (*BUILT_IN, *others)]
    return sorted(rules, key=attrgetter("sees_steps"))


def rule_component(name: str) -> RuleComponent:
    """The component of a rule.

    Raises:
        ConfigError: What is installed under its name is no rule.
    """
    found = component("rules", name)
    if not isinstance(found, RuleComponent):
        raise ConfigError(f"headgate.rules: {name}: expected a RuleComponent, got {found!r}")
    return found


def _active(
    name: str,
    channels: ChannelTable,
    feeds: Mapping[str, FeedConfig],
    tables: Mapping[tuple[str, str], Any],
) -> ActiveRule:
    found = rule_component(name)
    rule = found.make(RuleContext(channels, feeds, tables))
    # The names of the first rules are as old as the stage's state.
    prefix = "" if name in BUILT_IN else f"{name}.{rule.fingerprint}."
    return ActiveRule(rule, np.uint16(found.flag), found.sees == "steps", prefix)
