"""``gap``: steps that a device left out, made up where they are few."""

from __future__ import annotations

from typing import Literal

import numpy as np

from headgate.config.table import Table
from headgate.core.batch import Quality
from headgate.core.units import DurationNs, parse_duration_ns
from streams.stages.arrays import NO_TIME_NS, ramp
from streams.stages.clean.rule import (
    Made,
    RuleComponent,
    RuleContext,
    RuleExample,
    Steps,
    Verdict,
)
from streams.stages.clean.rules.stateless import Stateless


class GapConfig(Table):
    """How missing steps are filled: up to ``limit`` long, one reading each ``feed.period``."""

    fill: Literal["hold", "linear"] = "hold"
    limit: DurationNs = parse_duration_ns("5s")


class Gaps(Stateless):
    """Fills what lies between a step and the one before, evenly spread."""

    def __init__(self, context: RuleContext) -> None:
        self._period_ns = context.by_channel(np.int64, lambda _, feed: feed.period, 1)
        self._limit_ns = context.by_channel(np.int64, lambda table, _: table.limit, -1)
        self._is_linear = context.by_channel(
            np.bool_, lambda table, _: table.fill == "linear", otherwise=False
        )

    def judge(self, seen: Steps) -> Verdict:
        """See ``Rule``."""
        period_ns = self._period_ns[seen.channel]
        missing = (seen.time_ns - seen.before_ns + period_ns // 2) // period_ns - 1
        is_gap = (missing > 0) & (missing * period_ns <= self._limit_ns[seen.channel])
        gap = np.flatnonzero(is_gap & (seen.before_ns > NO_TIME_NS))
        if not len(gap):
            return Verdict()
        rows = np.repeat(gap, missing[gap])
        step, of = ramp(missing[gap]) + 1, missing[rows] + 1
        before_ns, before = seen.before_ns[rows], seen.before[rows]
        # At even distances, not at whole periods: a device's clock need not tick exactly so.
        time_ns = before_ns + (seen.time_ns[rows] - before_ns) * step // of
        # A weighted mean: the difference of two very large values could overflow.
        share = np.where(self._is_linear[seen.channel[rows]], step / of, 0.0)
        value = before * (1 - share) + seen.value[rows] * share
        return Verdict(made=Made(seen.place[rows], time_ns, value))


GAP = RuleComponent(
    about="steps that were left out, made up for models where they are few",
    table=GapConfig,
    make=Gaps,
    examples=(
        RuleExample({"limit": "2s"}, ((10, 1.0), (13, 7.0)), made=((11, 1.0), (12, 1.0))),
        RuleExample(
            {"fill": "linear", "limit": "2s"},
            ((10, 1.0), (13, 7.0), (17, 1.0)),
            made=((11, 3.0), (12, 5.0)),
        ),
    ),
    flag=Quality.IMPUTED,
    sees="steps",
)
