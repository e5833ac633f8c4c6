"""Which channels are looked at for spikes, and with what window."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import Spike
from headgate.core.runs import runs
from headgate.core.stage import StateBlock
from streams.stages.arrays import grown
from streams.stages.clean.hampel import Hampel


class Spikes:
    """One ``Hampel`` for each window length in use, and the channels that belong to it."""

    def __init__(self) -> None:
        self._channels = 0
        self._by_window: dict[int, Hampel] = {}
        # By channel: the window length, 0 for none, and the slot in its ``Hampel``.
        self._window = np.empty(0, np.int64)
        self._slot = np.empty(0, np.intp)

    @property
    def any(self) -> bool:
        """Whether any channel is looked at."""
        return bool(self._by_window)

    def add(self, rule: Spike | None) -> None:
        """Make room for one more channel."""
        row = self._channels
        self._channels += 1
        self._window = grown(self._window, self._channels, 0)
        self._slot = grown(self._slot, self._channels, 0)
        if rule is not None:
            hampel = self._by_window.setdefault(rule.window, Hampel(rule.window))
            self._window[row] = rule.window
            self._slot[row] = hampel.add(rule.threshold, rule.min_scale)

    def judge(self, channel: NDArray[np.int32], value: NDArray[np.float64]) -> NDArray[np.bool_]:
        """bool[n]: spikes among usable readings that are ordered by channel, then arrival."""
        is_spike = np.zeros(len(channel), np.bool_)
        window = self._window[channel]
        for length, hampel in self._by_window.items():
            rows = np.flatnonzero(window == length)
            starts, lengths = runs(channel[rows])
            slots = self._slot[channel[rows[starts]]]
            is_spike[rows] = hampel.judge(slots, starts, lengths, value[rows])
        return is_spike

    def snapshot(self, channels: NDArray[np.int32]) -> StateBlock:
        """Copy out the windows of these channels, by window length."""
        block: StateBlock = {}
        for length, hampel in self._by_window.items():
            positions = np.flatnonzero(self._window[channels] == length)
            slots = self._slot[channels[positions]]
            block[f"spike_{length}_channel"] = positions
            block[f"spike_{length}_recent"] = hampel.recent[slots]
            block[f"spike_{length}_outliers"] = hampel.outliers[slots]
        return block

    def restore(
        self, channels: NDArray[np.int32], block: Mapping[str, NDArray[np.generic]]
    ) -> None:
        """Take over a snapshot; windows whose length the configuration has changed stay empty."""
        for length, hampel in self._by_window.items():
            if f"spike_{length}_channel" not in block:
                continue
            rows = channels[np.asarray(block[f"spike_{length}_channel"], np.intp)]
            is_same = self._window[rows] == length
            slots = self._slot[rows[is_same]]
            hampel.recent[slots] = block[f"spike_{length}_recent"][is_same]
            hampel.outliers[slots] = block[f"spike_{length}_outliers"][is_same]

    def forget(self, channels: NDArray[np.int32]) -> None:
        """Empty the windows of these channels."""
        for length, hampel in self._by_window.items():
            hampel.forget(self._slot[channels[self._window[channels] == length]])
