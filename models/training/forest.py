"""An isolation forest on windows, for comparison: it costs most and finds least.

Liu, Ting and Zhou, "Isolation Forest", ICDM 2008. What few random cuts set apart is abnormal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import spox.opset.ai.onnx.ml.v3 as ml
import spox.opset.ai.onnx.v17 as op
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from spox import Var

from models.training.graphs import axes, build, columns, number, shares
from models.training.kind import AlarmRule, Kind
from models.training.progress import Progress, silent
from models.training.scoring import Fitted, Graph, score_windows
from models.training.windows import Windows

#: Steps in a window.
WINDOW = 1

_TREES, _TREES_AT_ONCE, _SAMPLES = 100, 10, 256

#: Euler's constant, in the mean depth of an unsuccessful search.
_EULER = 0.5772156649


def fit(windows: Windows, seed: int, progress: Progress = silent) -> Fitted:
    """Grow a forest on healthy windows."""
    count, window, channels = windows.values.shape
    flat = windows.values.reshape(count, -1).astype(np.float64)
    samples = min(_SAMPLES, count)
    # Grown some trees at a time, which gives the same forest as all at once.
    forest = IsolationForest(max_samples=samples, random_state=seed, warm_start=True)
    for trees in range(_TREES_AT_ONCE, _TREES + 1, _TREES_AT_ONCE):
        forest.set_params(n_estimators=trees).fit(flat)
        progress("growing trees", trees, _TREES)
    graph = to_graph(forest, samples, window, channels)
    scored = score_windows(graph, windows, np.empty(0, np.intp), progress)
    return Fitted(graph, scored.score, windows.device, windows.end_ns)


def to_graph(forest: IsolationForest, samples: int, window: int, channels: int) -> Graph:
    """The graph: ``score = 2^(1 - mean depth / usual depth)``, 1 for a usual window, 2 at most.

    A channel's share is its part of the cuts on the way to the leaves, those near the root
    counting more.
    """
    nodes = _Nodes(channels)
    for tree, features in zip(forest.estimators_, forest.estimators_features_, strict=True):
        nodes.add(tree.tree_, features)

    def body(values: Var) -> tuple[Var, Var]:
        flat = op.reshape(values, axes(-1, window * channels))
        answer = ml.tree_ensemble_regressor(
            flat, n_targets=channels + 1, aggregate_function="SUM", **nodes.attributes()
        )
        depth = op.squeeze(columns(answer, 0, 1), axes(1))
        usual = number(_TREES * _mean_depth(np.array([samples]))[0])
        score = op.pow(number(2), op.sub(number(1), op.div(depth, usual)))
        return score, shares(columns(answer, 1, channels + 1))

    return build(body, window, channels)


class _Nodes:
    """The forest's nodes as the operator wants them."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._trees = 0
        self._nodes: dict[str, list[Any]] = {
            name: []
            for name in (
                "nodes_treeids",
                "nodes_nodeids",
                "nodes_featureids",
                "nodes_values",
                "nodes_modes",
                "nodes_truenodeids",
                "nodes_falsenodeids",
                "target_treeids",
                "target_nodeids",
                "target_ids",
                "target_weights",
            )
        }

    def attributes(self) -> dict[str, Any]:
        """By name."""
        return self._nodes

    def add(self, tree: Any, features: NDArray[np.int64]) -> None:  # noqa: ANN401
        """Add a tree of scikit-learn's."""
        # Node, its depth, and what the cuts above it count for each channel.
        waiting = [(0, 0, np.zeros(self._channels))]
        while waiting:
            at, depth, cuts = waiting.pop()
            left, right = int(tree.children_left[at]), int(tree.children_right[at])
            is_leaf = left < 0
            feature = 0 if is_leaf else int(features[tree.feature[at]])
            # The operator compares float32: a threshold in between must not be rounded up.
            threshold = 0.0 if is_leaf else float(np.float32(tree.threshold[at]))
            for name, value in (
                ("nodes_treeids", self._trees),
                ("nodes_nodeids", at),
                ("nodes_featureids", feature),
                ("nodes_values", threshold),
                ("nodes_modes", "LEAF" if is_leaf else "BRANCH_LEQ"),
                ("nodes_truenodeids", 0 if is_leaf else left),
                ("nodes_falsenodeids", 0 if is_leaf else right),
            ):
                self._nodes[name].append(value)
            if is_leaf:
                more = _mean_depth(tree.n_node_samples[at : at + 1])[0]
                self._give(at, 0, depth + float(more))
                for channel in np.flatnonzero(cuts).tolist():
                    self._give(at, channel + 1, float(cuts[channel]))
                continue
            below = cuts.copy()
            below[feature % self._channels] += 1 / (1 + depth)
            waiting += [(left, depth + 1, below), (right, depth + 1, below)]
        self._trees += 1

    def _give(self, node: int, target: int, weight: float) -> None:
        for name, value in (
            ("target_treeids", self._trees),
            ("target_nodeids", node),
            ("target_ids", target),
            ("target_weights", weight),
        ):
            self._nodes[name].append(value)


def _mean_depth(samples: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean depth of an unsuccessful search in a binary tree of so many (eq. 1 of the paper)."""
    n = samples.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = 2 * (np.log(n - 1) + _EULER) - 2 * (n - 1) / n
    return np.where(n > 2, depth, np.where(n == 2, 1.0, 0.0))


KIND = Kind(
    fit=lambda windows, seed, _meets, tell: fit(windows, seed, tell),
    window=WINDOW,
    has_window=True,
    rule=AlarmRule("quantile", 0.003, open_after=3),
)
