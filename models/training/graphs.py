"""Building ONNX graphs with the inputs and outputs of a model package."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import spox
import spox.opset.ai.onnx.v17 as op
from numpy.typing import ArrayLike, NDArray
from spox import Tensor, Var

from models.training.scoring import Graph

#: Old enough for the runtimes that boxes in the field have.
_IR_VERSION = 8

#: ``window -> (score, share)``.
Body = Callable[[Var], tuple[Var, Var]]

#: ``(window, state) -> (score, share, next_state)``.
StatefulBody = Callable[[Var, Var], tuple[Var, Var, Var]]


def number(value: ArrayLike) -> Var:
    """A float32 constant."""
    return op.const(np.asarray(value, np.float32))


def axes(*which: int) -> Var:
    """Axes, or a shape, as operators want them."""
    return op.const(np.array(which, np.int64))


def total(x: Var, *, keep: bool = False, which: int = -1) -> Var:
    """Sum over one axis."""
    return op.reduce_sum(x, axes(which), keepdims=int(keep))


def columns(x: Var, first: int, end: int) -> Var:
    """Columns of a float32[batch, n], the end excluded."""
    return op.slice(x, axes(first), axes(end), axes(1))


def shares(parts: Var) -> Var:
    """float32[batch, channel] parts, none negative, as shares that sum to 1, or to 0."""
    return op.div(parts, op.max([total(parts, keep=True), number(1e-30)]))


def build(body: Body, window: int, channels: int) -> Graph:
    """A graph that remembers nothing.

    Args:
        body: Says what follows from a window.
        window: Steps in a window.
        channels: Channels.
    """
    values = spox.argument(Tensor(np.float32, ("batch", window, channels)))
    score, share = body(values)
    content = _content({"window": values}, {"score": score, "share": share}, channels)
    return Graph(content, np.empty(0, np.float32))


def build_stateful(
    body: StatefulBody, window: int, channels: int, initial_state: NDArray[np.float32]
) -> Graph:
    """A graph that remembers something of each device.

    Args:
        body: Says what follows from a window and what was remembered.
        window: Steps in a window.
        channels: Channels.
        initial_state: float32[s], of a new device.
    """
    values = spox.argument(Tensor(np.float32, ("batch", window, channels)))
    state = spox.argument(Tensor(np.float32, ("batch", len(initial_state))))
    score, share, following = body(values, state)
    content = _content(
        {"window": values, "state": state},
        {"score": score, "share": share, "next_state": following},
        channels,
        len(initial_state),
    )
    return Graph(content, initial_state)


def _content(
    inputs: dict[str, Var], outputs: dict[str, Var], channels: int, state: int = 0
) -> bytes:
    model = spox.build(inputs, outputs)
    model.ir_version = _IR_VERSION
    _move_constants(model.graph)
    widths = {"score": None, "share": channels, "next_state": state}
    for value in model.graph.output:
        # What shape inference can't tell: the package says so, and is held to it at loading.
        value.type.tensor_type.shape.Clear()
        value.type.tensor_type.shape.dim.add().dim_param = "batch"
        width = widths[value.name]
        if width is not None:
            value.type.tensor_type.shape.dim.add().dim_value = width
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _move_constants(graph: onnx.GraphProto) -> None:
    """Make initializers of constants: tools that shrink models look for weights there."""
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type == "Constant":
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
        else:
            graph.node.add().CopyFrom(node)
