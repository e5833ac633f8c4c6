"""Models on whatever accelerator onnxruntime finds, held against the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from structlog.testing import capture_logs

from models.runtime import Provider, Runtime
from models.training.data import TrainingData
from models.training.kinds import BUILT_IN as KINDS
from models.training.train import TrainSettings, train

_BY_PROVIDER: dict[str, Provider] = {
    "CUDAExecutionProvider": "cuda",
    "OpenVINOExecutionProvider": "openvino",
}
_FOUND = [
    short for name, short in _BY_PROVIDER.items() if name in onnxruntime.get_available_providers()
]

pytestmark = pytest.mark.skipif(
    not _FOUND,
    reason="no accelerator here: pip install onnxruntime-gpu on a machine with CUDA, or "
    "onnxruntime-openvino, instead of onnxruntime",
)

_STEP_NS = 10**9


def _machine() -> TrainingData:
    rng = np.random.default_rng(1)
    load = np.sin(np.arange(600) / 17)
    values = load[:, None] * np.array([3.0, -1.0, 0.5]) + rng.normal(size=(600, 3)) * 0.08
    names = ("flow", "power", "level")
    return TrainingData(names, np.arange(600) * _STEP_NS, np.zeros(600, np.int32), values)


@pytest.mark.parametrize("provider", _FOUND)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_scores_are_those_of_the_cpu(kind: str, provider: Provider, tmp_path: Path) -> None:
    """Within 1e-4 over a hundred steps of forty devices; or the model says no and stays away."""
    package = train("m", "f", _machine(), {}, tmp_path / "m", TrainSettings(kind=kind))
    with capture_logs() as logs:
        runtime = Runtime(package, provider=provider)
    if runtime.provider == "CPUExecutionProvider":
        # Never silently: a device that is not there, or that computes otherwise, is told of.
        assert [each["log_level"] for each in logs] == ["warning"]
        pytest.skip(f"{provider} does not run here: {logs[0]['event']}")
    on_cpu = Runtime(package, provider="cpu")
    rng = np.random.default_rng(2)
    shape = (40, package.manifest.framing.window, 3)
    known = expected_known = np.tile(runtime.initial_state, (shape[0], 1))
    for _ in range(100):
        windows = rng.normal(size=shape).astype(np.float32)
        answer, expected = runtime.run(windows, known), on_cpu.run(windows, expected_known)

        assert answer.score == pytest.approx(expected.score, rel=1e-4, abs=1e-4)
        known, expected_known = answer.state.copy(), expected.state.copy()
