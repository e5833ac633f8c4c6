"""Inference: the windows of all devices and partitions of a take, in one run a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headgate.core.stage import Frames, Scores
from headgate.core.telemetry import Telemetry


class Model(Protocol):
    """What can score windows; ``models.runtime.Runtime`` does."""

    def run(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """``score`` float32[w] and ``share`` float32[w, channel] of float32[w, window, channel]."""
        ...


class Inferer:
    """Runs the models of a pipeline.

    A window whose score is not a number says nothing either way; it is counted as not scored and
    goes no further, so that it can neither open an anomaly nor end one.

    Args:
        models: By the model's name in the configuration.
        telemetry: Where windows and batch sizes are counted; None counts nothing.
    """

    def __init__(self, models: Mapping[str, Model], telemetry: Telemetry | None = None) -> None:
        self._models = models
        self._telemetry = telemetry

    def process(self, frames: Sequence[Frames]) -> list[Scores]:
        """Score frames; those of one model share a run. Models without windows give nothing."""
        by_model: dict[str, list[Frames]] = {}
        for each in frames:
            if len(each):
                by_model.setdefault(each.model, []).append(each)
        return [self._run(name, parts) for name, parts in by_model.items()]

    def _run(self, name: str, parts: list[Frames]) -> Scores:
        frames = parts[0] if len(parts) == 1 else _joined(name, parts)
        device, time_ns = frames.device, frames.end_ns
        score, share = self._models[name].run(frames.values)
        if self._telemetry is not None:
            self._telemetry.windows.labels(name).inc(len(device))
            self._telemetry.inference_batch.labels(name).observe(len(device))
        is_number = np.isfinite(score)
        if not is_number.all():
            if self._telemetry is not None:
                count = len(score) - int(is_number.sum())
                self._telemetry.unscored.labels(name).inc(count)
            device, time_ns = device[is_number], time_ns[is_number]
            score, share = score[is_number], share[is_number]
        return Scores(name, device, time_ns, score, share)


def _joined(model: str, parts: list[Frames]) -> Frames:
    return Frames(
        model,
        np.concatenate([part.device for part in parts]),
        np.concatenate([part.end_ns for part in parts]),
        np.concatenate([part.values for part in parts]),
    )
