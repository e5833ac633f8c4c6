"""``range``: readings outside of what can be."""

from __future__ import annotations

import numpy as np
from pydantic import RootModel

from headgate.config.values import Range
from headgate.core.batch import Quality
from streams.stages.clean.rule import Readings, RuleComponent, RuleContext, RuleExample, Verdict
from streams.stages.clean.rules.stateless import Stateless


class RangeConfig(RootModel[Range]):
    """``range`` of a channel: the lowest and the highest value."""


class InRange(Stateless):
    """Each channel's bounds; a reading on one is inside."""

    def __init__(self, context: RuleContext) -> None:
        self._low = context.by_channel(np.float64, lambda table, _: table.root[0], -np.inf)
        self._high = context.by_channel(np.float64, lambda table, _: table.root[1], np.inf)

    def judge(self, seen: Readings) -> Verdict:
        """See ``Rule``."""
        channel, value = seen.channel, seen.value
        return Verdict((value < self._low[channel]) | (value > self._high[channel]))


RANGE = RuleComponent(
    about="readings outside of what the channel can measure",
    table=RangeConfig,
    make=InRange,
    examples=(
        RuleExample((0, 10), ((1, 0.0), (2, 10.0), (3, 10.5), (4, -1.0), (5, 3.0)), broken=(2, 3)),
    ),
    flag=Quality.OUT_OF_RANGE,
)
