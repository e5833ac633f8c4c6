"""The cleaning rule ``max_rate``: values that change faster than the machine can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from headgate.config.table import Table
from headgate.config.values import Number
from headgate.core.runs import runs
from headgate.core.stage import Selection, StateBlock
from streams.stages.clean.rule import Readings, RuleComponent, RuleContext, RuleExample, Verdict
from streams.stages.columns import StateColumns


class MaxRateConfig(Table):
    """``max_rate`` of a channel."""

    per_second: Annotated[Number, Field(gt=0)]


class MaxRate:
    """Compares each reading with the one that arrived before it."""

    fingerprint = "1"

    def __init__(self, context: RuleContext) -> None:
        self._channels = context.channels
        self._most = context.by_channel(np.float64, lambda table, _: table.per_second, np.inf)
        self._last = StateColumns(time_ns=np.int64(0), value=np.float64(np.nan))

    def judge(self, seen: Readings) -> Verdict:
        """See the contract."""
        self._last.grow(len(self._channels))
        starts, lengths = runs(seen.channel)
        channels, ends = seen.channel[starts], starts + lengths - 1
        before = {}
        for name, column in (("time_ns", seen.time_ns), ("value", seen.value)):
            before[name] = np.roll(column, 1)
            before[name][starts] = self._last[name][channels]
            self._last[name][channels] = column[ends]
        seconds = (seen.time_ns - before["time_ns"]) / 1e9
        with np.errstate(over="ignore"):
            change = np.abs(seen.value - before["value"])
        return Verdict((seconds > 0) & (change > self._most[seen.channel] * seconds))

    def snapshot(self, selection: Selection) -> StateBlock:
        """See the contract."""
        self._last.grow(len(self._channels))
        return self._last.snapshot(selection.channels)

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        """See the contract."""
        self._last.grow(len(self._channels))
        self._last.restore(selection.channels, block)

    def forget(self, selection: Selection) -> None:
        """See the contract."""
        self.go_back(selection.channels)

    def go_back(self, channels: NDArray[np.int32]) -> None:
        """See the contract."""
        self._last.grow(len(self._channels))
        self._last.forget(channels)


MAX_RATE = RuleComponent(
    about="values that change faster than the machine can",
    table=MaxRateConfig,
    make=MaxRate,
    examples=(
        RuleExample(
            {"per_second": 0.5},
            ((1, 3.0), (2, 3.4), (3, 9.0), (4, 3.0), (5, 3.2), (9, 5.2)),
            broken=(2, 3),
        ),
    ),
)
