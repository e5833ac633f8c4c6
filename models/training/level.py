"""Levels that drift: what leaves its level faster than it drifts is abnormal.

Each channel is taken to be a level that walks at random, and noise on top of it (the local level
model: Harvey, "Forecasting, Structural Time Series Models and the Kalman Filter", 1989, 2.3). How
much of each there is follows from how far rows differ that are a few steps, and many steps, apart.
In the basis in which neither noise nor walk has covariances, every component has a Kalman filter of
its own. The score is how far a short mean of the components lies off their levels, in units of what
is uncertain about them.

While an alarm is on, levels are not followed, and become the more uncertain the longer that lasts:
a channel that drifts by nature soon says nothing any more, one that never did keeps its word, and
when the alarm is over the new level is found at once. It is over when the score is low again, or
lower by far than it lately was: while a machine is faulty other things drift, and never come back
to where they were. What is still high then is an alarm by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import spox.opset.ai.onnx.v17 as op
from numpy.typing import NDArray
from spox import Var

from headgate.core.errors import ConfigError
from models.training.graphs import axes, build_stateful, columns, number, shares, total
from models.training.kind import AlarmRule, Kind
from models.training.progress import Progress, silent
from models.training.scoring import Fitted, Graph, score_windows
from models.training.windows import Windows

#: Steps in a window: the state is the memory.
WINDOW = 1

#: An alarm ends after so many scores in a row below this part of the threshold.
LOW, CLOSE_AFTER = 0.75, 5

#: It ends as well after so many below this part of what the score lately was, which has a memory of
#: fifty steps: most of what was wrong has passed. 0.3 to 0.5, and 25 to 70 steps, do as well.
_PASSED, _LATELY = 0.4, 0.02

#: Steps between rows whose difference is noise, and between those that have walked.
_SHORT, _LONG = (1, 2, 3, 5), (60, 80, 100, 120)

#: Covariances are halved: some hundred rows tell variances well, and covariances poorly.
_COVARIANCES = 0.5

#: The walk is taken to be twice what was seen: a few hundred rows hold few walks of a hundred.
_WALK_FACTOR = 2.0

#: Least variance of a walk, in those of the noise, a step.
_LEAST_WALK = 1e-5

#: Weight of the newest row in the short mean: a memory of five.
_WEIGHT = 0.2

#: Noise that a level's update reckons with, in its variance: rows are not independent.
_UPDATE_NOISE = 5.0

#: Steps that a device's levels settle in before it is scored.
_WARM_UP = 30

#: What is worse than so many standard deviations says no more than this.
_CLIP = 1e4

#: Fewest differences of rows far apart that a walk can be told from.
_FEWEST = 20

_Limit = Callable[[NDArray[np.float32], NDArray[np.int32]], float]


@dataclass(frozen=True, slots=True)
class Level:
    """A fitted model of c channels.

    Attributes:
        basis: float64[c, c]: channels to components, whose noise has variance 1.
        inverse: float64[c, c]: back.
        walk: float64[c]: variance of each component's walk, a step.
    """

    basis: NDArray[np.float64]
    inverse: NDArray[np.float64]
    walk: NDArray[np.float64]


def fit(windows: Windows, meets: _Limit, progress: Progress = silent) -> Fitted:
    """Fit to windows of one step.

    Args:
        windows: Mostly healthy; single wild values do not matter.
        meets: Gives the threshold, of scores and their devices.
        progress: Is told how many windows have been scored.

    Raises:
        ConfigError: There are too few rows.
    """
    values = windows.values[:, 0].astype(np.float64)
    low, high = np.percentile(values, (1, 99), axis=0)
    values = np.clip(values, low, high)
    noise, noise_steps = _spread(values, windows, _SHORT)
    far, far_steps = _spread(values, windows, _LONG)
    # Half the mean squared difference over h steps is the noise and h halves of the walk.
    walk = 2 * (far - noise) / (far_steps - noise_steps)
    size = noise.shape[0]
    noise = _COVARIANCES * noise + (1 - _COVARIANCES) * np.diag(np.diag(noise))
    noise += 1e-4 * np.eye(size)
    walk = _COVARIANCES * walk + (1 - _COVARIANCES) * np.diag(np.maximum(np.diag(walk), 0))
    variances, directions = np.linalg.eigh(noise)
    whitening = directions / np.sqrt(variances)
    walks, rotation = np.linalg.eigh(whitening.T @ walk @ whitening)
    # An eigenvector's sign is arbitrary; fixing it makes equal data give equal packages.
    rotation = rotation * np.sign(rotation[np.abs(rotation).argmax(axis=0), np.arange(size)])
    basis = whitening @ rotation
    model = Level(basis, np.linalg.inv(basis), _WALK_FACTOR * np.maximum(walks, _LEAST_WALK))
    none = np.empty(0, np.intp)
    scored = score_windows(to_graph(model, np.inf), windows, none, progress)
    settled = _since_begin(windows) >= _WARM_UP
    if not settled.any():
        raise ConfigError(
            f"training data: expected more than {_WARM_UP} rows of a device, found {len(windows)}"
        )
    score, device = scored.score[settled], windows.device[settled]
    return Fitted(to_graph(model, meets(score, device)), score, device, windows.end_ns[settled])


def to_graph(model: Level, threshold: float) -> Graph:
    """The graph. The state: short means, levels and their variances (c each), whether an alarm is
    on, low scores in a row, steps seen, and what the score lately was in the alarm.
    """
    size = len(model.walk)
    # Variance of the short mean's noise.
    mean_noise = _WEIGHT / (2 - _WEIGHT)
    top = min(threshold, 1e30)

    def body(window: Var, state: Var) -> tuple[Var, Var, Var]:
        component = op.matmul(op.squeeze(window, axes(1)), number(model.basis))
        component = op.clip(component, number(-_CLIP), number(_CLIP))
        was_alarmed, lows, seen, lately = (
            columns(state, 3 * size + at, 3 * size + at + 1) for at in range(4)
        )
        is_first = op.cast(op.equal(seen, number(0)), to=np.float32)
        mean = _or_first(columns(state, 0, size), component, is_first)
        level = _or_first(columns(state, size, 2 * size), component, is_first)
        variance = columns(state, 2 * size, 3 * size)
        mean = op.add(mean, op.mul(op.sub(component, mean), number(_WEIGHT)))
        off = op.sub(mean, level)
        scaled = op.div(off, op.add(variance, number(mean_noise)))
        worst = op.sqrt(op.mul(total(op.mul(off, scaled), keep=True), number(1 / size)))
        is_settled = op.cast(op.greater_or_equal(seen, number(_WARM_UP)), to=np.float32)
        score = op.mul(worst, is_settled)
        # By the threshold, the gateway ends an anomaly by the same rule. Where most has passed, the
        # levels that have become uncertain are found at once; mostly the score is low then.
        low = op.max([op.mul(lately, number(_PASSED)), number(LOW * top)])
        is_low = op.cast(op.less(score, low), to=np.float32)
        lows = op.mul(op.add(lows, number(1)), is_low)
        goes_on = op.mul(was_alarmed, op.cast(op.less(lows, number(CLOSE_AFTER)), to=np.float32))
        begins = op.cast(op.greater_or_equal(score, number(top)), to=np.float32)
        # An alarm that has just ended does not begin again in the same step.
        alarmed = op.max([goes_on, op.mul(begins, op.sub(number(1), was_alarmed))])
        variance = op.add(variance, number(model.walk))
        gain = op.mul(
            op.div(variance, op.add(variance, number(_UPDATE_NOISE))),
            op.sub(number(1), alarmed),
        )
        level = op.add(level, op.mul(gain, op.sub(component, level)))
        variance = op.mul(variance, op.sub(number(1), gain))
        lately = op.mul(
            alarmed,
            _or_first(
                op.add(lately, op.mul(op.sub(score, lately), number(_LATELY))),
                score,
                op.sub(number(1), was_alarmed),
            ),
        )
        following = op.min([op.add(seen, number(1)), number(1e6)])
        # T² split by channel: each one's deviation times the gradient, which sums to T².
        by_channel = op.mul(
            op.matmul(off, number(model.inverse)),
            op.matmul(scaled, number(np.ascontiguousarray(model.basis.T))),
        )
        after = op.concat([mean, level, variance, alarmed, lows, following, lately], axis=1)
        return op.squeeze(score, axes(1)), shares(op.max([by_channel, number(0)])), after

    initial = np.zeros(3 * size + 4, np.float32)
    # Nothing is known of a new device's level but its first row.
    initial[2 * size : 3 * size] = 1.0
    return build_stateful(body, WINDOW, size, initial)


def _or_first(known: Var, first: Var, is_first: Var) -> Var:
    return op.add(known, op.mul(op.sub(first, known), is_first))


def _spread(
    values: NDArray[np.float64], windows: Windows, lags: Sequence[int]
) -> tuple[NDArray[np.float64], float]:
    """Half the mean squared difference of rows so many steps apart, and how many on average."""
    step_ns = _step_ns(windows)
    found, steps = [], []
    for lag in lags:
        is_apart = (windows.end_ns[lag:] - windows.end_ns[:-lag] == lag * step_ns) & (
            windows.device[lag:] == windows.device[:-lag]
        )
        difference = (values[lag:] - values[:-lag])[is_apart]
        if len(difference) >= _FEWEST:
            found.append(difference.T @ difference / len(difference) / 2)
            steps.append(lag)
    if not found:
        raise ConfigError(
            f"training data: expected stretches of {lags[0] + _FEWEST} rows without a hole, found "
            f"none among {len(values)} rows; give more data or another --period"
        )
    return np.mean(found, axis=0), float(np.mean(steps))


def _step_ns(windows: Windows) -> int:
    apart = np.diff(windows.end_ns)[np.diff(windows.device) == 0]
    return int(np.median(apart)) if len(apart) else 1


def _since_begin(windows: Windows) -> NDArray[np.int64]:
    """int64[w]: how many windows of its device came before each."""
    begins = np.append(True, np.diff(windows.device) != 0)
    position = np.arange(len(windows))
    since: NDArray[np.int64] = position - np.maximum.accumulate(np.where(begins, position, 0))
    return since


KIND = Kind(
    fit=lambda windows, _seed, meets, tell: fit(windows, meets, tell),
    window=WINDOW,
    has_window=False,
    rule=AlarmRule("quantile", 0.02, margin=1.4, low=LOW, close_after=CLOSE_AFTER),
)
