"""Thresholds that follow a device: what its sound scores say of where they should be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.package import Adapt, Conformal, Dspot

#: Columns by device row.
State = Mapping[str, NDArray[Any]]


class Adaptation(ABC):
    """A rule by which thresholds follow each device.

    Attributes:
        columns: What it keeps of a device beside ``lift``, float64; 0 for a new one.
    """

    columns: tuple[str, ...] = ()

    def __init__(self, step: float, most: float) -> None:
        self._step = step
        self._farthest = float(np.log(most))

    def follow(self, state: State, device: NDArray[np.int64], score: NDArray[np.float64]) -> None:
        """Let the thresholds of these devices follow a score each, by a bounded part.

        Args:
            state: Columns by device row, brought up to date: ``lift`` is the logarithm of what
                the thresholds are multiplied by, and this rule's own.
            device: int64[d], each once.
            score: float64[d], sound ones, in units of the model.
        """
        lift: NDArray[np.float64] = state["lift"]
        change = np.clip(self._wanted(state, device, score), -self._step, self._step)
        lift[device] = np.clip(lift[device] + change, -self._farthest, self._farthest)

    @abstractmethod
    def _wanted(
        self, state: State, device: NDArray[np.int64], score: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """float64[d]: by how much the logarithm should change, were there no bounds."""


class _ByConformal(Adaptation):
    """Raises thresholds where a score reaches the limit, lowers them where it does not.

    In such a ratio that in the long run as many do as in training (Gibbs and Candes, "Adaptive
    conformal inference under distribution shift", NeurIPS 2021).
    """

    def __init__(self, rule: Conformal) -> None:
        super().__init__(rule.step, rule.most)
        self._rule = rule

    def _wanted(
        self, state: State, device: NDArray[np.int64], score: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        rule = self._rule
        is_over = score >= rule.limit * np.exp(state["lift"][device])
        return rule.step * (is_over.astype(np.float64) - rule.rate)


class _ByPeaks(Adaptation):
    """DSPOT: thresholds go where the tail of a device's scores over their level puts them.

    Siffer et al., "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017, with what a
    box for 10,000 devices can bear: level and peaks are forgotten exponentially instead of kept as
    windows, and the generalized Pareto distribution is fitted by its mean, so that a device is
    three numbers and a score a few operations on all devices at once. Its shape stays as trained:
    the few peaks that a device remembers do not tell it, and as they are cut off at the threshold
    they would seem to have no tail beyond, which would hold the threshold where it is.
    """

    #: How far each is from what training found.
    columns: tuple[str, ...] = ("level", "peak_rate", "excess")

    def __init__(self, rule: Dspot) -> None:
        super().__init__(rule.step, rule.most)
        self._rule = rule
        self._trained = {name: float(getattr(rule, name)) for name in self.columns}
        self._usual = float(self._threshold({k: np.array(v) for k, v in self._trained.items()}))

    def _wanted(
        self, state: State, device: NDArray[np.int64], score: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        rule = self._rule
        known = {name: self._trained[name] + state[name][device] for name in self.columns}
        excess = score - known["level"] - rule.start
        is_peak = excess > 0
        # A score moves the level, and a peak what is known of peaks, by the part ``step``; peaks
        # are that much rarer than scores that their rate has to be remembered as much longer.
        known["level"] += rule.step * (score - known["level"])
        known["peak_rate"] += rule.step * rule.peak_rate * (is_peak - known["peak_rate"])
        known["excess"] += rule.step * is_peak * (excess - known["excess"])
        for name in self.columns:
            state[name][device] = known[name] - self._trained[name]
        # What has fallen to 0 or below has no logarithm; further down than this nothing goes.
        ratio = np.maximum(self._threshold(known) / self._usual, 1 / rule.most)
        wanted: NDArray[np.float64] = np.log(ratio) - state["lift"][device]
        return wanted

    def _threshold(self, known: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """What the part ``rate`` of scores passes that have this level and this tail."""
        # Of the peaks so many may pass; all of them where peaks have become so rare.
        depth = np.log(np.maximum(known["peak_rate"] / self._rule.rate, 1))
        shape = self._rule.shape
        reach: NDArray[np.float64] = np.expm1(shape * depth) / shape if shape else depth
        return known["level"] + self._rule.start + known["excess"] * (1 - shape) * reach


def adaptation(rule: Adapt) -> Adaptation:
    """What lets thresholds follow devices by this rule."""
    return _ByConformal(rule) if isinstance(rule, Conformal) else _ByPeaks(rule)
