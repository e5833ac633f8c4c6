"""Thresholds at a stated rate of false alarms."""

from __future__ import annotations

from bisect import bisect
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import genpareto

Method = Literal["quantile", "events", "pot", "probability"]

#: Scores over the threshold that lie closer together than this are one event, steps.
_APART = 24

#: Peaks over this quantile are fitted; so many are needed for a fit to say anything.
_PEAKS_OVER, _FEWEST_PEAKS = 0.98, 20


def choose(
    method: Method, score: NDArray[np.float32], device: NDArray[np.int32], rate: float
) -> float:
    """A threshold that healthy scores pass at this rate.

    Args:
        method: ``quantile``: that part of the scores; ``events``: so many events a score, an event
            being all scores that lie close together; ``pot``: that part by the tail of a
            generalized Pareto distribution fitted to the peaks, which reaches beyond what was seen
            (Siffer et al., "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017);
            ``probability``: for scores that are ``-log10`` of a probability themselves.
        score: float32[n], of each device in order of time.
        device: int32[n].
        rate: Above 0.
    """
    if method == "quantile":
        return float(np.quantile(score, 1 - rate))
    if method == "probability":
        return -float(np.log10(rate))
    if method == "pot":
        return _by_peaks(score.astype(np.float64), rate)
    return _by_events(score, device, rate)


def _by_events(score: NDArray[np.float32], device: NDArray[np.int32], rate: float) -> float:
    allowed = rate * len(score)
    # Devices lie far apart, so that no event spans two of them.
    position = np.arange(len(score)) + _APART * 2 * np.cumsum(np.append(0, np.diff(device) != 0))
    order = np.argsort(-score, kind="stable")
    # Down from the top, one score after the other, until there is an event too many.
    places: list[int] = []
    events = 0
    threshold = float(score[order[0]])
    for row in order.tolist():
        place = int(position[row])
        at = bisect(places, place)
        before = at > 0 and place - places[at - 1] <= _APART
        behind = at < len(places) and places[at] - place <= _APART
        is_new = not before and not behind
        # A score between two events may join them; that makes nothing of two.
        joins = before and behind and places[at] - places[at - 1] > _APART
        if events + is_new > max(allowed, 1):
            return threshold
        events += is_new - joins
        places.insert(at, place)
        threshold = float(score[row])
    return threshold


def _by_peaks(score: NDArray[np.float64], rate: float) -> float:
    start = float(np.quantile(score, _PEAKS_OVER))
    peaks = score[score > start] - start
    if len(peaks) < _FEWEST_PEAKS or rate >= len(peaks) / len(score):
        return float(np.quantile(score, 1 - rate))
    shape, _, scale = genpareto.fit(peaks, floc=0)
    # The tail's part of all scores, and the part of the tail that may lie over the threshold.
    return start + float(genpareto.isf(rate * len(score) / len(peaks), shape, 0, scale))
