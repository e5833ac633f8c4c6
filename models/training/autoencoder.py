"""A dense autoencoder on windows: what it can't reconstruct was not in the training data.

Sakurada and Yairi, "Anomaly Detection Using Autoencoders with Nonlinear Dimensionality Reduction",
MLSDA 2014. The network is trained on four fifths of the windows; residuals of the rest scale the
score and choose the threshold.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import spox.opset.ai.onnx.v17 as op
from numpy.typing import NDArray
from sklearn.neural_network import MLPRegressor
from spox import Var

from headgate.core.errors import ConfigError
from models.training.graphs import axes, build, number, shares, total
from models.training.kind import AlarmRule, Kind
from models.training.progress import Progress, silent
from models.training.scoring import Fitted, Graph, score_windows
from models.training.windows import Windows

#: Steps in a window.
WINDOW = 5

#: Units of the outer layers and of the narrow one, for each input and at most.
_OUTER, _MOST_OUTER = 1.0, 128
_NARROW, _MOST_NARROW = 0.15, 16

#: Part of the windows that the network does not see.
_HELD_OUT = 5

#: Windows that it is trained on at most; more are drawn from.
_MOST_WINDOWS = 50_000

#: Passes over them.
_EPOCHS = 60

#: Largest value it is fed: beyond, its answer says nothing more.
_CLIP = 10.0

#: The score is 1 where a healthy window is once in a hundred.
_LIMIT_QUANTILE = 0.99


@dataclass(frozen=True, slots=True)
class Autoencoder:
    """A trained network. d is window x channels.

    Attributes:
        weights: float64[in, out] of each layer.
        biases: float64[out] of each layer.
        spread: float64[d], of the residuals.
        limit: Unit of the mean squared residual.
    """

    weights: list[NDArray[np.float64]]
    biases: list[NDArray[np.float64]]
    spread: NDArray[np.float64]
    limit: float


def fit(windows: Windows, seed: int, progress: Progress = silent) -> Fitted:
    """Train on healthy windows.

    Raises:
        ConfigError: There are too few.
    """
    count, window, channels = windows.values.shape
    flat = np.clip(windows.values.reshape(count, -1), -_CLIP, _CLIP).astype(np.float64)
    seen = np.arange(count) < count - count // _HELD_OUT
    if count < 2 * _HELD_OUT:
        raise ConfigError(f"training data: expected 10 windows or more, found {count}")
    size = flat.shape[1]
    outer = min(_MOST_OUTER, max(4, round(_OUTER * size)))
    narrow = min(_MOST_NARROW, max(1, round(_NARROW * size)))
    drawn = np.flatnonzero(seen)
    if len(drawn) > _MOST_WINDOWS:
        drawn = np.sort(np.random.default_rng(seed).choice(drawn, _MOST_WINDOWS, replace=False))
    network = _trained(flat[drawn], (outer, narrow, outer), seed, progress)
    residual = flat[~seen] - network.predict(flat[~seen]).reshape(-1, size)
    spread = np.maximum(residual.std(axis=0), 1e-3)
    squared = ((residual / spread) ** 2).mean(axis=1)
    model = Autoencoder(
        [np.asarray(each) for each in network.coefs_],
        [np.asarray(each) for each in network.intercepts_],
        spread,
        max(float(np.quantile(squared, _LIMIT_QUANTILE)), 1e-6),
    )
    graph = to_graph(model, window, channels)
    held_out = windows.take(np.flatnonzero(~seen))
    score = score_windows(graph, held_out, np.empty(0, np.intp), progress).score
    return Fitted(graph, score, held_out.device, held_out.end_ns)


def _trained(
    flat: NDArray[np.float64], layers: tuple[int, ...], seed: int, progress: Progress
) -> MLPRegressor:
    """A network that gives back what it is fed, trained until that gets no better."""
    # The generator itself, not its seed: each pass goes on with it.
    network = MLPRegressor(hidden_layer_sizes=layers, random_state=np.random.RandomState(seed))
    best, idle = np.inf, 0
    for epoch in range(_EPOCHS):
        with warnings.catch_warnings():
            # The library takes Ctrl-C for the end of a training that went well.
            warnings.filterwarnings("error", "Training interrupted")
            try:
                network.partial_fit(flat, flat)
            except UserWarning as interruption:
                raise KeyboardInterrupt from interruption
        progress("training epochs", epoch + 1, _EPOCHS)
        idle = idle + 1 if network.loss_ > best - network.tol else 0
        best = min(best, network.loss_)
        if idle > network.n_iter_no_change:
            break
    return network


def to_graph(model: Autoencoder, window: int, channels: int) -> Graph:
    """The graph: ``score`` is the root of the mean squared residual, in its limit.

    A channel's share is its part of the squared residual.
    """

    def body(values: Var) -> tuple[Var, Var]:
        flat = op.reshape(values, axes(-1, window * channels))
        layer = op.clip(flat, number(-_CLIP), number(_CLIP))
        last = len(model.weights) - 1
        for at, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
            layer = op.add(op.matmul(layer, number(weight)), number(bias))
            if at < last:
                layer = op.relu(layer)
        # Held against what came in unclipped, so that the score goes on growing with it.
        residual = op.mul(op.sub(flat, layer), number(1 / model.spread))
        squared = op.mul(residual, residual)
        mean = op.mul(total(squared), number(1 / (window * channels * model.limit)))
        by_step = op.reshape(squared, axes(-1, window, channels))
        return op.sqrt(mean), shares(total(by_step, which=1))

    return build(body, window, channels)


KIND = Kind(
    fit=lambda windows, seed, _meets, tell: fit(windows, seed, tell),
    window=WINDOW,
    has_window=True,
    rule=AlarmRule("quantile", 0.01, margin=1.6, open_after=3),
)
