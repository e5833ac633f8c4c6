"""Running a model: the only module that imports onnxruntime."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import onnxruntime
import structlog
from numpy.typing import NDArray

from headgate.core.errors import ConfigError
from models.package import ModelPackage

_logger = structlog.get_logger()

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]

_NAMES = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

#: How far the outputs for the golden inputs may be from what they were at training: float32
#: arithmetic in another order, on another processor.
_GOLDEN_TOLERANCE = 1e-4


class Answer(NamedTuple):
    """What a model says to w windows.

    Attributes:
        score: float32[w], higher is more abnormal.
        share: float32[w, channel], each channel's part of it.
        state: float32[w, s], what the model knows of each window's device now.
    """

    score: NDArray[np.float32]
    share: NDArray[np.float32]
    state: NDArray[np.float32]


class Runtime:
    """A model ready to run, verified against its package.

    Args:
        package: The loaded package.
        provider: Where to run; ``"auto"`` takes the fastest there is.
        threads: Threads of one run on the CPU.
        max_batch: Windows in one run; more are split.

    Raises:
        ConfigError: The graph is no ONNX, or is not what the package says it is.
    """

    def __init__(
        self,
        package: ModelPackage,
        *,
        provider: Provider = "auto",
        threads: int = 1,
        max_batch: int = 1024,
    ) -> None:
        self.package = package
        self.max_batch = max_batch
        self._threads = threads
        choice = _choice(provider, package.manifest.name)
        self._session = self._open(choice)
        if self.provider != choice[0]:
            # onnxruntime goes on with the next provider when one's libraries or device are missing.
            _logger.warning(
                "The execution provider could not be started; the model runs on another.",
                model=package.manifest.name,
                wanted=choice[0],
                provider=self.provider,
            )
        self._check_interface()
        self._check_golden()

    @property
    def provider(self) -> str:
        """Name of the execution provider in use, as onnxruntime has it."""
        name: str = self._session.get_providers()[0]
        return name

    @property
    def initial_state(self) -> NDArray[np.float32]:
        """float32[s]: what the model knows of a device that it has never seen; s may be 0."""
        return self.package.golden.initial_state

    def run(self, values: NDArray[np.float32], state: NDArray[np.float32] | None = None) -> Answer:
        """Score windows.

        Args:
            values: float32[w, window, channel], normalized.
            state: float32[w, s], what the model knows of each window's device; a device may be
                there once only. None is that of new devices.
        """
        if state is None:
            state = np.empty((len(values), len(self.initial_state)), np.float32)
            state[:] = self.initial_state
        if 0 < len(values) <= self.max_batch:
            return self._run_once(values, state)
        parts = [
            self._run_once(values[rows], state[rows])
            for first in range(0, len(values), self.max_batch)
            for rows in (slice(first, first + self.max_batch),)
        ]
        if not parts:
            channels = len(self.package.manifest.channels)
            nothing = np.empty((0, channels), np.float32)
            return Answer(nothing[:, 0], nothing, state)
        score, share, after = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Answer(score, share, after)

    def _run_once(self, values: NDArray[np.float32], state: NDArray[np.float32]) -> Answer:
        inputs = {"window": np.ascontiguousarray(values)}
        outputs = ["score", "share"]
        if len(self.initial_state):
            inputs["state"] = np.ascontiguousarray(state)
            outputs.append("next_state")
        try:
            found = self._session.run(outputs, inputs)
        except Exception as error:
            # onnxruntime's errors have no common base class.
            if self.provider == _NAMES["cpu"]:
                raise
            _logger.error(
                "The accelerator failed; the model goes on on the CPU.",
                model=self.package.manifest.name,
                provider=self.provider,
                error=str(error)[:200],
            )
            self._session = self._open([_NAMES["cpu"]])
            found = self._session.run(outputs, inputs)
        return Answer(found[0], found[1], found[2] if len(found) > 2 else state)

    def _open(self, providers: list[str]) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Spinning threads would keep a core of a small box busy between two batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # The arena keeps the largest batch's memory for good.
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(self.package.graph, options, providers=providers)
        except Exception as error:
            raise ConfigError(
                f"{self.package.path / 'model.onnx'}: expected an ONNX model that onnxruntime "
                f"{onnxruntime.__version__} can run: {str(error)[:200]}"
            ) from error

    def _check_interface(self) -> None:
        manifest = self.package.manifest
        window, channels = manifest.framing.window, len(manifest.channels)
        wanted: dict[str, tuple[str, tuple[int | None, ...]]] = {
            "input window": ("tensor(float)", (None, window, channels)),
            "output score": ("tensor(float)", (None,)),
            "output share": ("tensor(float)", (None, channels)),
        }
        if manifest.state_size:
            of_state = ("tensor(float)", (None, manifest.state_size))
            wanted |= {"input state": of_state, "output next_state": of_state}
        found = {
            f"{role} {node.name}": (node.type, tuple(node.shape))
            for role, nodes in (
                ("input", self._session.get_inputs()),
                ("output", self._session.get_outputs()),
            )
            for node in nodes
        }
        where = self.package.path / "model.onnx"
        problems = [f"{where}: unexpected {name}" for name in found.keys() - wanted.keys()]
        for name, (kind, shape) in wanted.items():
            if name not in found:
                problems.append(f"{where}: expected {name}, found {', '.join(found) or 'nothing'}")
                continue
            found_kind, found_shape = found[name]
            # The first dimension is the batch and must be free; a size there would pin it.
            is_fit = (
                found_kind == kind
                and len(found_shape) == len(shape)
                and not isinstance(found_shape[0], int)
                and found_shape[1:] == shape[1:]
            )
            if not is_fit:
                dimensions = ["batch", *map(str, shape[1:])]
                problems.append(
                    f"{where}: {name}: expected {kind} [{', '.join(dimensions)}], got "
                    f"{found_kind} {list(found_shape)}"
                )
        if problems:
            raise ConfigError(problems)

    def _check_golden(self) -> None:
        """Run the golden inputs, which also warms the session up."""
        golden = self.package.golden
        answer = self.run(golden.window, golden.state)
        # Relative to the size of the scores: they have no fixed scale.
        is_same = all(
            np.allclose(
                found, wanted, rtol=_GOLDEN_TOLERANCE, atol=_GOLDEN_TOLERANCE, equal_nan=True
            )
            for found, wanted in (
                (answer.score, golden.score),
                (answer.share, golden.share),
                (answer.state, golden.next_state),
            )
        )
        if not is_same:
            off = np.abs(answer.score - golden.score)
            worst = float(off.max()) if len(off) else 0.0
            raise ConfigError(
                f"{self.package.path}: expected the golden outputs for the golden inputs, got "
                f"scores that differ by up to {worst:.3g} on {self.provider}; "
                "the package is damaged or this machine computes differently: train it again"
            )


class BareModel:
    """A graph that is not in a package yet, on the CPU; for training.

    Args:
        graph: The ONNX file's bytes.
        is_stateful: Whether it keeps state.
    """

    def __init__(self, graph: bytes, *, is_stateful: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(graph, options, providers=[_NAMES["cpu"]])
        self._is_stateful = is_stateful

    def run(self, windows: NDArray[np.float32], state: NDArray[np.float32]) -> Answer:
        """Score windows, all in one run; arguments as of ``Runtime.run``."""
        if not self._is_stateful:
            score, share = self._session.run(("score", "share"), {"window": windows})
            return Answer(score, share, state)
        inputs = {"window": windows, "state": state}
        return Answer(*self._session.run(("score", "share", "next_state"), inputs))


def _choice(provider: Provider, model: str) -> list[str]:
    """Providers to try, best first; the CPU is always the last."""
    available = onnxruntime.get_available_providers()
    cpu = _NAMES["cpu"]
    if provider == "auto":
        return [name for name in _NAMES.values() if name in available and name != cpu] + [cpu]
    name = _NAMES[provider]
    if name not in available:
        _logger.warning(
            "The execution provider is not there; the model runs on the CPU.",
            model=model,
            wanted=name,
            available=available,
        )
        return [cpu]
    return [name] if name == cpu else [name, cpu]
