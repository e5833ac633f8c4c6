"""A model package that is whole and never answers: its graph counts for ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from models.package import Golden, write_package

_INT64_MAX = 2**63 - 1


def looping_graph(*, window: int, channels: int) -> bytes:
    """A graph with the right inputs and outputs, and a loop of 2^63 - 1 rounds between them."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going_on"], ["goes_on"]),
            helper.make_node("Add", ["number", "number"], ["next_number"]),
        ],
        "body",
        [
            value("round", TensorProto.INT64, []),
            value("going_on", TensorProto.BOOL, []),
            value("number", TensorProto.FLOAT, ["batch"]),
        ],
        [
            value("goes_on", TensorProto.BOOL, []),
            value("next_number", TensorProto.FLOAT, ["batch"]),
        ],
    )
    whole = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["window", "axes"], ["sum"], keepdims=0),
            helper.make_node("ReduceSum", ["window", "middle"], ["share"], keepdims=0),
            helper.make_node("Loop", ["rounds", "yes", "sum"], ["score"], body=body),
        ],
        "endless",
        [value("window", TensorProto.FLOAT, ["batch", window, channels])],
        [
            value("score", TensorProto.FLOAT, ["batch"]),
            value("share", TensorProto.FLOAT, ["batch", channels]),
        ],
        [
            helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
            helper.make_tensor("middle", TensorProto.INT64, [1], [1]),
            helper.make_tensor("rounds", TensorProto.INT64, [], [_INT64_MAX]),
            helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        ],
    )
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    graph: bytes = model.SerializeToString()
    return graph


def write_looping_package(path: Path, *, feed: str, channel: str) -> None:
    """A package of such a graph, with hashes that agree."""
    manifest: dict[str, object] = {
        "name": path.name,
        "feed": feed,
        "normalization": "zscore",
        "channels": [{"name": channel, "offset": 0.0, "scale": 1.0}],
        "framing": {"period": "1s", "window": 2},
        "alarm": {"threshold": 1.0, "threshold_low": 0.5},
        "training": {"kind": "none", "fingerprint": "0" * 64, "rows": 1, "span": "1s", "seed": 0},
    }
    golden = Golden.without_state(
        np.zeros((1, 2, 1), np.float32), np.zeros(1, np.float32), np.zeros((1, 1), np.float32)
    )
    write_package(path, manifest, looping_graph(window=2, channels=1), golden)
