"""The plain ways: what anybody would try first, beside which a detector has to stand.

Each gives a score for every row from that row and those before it, learned from the same training
rows as the model, and is held to the same rate of false alarms as the model's alarms had: its
threshold is the one that as many healthy rows pass. That flatters the plain way, which is told how
high it may be set, and never the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import lfilter

from headgate.evaluation.judged import Judged
from headgate.evaluation.result import Evaluated

#: ``(values, training rows) -> score``: float64[n, channel], scaled by the training rows, to
#: float64[n].
Plain = Callable[[NDArray[np.float64], int], NDArray[np.float64]]

#: Weight of a row in the mean of the last ones.
_WEIGHT = 0.1

#: Steps in a stretch that is looked for in the training part, and how many of those are kept.
_STRETCH, _STRETCHES = 20, 2000

#: Rows that a channel is held against.
_ROLLING = 100

#: Part of the variance that T² is taken of.
_EXPLAINED = 0.9

#: Rows compared with all training stretches at once.
_ROWS_AT_ONCE = 1000

#: Scaled values are cut off here: beyond, everything is as wrong as can be.
_CUT_OFF = 50.0

#: Least scale, as a part of a channel's size: below it the channel stood still.
_STILL = 1e-9


def _ewma(values: NDArray[np.float64], _fit: int) -> NDArray[np.float64]:
    """The largest weighted mean of a channel's last rows, either way."""
    smooth, _ = lfilter([_WEIGHT], [1, _WEIGHT - 1], values, axis=0, zi=(1 - _WEIGHT) * values[:1])
    largest: NDArray[np.float64] = np.abs(smooth).max(axis=1)
    return largest


def _t2_q(values: NDArray[np.float64], fit: int) -> NDArray[np.float64]:
    """Hotelling's T² and Q, each in units of its 99 % quantile on the training rows."""
    mean = values[:fit].mean(axis=0)
    variance, directions = np.linalg.eigh(np.atleast_2d(np.cov(values[:fit].T)))
    variance, directions = variance[::-1], directions[:, ::-1]
    part = np.cumsum(variance) / max(variance.sum(), 1e-300)
    size = min(int(np.searchsorted(part, _EXPLAINED)) + 1, max(1, len(variance) - 1))
    along = (values - mean) @ directions
    t2 = (along[:, :size] ** 2 / np.maximum(variance[:size], 1e-9)).sum(axis=1)
    q = (along[:, size:] ** 2).sum(axis=1)
    limits = [max(float(np.quantile(each[:fit], 0.99)), 1e-9) for each in (t2, q)]
    score: NDArray[np.float64] = np.maximum(t2 / limits[0], q / limits[1])
    return score


def _nearest(values: NDArray[np.float64], fit: int) -> NDArray[np.float64]:
    """How far the last steps of a channel are from the nearest stretch of the training part."""
    score = np.zeros(len(values))
    length = min(_STRETCH, fit)
    for column in values.T:
        stretches = sliding_window_view(column, length)
        kept = np.linspace(0, fit - length, min(_STRETCHES, fit - length + 1)).astype(int)
        known = stretches[np.unique(kept)]
        squares = (known**2).sum(axis=1)
        for first in range(0, len(stretches), _ROWS_AT_ONCE):
            some = stretches[first : first + _ROWS_AT_ONCE]
            apart = (some**2).sum(axis=1)[:, None] + squares - 2 * some @ known.T
            rows = slice(first + length - 1, first + length - 1 + len(some))
            nearest = np.sqrt(np.maximum(apart.min(axis=1), 0))
            score[rows] = np.maximum(score[rows], nearest)
    return score


def _forest(values: NDArray[np.float64], fit: int) -> NDArray[np.float64]:
    """Isolation forest (Liu, Ting and Zhou, ICDM 2008), as scikit-learn has it."""
    from sklearn.ensemble import IsolationForest  # noqa: PLC0415  (slow to import)

    trees = IsolationForest(random_state=0).fit(values[:fit])
    score: NDArray[np.float64] = -trees.score_samples(values)
    return score


def _rolling(values: NDArray[np.float64], _fit: int) -> NDArray[np.float64]:
    """The largest deviation of a channel from its last rows, in their standard deviations."""
    score = np.zeros(len(values))
    if len(values) <= _ROLLING:
        return score
    before = sliding_window_view(values[:-1], _ROLLING, axis=0)
    mean, spread = before.mean(axis=2), before.std(axis=2)
    # A row is held against those before it.
    score[_ROLLING:] = np.abs((values[_ROLLING:] - mean) / np.maximum(spread, 0.05)).max(axis=1)
    return score


PLAIN_WAYS: Mapping[str, Plain] = {
    "EWMA": _ewma,
    "T2+Q": _t2_q,
    "nearest": _nearest,
    "forest": _forest,
    "rolling z": _rolling,
}


def beside(recordings: Sequence[Evaluated], detector: Sequence[Judged]) -> dict[str, list[Judged]]:
    """What each plain way finds in the same recordings at the detector's rate of false alarms.

    Args:
        recordings: With rows that were trained on.
        detector: What the detector found in each.

    Returns:
        By name of the way, what it found in each recording.
    """
    healthy = sum(each.counts.fp + each.counts.tn for each in detector)
    rate = sum(each.counts.fp for each in detector) / max(healthy, 1)
    return {
        name: [Judged.of(each, *alarmed(each, way, rate)) for each in recordings]
        for name, way in PLAIN_WAYS.items()
    }


def alarmed(
    recording: Evaluated, way: Plain, rate: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """bool[n] alarms of a plain way, and its float64[n] scores.

    Args:
        recording: With rows that were trained on.
        way: Which.
        rate: The part of the recording's healthy scored rows that is alarmed.
    """
    first = recording.first_scored
    score = way(scaled(recording), first)
    healthy = score[first:][~recording.label[first:]]
    threshold = np.quantile(healthy, 1 - rate, method="higher") if len(healthy) else np.inf
    return score > threshold, score


def scaled(recording: Evaluated) -> NDArray[np.float64]:
    """float64[n, channel] by the training rows' means and deviations; holes hold the last value."""
    values = recording.values[:, ~_is_state(recording)]
    row = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(np.isfinite(values), row, 0), axis=0)
    values = np.nan_to_num(np.take_along_axis(values, last, axis=0), posinf=0, neginf=0)
    fit = values[: recording.first_scored]
    mean, spread = fit.mean(axis=0), fit.std(axis=0)
    size = np.maximum(np.abs(mean), 1)
    scaled = (values - mean) / np.where(spread <= _STILL * size, size, spread)
    cut: NDArray[np.float64] = np.clip(scaled, -_CUT_OFF, _CUT_OFF)
    return cut


def _is_state(recording: Evaluated) -> NDArray[np.bool_]:
    """bool[channel]: those that only take 0 and 1, unless all do: states have no vote here."""
    fit = recording.values[: recording.first_scored]
    only = np.all(np.isin(fit, (0, 1)) | np.isnan(fit), axis=0)
    return np.zeros_like(only) if only.all() else only
