"""Running a model: the only module that imports onnxruntime."""

from __future__ import annotations

from math import isfinite
from threading import Timer
from typing import Literal, NamedTuple

import numpy as np
import onnxruntime
import structlog
from numpy.typing import NDArray

from headgate.core.errors import ConfigError, TransientError
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

_FLOAT = np.dtype(np.float32)

#: Sizes of runs whose buffers are kept bound to the session: binding costs as much as a small run.
_MOST_BOUND = 512

#: Inputs up to this size, each, are copied into a bound buffer: sooner done than binding them.
_COPIED_BYTES = 64 << 10

#: Each output begins at a multiple of this many numbers: a line of the processor's cache.
_ALIGNED = 16

#: How far the outputs for the golden inputs may be from what they were at training: float32
#: arithmetic in another order, on another processor.
_GOLDEN_TOLERANCE = 1e-4

#: A model that has not answered its golden inputs after this long, s, never will, as far as one can
#: tell. Less than a lane may be silent for, so that it is the lane that says which model it is.
_GOLDEN_LIMIT_S = 15.0


class Answer(NamedTuple):
    """What a model says to w windows.

    Attributes:
        score: float32[w], higher is more abnormal.
        share: float32[w, channel], each channel's part of it.
        state: float32[w, s], what the model knows of each window's device now.
        are_numbers: Whether score and state are known to be numbers.
    """

    score: NDArray[np.float32]
    share: NDArray[np.float32]
    state: NDArray[np.float32]
    are_numbers: bool = False


class Runtime:
    """A model ready to run, verified against its package.

    Args:
        package: The loaded package.
        provider: Where to run; ``"auto"`` takes the fastest there is.
        threads: Threads of one run on the CPU.
        max_batch: Windows in one run; more are split.

    Raises:
        ConfigError: The graph is no ONNX, or is not what the package says it is.
        TransientError: It does not answer its golden inputs in time.
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
        # How a run can be ended from elsewhere; None while nobody would.
        self._limit: onnxruntime.RunOptions | None = None
        self._threads = threads
        manifest = package.manifest
        self._shape = (manifest.framing.window, len(manifest.channels))
        self._state_size = manifest.state_size
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
    def fingerprint(self) -> str:
        """The package's."""
        return self.package.fingerprint

    @property
    def initial_state(self) -> NDArray[np.float32]:
        """float32[s]: what the model knows of a device that it has never seen; s may be 0."""
        return self.package.golden.initial_state

    def room_for_state(self, windows: int) -> NDArray[np.float32] | None:
        """float32[w, s] that the next run of so many windows reads without copying it first.

        None where there is no such place: ``run`` then reads the state where it stands.
        """
        return self._bound.batch(windows).state if 0 < windows <= self.max_batch else None

    def run(self, values: NDArray[np.float32], state: NDArray[np.float32] | None = None) -> Answer:
        """Score windows.

        Args:
            values: float32[w, window, channel], normalized.
            state: float32[w, s], what the model knows of each window's device; a device may be
                there once only. None is that of new devices.

        Returns:
            Its ``state`` may be overwritten by the next run.

        Raises:
            ValueError: Windows or state are of another shape or type.
        """
        if state is None:
            state = np.empty((len(values), len(self.initial_state)), np.float32)
            state[:] = self.initial_state
        is_fit = values.shape[1:] == self._shape and state.shape == (len(values), self._state_size)
        if not (is_fit and values.dtype == _FLOAT and state.dtype == _FLOAT):
            raise ValueError(
                f"expected float32 windows of {self._shape}, and {self._state_size} numbers of "
                f"state for each, got {values.dtype} {values.shape} and {state.dtype} {state.shape}"
            )
        if 0 < len(values) <= self.max_batch:
            return self._run_once(values, state)
        channels = len(self.package.manifest.channels)
        whole = Answer(
            np.empty(len(values), np.float32),
            np.empty((len(values), channels), np.float32),
            np.empty_like(state),
        )
        are_numbers = True
        # The last answer's may be given: what one run writes must not be what the next reads.
        state = state.copy()
        for first in range(0, len(values), self.max_batch):
            rows = slice(first, first + self.max_batch)
            part = self._run_once(values[rows], state[rows])
            whole.score[rows], whole.share[rows], whole.state[rows] = part[:3]
            are_numbers &= part.are_numbers
        return whole._replace(are_numbers=are_numbers)

    def _run_once(self, values: NDArray[np.float32], state: NDArray[np.float32]) -> Answer:
        try:
            return self._bound.run(values, state, self._limit)
        except Exception as error:
            # onnxruntime's errors have no common base class.
            is_ended = self._limit is not None and self._limit.terminate
            if is_ended or self.provider == _NAMES["cpu"]:
                raise
            _logger.error(
                "The accelerator failed; the model goes on on the CPU.",
                model=self.package.manifest.name,
                provider=self.provider,
                error=str(error)[:200],
            )
            self._use(self._open([_NAMES["cpu"]]))
            return self._bound.run(values, state, self._limit)

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
        limit = self._limit = onnxruntime.RunOptions()
        timer = Timer(_GOLDEN_LIMIT_S, lambda: setattr(limit, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            answer = self.run(golden.window, golden.state)
        except Exception as error:
            if limit.terminate:
                # A machine that has much to do at the moment may be to blame as well.
                raise TransientError(
                    f"{self.package.path}: expected golden outputs, got none within "
                    f"{_GOLDEN_LIMIT_S:g} s; the model loops, or is too large for this machine"
                ) from error
            raise ConfigError(
                f"{self.package.path / 'model.onnx'}: expected a model that runs on its golden "
                f"inputs: {str(error)[:200]}"
            ) from error
        finally:
            timer.cancel()
            self._limit = None
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
        score: Where the outputs go.
        share: Likewise.
        next_state: Likewise; None of a model without state.
        outputs: All of them in one piece.
        window: Where the windows are copied to; None where there are too many.
        state: Likewise.
    """

    binding: onnxruntime.IOBinding
    score: NDArray[np.float32]
    share: NDArray[np.float32]
    next_state: NDArray[np.float32] | None
    outputs: NDArray[np.float32]
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
        shape = (manifest.framing.window, len(manifest.channels))
        row_bytes = 4 * max(shape[0] * shape[1], manifest.state_size)
        # An accelerator takes a copy of what is bound when it is bound, not when it runs.
        is_here = session.get_providers()[0] == _NAMES["cpu"]
        #: The largest run whose inputs are copied.
        self._copied = _COPIED_BYTES // row_bytes if is_here else 0
        self._window = np.empty((self._copied, *shape), np.float32)
        self._state = np.empty((self._copied, manifest.state_size), np.float32)
        self._outputs = np.empty(0, np.float32)
        self._batches: dict[int, _Batch] = {}

    def run(
        self,
        values: NDArray[np.float32],
        state: NDArray[np.float32],
        limit: onnxruntime.RunOptions | None = None,
    ) -> Answer:
        """As ``Runtime.run``, in one run; its ``state`` is overwritten by the next."""
        binding, score, share, after, outputs, window, room = self.batch(len(values))
        if window is not None and room is not None:
            window[:] = values
            if state is not room:
                room[:] = state
            self._session.run_with_iobinding(binding, limit)
        else:
            if state.base is self._outputs:
                # What a run reads must not be what it writes.
                state = state.copy()
            # Memory in one piece is read where it is.
            self._point(binding, np.ascontiguousarray(values), np.ascontiguousarray(state))
            self._session.run_with_iobinding(binding, limit)
            # A binding keeps hold of what it was last given.
            self._point(binding, self._window[:0], self._state[:0])
        # A sum of squares is a number where all are and none is huge. Between the outputs there may
        # be rests of other runs.
        are_numbers = isfinite(outputs.dot(outputs)) or bool(
            np.isfinite(score).all() and (after is None or np.isfinite(after).all())
        )
        return Answer(score.copy(), share.copy(), state if after is None else after, are_numbers)

    def batch(self, count: int) -> _Batch:
        """What is bound for so many windows."""
        return self._batches.get(count) or self._bind(count)

    def _point(
        self,
        binding: onnxruntime.IOBinding,
        window: NDArray[np.float32],
        state: NDArray[np.float32],
    ) -> None:
        binding.bind_cpu_input("window", window)
        if self._has_state:
            binding.bind_cpu_input("state", state)

    def _bind(self, count: int) -> _Batch:
        places = self._places(count)
        if places[-1].stop > len(self._outputs):
            # Twice as much, so that batches that grow slowly are not bound anew each time.
            self._outputs = np.zeros(self._places(2 * count)[-1].stop, np.float32)
            self._batches.clear()
        if len(self._batches) >= _MOST_BOUND:
            self._batches.clear()
        score, share, next_state = (self._outputs[place] for place in places)
        share = share.reshape(count, -1)
        binding = self._session.io_binding()
        binding.bind_ortvalue_output("score", _over(score))
        binding.bind_ortvalue_output("share", _over(share))
        if self._has_state:
            next_state = next_state.reshape(count, -1)
            binding.bind_ortvalue_output("next_state", _over(next_state))
        window = state = None
        if count <= self._copied:
            window, state = self._window[:count], self._state[:count]
            binding.bind_ortvalue_input("window", _over(window))
            if self._has_state:
                binding.bind_ortvalue_input("state", _over(state))
        self._batches[count] = _Batch(
            binding,
            score,
            share,
            next_state if self._has_state else None,
            self._outputs[: places[-1].stop],
            window,
            state,
        )
        return self._batches[count]

    def _places(self, count: int) -> list[slice]:
        """Where in the room for outputs each of them is."""
        places, start = [], 0
        for width in (1, len(self._manifest.channels), self._manifest.state_size):
            places.append(slice(start, start + count * width))
            start = -(-places[-1].stop // _ALIGNED) * _ALIGNED
        return places


def _over(buffer: NDArray[np.float32]) -> onnxruntime.OrtValue:
    """The buffer's own memory, as onnxruntime has it."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(buffer)


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
