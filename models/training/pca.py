"""PCA on windows: Hotelling's T² within the model plane, Q (squared prediction error) off it.

Jackson, Mudholkar, "Control procedures for residuals associated with principal component
analysis", Technometrics 21 (1979). Limits are empirical quantiles instead of the normal theory's,
because sensor data is not normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import spox.opset.ai.onnx.v17 as op
from numpy.typing import NDArray
from spox import Var

from headgate.core.errors import ConfigError
from models.training.graphs import axes, build, number, shares, total
from models.training.kind import AlarmRule, Kind
from models.training.scoring import Fitted, Graph, score_windows
from models.training.windows import Windows

#: Part of the variance that the model plane holds. What is left must be enough for Q to speak.
_EXPLAINED = 0.9

#: Both statistics are divided by this quantile of theirs on the training windows, which makes
#: them comparable: 1 is where a healthy machine is once in a hundred windows.
_LIMIT_QUANTILE = 0.99

#: Smallest variance of a component, relative to the largest, that T² divides by.
_SMALLEST_VARIANCE = 1e-6

#: Smallest variance of a component in itself; the channels are scaled to 1.
_LEAST_VARIANCE = 1e-12

#: Most values in a window: the covariance of more does not fit the memory of most machines.
_MOST_VALUES = 8192


@dataclass(frozen=True, slots=True)
class Pca:
    """A fitted model. d is window x channels.

    Attributes:
        mean: float64[d].
        plane: float64[d, k], orthonormal columns.
        variance: float64[k], along each column.
        t2_limit: Unit of T².
        q_limit: Unit of Q.
    """

    mean: NDArray[np.float64]
    plane: NDArray[np.float64]
    variance: NDArray[np.float64]
    t2_limit: float
    q_limit: float


def fit(windows: Windows) -> Fitted:
    """Fit to healthy windows.

    Raises:
        ConfigError: They are too long.
    """
    _, window, channels = windows.values.shape
    graph = to_graph(_fit(windows.values), window, channels)
    # The plane is found by few numbers: windows held out score like those it was fitted on.
    none = np.empty(0, np.intp)
    score = score_windows(graph, windows, none).score
    return Fitted(graph, score, windows.device, windows.end_ns)


def _fit(windows: NDArray[np.float32]) -> Pca:
    """The plane of float32[w, window, channel]; w is 2 or more."""
    _, window, channels = windows.shape
    if window * channels > _MOST_VALUES:
        raise ConfigError(
            f"--window: expected at most {_MOST_VALUES // channels} steps of {channels} channels, "
            f"got {window}"
        )
    flat = windows.reshape(len(windows), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    # By the covariance, whose size does not grow with the number of windows.
    variances, directions = np.linalg.eigh((flat - mean).T @ (flat - mean) / (len(flat) - 1))
    variances, directions = variances[::-1], directions[:, ::-1]
    is_real = variances > _SMALLEST_VARIANCE * max(variances[0], np.finfo(np.float32).tiny)
    rank = max(1, int(is_real.sum()))
    explained = np.cumsum(variances[:rank]) / max(variances[:rank].sum(), 1e-300)
    size = min(int(np.searchsorted(explained, _EXPLAINED)) + 1, max(1, rank - 1))
    # An eigenvector's sign is arbitrary; fixing it makes equal data give equal packages.
    plane = directions[:, :size]
    plane = plane * np.sign(plane[np.abs(plane).argmax(axis=0), np.arange(size)])
    # Of channels that stood still there is none; float32 must be able to divide by it.
    variance = np.maximum(variances[:size], _LEAST_VARIANCE)
    scores = (flat - mean) @ plane
    residual = flat - mean - scores @ plane.T
    t2 = (scores**2 / variance).sum(axis=1)
    q = (residual**2).sum(axis=1)
    # A perfectly explained training set has no Q at all; anything off the plane is then news.
    floor = 1e-6 * max(1.0, float(variances.sum()))
    return Pca(
        mean,
        plane,
        variance,
        max(float(np.quantile(t2, _LIMIT_QUANTILE)), 1e-6),
        max(float(np.quantile(q, _LIMIT_QUANTILE)), floor),
    )


def to_graph(model: Pca, window: int, channels: int) -> Graph:
    """The graph: ``score = sqrt(max(T²/limit, Q/limit))`` and each channel's share of both.

    The root makes the score grow linearly with a deviation. A channel's share is what its values
    contribute to T² and Q, in units of their limits, negative contributions taken as none.
    """
    plane = number(model.plane)
    plane_t = number(np.ascontiguousarray(model.plane.T))

    def body(values: Var) -> tuple[Var, Var]:
        centred = op.sub(op.reshape(values, axes(-1, window * channels)), number(model.mean))
        scores = op.matmul(centred, plane)
        weighted = op.mul(scores, number(1 / (model.variance * model.t2_limit)))
        t2 = total(op.mul(scores, weighted))
        residual = op.sub(centred, op.matmul(scores, plane_t))
        q_parts = op.mul(op.mul(residual, residual), number(1 / model.q_limit))
        # T² split by feature: centred * (plane @ weighted scores), which sums to T².
        t2_parts = op.max([op.mul(centred, op.matmul(weighted, plane_t)), number(0)])
        by_step = op.reshape(op.add(t2_parts, q_parts), axes(-1, window, channels))
        score = op.sqrt(op.max([t2, total(q_parts)]))
        return score, shares(total(by_step, which=1))

    return build(body, window, channels)


KIND = Kind(
    fit=lambda windows, _seed, _meets, _tell: fit(windows),
    window=5,
    has_window=True,
    rule=AlarmRule("quantile", 0.01, margin=1.6, open_after=3),
)
