"""PCA on windows: Hotelling's T² within the model plane, Q (squared prediction error) off it.

Jackson, Mudholkar, "Control procedures for residuals associated with principal component
analysis", Technometrics 21 (1979). Limits are empirical quantiles instead of the normal theory's,
because sensor data is not normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from headgate.core.errors import ConfigError

#: Part of the variance that the model plane holds. What is left must be enough for Q to speak.
_EXPLAINED = 0.9

#: Both statistics are divided by this quantile of theirs on the training windows, which makes
#: them comparable: 1 is where a healthy machine is once in a hundred windows.
_LIMIT_QUANTILE = 0.99

#: Smallest variance of a component, relative to the largest, that T² divides by.
_SMALLEST_VARIANCE = 1e-6

#: Most values in a window: the covariance of more does not fit the memory of most machines.
_MOST_VALUES = 8192

#: Old enough for the runtimes that boxes in the field have.
_OPSET = 17
_IR_VERSION = 8


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


def fit(windows: NDArray[np.float32]) -> Pca:
    """Fit to healthy windows, float32[w, window, channel], normalized; w is 2 or more.

    Raises:
        ConfigError: The windows are too long.
    """
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
    variance = np.maximum(variances[:size], np.finfo(np.float32).tiny)
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


def to_onnx(model: Pca, window: int, channels: int) -> bytes:
    """The graph: ``score = sqrt(max(T²/limit, Q/limit))`` and each channel's share of both.

    The root makes the score grow linearly with a deviation. A channel's share is what its values
    contribute to T² and Q, in units of their limits, negative contributions taken as none.
    """
    size = window * channels
    constants = {
        "flat_shape": np.array([-1, size], np.int64),
        "window_shape": np.array([-1, window, channels], np.int64),
        "mean": model.mean.astype(np.float32),
        "plane": model.plane.astype(np.float32),
        "plane_t": np.ascontiguousarray(model.plane.T).astype(np.float32),
        "t2_weight": (1 / (model.variance * model.t2_limit)).astype(np.float32),
        "q_weight": np.array(1 / model.q_limit, np.float32),
        "all_features": np.array([1], np.int64),
        "tiny": np.array(1e-30, np.float32),
        "zero": np.array(0, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Reshape", ["window", "flat_shape"], ["flat"]),
        node("Sub", ["flat", "mean"], ["centred"]),
        node("MatMul", ["centred", "plane"], ["scores"]),
        node("Mul", ["scores", "t2_weight"], ["weighted_scores"]),
        node("Mul", ["scores", "weighted_scores"], ["t2_parts"]),
        node("ReduceSum", ["t2_parts", "all_features"], ["t2"], keepdims=0),
        node("MatMul", ["scores", "plane_t"], ["projected"]),
        node("Sub", ["centred", "projected"], ["residual"]),
        node("Mul", ["residual", "residual"], ["squared_residual"]),
        node("Mul", ["squared_residual", "q_weight"], ["q_parts"]),
        node("ReduceSum", ["q_parts", "all_features"], ["q"], keepdims=0),
        node("Max", ["t2", "q"], ["squared_score"]),
        node("Sqrt", ["squared_score"], ["score"]),
        # T² split by feature: centred * (plane @ weighted scores), which sums to T².
        node("MatMul", ["weighted_scores", "plane_t"], ["t2_gradient"]),
        node("Mul", ["centred", "t2_gradient"], ["t2_by_feature"]),
        node("Max", ["t2_by_feature", "zero"], ["t2_positive"]),
        node("Add", ["t2_positive", "q_parts"], ["by_feature"]),
        node("Reshape", ["by_feature", "window_shape"], ["by_step"]),
        node("ReduceSum", ["by_step", "all_features"], ["by_channel"], keepdims=0),
        node("ReduceSum", ["by_channel", "all_features"], ["total"], keepdims=1),
        node("Add", ["total", "tiny"], ["total_or_tiny"]),
        node("Div", ["by_channel", "total_or_tiny"], ["share"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "pca",
        [value("window", TensorProto.FLOAT, ["batch", window, channels])],
        [
            value("score", TensorProto.FLOAT, ["batch"]),
            value("share", TensorProto.FLOAT, ["batch", channels]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model_proto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )
    onnx.checker.check_model(model_proto, full_check=True)
    content: bytes = model_proto.SerializeToString(deterministic=True)
    return content
