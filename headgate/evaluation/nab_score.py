"""The Numenta Anomaly Benchmark's score, from its published definition.

Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms - the Numenta Anomaly
Benchmark" (2015), version 1.1. A row alarms when its score is at or over the threshold. Of the
alarms inside a labelled window the earliest counts, the more the earlier it is; each alarm outside
costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Rows at the beginning of a file that are not scored: this part of it, and so many at most.
_PROBATION, _MOST_PROBATION = 0.15, 750

#: Beyond so many widths after a window's end an alarm is as wrong as can be.
_FAR_AWAY = 3.0


@dataclass(frozen=True, slots=True)
class Profile:
    """What a hit, a false alarm and a miss are worth."""

    name: str
    tp: float
    fp: float
    fn: float


PROFILES = (
    Profile("standard", 1.0, 0.11, 1.0),
    Profile("low_fp", 1.0, 0.22, 1.0),
    Profile("low_fn", 1.0, 0.11, 2.0),
)


@dataclass(frozen=True, slots=True)
class Scored:
    """One file's scores and labels.

    Attributes:
        score: float64[n], higher is more abnormal; NaN where there is none.
        windows: First and last row of each labelled window, in order.
    """

    score: NDArray[np.float64]
    windows: Sequence[tuple[int, int]]


def probation(rows: int) -> int:
    """How many rows at the beginning of a file of so many are not scored."""
    return min(int(_PROBATION * rows), _MOST_PROBATION)


def score_at(files: Iterable[Scored], profile: Profile, threshold: float) -> float:
    """The normalized score with this threshold: 100 is perfect, 0 is never to alarm."""
    thresholds, totals, missed, windows = _sweep(files, profile)
    taken = int(np.searchsorted(-thresholds, -threshold, side="right"))
    raw = missed + (totals[taken - 1] if taken else 0.0)
    return _normalized(raw, profile, windows)


def best_score(files: Iterable[Scored], profile: Profile) -> tuple[float, float]:
    """The highest normalized score that one threshold gives, and that threshold.

    It may be infinite: never to alarm is a choice, too.
    """
    thresholds, totals, missed, windows = _sweep(files, profile)
    # Rows of one score alarm together: a total counts where the next score is another.
    is_last = np.append(thresholds[1:] != thresholds[:-1], True)
    candidates = np.where(is_last, totals, -np.inf)
    best = int(candidates.argmax()) if len(candidates) else 0
    if not len(candidates) or candidates[best] <= 0:
        return _normalized(missed, profile, windows), float("inf")
    return _normalized(missed + candidates[best], profile, windows), float(thresholds[best])


def _sweep(
    files: Iterable[Scored], profile: Profile
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, int]:
    """Thresholds falling, what alarms down to each are worth, what missing all is, and windows."""
    scores: list[NDArray[np.float64]] = []
    worths: list[NDArray[np.float64]] = []
    windows = 0
    for file in files:
        windows += len(file.windows)
        for score, worth in _alarms(file, profile):
            scores.append(score)
            worths.append(worth)
    score = np.concatenate(scores) if scores else np.empty(0)
    order = np.argsort(-score, kind="stable")
    worth = np.concatenate(worths) if worths else np.empty(0)
    return score[order], np.cumsum(worth[order]), -profile.fn * windows, windows


def _alarms(
    file: Scored, profile: Profile
) -> Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Scores, and what it is worth to have the threshold at each rather than above it."""
    rows = np.arange(len(file.score))
    is_scored = np.isfinite(file.score) & (rows >= probation(len(rows)))
    is_outside = is_scored.copy()
    ended = np.full(len(rows), -1)
    for number, (left, right) in enumerate(file.windows):
        is_outside[left : right + 1] = False
        ended[right + 1 :] = number
        inside = rows[left : right + 1][is_scored[left : right + 1]]
        score = file.score[inside]
        # The earliest alarm counts. Down from above it is the highest score's, then that of the
        # highest one before it, and so on: each row that is higher than all before it.
        highest_before = np.maximum.accumulate(np.append(-np.inf, score))[:-1]
        is_record = score > highest_before
        y = -(right - inside[is_record] + 1) / (right - left + 1)
        worth = profile.tp * _sigmoid(y) / _sigmoid(np.array(-1.0))
        # Records rise with the row: the last one alarms first, and turns a miss into a hit.
        gained = worth - np.append(worth[1:], -profile.fn)
        yield score[is_record], gained
    outside = np.flatnonzero(is_outside)
    last_ended = ended[outside]
    cost = np.full(len(outside), -profile.fp)
    after = last_ended >= 0
    if after.any():
        lefts, rights = np.array(file.windows)[last_ended[after]].T
        cost[after] = profile.fp * _sigmoid((outside[after] - rights) / (rights - lefts))
    yield file.score[outside], cost


def _sigmoid(y: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = 2 / (1 + np.exp(5 * np.minimum(y, _FAR_AWAY))) - 1
    return np.where(y > _FAR_AWAY, -1.0, scaled)


def _normalized(raw: float, profile: Profile, windows: int) -> float:
    null, perfect = -profile.fn * windows, profile.tp * windows
    return 100 * (raw - null) / (perfect - null)
