"""Each channel against all others: residuals of a ridge regression, with limits that follow drift.

Every channel is predicted from all other channels of the same step and all channels of the step
before; what is left over is its residual. The regressions of all channels come from one inverse:
with ``Q = (A'A + ridge n I)^-1``, the residual of column k given all others is
``A Q[:, k] / Q[k, k]`` (Lauritzen, "Graphical Models", 1996, 5.1.3). A channel speaks up by its
residual, by a lasting bias of it (EWMA; Roberts, Technometrics 1, 1959), or by leaving the range it
was trained in.

Limits are quantiles of residuals on blocks of rows that the regression was not fitted on. While it
runs, a tracker follows a quantile of each channel's evidence and widens the limit of a channel that
has drifted for good, at a bounded rate, and gives it back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import spox.opset.ai.onnx.v17 as op
from numpy.typing import NDArray
from spox import Var

from models.training.graphs import axes, build_stateful, columns, number, shares
from models.training.kind import AlarmRule, Kind
from models.training.scoring import Fitted, Graph, score_windows
from models.training.windows import Windows

#: Steps in a window: this one and the one before.
WINDOW = 2

#: How wrong every channel is taken to be, as a part of its variance: a tenth of its standard
#: deviation. It keeps twins (a pump's flow and its status) from explaining each other away.
_RIDGE = 0.01

#: A channel's limit is this quantile of its residual on rows held out, and a little more for
#: channels that are all but free of noise.
_LIMIT_QUANTILE, _LIMIT_FLOOR = 0.999, 0.01

#: Weight of the newest residual in the lasting bias: a memory of five steps.
_BIAS_WEIGHT = 0.2

#: Beyond the range of training by this part of it counts as much as a residual at its limit.
_RANGE_MARGIN = 0.05

#: The tracker follows this quantile of the evidence, by this much (of the logarithm) a step: a
#: hundred steps of a fault widen a limit by no more than a factor of 1.6.
_TRACKED_QUANTILE, _TRACKER_GAIN = 0.95, 0.005

#: At first it moves as fast as an average would: what a device is like is learned soon.
_TRACKER_START = 6.0

#: Steps without a score after a device's first.
_WARM_UP = 24.0

_FOLDS = 6


@dataclass(frozen=True, slots=True)
class Ridge:
    """A fitted model of c channels.

    Attributes:
        weights: float64[2 c, c]: columns of this step and the one before, to residuals.
        limit: float64[c], of the residuals.
        bias_limit: float64[c], of their EWMA.
        low: float64[c], least value in training.
        high: float64[c], greatest value.
        reach: float64[c], what counts as far beyond them.
        reference: float64[3 c], what the tracker takes to be normal, in limits.
    """

    weights: NDArray[np.float64]
    limit: NDArray[np.float64]
    bias_limit: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    reach: NDArray[np.float64]
    reference: NDArray[np.float64]


def fit(windows: Windows) -> Fitted:
    """Fit to healthy windows of two steps; scores of windows held out are for the threshold."""
    now, before = windows.values[:, 1].astype(np.float64), windows.values[:, 0].astype(np.float64)
    rows, channels = now.shape
    both = np.hstack([now, before])
    moment = both.T @ both
    blocks = np.array_split(np.arange(rows), min(_FOLDS, rows))
    ridge = _RIDGE * rows
    parts = [
        _weights(moment - both[block].T @ both[block], ridge * (1 - len(block) / rows), channels)
        for block in blocks
    ]
    residual = np.concatenate(
        [both[block] @ part for block, part in zip(blocks, parts, strict=True)]
    )
    size = np.abs(residual)
    limit = np.quantile(size, _LIMIT_QUANTILE, axis=0) + _LIMIT_FLOOR
    bias = np.abs(_lasting(np.clip(residual / limit, -1, 1), windows.device))
    bias_limit = np.quantile(bias, _LIMIT_QUANTILE, axis=0) + _LIMIT_FLOOR
    low, high = now.min(axis=0), now.max(axis=0)
    # A channel that never moved has no range; it is scaled by its own size.
    span = np.where(high > low, high - low, 1.0)
    reference = np.concatenate(
        [
            (np.quantile(size, _TRACKED_QUANTILE, axis=0) + _LIMIT_FLOOR) / limit,
            (np.quantile(bias, _TRACKED_QUANTILE, axis=0) + _LIMIT_FLOOR) / bias_limit,
            np.full(channels, 0.5),
        ]
    )
    model = Ridge(
        _weights(moment, ridge, channels),
        limit,
        bias_limit,
        low,
        high,
        _RANGE_MARGIN * span,
        reference,
    )
    held_out = _held_out(model, windows, blocks, parts)
    return Fitted(to_graph(model), held_out, windows.device, windows.end_ns)


def to_graph(model: Ridge) -> Graph:
    """The graph: the score is the largest evidence of any channel, in its present limits.

    A channel's share is how far it is over its limit. The state is each channel's lasting bias,
    the logarithm of how much each limit is widened, and the number of steps seen.
    """
    channels = len(model.limit)

    def body(window: Var, state: Var) -> tuple[Var, Var, Var]:
        before, now = op.split(window, axes(1, 1), outputs_count=2, axis=1)
        before, now = op.squeeze(before, axes(1)), op.squeeze(now, axes(1))
        bias = columns(state, 0, channels)
        widened = columns(state, channels, 4 * channels)
        seen = columns(state, 4 * channels, 4 * channels + 1)
        residual = op.mul(
            op.matmul(op.concat([now, before], axis=1), number(model.weights)),
            number(1 / model.limit),
        )
        step = op.sub(op.clip(residual, number(-1), number(1)), bias)
        bias = op.add(bias, op.mul(step, number(_BIAS_WEIGHT)))
        beyond = op.max(
            [op.sub(now, number(model.high)), op.sub(number(model.low), now), number(0)]
        )
        evidence = op.concat(
            [
                op.abs(residual),
                op.mul(op.abs(bias), number(1 / model.bias_limit)),
                op.mul(beyond, number(1 / model.reach)),
            ],
            axis=1,
        )
        factor = op.exp(widened)
        over = op.div(evidence, factor)
        gain = op.max(
            [number(_TRACKER_GAIN), op.div(number(1), op.add(seen, number(_TRACKER_START)))]
        )
        is_more = op.cast(
            op.greater(evidence, op.mul(factor, number(model.reference))), to=np.float32
        )
        pull = op.sub(is_more, number(1 - _TRACKED_QUANTILE))
        widened = op.max([op.add(widened, op.mul(gain, pull)), number(0)])
        is_warm = op.cast(op.greater(seen, number(_WARM_UP)), to=np.float32)
        largest = op.reduce_max(over, axes=[1], keepdims=1)
        score = op.squeeze(op.mul(largest, is_warm), axes(1))
        by_channel = op.reduce_max(op.reshape(over, axes(-1, 3, channels)), axes=[1], keepdims=0)
        # How far over its limit; where none is, whoever is next to it.
        excess = op.max([op.sub(by_channel, number(1)), op.mul(by_channel, number(1e-6))])
        following = op.min([op.add(seen, number(1)), number(1e6)])
        return score, shares(excess), op.concat([bias, widened, following], axis=1)

    return build_stateful(body, WINDOW, channels, np.zeros(4 * channels + 1, np.float32))


def _held_out(
    model: Ridge,
    windows: Windows,
    blocks: list[NDArray[np.intp]],
    parts: list[NDArray[np.float64]],
) -> NDArray[np.float32]:
    """Scores of each block by the regression that was not fitted on it."""
    scores = []
    for block, part in zip(blocks, parts, strict=True):
        graph = to_graph(replace(model, weights=part))
        # A block begins as a new device would, but has been running for long.
        graph = replace(graph, initial_state=np.append(graph.initial_state[:-1], np.float32(1e6)))
        scores.append(score_windows(graph, windows.take(block), block[:0]).score)
    return np.concatenate(scores)


def _weights(moment: NDArray[np.float64], ridge: float, channels: int) -> NDArray[np.float64]:
    """float64[2 c, c]: from both steps to each channel's residual given everything else."""
    inverse = np.linalg.inv(moment + ridge * np.eye(len(moment)))
    weights: NDArray[np.float64] = inverse[:, :channels] / np.diag(inverse)[:channels]
    # What never moved is not explained by anything, and explains nothing.
    weights[:, np.diag(moment)[:channels] == 0] = 0
    return weights


def _lasting(residual: NDArray[np.float64], device: NDArray[np.int32]) -> NDArray[np.float64]:
    """EWMA of each device's residuals."""
    found = np.empty_like(residual)
    bias = np.zeros(residual.shape[1])
    begins = np.append(True, np.diff(device) != 0)
    for row, each in enumerate(residual):
        if begins[row]:
            bias = np.zeros_like(bias)
        bias = bias + _BIAS_WEIGHT * (each - bias)
        found[row] = bias
    return found


KIND = Kind(
    fit=lambda windows, _seed, _meets, _tell: fit(windows),
    window=WINDOW,
    has_window=False,
    # Once a month of hours, or once in twelve minutes of seconds.
    rule=AlarmRule(
        "events",
        12 / 8766,
        low_rate=0.02,
        close_after=48,
        close_surprise=0.002,
    ),
    takes_states=True,
)
