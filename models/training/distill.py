"""Smaller networks from larger ones: units that carry little cut out, or a small one taught anew.

Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017: whole units by the size of their
weights, so that what is left is really faster. Hinton et al., "Distilling the Knowledge in a Neural
Network" (2015): a student learns what the teacher says, not what the data was.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import onnx
import spox.opset.ai.onnx.v17 as op
from numpy.typing import NDArray
from onnx import numpy_helper
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from spox import Var

from headgate.core.errors import ConfigError
from models.training.graphs import axes, build, columns, number, shares
from models.training.scoring import Graph, score_windows
from models.training.windows import Windows

#: Units of the student's only layer.
_STUDENT = 24

#: Passes over the windows that the student is taught with.
_EPOCHS = 120

#: Windows that it is taught with at most, half of them disturbed by up to so many scales.
_MOST_WINDOWS, _MOST_SCALES = 20_000, 12.0

#: Largest value that the student is fed.
_CLIP = 20.0


class _Layer(NamedTuple):
    """A layer and the one after it, by the names of their constants."""

    weight: str
    bias: str
    following: str


def pruned(graph: Graph, part: float) -> bytes:
    """The graph without this part of the units of each hidden layer, those with least weight.

    Raises:
        ConfigError: It has no hidden layers.
    """
    model = onnx.load_from_string(graph.content)
    tensors = {each.name: each for each in model.graph.initializer}
    layers = _hidden_layers(model.graph)
    if not layers:
        raise ConfigError(
            "headgate model prune: expected a network with hidden layers (kind autoencoder), found "
            "none; quantize it instead"
        )
    for layer in layers:
        weight, bias, following = (numpy_helper.to_array(tensors[name]) for name in layer)
        carried = np.linalg.norm(weight, axis=0) * np.linalg.norm(following, axis=1)
        count = max(1, round((1 - part) * len(carried)))
        kept = np.sort(np.argsort(-carried, kind="stable")[:count])
        for name, array in zip(layer, (weight[:, kept], bias[kept], following[kept]), strict=True):
            tensors[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))
    # Inner shapes were inferred for the old widths.
    del model.graph.value_info[:]
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _hidden_layers(graph: onnx.GraphProto) -> list[_Layer]:
    """``x W + b``, Relu, and the matrix that follows."""
    by_input = {name: node for node in graph.node for name in node.input}
    constants = {each.name for each in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[1] not in constants:
            continue
        chain = [node]
        for wanted in ("Add", "Relu", "MatMul"):
            after = by_input.get(chain[-1].output[0])
            if after is None or after.op_type != wanted:
                break
            chain.append(after)
        else:
            bias = next(name for name in chain[1].input if name in constants)
            found.append(_Layer(node.input[1], bias, chain[3].input[1]))
    return found


def student(graph: Graph, windows: Windows, seed: int) -> bytes:
    """A small network that says what this model says.

    Args:
        graph: The teacher; it must remember nothing.
        windows: Healthy ones; half of what the student sees are these, disturbed.
        seed: Of the disturbances and of its first weights.

    Raises:
        ConfigError: The teacher remembers something.
    """
    if len(graph.initial_state):
        raise ConfigError(
            "headgate model distill: expected a model without state, which one window tells all "
            "about; quantize it instead"
        )
    rng = np.random.default_rng(seed)
    rows = np.arange(len(windows))
    if len(rows) > _MOST_WINDOWS // 2:
        rows = np.sort(rng.choice(rows, _MOST_WINDOWS // 2, replace=False))
    healthy = windows.take(rows)
    off = _off(healthy.values.shape, rng)
    count, window, channels = healthy.values.shape
    lessons = Windows(
        np.concatenate([healthy.values, healthy.values + off]),
        np.zeros(2 * count, np.int32),
        np.arange(2 * count),
    )
    said = score_windows(graph, lessons, np.empty(0, np.intp))
    # Small scores matter as much as large ones, so that the logarithm is taught.
    wanted = np.log1p(np.hstack([said.score[:, None], said.score[:, None] * said.share]))
    flat = np.clip(lessons.values.reshape(2 * count, -1), -_CLIP, _CLIP).astype(np.float64)
    # Deviations to either side are alike.
    fed = np.hstack([flat, np.abs(flat)])
    network = MLPRegressor(
        hidden_layer_sizes=(_STUDENT,), activation="relu", max_iter=_EPOCHS, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(fed, wanted)
    return _student_graph(network, window, channels)


def _off(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """One or two channels off, by up to so many scales."""
    count, _, channels = shape
    off = np.zeros((count, 1, channels), np.float32)
    for _ in range(2):
        by = rng.uniform(-_MOST_SCALES, _MOST_SCALES, count) * (rng.random(count) < 0.7)
        off[np.arange(count), 0, rng.integers(0, channels, count)] += by.astype(np.float32)
    return off


def _student_graph(network: MLPRegressor, window: int, channels: int) -> bytes:
    first, second = network.coefs_
    first_bias, second_bias = network.intercepts_

    def body(values: Var) -> tuple[Var, Var]:
        flat = op.reshape(values, axes(-1, window * channels))
        cut = op.clip(flat, number(-_CLIP), number(_CLIP))
        layer = op.matmul(op.concat([cut, op.abs(cut)], axis=1), number(first))
        layer = op.relu(op.add(layer, number(first_bias)))
        said = op.relu(op.add(op.matmul(layer, number(second)), number(second_bias)))
        score = op.sub(op.exp(columns(said, 0, 1)), number(1))
        return op.squeeze(score, axes(1)), shares(columns(said, 1, channels + 1))

    return build(body, window, channels).content
