"""Running a model: the only module that imports onnxruntime."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import onnxruntime
import structlog
from numpy.typing import NDArray

from headgate.core.errors import ConfigError
from models.package import Manifest, ModelPackage

_logger = structlog.get_logger()

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]

_NAMES = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

#: CUDA rounds the factors of matrix products to 10 bits unless it is told not to, and scores would
#: depend on where the model runs: by more than what the golden outputs allow.
_PROVIDER_OPTIONS = {_NAMES["cuda"]: {"use_tf32": "0"}}

#: Batches whose buffers are kept bound to the session: binding them costs as much as a small run.
_MOST_BOUND = 512

#: Inputs up to this size are copied into a bound buffer, which is sooner done than binding them.
COPIED_BYTES = 16 << 10

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
        self._use(self._open(choice))
        if self.provider != choice[0]:
            # onnxruntime goes on with the next provider when one's libraries or device are missing.
            _logger.warning(
                "The execution provider could not be started; the model runs on another.",
                model=package.manifest.name,
                wanted=choice[0],
                provider=self.provider,
            )
        self._check_interface()
        try:
            self._check_golden()
        except ConfigError as error:
            if self.provider == _NAMES["cpu"]:
                raise
            _logger.warning(
                "The execution provider computes otherwise; the model runs on the CPU.",
                model=package.manifest.name,
                provider=self.provider,
                error=str(error)[:200],
            )
            self._use(self._open([_NAMES["cpu"]]))
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

        Returns:
            Its ``state`` may be overwritten by the next run.
        """
        if state is None:
            state = np.empty((len(values), len(self.initial_state)), np.float32)
            state[:] = self.initial_state
        if 0 < len(values) <= self.max_batch:
            return self._run_once(values, state)
        channels = len(self.package.manifest.channels)
        whole = Answer(
            np.empty(len(values), np.float32),
            np.empty((len(values), channels), np.float32),
            np.empty_like(state),
        )
        for first in range(0, len(values), self.max_batch):
            rows = slice(first, first + self.max_batch)
            for all_rows, part in zip(
                whole, self._run_once(values[rows], state[rows]), strict=True
            ):
                all_rows[rows] = part
        return whole

    def _run_once(self, values: NDArray[np.float32], state: NDArray[np.float32]) -> Answer:
        try:
            return self._bound.run(values, state)
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
            self._use(self._open([_NAMES["cpu"]]))
            return self._bound.run(values, state)

    def _use(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._bound = _Bound(session, self.package.manifest)

    def _open(self, providers: list[str]) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Spinning threads would keep a core of a small box busy between two batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # The arena keeps the largest batch's memory for good: that of ``max_batch`` windows at
        # most. Without it the kernel takes and clears that memory at every run.
        options.enable_cpu_mem_arena = True
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(
                self.package.graph,
                options,
                providers=providers,
                provider_options=[_PROVIDER_OPTIONS.get(name, {}) for name in providers],
            )
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
        try:
            answer = self.run(golden.window, golden.state)
        except Exception as error:
            raise ConfigError(
                f"{self.package.path / 'model.onnx'}: expected a model that runs on its golden "
                f"inputs: {str(error)[:200]}"
            ) from error
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


class _Batch(NamedTuple):
    """What is bound for runs of one size.

    Attributes:
        binding: The binding.
        answer: Where the outputs go; ``state`` is empty without one.
        window: Where the windows go; None binds them where they are.
        state: Likewise.
    """

    binding: onnxruntime.IOBinding
    answer: Answer
    window: NDArray[np.float32] | None
    state: NDArray[np.float32] | None


class _Bound:
    """A session with its inputs and outputs bound to buffers of our own (I/O binding).

    A small model's run costs a third less than with ``InferenceSession.run``, which looks at the
    names, makes new arrays and copies them at every call. On an accelerator the values go there
    and come back in the same call. For one thread at a time.

    Args:
        session: Opened, its interface not checked yet.
        manifest: Of the package.
    """

    def __init__(self, session: onnxruntime.InferenceSession, manifest: Manifest) -> None:
        self._session = session
        self._manifest = manifest
        self._has_state = manifest.state_size > 0
        self._reserve(1)

    def run(self, values: NDArray[np.float32], state: NDArray[np.float32]) -> Answer:
        """As ``Runtime.run``, in one run; its ``state`` is overwritten by the next."""
        count = len(values)
        if count > len(self._room.score):
            # Twice as much, so that batches that grow slowly are not bound anew each time.
            self._reserve(2 * count)
        batch = self._batches.get(count) or self._bind(count)
        _feed(batch.binding, "window", values, batch.window)
        if self._has_state:
            # What a run reads must not be what it writes.
            known = state.copy() if state.base is self._room.state else state
            _feed(batch.binding, "state", known, batch.state)
        self._session.run_with_iobinding(batch.binding)
        score, share, after = batch.answer
        return Answer(score.copy(), share.copy(), after if self._has_state else state)

    def _reserve(self, count: int) -> None:
        manifest = self._manifest
        channels, size = len(manifest.channels), manifest.state_size
        self._room = Answer(
            np.empty(count, np.float32),
            np.empty((count, channels), np.float32),
            np.empty((count, size), np.float32),
        )
        self._window = np.empty((count, manifest.framing.window, channels), np.float32)
        self._state = np.empty((count, size), np.float32)
        self._batches: dict[int, _Batch] = {}

    def _bind(self, count: int) -> _Batch:
        if len(self._batches) >= _MOST_BOUND:
            self._batches.clear()
        binding = self._session.io_binding()
        answer = Answer(*(each[:count] for each in self._room))
        named = zip(("score", "share", "next_state"), answer, strict=True)
        for name, buffer in list(named)[: 3 if self._has_state else 2]:
            binding.bind_ortvalue_output(name, _over(buffer))
        batch = _Batch(
            binding,
            answer,
            _fixed(binding, "window", self._window[:count]),
            _fixed(binding, "state", self._state[:count]) if self._has_state else None,
        )
        self._batches[count] = batch
        return batch


def _over(buffer: NDArray[np.float32]) -> onnxruntime.OrtValue:
    """The buffer's own memory, as onnxruntime has it."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(buffer)


def _fixed(
    binding: onnxruntime.IOBinding, name: str, buffer: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """The buffer, bound for good; None where it is too large to be worth copying into."""
    if buffer.nbytes > COPIED_BYTES:
        return None
    binding.bind_ortvalue_input(name, _over(buffer))
    return buffer


def _feed(
    binding: onnxruntime.IOBinding,
    name: str,
    values: NDArray[np.float32],
    buffer: NDArray[np.float32] | None,
) -> None:
    if buffer is None:
        # Memory in one piece is read where it is.
        binding.bind_cpu_input(name, np.ascontiguousarray(values))
    else:
        buffer[:] = values


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
