"""Thresholds at a stated rate of false alarms, and what devices may move them by."""

from __future__ import annotations

from bisect import bisect
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import genpareto

from headgate.core.errors import ConfigError
from models.package import Adapt, Conformal, Dspot

Method = Literal["quantile", "events", "pot", "probability", "limit"]

#: Above a score, but by less than rounding moves one.
_ABOVE = 1 + 1e-5

#: Scores over the threshold that lie closer together than this are one event, steps.
_APART = 24

#: Scores in a row that are as one, because what they are made of remembers so many rows; so many
#: independent ones have as much say as the limit that is known without any.
_ALIKE, _AS_MANY = 20, 200

#: Least quantile: of a channel that never moved.
_LEAST_LIMIT = 1e-3

#: The threshold is so many times the limit at least that it is adapted by where it is a quantile.
_ADAPT_MARGIN = 1.6

#: This part of the scores are peaks; so many are needed for a fit to say anything.
_PEAK_RATE, _FEWEST_PEAKS = 0.02, 20

#: Where thresholds follow peaks these are so many times what may pass, at least: of those of a
#: device that has become louder only what lies under the threshold is known, and has to tell.
_PEAKS_PASSING = 10

#: Beyond such shapes of a tail, either way, what a fit finds says little.
_STEEPEST = 0.5


def choose(
    method: Method, score: NDArray[np.float32], device: NDArray[np.int32], rate: float
) -> float:
    """A threshold that healthy scores pass at this rate.

    Args:
        method: ``quantile``: that part of the scores; ``events``: so many events a score, an event
            being all scores that lie close together; ``pot``: that part by the tail of a
            generalized Pareto distribution fitted to the peaks, which reaches beyond what was seen
            (Siffer et al., "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017);
            ``probability``: for scores that are ``-log10`` of a probability themselves; ``limit``:
            for scores that have their limit at 1, which few scores leave where it is and many move
            to their quantile.
        score: float32[n], of each device in order of time.
        device: int32[n].
        rate: Above 0.
    """
    if method == "quantile":
        return _above_ties(score, float(np.quantile(score, 1 - rate)), rate)
    if method == "probability":
        return -float(np.log10(rate))
    if method == "limit":
        return _from_one(score, rate)
    if method == "pot":
        return _by_peaks(score.astype(np.float64), rate)
    return _by_events(score, device, rate)


def _from_one(score: NDArray[np.float32], rate: float) -> float:
    """Between 1 and the quantile, by how many scores there are that tell of each other little."""
    quantile = max(float(np.quantile(score, 1 - rate)), _LEAST_LIMIT)
    independent = len(score) / _ALIKE
    return float(quantile ** (independent / (independent + _AS_MANY)))


def _above_ties(score: NDArray[np.float32], threshold: float, rate: float) -> float:
    """The threshold, or what is just above it where far more scores than may are equal to it.

    Of channels that stand still, or of a model with few answers, most scores are the same one.
    """
    passing = float(np.mean(score >= threshold))
    return threshold * _ABOVE if passing > 2 * rate + 2 / len(score) else threshold


def adapt(
    method: Method,
    score: NDArray[np.float32],
    device: NDArray[np.int32],
    *,
    rate: float,
    threshold: float,
    margin: float,
    step: float,
) -> Adapt:
    """How a threshold follows a device: by its peaks with ``pot``, else by a limit below it.

    Args:
        method: The threshold was chosen by.
        score: float32[n], healthy scores, of each device in order of time.
        device: int32[n].
        rate: In the method's unit.
        threshold: What was chosen, the margin included.
        margin: The threshold is so many times what the method found.
        step: The part that a score may move it by.

    Raises:
        ConfigError: The scores have too few peaks, or the rate asks for none.
    """
    if method == "pot":
        return _by_drifting_peaks(score, device, rate, threshold, step)
    # Scores over the threshold will move nothing, so they count for nothing here.
    counted = score[score < threshold]
    limit = threshold / max(margin, _ADAPT_MARGIN)
    # Half a score more or less than there were: of none at all nothing would follow.
    reached = (np.count_nonzero(counted >= limit) + 0.5) / (len(counted) + 1)
    return Conformal(limit=limit, rate=reached, step=step)


def _by_drifting_peaks(
    score: NDArray[np.float32],
    device: NDArray[np.int32],
    rate: float,
    threshold: float,
    step: float,
) -> Dspot:
    where = "for a threshold by pot that adapts"
    if rate >= _PEAK_RATE:
        raise ConfigError(
            f"--false-alarm-rate: expected less than {_PEAK_RATE:g} {where}, the part of the "
            f"scores that a tail is fitted to, got {rate:g}, or the kind has it where none is given"
        )
    # Scores over the threshold tell the shape of the tail, but live they will move nothing.
    is_sound = score < threshold
    held = np.minimum(score.astype(np.float64), threshold)
    mean = float(held.mean())
    # Over the level as it is known live: of the scores before, older ones weighing less.
    level = [
        lfilter([0, step], [1, step - 1], each, zi=[mean])[0]
        for each in np.split(held, np.flatnonzero(np.diff(device)) + 1)
    ]
    over = score - np.concatenate(level)
    part = max(_PEAK_RATE, _PEAKS_PASSING * rate)
    start = float(np.quantile(over, 1 - part))
    if start <= 0:
        raise ConfigError(
            f"training data: expected scores that move {where}, but {1 - part:.0%} of them are "
            "not over their mean; use --threshold quantile"
        )
    is_peak = over > start
    excess = over[is_peak & is_sound] - start
    if len(excess) < _FEWEST_PEAKS:
        raise ConfigError(
            f"training data: expected {_FEWEST_PEAKS} peaks or more under the threshold {where}, "
            f"as {_FEWEST_PEAKS / (part - rate):,.0f} windows should have, got {len(excess)} in "
            f"{len(score):,}; give it more data, a larger --margin, or --threshold quantile"
        )
    shape = float(genpareto.fit(over[is_peak] - start, floc=0)[0])
    return Dspot(
        rate=rate,
        step=step,
        start=start,
        shape=float(np.clip(shape, -_STEEPEST, _STEEPEST)),
        level=mean,
        peak_rate=len(excess) / np.count_nonzero(is_sound),
        excess=float(excess.mean()),
    )


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
    start = float(np.quantile(score, 1 - _PEAK_RATE))
    peaks = score[score > start] - start
    if len(peaks) < _FEWEST_PEAKS or rate >= len(peaks) / len(score):
        return float(np.quantile(score, 1 - rate))
    shape, _, scale = genpareto.fit(peaks, floc=0)
    # The tail's part of all scores, and the part of the tail that may lie over the threshold.
    return start + float(genpareto.isf(rate * len(score) / len(peaks), shape, 0, scale))
