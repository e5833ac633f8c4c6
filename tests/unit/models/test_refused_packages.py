"""A package that is not what it was at training is refused with one line, never run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from structlog.testing import capture_logs

from headgate.core.errors import ConfigError
from models.package import Golden, ModelPackage, write_package
from models.runtime import Runtime
from models.training.data import TrainingData
from models.training.train import TrainSettings, train

pytestmark = pytest.mark.slow

_NAMES = ("flow", "vibration", "current")


def _data(rows: int = 300) -> TrainingData:
    rng = np.random.default_rng(7)
    load = np.sin(np.arange(rows) / 20)[:, None]
    values = load * np.array([3.0, 0.2, 1.0]) + rng.normal(size=(rows, 3)) * 0.1
    return TrainingData(_NAMES, np.arange(rows) * 1_000_000_000, np.zeros(rows, np.int32), values)


def _train(out: Path, **settings: object) -> ModelPackage:
    chosen = TrainSettings(**settings)  # type: ignore[arg-type]
    return train("m", "pump", _data(), {"flow": "l/min"}, out, chosen, has_page=True)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A good package."""
    _train(tmp_path / "m", window=4)
    return tmp_path / "m"


def test_a_good_package_runs(package: Path) -> None:
    """It scores healthy windows under the threshold and wild ones far over it."""
    runtime = Runtime(ModelPackage.load(package))
    golden = runtime.package.golden
    healthy, shares, *_ = runtime.run(golden.window)
    wild, *_ = runtime.run(golden.window + np.float32(30))
    threshold = runtime.package.manifest.alarm.threshold

    assert (healthy < threshold).all()
    assert (wild > 2 * threshold).all()
    assert shares.sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert (shares >= 0).all()


def test_a_batch_scores_like_its_windows_one_by_one(package: Path) -> None:
    """Neither the batch's size nor the split at max_batch changes a score."""
    loaded = ModelPackage.load(package)
    windows = np.random.default_rng(1).normal(size=(37, 4, 3)).astype(np.float32)
    whole, whole_share, *_ = Runtime(loaded, max_batch=1024).run(windows)
    split, split_share, *_ = Runtime(loaded, max_batch=5).run(windows)
    single = np.concatenate([Runtime(loaded).run(window[None])[0] for window in windows])

    assert split == pytest.approx(whole, rel=1e-5)
    assert single == pytest.approx(whole, rel=1e-5)
    assert split_share == pytest.approx(whole_share, abs=1e-5)
    assert Runtime(loaded).run(windows[:0])[0].shape == (0,)


def test_the_same_training_gives_the_same_bytes(tmp_path: Path) -> None:
    """Data, settings and seed decide every byte of a package."""
    _train(tmp_path / "m")
    first = {file.name: file.read_bytes() for file in (tmp_path / "m").iterdir()}
    _train(tmp_path / "m")

    assert {file.name: file.read_bytes() for file in (tmp_path / "m").iterdir()} == first
    assert len(first) == 4


@pytest.mark.parametrize("name", ["model.onnx", "golden.safetensors"])
def test_every_flipped_bit_is_noticed(package: Path, name: str) -> None:
    """60 bits all over the file, one at a time: each makes the package refused."""
    file = package / name
    good = file.read_bytes()
    refused = 0
    for bit in np.linspace(0, 8 * len(good) - 1, 60).astype(int).tolist():
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        file.write_bytes(bad)
        with pytest.raises(ConfigError, match="SHA-256"):
            ModelPackage.load(package)
        refused += 1

    assert refused == 60


def _rewrite(package: Path, graph: bytes) -> ModelPackage:
    """The package with another graph and a hash that agrees with it."""
    old = ModelPackage.load(package)
    manifest = old.manifest.model_dump(
        mode="json", exclude={"format", "model_sha256", "golden_sha256"}
    )
    write_package(package, manifest, graph, old.golden)
    return ModelPackage.load(package)


def test_golden_outputs_catch_a_changed_weight(package: Path) -> None:
    """A graph whose hash was made to agree is still held to its golden outputs."""
    model = onnx.load_from_string(ModelPackage.load(package).graph)
    weights = [each for each in model.graph.initializer if each.data_type == TensorProto.FLOAT]
    changed = onnx.numpy_helper.to_array(weights[0]) + np.float32(0.5)
    weights[0].CopyFrom(onnx.numpy_helper.from_array(changed, weights[0].name))

    with pytest.raises(ConfigError, match="golden"):
        Runtime(_rewrite(package, model.SerializeToString()))


@pytest.mark.parametrize("graph", [b"", b"this is no ONNX model", b"\x08\x07" * 50])
def test_what_is_no_onnx_is_refused(package: Path, graph: bytes) -> None:
    """The errors of onnxruntime become one line that names the file."""
    with pytest.raises(ConfigError, match=r"model\.onnx: expected"):
        Runtime(_rewrite(package, graph))


def _identity_graph(name: str, kind: int, shape: list[object]) -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], ["score"])],
        "other",
        [value(name, kind, shape)],
        [value("score", kind, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize(
    ("graph", "problem"),
    [
        (_identity_graph("x", TensorProto.FLOAT, ["batch", 4, 3]), "expected input window"),
        (_identity_graph("window", TensorProto.DOUBLE, ["batch", 4, 3]), "tensor\\(float\\)"),
        (_identity_graph("window", TensorProto.FLOAT, ["batch", 4, 9]), "got .*9"),
        (_identity_graph("window", TensorProto.FLOAT, [1, 4, 3]), "input window: expected"),
    ],
    ids=["name", "type", "shape", "fixed batch"],
)
def test_a_graph_with_other_inputs_is_refused(package: Path, graph: bytes, problem: str) -> None:
    """Name, type, shape and the free batch dimension are held against the package."""
    with pytest.raises(ConfigError, match=problem):
        Runtime(_rewrite(package, graph))


def test_a_missing_provider_falls_back_to_the_cpu(package: Path) -> None:
    """What is asked for and not there is not fatal on a gateway, but said."""
    with capture_logs() as logs:
        runtime = Runtime(ModelPackage.load(package), provider="tensorrt")
        runtime.run(runtime.package.golden.window)

    assert runtime.provider == "CPUExecutionProvider"
    assert [(each["log_level"], each["wanted"]) for each in logs] == [
        ("warning", "TensorrtExecutionProvider")
    ]


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_told(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An onnxruntime built for a device that this machine lacks goes on with the CPU by itself."""
    built_for = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built_for)
    with capture_logs() as logs:
        runtime = Runtime(ModelPackage.load(package))

    assert runtime.provider == "CPUExecutionProvider"
    assert [(each["wanted"], each["provider"]) for each in logs] == [
        ("CUDAExecutionProvider", "CPUExecutionProvider")
    ]


def test_a_device_that_fails_at_run_time_is_left_for_the_cpu(package: Path, tmp_path: Path) -> None:
    """The windows of the failed run are scored all the same, and it is told once."""
    elsewhere = ["AzureExecutionProvider", "CPUExecutionProvider"]
    if elsewhere[0] not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no second provider")
    loaded = ModelPackage.load(package)
    windows = loaded.golden.window
    expected, expected_share, *_ = Runtime(loaded).run(windows)
    _train(tmp_path / "wider", window=9)
    wider = ModelPackage.load(tmp_path / "wider").graph
    runtime = Runtime(loaded)
    # A session that really is on another provider, and really fails when these windows come.
    runtime._use(onnxruntime.InferenceSession(wider, providers=elsewhere))
    with capture_logs() as logs:
        score, share, *_ = runtime.run(windows)
        runtime.run(windows)

    assert runtime.provider == "CPUExecutionProvider"
    assert score == pytest.approx(expected)
    assert share == pytest.approx(expected_share)
    assert [(each["log_level"], each["provider"]) for each in logs] == [
        ("error", "AzureExecutionProvider")
    ]


def test_a_device_that_computes_otherwise_is_left_for_the_cpu(
    package: Path, tmp_path: Path
) -> None:
    """Its outputs for the golden inputs are not those of training; the package is sound."""
    elsewhere = ["AzureExecutionProvider", "CPUExecutionProvider"]
    if elsewhere[0] not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no second provider")
    other = _train(tmp_path / "other", window=4, normalization="minmax")

    class Elsewhere(Runtime):
        """The first session is on another provider, and of a graph that answers otherwise."""

        def _open(self, providers: list[str]) -> onnxruntime.InferenceSession:
            if providers == ["CPUExecutionProvider"] and not opened:
                opened.append(True)
                return onnxruntime.InferenceSession(other.graph, providers=elsewhere)
            return super()._open(providers)

    opened: list[bool] = []
    loaded = ModelPackage.load(package)
    with capture_logs() as logs:
        runtime = Elsewhere(loaded, provider="cpu")

    assert runtime.provider == "CPUExecutionProvider"
    assert runtime.run(loaded.golden.window).score == pytest.approx(loaded.golden.score)
    assert [each["provider"] for each in logs if "computes otherwise" in each["event"]] == [
        "AzureExecutionProvider"
    ]


def test_the_cpu_is_no_reason_to_warn(package: Path) -> None:
    """Neither asked for nor as all there is."""
    with capture_logs() as logs:
        Runtime(ModelPackage.load(package), provider="cpu")
        Runtime(ModelPackage.load(package), provider="auto")

    assert logs == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [("format = 3\n", "format"), ("nonsense", "expected TOML"), ("", "missing|required")],
)
def test_a_manifest_that_is_none_is_refused(package: Path, text: str, problem: str) -> None:
    """Another format, no TOML, missing keys."""
    (package / "model.toml").write_text(text)

    with pytest.raises(ConfigError, match=problem):
        ModelPackage.load(package)


def test_a_failed_write_leaves_the_old_package(package: Path) -> None:
    """A manifest that is none is found before anything is touched."""
    before = (package / "model.toml").read_bytes()
    golden = Golden.without_state(
        np.zeros((1, 4, 3), np.float32), np.zeros(1, np.float32), np.zeros((1, 3), np.float32)
    )
    with pytest.raises(ConfigError, match="name: Field required"):
        write_package(package, {}, b"", golden)

    assert (package / "model.toml").read_bytes() == before
    assert [file.name for file in package.parent.iterdir()] == [package.name]


@pytest.mark.parametrize("name", ["notes.txt", "model.onnx"])
def test_a_folder_that_is_no_package_is_never_replaced(tmp_path: Path, name: str) -> None:
    """Whoever gives his home folder as the package's keeps it."""
    (tmp_path / name).write_text("mine")

    with pytest.raises(ConfigError, match="expected a new folder or an old model package"):
        _train(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_an_empty_folder_may_become_a_package(tmp_path: Path) -> None:
    """Somebody has made it beforehand."""
    (tmp_path / "m").mkdir()

    assert _train(tmp_path / "m").manifest.name == "m"


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("offset", "nan", "channels.0.offset: .*finite"),
        ("scale", "inf", "channels.0.scale: .*finite"),
        ("scale", "0.0", "channels.0.scale: .*greater than 0"),
        ("name", '"current"', "expected each channel once, got 'current' again"),
        ("period", '"0s"', "framing.period: .*greater than 0"),
        ("threshold_low", "1e9", "threshold_low: expected at most threshold"),
        ("kind", "7", "training.kind: .*string"),
    ],
)
def test_a_manifest_with_senseless_values_is_refused(
    package: Path, key: str, value: str, problem: str
) -> None:
    """One line each, with the key, instead of a crash when the first reading comes."""
    file = package / "model.toml"
    lines = file.read_text().splitlines()
    # The model's own name comes first; the others stand once or are met in the first channel.
    place = [n for n, line in enumerate(lines) if line.startswith(f"{key} = ")][key == "name"]
    lines[place] = f"{key} = {value}"
    file.write_text("\n".join(lines))

    with pytest.raises(ConfigError, match=problem) as refusal:
        ModelPackage.load(package)
    assert len(refusal.value.problems) == 1


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"window": np.zeros((2, 4, 2), np.float32)}, r"window: expected float32 \[2, 4, 3\]"),
        ({"window": np.zeros((16, 4, 3))}, "got float64"),
        ({"window": np.array(1, np.float32)}, "window: expected"),
        ({"score": np.zeros(3, np.float32)}, r"score: expected float32 \[\d+\], got float32 \[3\]"),
        ({"share": np.zeros((16, 9), np.float32)}, "share: expected"),
    ],
)
def test_golden_arrays_of_other_shapes_are_refused(
    package: Path, changed: dict[str, NDArray[np.float32]], problem: str
) -> None:
    """Before they are compared with anything."""
    good = ModelPackage.load(package)
    manifest = good.manifest.model_dump(
        mode="json", exclude={"format", "model_sha256", "golden_sha256"}
    )
    golden = replace(good.golden, **changed)
    write_package(package, manifest, good.graph, golden)

    with pytest.raises(ConfigError, match=problem):
        ModelPackage.load(package)
