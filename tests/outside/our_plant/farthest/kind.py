"""The kind ``farthest``: its score is how far the farthest channel is from its mean."""

from __future__ import annotations

import numpy as np
import spox.opset.ai.onnx.v17 as op
from spox import Var

from models.training.graphs import axes, build, shares
from models.training.kind import AlarmRule, Kind
from models.training.progress import Progress
from models.training.scoring import Fitted, score_windows
from models.training.windows import Windows


def _fit(windows: Windows, tell: Progress) -> Fitted:
    """Nothing is learned: channels come scaled by their mean and spread."""

    def body(values: Var) -> tuple[Var, Var]:
        distance = op.abs(op.squeeze(values, axes(1)))
        return op.reduce_max(distance, axes=[1], keepdims=0), shares(distance)

    graph = build(body, 1, windows.values.shape[2])
    scored = score_windows(graph, windows, np.empty(0, np.intp), tell)
    return Fitted(graph, scored.score, windows.device, windows.end_ns)


FARTHEST = Kind(
    fit=lambda windows, _seed, _meets, tell: _fit(windows, tell),
    window=1,
    has_window=False,
    rule=AlarmRule("quantile", 0.01, margin=1.5),
)
