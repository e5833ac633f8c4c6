"""Making a package smaller, and saying what that cost before it is believed."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from headgate.core.errors import ConfigError
from models.package import ModelPackage, write_package
from models.runtime import BareModel
from models.training.data import TrainingData
from models.training.distill import pruned, student
from models.training.rowwise import constant_matrices, with_rowwise_products
from models.training.scoring import Graph, score_windows
from models.training.windows import Windows, cut_windows

Method = Literal["weights", "static", "dynamic", "fp16", "prune", "distill"]

#: Says what a package finds in labelled recordings, by the figure's name.
Judge = Callable[[ModelPackage], Mapping[str, float]]

#: The figure whose fall is a loss.
_QUALITY = "f1"

#: Batches that are timed, and how often each.
BATCHES = (1, 64, 512)
_REPETITIONS = 200

#: A twentieth of the windows, in stretches of so many, is disturbed by up to so many scales: what
#: is never abnormal tells nothing about alarms.
_STRETCH, _DISTURBED, _MOST_SCALES = 10, 0.05, 12.0

#: As far off as a sensor can be before its values are cut off; half precision ends before.
_EXTREME = 1e6

_GOLDEN_WINDOWS = 16

#: Windows that activations are scaled by.
_CALIBRATION_WINDOWS = 512

#: Largest value that goes into a product of half precision: a hundred of them must not leave it.
_HALF_RANGE = 500.0

#: What is said of a package in the name of its version.
_SUFFIXES = {
    "weights": "int8",
    "static": "int8s",
    "dynamic": "int8d",
    "fp16": "fp16",
    "prune": "pruned",
    "distill": "distilled",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What a graph costs.

    Attributes:
        size: Bytes of the graph.
        window_us: Microseconds a window by batch, medians, on one core.
    """

    size: int
    window_us: dict[int, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A package before and after.

    Attributes:
        before: What it cost.
        after: What it costs.
        correlation: Of the scores.
        loss: Part of the windows on which the two disagree whether they are over the threshold.
        windows: How many were compared.
        found: What was found in labelled recordings, before and after, by the figure's name.
    """

    before: Figures
    after: Figures
    correlation: float
    loss: float
    windows: int
    found: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class RefusedError(ConfigError):
    """What came out is too far from what went in.

    Args:
        message: One line for the user.
        comparison: How far.
    """

    def __init__(self, message: str, comparison: Comparison) -> None:
        super().__init__(message)
        self.comparison = comparison


def compress(
    package: ModelPackage,
    method: Method,
    data: TrainingData,
    out: Path,
    max_loss: float,
    part: float = 0.5,
    judge: Judge | None = None,
) -> Comparison:
    """Write a smaller package.

    Args:
        package: The one to make smaller.
        method: ``weights``: matrices in 8 bits, a smaller file that is slower; ``static``:
            products in 8 bits, scaled as in the data; ``dynamic``: products in 8 bits, each row
            scaled as it comes; ``fp16``: products in half precision, which pays on accelerators;
            ``prune``: without a part of the units of a network; ``distill``: a small network
            taught by the model.
        data: To calibrate and to compare with; healthy, with the package's channels.
        out: The new package's folder.
        max_loss: Largest loss that is accepted, 0 to 1, and largest fall of F1.
        part: Part of the units that ``prune`` takes out.
        judge: Says what both find in labelled recordings, F1 by the name ``f1``; None asks nobody.

    Raises:
        RefusedError: One of the two is larger. Nothing is written then.
        ConfigError: The data or the graph does not fit.
    """
    windows = _windows(package, data)
    old = Graph(package.graph, package.golden.initial_state)
    graph = replace(old, content=_shrunk(old, method, windows, part))
    shown = _disturbed(windows)
    none = np.empty(0, np.intp)
    threshold = package.manifest.alarm.threshold
    before = score_windows(old, shown, none).score
    after = score_windows(graph, shown, none).score
    is_sound = np.isfinite(after) | ~np.isfinite(before)
    differs = ((before >= threshold) != (after >= threshold)) | ~is_sound
    comparison = Comparison(
        _figures(old, windows),
        _figures(graph, windows),
        _correlation(before[:-1], after[:-1]),
        float(differs.mean()),
        len(shown),
    )
    if not is_sound.all():
        raise RefusedError(
            f"{package.path}: expected a score for whatever a sensor sends, got none for "
            f"{int((~is_sound).sum())} of {len(shown)} windows, the most abnormal ones: their "
            "numbers are too large for so few bits; nothing was written",
            comparison,
        )
    if comparison.loss > max_loss:
        raise RefusedError(
            f"{package.path}: expected a loss of {max_loss:g} at most, got {comparison.loss:.4f}: "
            "so many windows would be judged differently; nothing was written",
            comparison,
        )
    if judge is not None:
        with tempfile.TemporaryDirectory(prefix="headgate-compress-") as folder:
            made = Path(folder) / "package"
            _write(package, method, graph, windows, made, comparison)
            found = judge(package), judge(ModelPackage.load(made))
        comparison = replace(
            comparison, found={name: (was, found[1][name]) for name, was in found[0].items()}
        )
        was, became = comparison.found[_QUALITY]
        if was - became > max_loss:
            raise RefusedError(
                f"{package.path}: expected {_QUALITY} to fall by {max_loss:g} at most, got "
                f"{became:.4f} after {was:.4f}; nothing was written",
                comparison,
            )
    _write(package, method, graph, windows, out, comparison)
    return comparison


def _correlation(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Of the scores that both give; 0 where one of them never moves."""
    is_sound = np.isfinite(before) & np.isfinite(after)
    both = before[is_sound].astype(np.float64), after[is_sound].astype(np.float64)
    moves = all(len(each) and each.std() > 0 for each in both)
    return float(np.corrcoef(*both)[0, 1]) if moves else 0.0


def _windows(package: ModelPackage, data: TrainingData) -> Windows:
    channels, framing = package.manifest.channels, package.manifest.framing
    offset, scale = np.array([(channel.offset, channel.scale) for channel in channels]).T
    columns = [data.names.index(channel.name) for channel in channels]
    return cut_windows(
        data,
        (data.values[:, columns] - offset) / scale,
        period_ns=framing.period,
        window=framing.window,
        hold_limit=framing.hold_limit,
        resample=framing.resample,
    )


def _disturbed(windows: Windows) -> Windows:
    """The windows, some stretches of them with one channel off, and the last one beyond all."""
    rng = np.random.default_rng(0)
    values = windows.values.copy()
    count, _, channels = values.shape
    for _ in range(max(1, round(_DISTURBED * count / _STRETCH))):
        first = int(rng.integers(0, max(1, count - _STRETCH)))
        by = np.float32(rng.uniform(-_MOST_SCALES, _MOST_SCALES))
        values[first : first + _STRETCH, :, int(rng.integers(channels))] += by
    values[-1] = _EXTREME
    return replace(windows, values=values)


def _shrunk(graph: Graph, method: Method, windows: Windows, part: float) -> bytes:
    model = onnx.load_from_string(graph.content)
    if method == "fp16":
        return _serialized(_with_half_products(model))
    if method == "prune":
        return pruned(graph, part)
    if method == "distill":
        return student(graph, windows, seed=0)
    if method == "dynamic":
        return _serialized(with_rowwise_products(model))
    if method == "weights":
        return _serialized(_with_small_weights(model))
    with tempfile.TemporaryDirectory(prefix="headgate-compress-") as folder, _quiet():
        out = Path(folder) / "model.onnx"
        quantize_static(
            model, out, _Calibration(graph, windows), op_types_to_quantize=["MatMul", "Gemm"]
        )
        return out.read_bytes()


def _with_half_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Matrix products in half precision, of values cut off where their sums would leave it.

    Everything else stays as it was: squares would end at 65,504.
    """
    graph = model.graph
    nodes = list(graph.node)
    tensors = constant_matrices(graph)
    del graph.node[:]
    for node in nodes:
        if node.op_type != "MatMul" or node.input[1] not in tensors:
            graph.node.add().CopyFrom(node)
            continue
        result, weight = node.output[0], tensors[node.input[1]]
        half = numpy_helper.to_array(weight).astype(np.float16)
        graph.initializer.append(numpy_helper.from_array(half, f"{result}_weight"))
        graph.node.extend(
            [
                helper.make_node(
                    "Clip", [node.input[0], "half_low", "half_high"], [f"{result}_cut"]
                ),
                helper.make_node(
                    "Cast", [f"{result}_cut"], [f"{result}_in"], to=TensorProto.FLOAT16
                ),
                helper.make_node(
                    "MatMul", [f"{result}_in", f"{result}_weight"], [f"{result}_half"]
                ),
                helper.make_node("Cast", [f"{result}_half"], [result], to=TensorProto.FLOAT),
            ]
        )
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(-_HALF_RANGE, np.float32), "half_low"),
            numpy_helper.from_array(np.array(_HALF_RANGE, np.float32), "half_high"),
        ]
    )
    used = {name for node in graph.node for name in node.input}
    for unused in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(unused)
    return model


def _with_small_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Matrices in 8 bits with a scale for each column; onnxruntime unfolds them in each run."""
    graph = model.graph
    for tensor in constant_matrices(graph).values():
        weight = numpy_helper.to_array(tensor)
        scale = np.maximum(np.abs(weight).max(axis=0), 1e-30) / 127
        name = tensor.name
        graph.initializer.remove(tensor)
        graph.initializer.extend(
            [
                numpy_helper.from_array(np.round(weight / scale).astype(np.int8), f"{name}_int8"),
                numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"),
            ]
        )
        unfold = helper.make_node(
            "DequantizeLinear", [f"{name}_int8", f"{name}_scale"], [name], f"{name}_unfold", axis=1
        )
        graph.node.insert(0, unfold)
    return model


def _serialized(model: onnx.ModelProto) -> bytes:
    content: bytes = model.SerializeToString(deterministic=True)
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """The library warns of a step that is of use to image models only."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Windows in order of time, each with the state before it."""

    def __init__(self, graph: Graph, windows: Windows) -> None:
        picked = np.arange(min(len(windows), _CALIBRATION_WINDOWS))
        golden = score_windows(graph, windows.take(picked), picked).golden
        inputs = {"window": golden.window}
        if len(graph.initial_state):
            inputs["state"] = golden.state
        self._left = [
            {name: column[at : at + 1] for name, column in inputs.items()} for at in picked
        ]

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next input; None at the end."""
        return self._left.pop() if self._left else None


def _figures(graph: Graph, windows: Windows) -> Figures:
    model = BareModel(graph.content, is_stateful=len(graph.initial_state) > 0)
    spent = {}
    for batch in BATCHES:
        values = np.resize(windows.values, (batch, *windows.values.shape[1:]))
        state = np.tile(graph.initial_state, (batch, 1))
        times = []
        for _ in range(max(10, _REPETITIONS // batch)):
            start = time.perf_counter()
            model.run(values, state)
            times.append(time.perf_counter() - start)
        spent[batch] = 1e6 * float(np.median(times)) / batch
    return Figures(len(graph.content), spent)


def _write(
    package: ModelPackage,
    method: Method,
    graph: Graph,
    windows: Windows,
    out: Path,
    comparison: Comparison,
) -> None:
    picked = np.linspace(0, len(windows) - 1, min(_GOLDEN_WINDOWS, len(windows))).astype(np.intp)
    golden = score_windows(graph, windows, np.unique(picked)).golden
    manifest = package.manifest.model_dump(
        mode="json", exclude={"format", "model_sha256", "golden_sha256"}
    )
    manifest["version"] = f"{manifest['version']}+{_SUFFIXES[method]}"
    manifest["training"]["metrics"]["compression_loss"] = comparison.loss
    page = package.report.read_text(encoding="utf-8") if package.report.is_file() else None
    report = None if page is None else lambda _manifest: page
    write_package(out, manifest, graph.content, golden, report)


def table(comparison: Comparison) -> Sequence[tuple[str, str, str]]:
    """Rows of name, before and after."""
    before, after = comparison.before, comparison.after
    return [
        ("size", f"{before.size:,} B", f"{after.size:,} B"),
        *(
            (
                f"us a window, batch {batch}",
                f"{before.window_us[batch]:.2f}",
                f"{after.window_us[batch]:.2f}",
            )
            for batch in BATCHES
        ),
        ("correlation of scores", "1", f"{comparison.correlation:.5f}"),
        ("judged differently", "0", f"{comparison.loss:.4f} of {comparison.windows:,}"),
        *(
            (f"{name}, labelled recordings", f"{was:.4f}", f"{became:.4f}")
            for name, (was, became) in comparison.found.items()
        ),
    ]
