"""``spike``: which channels are looked at for lone outliers, and with what window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from headgate.config.table import Table
from headgate.config.values import Int, Number
from headgate.core.batch import Quality
from headgate.core.runs import runs
from headgate.core.stage import Selection, StateBlock
from streams.stages.clean.rule import Readings, RuleComponent, RuleContext, RuleExample, Verdict
from streams.stages.clean.rules.spike.hampel import Hampel


class SpikeConfig(Table):
    """Hampel identifier: a reading further than ``threshold`` scaled MADs from the median of the
    last ``window`` usable readings of its channel is a spike.
    """

    window: Annotated[Int, Field(ge=3, le=101)] = 11
    threshold: Annotated[Number, Field(gt=0)] = 6.0
    #: Smallest scale (in the channel's unit): a quantized signal has a MAD of 0.
    min_scale: Annotated[Number, Field(ge=0)] = 0.0


class Spikes:
    """One ``Hampel`` for each window length in use, and the channels that belong to it."""

    def __init__(self, context: RuleContext) -> None:
        self._by_window: dict[int, Hampel] = {}
        # By channel: the window length, 0 for none, and the slot in its ``Hampel``.
        self._window = context.by_channel(np.int64, lambda table, _: table.window, 0)
        self._slot = context.by_channel(np.intp, lambda table, _: self._add(table), 0)

    @property
    def fingerprint(self) -> str:
        return "1"

    def judge(self, seen: Readings) -> Verdict:
        """See ``Rule``."""
        slot, window = self._slot[seen.channel], self._window[seen.channel]
        if not self._by_window:
            return Verdict()
        is_spike = np.zeros(len(seen), np.bool_)
        for length, hampel in self._by_window.items():
            rows = np.flatnonzero(window == length)
            starts, lengths = runs(seen.channel[rows])
            slots = slot[rows[starts]]
            is_spike[rows] = hampel.judge(slots, starts, lengths, seen.value[rows])
        return Verdict(is_spike)

    def snapshot(self, selection: Selection) -> StateBlock:
        """Copy out the channels' windows, by window length."""
        slot, window = self._slot[selection.channels], self._window[selection.channels]
        block = StateBlock()
        for length, hampel in self._by_window.items():
            positions = np.flatnonzero(window == length)
            block[f"spike_{length}_channel"] = positions
            for name, column in hampel.state.snapshot(slot[positions]).items():
                block[f"spike_{length}_{name}"] = column
        return block

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a snapshot; windows whose length the configuration has changed stay empty."""
        self.forget(selection)
        for length, hampel in self._by_window.items():
            if f"spike_{length}_channel" not in block:
                continue
            positions = np.asarray(block[f"spike_{length}_channel"], np.intp)
            rows = selection.channels[positions]
            is_same = self._window[rows] == length
            kept = {name: block[f"spike_{length}_{name}"][is_same] for name in hampel.state}
            hampel.state.restore(self._slot[rows[is_same]], kept)

    def forget(self, selection: Selection) -> None:
        """Empty the channels' windows."""
        slot, window = self._slot[selection.channels], self._window[selection.channels]
        for length, hampel in self._by_window.items():
            hampel.state.forget(slot[window == length])

    def go_back(self, channels: NDArray[np.int32]) -> None:
        """Nothing: windows know no times."""

    def _add(self, table: SpikeConfig) -> int:
        """The slot of one more channel."""
        hampel = self._by_window.setdefault(table.window, Hampel(table.window))
        return hampel.add(table.threshold, table.min_scale)


SPIKE = RuleComponent(
    about="lone outliers against the median of the last readings (Hampel identifier)",
    table=SpikeConfig,
    make=Spikes,
    examples=(
        RuleExample(
            {"window": 5, "threshold": 5.0, "min_scale": 0.1},
            tuple(enumerate((1.0, 1.1, 0.9, 1.0, 50.0, 1.1, 9.0, 9.1, 9.2, 9.0))),
            broken=(4, 6, 7),
        ),
    ),
    flag=Quality.SPIKE,
)
