"""Products in 8 bits, scaled row by row: what a row gives depends on nothing beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from headgate.cli import main
from models.package import ModelPackage
from models.runtime import Answer, Runtime
from models.training import compress
from models.training.data import TrainingData
from models.training.rowwise import with_rowwise_products
from models.training.train import TrainSettings, train

pytestmark = pytest.mark.slow

_KINDS = ("pca", "autoencoder", "level", "ridge", "mewma", "fusion")


def _machine(rows: int, seed: int) -> TrainingData:
    """Six channels that follow two loads."""
    rng = np.random.default_rng(seed)
    loads = np.column_stack([np.sin(np.arange(rows) / 17), np.sin(np.arange(rows) / 5.3)])
    mix = np.random.default_rng(0).normal(size=(2, 6))
    values = loads @ mix + rng.normal(size=(rows, 6)) * 0.08
    names = tuple(f"c{number}" for number in range(6))
    return TrainingData(names, np.arange(rows) * 10**9, np.zeros(rows, np.int32), values)


def _small(kind: str, folder: Path) -> ModelPackage:
    package = train("m", "f", _machine(700, 1), {}, folder / "m", TrainSettings(kind=kind))
    compress.compress(package, "dynamic", _machine(500, 2), folder / "small", max_loss=0.05)
    return ModelPackage.load(folder / "small")


def _windows(package: ModelPackage, count: int) -> NDArray[np.float32]:
    """Ordinary ones, some that are far off, and one that stands still at zero."""
    shape = (count, package.manifest.framing.window, len(package.manifest.channels))
    rng = np.random.default_rng(4)
    windows = rng.normal(size=shape).astype(np.float32)
    windows[3::7] *= 1e4
    windows[5::11] *= 1e-12
    windows[count // 2] = 0
    return windows


def _said(
    runtime: Runtime, windows: NDArray[np.float32], state: NDArray[np.float32] | None = None
) -> Answer:
    """What the model says, to keep: a state may be overwritten by the next run."""
    score, share, after, are_numbers = runtime.run(windows, state)
    return Answer(score, share, after.copy(), are_numbers)


@pytest.mark.parametrize("kind", _KINDS)
def test_a_score_does_not_depend_on_the_windows_beside_it(kind: str, tmp_path: Path) -> None:
    """Not in one bit, state included; and however windows are batched, scores are the same.

    That is up to how the rest of a graph rounds its sums of floats, in 8 bits or not.
    """
    package = _small(kind, tmp_path)
    runtime, windows = Runtime(package), _windows(package, 130)
    state = np.tile(runtime.initial_state, (len(windows), 1))
    whole = _said(runtime, windows, state)
    for size in (1, 7, 64):
        cuts = range(0, len(windows), size)
        parts = [_said(runtime, windows[at : at + size], state[at : at + size]) for at in cuts]
        for together, apart in zip(whole[:3], list(zip(*parts, strict=True))[:3], strict=True):
            np.testing.assert_allclose(np.concatenate(apart), together, rtol=2e-6, atol=1e-9)
    others = windows.copy()
    others[1::2] *= -1e5
    beside = _said(runtime, others, state)

    assert package.manifest.version == "1+int8d"
    assert np.isfinite(whole.score).all()
    for one, other in zip(whole[:3], beside[:3], strict=True):
        assert np.array_equal(one[::2], other[::2])


@pytest.mark.parametrize("kind", ["pca", "autoencoder"])
def test_a_window_with_a_nan_has_no_score_and_its_neighbours_keep_theirs(
    kind: str, tmp_path: Path
) -> None:
    """What is no number is no small number either."""
    package = _small(kind, tmp_path)
    runtime, windows = Runtime(package), _windows(package, 20)
    whole = _said(runtime, windows)
    windows[4, -1, 2] = np.nan
    broken = _said(runtime, windows)
    kept = np.arange(20) != 4

    assert np.isnan(broken.score[4])
    assert np.array_equal(broken.score[kept], whole.score[kept])
    assert np.array_equal(broken.share[kept], whole.share[kept])


def _product(rows: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The product of both, in 8 bits."""
    shape = ["batch", *rows.shape[1:]]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "matrix"], ["product"])],
        "product",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    content = with_rowwise_products(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"rows": rows})[0]
    return found


@pytest.mark.parametrize("width", [1, 7, 30, 192])
def test_products_of_a_batch_are_those_of_its_rows_one_by_one(width: int) -> None:
    """To the last bit, which products of floats are not."""
    rng = np.random.default_rng(width)
    matrix = rng.normal(size=(width, 13)).astype(np.float32)
    rows = rng.normal(size=(100, width)).astype(np.float32)
    rows[::9] *= 1e5
    whole = _product(rows, matrix)
    for size in (1, 7, 64):
        parts = [_product(rows[at : at + size], matrix) for at in range(0, 100, size)]
        assert np.array_equal(np.concatenate(parts), whole)


def test_rows_of_any_size_are_multiplied_as_finely_as_they_are() -> None:
    """Zeros, the largest numbers there are and next to nothing; in windows of several rows, too."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(40, 9)).astype(np.float32)
    matrix[:, 3] = 0
    rows = rng.normal(size=(6, 5, 40)).astype(np.float32)
    rows[0, 0] = 0
    rows[1] *= 1e36
    rows[2, 1:] *= 1e-20
    rows[3, 2] = np.sign(rows[3, 2]) * 127
    exact = rows.astype(np.float64) @ matrix.astype(np.float64)
    found = _product(rows, matrix)
    # Half a step of each factor.
    size = np.abs(rows).max(axis=-1, keepdims=True) * np.abs(matrix).max(axis=0)
    allowed = 40 * size.astype(np.float64) * (1 / 127 + 1 / 127**2)

    assert np.isfinite(found).all()
    assert (np.abs(found - exact) <= allowed).all()
    assert not found[0, 0].any()
    assert not found[..., 3].any()


def test_whole_numbers_are_multiplied_exactly() -> None:
    """Sums of the largest bytes are not cut off, on whatever processor this runs."""
    rng = np.random.default_rng(0)
    matrix = rng.integers(-127, 128, (300, 17)).astype(np.float32)
    rows = rng.integers(-127, 128, (50, 300)).astype(np.float32)
    matrix[0], rows[:, 0] = 127, 127
    matrix[:, 5], rows[7], rows[8] = 127, 127, -127

    assert np.array_equal(_product(rows, matrix), rows @ matrix)


@pytest.mark.parametrize("kind", ["novelty", "forest"])
def test_a_model_without_matrices_is_refused(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line; nothing is written."""
    data = _machine(300, 1)
    package = train("m", "f", data, {}, tmp_path / "m", TrainSettings(kind=kind))
    file = tmp_path / "a.csv"
    rows = [",".join(map(str, [at, *row])) for at, row in enumerate(data.values.tolist())]
    file.write_text("\n".join([",".join(["time", *data.names]), *rows]))
    arguments = ["model", "quantize", str(package.path), "--data", str(file), "--dynamic"]
    assert main([*arguments, "--out", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err

    assert "expected a model that multiplies by matrices" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_a_package_that_judges_differently_is_not_written(tmp_path: Path) -> None:
    """As with the other methods: a loss over the limit is refused, with the figures."""
    data = _machine(3000, 1)
    # With a threshold amid the scores, some lie so near to it that 8 bits decide.
    package = train("m", "f", data, {}, tmp_path / "m", TrainSettings(kind="pca", margin=0.65))
    with pytest.raises(compress.RefusedError, match="expected a loss of 0 at most") as refusal:
        compress.compress(package, "dynamic", data, tmp_path / "none", max_loss=0)
    assert refusal.value.comparison.loss > 0

    assert not (tmp_path / "none").exists()
