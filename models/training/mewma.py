"""Running means and spreads that have left what they were in training.

Multivariate control charts of exponentially weighted means (Lowry, Woodall, Champ and Rigdon, "A
Multivariate Exponentially Weighted Moving Average Control Chart", Technometrics 34, 1992) and of
the logarithm of an exponentially weighted mean square (Crowder and Hamilton, "An EWMA for
Monitoring a Process Standard Deviation", J. Quality Technology 24, 1992). Each asks one question:
is it still as it was in training?

Charts have limits that stand still, and sensors have not: temperatures rise for hours, and whatever
drifts by nature would be alarmed for good. So each channel is taken to be a level that walks at
random, and noise on top of it (the local level model: Harvey, "Forecasting, Structural Time Series
Models and the Kalman Filter", 1989, 2.3), and limits are as wide as its walk would take it in most
of the time that training lasted. A channel that stood still in training keeps its word for ever,
one that wandered may wander as far.

The score is the largest of

- the means of all channels together, over five rows and over twenty, in the basis in which neither
  noise nor walk has covariances;
- the mean of the one channel that is farthest off, so that many others don't drown it;
- the spreads of all channels together, over ten differences of rows.

Each is in units of what healthy rows would pass once in ten thousand were they normal, so that 1 is
a limit before a single score is known, whatever the number of channels. How far real rows pass it
tell the halves of the training rows, each by a model of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import spox.opset.ai.onnx.v17 as op
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import chi2
from spox import Var

from models.training.graphs import axes, build_stateful, columns, number, shares, total
from models.training.kind import AlarmRule, Kind
from models.training.progress import Progress, silent
from models.training.scoring import Fitted, Graph, score_windows
from models.training.windows import Windows

#: Steps in a window: the state is the memory.
WINDOW = 1

#: Weights of the newest row in the means: memories of five rows and of twenty.
_WEIGHTS = (0.2, 0.05)

#: Weight of the newest squared difference in the mean square: a memory of ten.
_SPREAD_WEIGHT = 0.1

#: Steps between rows whose difference is noise; those that have walked are apart by these parts of
#: the rows that a device has, and by so many at least.
_SHORT, _LONG, _LEAST_LONG = (1, 2, 3, 5), (0.15, 0.2, 0.25, 0.3), 10

#: A channel may walk for this part of the training's time. A half to the whole do as well.
_HORIZON = 0.75

#: Covariances are halved: some hundred rows tell variances well, and covariances poorly.
_COVARIANCES = 0.5

#: The walk is taken to be twice what was seen: a few hundred rows hold few walks of a hundred.
_WALK_FACTOR = 2.0

#: Least variance of a walk, in those of the noise, a step.
_LEAST_WALK = 1e-5

#: Spreads walk where those far apart differ by so many times what near ones do: less is chance.
_SPREAD_WALKS = 2.0

#: Least variances: of the noise, of a mean, and of a spread's logarithm.
_LEAST_NOISE, _LEAST_MEAN, _LEAST_SPREAD = 1e-4, 1e-3, 1e-2

#: Least mean square of a channel's differences, and what is added to it before the logarithm is
#: taken, as a part of it: what stands still for a while has no endless one.
_LEAST_SQUARE, _STILL = 1e-6, 1e-2

#: Rows by normal law that pass a limit.
_PASSING = 1e-4

#: What is worse than so many standard deviations says no more than this.
_CLIP = 1e3

#: Rows of a half below which no model of it is worth asking about the other.
_FEWEST_OF_A_HALF = 60


@dataclass(frozen=True, slots=True)
class Chart:
    """Where a feature was in training, and how far from it it may be.

    Attributes:
        mean: float64[c].
        variance: float64[c], the walk's included.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mewma:
    """A fitted model of c channels.

    Attributes:
        basis: float64[c, c]: channels to components, whose noise has variance 1.
        inverse: float64[c, c]: back.
        together: Of the components' means, for each weight.
        alone: Of the channels' means, for each weight.
        square: float64[c]: mean square of the difference of two rows.
        spread: Of the logarithms of the mean squares, in units of ``square``.
    """

    basis: NDArray[np.float64]
    inverse: NDArray[np.float64]
    together: Sequence[Chart]
    alone: Sequence[Chart]
    square: NDArray[np.float64]
    spread: Chart


def fit(windows: Windows, progress: Progress = silent) -> Fitted:
    """Fit to windows of one step; held out is each half of a device's rows, by the other halves."""
    is_late = _is_late(windows.device)
    held_out = np.empty(len(windows), np.float32)
    none = np.empty(0, np.intp)
    graph = to_graph(_fit(windows))
    if min(is_late.sum(), (~is_late).sum()) < _FEWEST_OF_A_HALF:
        held_out = score_windows(graph, windows, none, progress).score
    else:
        for half in (is_late, ~is_late):
            other = to_graph(_fit(windows.take(np.flatnonzero(~half))))
            scored = windows.take(np.flatnonzero(half))
            held_out[half] = score_windows(other, scored, none, progress).score
    return Fitted(graph, held_out, windows.device, windows.end_ns)


def _fit(windows: Windows) -> Mewma:
    values = np.clip(windows.values[:, 0].astype(np.float64), -_CLIP, _CLIP)
    device = windows.device
    rows = int(np.median(np.unique(device, return_counts=True)[1]))
    horizon = _HORIZON * rows
    # Single wild values say nothing of noise and walk.
    clipped = np.clip(values, *np.percentile(values, (1, 99), axis=0))
    noise, walk = _noise_and_walk(clipped, device, rows)
    basis = _basis(noise, walk)
    components = values @ basis
    walks = _WALK_FACTOR * np.maximum(np.einsum("ji,jk,ki->i", basis, walk, basis), _LEAST_WALK)
    least = _LEAST_WALK * np.maximum(np.diag(noise), _LEAST_MEAN)
    alone = _WALK_FACTOR * np.maximum(np.diag(walk), least)
    square = np.maximum(_squares(values, device).mean(axis=0), _LEAST_SQUARE)
    inverse = np.linalg.inv(basis).astype(np.float64)
    return Mewma(
        basis,
        inverse,
        [_chart(components, device, weight, horizon * walks) for weight in _WEIGHTS],
        [_chart(values, device, weight, horizon * alone) for weight in _WEIGHTS],
        square,
        _spread_chart(_squares(values, device) / square, device, rows, horizon),
    )


def _noise_and_walk(
    values: NDArray[np.float64], device: NDArray[np.int32], rows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """float64[c, c]: the noise's variances and covariances, and those of the walk a step."""
    near, near_steps = _apart(values, device, _SHORT)
    far, far_steps = _apart(values, device, _long(rows))
    # Half the mean squared difference over h steps is the noise and h halves of the walk.
    walk = 2 * (far - near) / max(far_steps - near_steps, 1)
    noise = _with_less_between(near, np.diag(near))
    noise += _LEAST_NOISE * np.eye(len(noise))
    return noise, _with_less_between(walk, np.maximum(np.diag(walk), 0))


def _with_less_between(
    matrix: NDArray[np.float64], diagonal: NDArray[np.float64]
) -> NDArray[np.float64]:
    return _COVARIANCES * matrix + (1 - _COVARIANCES) * np.diag(diagonal)


def _basis(noise: NDArray[np.float64], walk: NDArray[np.float64]) -> NDArray[np.float64]:
    variances, directions = np.linalg.eigh(noise)
    whitening = directions / np.sqrt(variances)
    _, rotation = np.linalg.eigh(whitening.T @ walk @ whitening)
    # An eigenvector's sign is arbitrary; fixing it makes equal data give equal packages.
    size = len(rotation)
    rotation = rotation * np.sign(rotation[np.abs(rotation).argmax(axis=0), np.arange(size)])
    basis: NDArray[np.float64] = whitening @ rotation
    return basis


def _long(rows: int) -> list[int]:
    return [max(_LEAST_LONG, int(part * rows)) for part in _LONG]


def _apart(
    values: NDArray[np.float64], device: NDArray[np.int32], lags: Sequence[int]
) -> tuple[NDArray[np.float64], float]:
    """float64[c, c]: half the mean product of differences of rows so many apart, and how many.

    Zeros where no device has rows so far apart.
    """
    size = values.shape[1]
    found, steps = [np.zeros((size, size))], [0.0]
    for lag in lags:
        difference = (values[lag:] - values[:-lag])[device[lag:] == device[:-lag]]
        if len(difference):
            found.append(difference.T @ difference / len(difference) / 2)
            steps.append(lag)
    several = slice(1 if len(found) > 1 else 0, None)
    return np.mean(found[several], axis=0), float(np.mean(steps[several]))


def _chart(
    values: NDArray[np.float64],
    device: NDArray[np.int32],
    weight: float,
    walked: NDArray[np.float64],
) -> Chart:
    mean = _running(values, device, weight)
    return Chart(mean.mean(axis=0), mean.var(axis=0) + _LEAST_MEAN + walked)


def _spread_chart(
    squares: NDArray[np.float64], device: NDArray[np.int32], rows: int, horizon: float
) -> Chart:
    level = np.log(_running(squares, device, _SPREAD_WEIGHT) + _STILL)
    near, near_steps = _apart(level, device, [round(1 / _SPREAD_WEIGHT)])
    far, far_steps = _apart(level, device, _long(rows))
    more = np.maximum(np.diag(far) - _SPREAD_WALKS * np.diag(near), 0)
    walk = _WALK_FACTOR * 2 * more / max(far_steps - near_steps, 1)
    return Chart(level.mean(axis=0), level.var(axis=0) + _LEAST_SPREAD + horizon * walk)


def _squares(values: NDArray[np.float64], device: NDArray[np.int32]) -> NDArray[np.float64]:
    """float64[n, c], squared differences from the row before; a device's first is its second's."""
    squares = np.zeros_like(values)
    squares[1:] = (values[1:] - values[:-1]) ** 2
    first = np.flatnonzero(np.append(True, np.diff(device) != 0))
    squares[first] = squares[np.minimum(first + 1, len(values) - 1)]
    return squares


def _running(
    values: NDArray[np.float64], device: NDArray[np.int32], weight: float
) -> NDArray[np.float64]:
    """Exponentially weighted means of each device's rows, from its first on."""
    parts = np.split(values, np.flatnonzero(np.diff(device)) + 1)
    return np.concatenate(
        [
            lfilter([weight], [1, weight - 1], part, axis=0, zi=(1 - weight) * part[:1])[0]
            for part in parts
        ]
    )


def _is_late(device: NDArray[np.int32]) -> NDArray[np.bool_]:
    """bool[n]: whether a row is in the second half of its device's."""
    is_late = np.zeros(len(device), np.bool_)
    _, first, count = np.unique(device, return_index=True, return_counts=True)
    for begin, size in zip(first.tolist(), count.tolist(), strict=True):
        is_late[begin + size // 2 : begin + size] = True
    return is_late


def to_graph(model: Mewma) -> Graph:
    """The graph. The state: channels' means for each weight, mean squares and last values (c each),
    and whether there has been a row.
    """
    size = len(model.square)
    kinds = len(_WEIGHTS)
    # What one in so many normal rows passes: of all together, and of any channel by itself.
    all_limit = float(chi2.isf(_PASSING, size))
    one_limit = float(chi2.isf(_PASSING / size, 1))

    def body(window: Var, state: Var) -> tuple[Var, Var, Var]:
        values = op.clip(op.squeeze(window, axes(1)), number(-_CLIP), number(_CLIP))
        seen = columns(state, (kinds + 2) * size, (kinds + 2) * size + 1)
        means = [
            _moved(columns(state, at * size, (at + 1) * size), values, number(weight))
            for at, weight in enumerate(_WEIGHTS)
        ]
        last = columns(state, (kinds + 1) * size, (kinds + 2) * size)
        change = op.sub(values, last)
        # Of a device's first row there is no difference.
        square = _moved(
            columns(state, kinds * size, (kinds + 1) * size),
            op.mul(op.mul(change, change), number(1 / model.square)),
            op.mul(seen, number(_SPREAD_WEIGHT)),
        )
        # Each is float32[batch, channel], and by its sum or its largest a squared score.
        parts = [
            *(
                _together(model, mean, chart)
                for mean, chart in zip(means, model.together, strict=True)
            ),
            _off(op.log(op.add(square, number(_STILL))), model.spread),
        ]
        singles = [_off(mean, chart) for mean, chart in zip(means, model.alone, strict=True)]
        scores = [
            *(op.mul(total(part, keep=True), number(1 / all_limit)) for part in parts),
            *(
                op.mul(op.reduce_max(part, axes=[1], keepdims=1), number(1 / one_limit))
                for part in singles
            ),
        ]
        worst = op.max(scores)
        # A share comes from what decided: of a single channel nearly all is that channel's.
        by_channel = op.sum(
            [
                op.mul(part, op.cast(op.greater_or_equal(score, worst), to=np.float32))
                for part, score in zip(
                    (op.max([part, number(0)]) for part in (*parts, *singles)), scores, strict=True
                )
            ]
        )
        following = op.concat(
            [*means, square, values, op.max([seen, number(1)])],
            axis=1,
        )
        return (
            op.squeeze(op.sqrt(op.max([worst, number(0)])), axes(1)),
            shares(by_channel),
            following,
        )

    start = np.exp(model.spread.mean) - _STILL
    initial = [*(chart.mean for chart in model.alone), start, np.zeros(size), np.zeros(1)]
    return build_stateful(body, WINDOW, size, np.concatenate(initial).astype(np.float32))


def _moved(known: Var, newest: Var, weight: Var) -> Var:
    return op.add(known, op.mul(op.sub(newest, known), weight))


def _off(feature: Var, chart: Chart) -> Var:
    """Squared deviations in units of their variance."""
    off = op.sub(feature, number(chart.mean))
    return op.mul(op.mul(off, off), number(1 / chart.variance))


def _together(model: Mewma, mean: Var, chart: Chart) -> Var:
    """T² of the components, split by channel: each one's deviation times the gradient."""
    off = op.sub(op.matmul(mean, number(model.basis)), number(chart.mean))
    scaled = op.mul(off, number(1 / chart.variance))
    return op.mul(
        op.matmul(off, number(model.inverse)),
        op.matmul(scaled, number(np.ascontiguousarray(model.basis.T))),
    )


KIND = Kind(
    fit=lambda windows, _seed, _meets, tell: fit(windows, tell),
    window=WINDOW,
    has_window=False,
    rule=AlarmRule("limit", 0.002, margin=1.05, low=0.8, open_after=3, close_after=5),
)
