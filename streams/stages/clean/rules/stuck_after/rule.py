"""``stuck_after``: values that stand still for longer than the signal may."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import RootModel

from headgate.core.batch import Quality
from headgate.core.stage import Selection, StateBlock
from headgate.core.units import DurationNs
from streams.stages.arrays import NEVER_NS, NO_TIME_NS
from streams.stages.clean.rule import RuleComponent, RuleContext, RuleExample, Steps, Verdict
from streams.stages.columns import StateColumns


class StuckAfterConfig(RootModel[DurationNs]):
    """``stuck_after`` of a channel: for how long a value may stand."""


class Stuck:
    """Since when the newest value of each channel stands."""

    def __init__(self, context: RuleContext) -> None:
        self._channels = context.channels
        self._after_ns = context.by_channel(np.int64, lambda table, _: table.root, NEVER_NS)
        self._state = StateColumns(since_ns=np.int64(NO_TIME_NS))

    @property
    def fingerprint(self) -> str:
        return "1"

    def judge(self, seen: Steps) -> Verdict:
        """See ``Rule``."""
        self._state.grow(len(self._channels))
        known_ns = self._state["since_ns"]
        # From the value's last change, or from before this batch.
        is_change = seen.value != seen.before
        is_anchor = is_change.copy()
        is_anchor[seen.starts] = True
        since_ns = seen.time_ns.copy()
        stands = seen.starts[~is_change[seen.starts]]
        since_ns[stands] = known_ns[seen.channel[stands]]
        anchor = np.maximum.accumulate(np.where(is_anchor, np.arange(len(since_ns)), 0))
        since_ns = since_ns[anchor]
        known_ns[seen.channel[seen.starts]] = since_ns[seen.starts + seen.lengths - 1]
        return Verdict(seen.time_ns - since_ns > self._after_ns[seen.channel])

    def snapshot(self, selection: Selection) -> StateBlock:
        self._state.grow(len(self._channels))
        return self._state.snapshot(selection.channels)

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self._state.grow(len(self._channels))
        self._state.restore(selection.channels, block)

    def forget(self, selection: Selection) -> None:
        self.go_back(selection.channels)

    def go_back(self, channels: NDArray[np.int32]) -> None:
        self._state.grow(len(self._channels))
        self._state.forget(channels)


STUCK_AFTER = RuleComponent(
    about="values that stand still for longer than the signal may",
    table=StuckAfterConfig,
    make=Stuck,
    examples=(
        RuleExample(
            "3s", tuple((second, 7.0 + (second > 5)) for second in range(8)), broken=(4, 5)
        ),
    ),
    flag=Quality.STUCK,
    sees="steps",
)
