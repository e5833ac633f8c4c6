"""Products in 8 bits that are scaled row by row, as the values come.

ONNX's ``DynamicQuantizeLinear`` has one scale for a whole tensor, and with it for a whole batch: a
device's score would depend on the devices beside it. Here each row has a scale of its own, so a
score depends on its own window alone; and as sums of integers are exact, to the last bit::

    row ─┬─ Abs, ReduceMax, Div 127 ─┬──────────────────────────────── scale of the row ─┐
         │                           │                                                   │
         └────────────────────────── Div, QuantizeLinear ─ MatMulInteger, Cast ─ Mul ─ Mul ─ result
                                                  matrix ─┘    scale of columns ─┘

Both factors are whole numbers from -127 to 127, written as unsigned bytes with 128 for zero. Of the
forms that onnxruntime's CPU provider runs this is the one that is exact and fast everywhere:
unsigned times signed saturates on processors with AVX2 but without VNNI, and signed times signed
takes several times as long there.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from headgate.core.errors import ConfigError

#: Largest number that a byte holds on either side of its zero.
_LARGEST, _ZERO = 127, 128

#: Scale of a row of zeros, by which they can be divided.
_SMALLEST_SCALE = 1e-30

#: What all products share.
_CONSTANTS = {
    "q_largest": np.array(_LARGEST, np.float32),
    "q_smallest": np.array(_SMALLEST_SCALE, np.float32),
    "q_one": np.array(1, np.float32),
    "q_nothing": np.array(0, np.float32),
    "q_zero": np.array(_ZERO, np.uint8),
    "q_axis": np.array([-1], np.int64),
}


def with_rowwise_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its products by constant matrices in 8 bits; it is changed in place.

    Raises:
        ConfigError: It has no such products.
    """
    graph = model.graph
    nodes = list(graph.node)
    matrices = constant_matrices(graph)
    del graph.node[:]
    rows: dict[str, str] = {}
    columns: dict[str, str] = {}
    for node in nodes:
        if node.op_type != "MatMul" or node.input[1] not in matrices:
            graph.node.add().CopyFrom(node)
            continue
        row, matrix = node.input
        if matrix not in columns:
            columns[matrix] = f"q_m{len(columns)}"
            values = numpy_helper.to_array(matrices[matrix])
            graph.initializer.extend(_by_column(columns[matrix], values))
        if row not in rows:
            rows[row] = f"q_r{len(rows)}"
            graph.node.extend(_by_row(row, rows[row]))
        graph.node.extend(_product(rows[row], columns[matrix], node.output[0]))
    if not columns:
        raise ConfigError(
            "headgate model quantize --dynamic: expected a model that multiplies by matrices "
            "(pca, autoencoder, ridge, level, mewma or fusion), found none; leave the package as "
            "it is"
        )
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in _CONSTANTS.items()
    )
    used = {name for node in graph.node for name in node.input}
    for unused in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(unused)
    return model


def constant_matrices(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """By name, the constant matrices that something is multiplied by and that may be coarser.

    Not those in double precision: a kind that counts in it needs every digit.
    """
    factors = {node.input[1] for node in graph.node if node.op_type == "MatMul"}
    return {
        each.name: each
        for each in graph.initializer
        if each.name in factors and each.data_type == TensorProto.FLOAT and len(each.dims) >= 2
    }


def _by_column(name: str, matrix: NDArray[np.float32]) -> list[onnx.TensorProto]:
    """A matrix in bytes, and what its columns are to be multiplied by."""
    scale = np.maximum(np.abs(matrix).max(axis=-2, keepdims=True) / _LARGEST, _SMALLEST_SCALE)
    return [
        numpy_helper.from_array((np.round(matrix / scale) + _ZERO).astype(np.uint8), name),
        numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"),
    ]


def _by_row(row: str, name: str) -> list[onnx.NodeProto]:
    """Rows in bytes, and what each is to be multiplied by: NaN where it has a NaN."""
    return [
        helper.make_node("Abs", [row], [f"{name}_size"]),
        helper.make_node("ReduceMax", [f"{name}_size"], [f"{name}_most"], axes=[-1], keepdims=1),
        helper.make_node("Div", [f"{name}_most", "q_largest"], [f"{name}_unit"]),
        helper.make_node("Max", [f"{name}_unit", "q_smallest"], [f"{name}_part"]),
        helper.make_node("Div", [row, f"{name}_part"], [f"{name}_whole"]),
        helper.make_node("QuantizeLinear", [f"{name}_whole", "q_one", "q_zero"], [name]),
        # A byte can't be NaN, and the largest of some numbers and a NaN may be either. The sum of
        # parts is NaN then, and else finite: times zero it leaves a scale as it is.
        helper.make_node("ReduceSum", [f"{name}_whole", "q_axis"], [f"{name}_sum"], keepdims=1),
        helper.make_node("Mul", [f"{name}_sum", "q_nothing"], [f"{name}_lost"]),
        helper.make_node("Add", [f"{name}_part", f"{name}_lost"], [f"{name}_scale"]),
    ]


def _product(row: str, matrix: str, result: str) -> list[onnx.NodeProto]:
    name = f"{row}{matrix.removeprefix('q')}"
    return [
        helper.make_node("MatMulInteger", [row, matrix, "q_zero", "q_zero"], [f"{name}_whole"]),
        helper.make_node("Cast", [f"{name}_whole"], [f"{name}_sum"], to=TensorProto.FLOAT),
        # By the column first: where the row's scale is huge, the sum times it could be infinite.
        helper.make_node("Mul", [f"{name}_sum", f"{matrix}_scale"], [f"{name}_column"]),
        helper.make_node("Mul", [f"{name}_column", f"{row}_scale"], [result]),
    ]
