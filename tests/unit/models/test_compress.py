"""Smaller packages: what they cost before and after, and that a worse one is never written."""

from __future__ import annotations

import csv
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.cli import main
from headgate.core.errors import ConfigError
from headgate.evaluation import labelled
from headgate.evaluation.drive import drive
from models.package import ModelPackage
from models.runtime import Runtime
from models.training import compress
from models.training.data import TrainingData
from models.training.train import TrainSettings, train

pytestmark = pytest.mark.slow


def _machine(rows: int, seed: int) -> TrainingData:
    """Eight channels that follow two loads."""
    rng = np.random.default_rng(seed)
    loads = np.column_stack([np.sin(np.arange(rows) / 17), np.sin(np.arange(rows) / 5.3)])
    mix = np.random.default_rng(0).normal(size=(2, 8))
    values = loads @ mix + rng.normal(size=(rows, 8)) * 0.08
    names = tuple(f"c{number}" for number in range(8))
    return TrainingData(names, np.arange(rows) * 10**9, np.zeros(rows, np.int32), values)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """An autoencoder, which has weights worth making smaller."""
    folder = tmp_path_factory.mktemp("packages") / "m"
    settings = TrainSettings(kind="autoencoder")
    return train("m", "f", _machine(1500, 1), {}, folder, settings, has_page=True)


@pytest.mark.parametrize("method", ["weights", "static", "dynamic", "fp16"])
def test_a_smaller_package_judges_alike(
    method: compress.Method, package: ModelPackage, tmp_path: Path
) -> None:
    """It is a whole package, verified like any other, and finds the same fault."""
    data = _machine(1000, 2)
    comparison = compress.compress(package, method, data, tmp_path / "small", max_loss=0.02)
    small = ModelPackage.load(tmp_path / "small")
    Runtime(small)
    values = data.values.copy()
    values[600:630, 3] += 3
    faulty = TrainingData(data.names, data.time_ns, data.device, values)
    found = [drive(each, faulty).is_alarmed for each in (package, small)]

    assert comparison.after.size < comparison.before.size
    assert comparison.correlation > 0.99
    assert small.manifest.version.startswith("1+")
    assert small.report.read_bytes() == package.report.read_bytes()
    assert found[0][600:630].any()
    assert (found[0] == found[1]).mean() > 0.98


def test_cut_out_units_make_it_faster_and_no_worse(package: ModelPackage, tmp_path: Path) -> None:
    """Units that carry next to nothing are cut out; half of all is too much, and refused."""
    data = _machine(1000, 2)
    few = compress.compress(package, "prune", data, tmp_path / "small", 0.05, part=0.1)
    with pytest.raises(compress.RefusedError, match="expected a loss"):
        compress.compress(package, "prune", data, tmp_path / "none", 0.001, part=0.9)

    assert few.after.size < few.before.size
    assert ModelPackage.load(tmp_path / "small").manifest.version == "1+pruned"
    assert not (tmp_path / "none").exists()


@pytest.mark.thorough
def test_a_student_says_what_its_teacher_says(tmp_path: Path) -> None:
    """Of a model over long windows it is a fraction, and sees the same faults."""
    data = _machine(3000, 1)
    settings = TrainSettings(kind="autoencoder", window=24)
    teacher = train("m", "f", data, {}, tmp_path / "m", settings)
    made = compress.compress(teacher, "distill", data, tmp_path / "small", max_loss=0.05)

    assert made.after.size < made.before.size / 2
    assert made.correlation > 0.9


@pytest.mark.parametrize("method", ["prune", "distill"])
def test_a_model_that_is_no_network_is_refused(method: compress.Method, tmp_path: Path) -> None:
    """In one line that says what to do instead."""
    data = _machine(400, 1)
    level = train("m", "f", data, {}, tmp_path / "m", TrainSettings(kind="level"))
    with pytest.raises(ConfigError, match=f"headgate model {method}: expected .* quantize it"):
        compress.compress(level, method, data, tmp_path / "small", 0.5)


def test_a_package_that_becomes_worse_is_not_written(tmp_path: Path) -> None:
    """Its levels are told apart by less than 8 bits hold; said in one line, nothing is written."""
    data = _machine(800, 1)
    level = train("m", "f", data, {}, tmp_path / "m", TrainSettings(kind="level"))
    with pytest.raises(compress.RefusedError, match=r"expected a loss of 0\.01 at most") as refusal:
        compress.compress(level, "static", data, tmp_path / "small", max_loss=0.01)

    assert refusal.value.comparison.loss > 0.01
    assert len(refusal.value.problems) == 1
    assert not (tmp_path / "small").exists()


def test_half_precision_does_not_end_at_the_wildest_sensor(tmp_path: Path) -> None:
    """A score that is not finite would go unnoticed."""
    data = _machine(800, 1)
    plane = train("m", "f", data, {}, tmp_path / "m", TrainSettings(kind="pca"))
    compress.compress(plane, "fp16", data, tmp_path / "small", max_loss=0.01)
    runtime = Runtime(ModelPackage.load(tmp_path / "small"))
    wild = np.full((4, 5, 8), [[[1e6]], [[-1e6]], [[7e4]], [[600.0]]], np.float32)
    score = runtime.run(wild).score

    assert np.isfinite(score).all()
    assert (score > 100 * plane.manifest.alarm.threshold).all()


def test_the_command_shows_before_and_after(
    package: ModelPackage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table, also where it refuses, and then exit code 2."""
    data = _machine(600, 3)
    file = _written(tmp_path / "healthy.csv", data)
    arguments = ["model", "quantize", str(package.path), "--data", str(file)]
    assert main([*arguments, "--out", str(tmp_path / "small"), "--max-loss", "0.05"]) == 0
    said = capsys.readouterr().out
    assert "judged differently" in said
    assert "us a window, batch 512" in said
    level = train("m", "f", data, {}, tmp_path / "m", TrainSettings(kind="level"))
    arguments = ["model", "quantize", str(level.path), "--data", str(file), "--static"]
    assert main([*arguments, "--out", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()


def _written(file: Path, data: TrainingData, label: NDArray[np.bool_] | None = None) -> Path:
    """Rows as CSV, with their labels in the column ``wrong``."""
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["time", *data.names, *([] if label is None else ["wrong"])])
        for at, row in enumerate(data.values.tolist()):
            writer.writerow([at, *row, *([] if label is None else [int(label[at])])])
    return file


def _faulty(rows: int, seed: int) -> tuple[TrainingData, NDArray[np.bool_]]:
    """With a channel that is off for a while, and labels."""
    data = _machine(rows, seed)
    values, label = data.values.copy(), np.zeros(rows, np.bool_)
    values[300:360, 3] += 1.5
    label[300:360] = True
    return TrainingData(data.names, data.time_ns, data.device, values), label


def test_what_is_found_in_labelled_recordings_stands_beside_it(
    package: ModelPackage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both packages are sent them through the pipeline; figures of both are in the table."""
    healthy = _written(tmp_path / "healthy.csv", _machine(600, 3))
    recordings = [str(_written(tmp_path / f"{seed}.csv", *_faulty(500, seed))) for seed in (4, 5)]
    arguments = ["model", "quantize", str(package.path), "--data", str(healthy)]
    arguments += ["--out", str(tmp_path / "small"), "--evaluate", *recordings]
    assert main(arguments) == 2
    assert "give both or none" in capsys.readouterr().err
    assert main([*arguments, "--labels", "absent"]) == 2
    assert main([*arguments, "--labels", "wrong", "--max-loss", "0.05"]) == 0

    said = capsys.readouterr().out
    f1 = re.search(r"f1, labelled recordings\D+([\d.]+)\D+([\d.]+)", said)
    assert f1 is not None
    assert float(f1[1]) > 0.8
    assert float(f1[2]) == pytest.approx(float(f1[1]), abs=0.05)
    assert "vus_pr, labelled recordings" in said


def test_devices_of_one_file_are_judged_one_by_one(
    package: ModelPackage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file with two devices says what two files with one say; a device may be well throughout."""
    wrong = _written(tmp_path / "a.csv", *_faulty(500, 4))
    well = _written(tmp_path / "b.csv", _machine(500, 5), np.zeros(500, np.bool_))
    header, *a = well.read_text().splitlines()
    b = wrong.read_text().splitlines()[1:]
    both = tmp_path / "both.csv"
    # Rows of both devices take turns, as a gateway would have written them.
    turns = [line for row, other in zip(a, b, strict=True) for line in (f"{row},a", f"{other},b")]
    both.write_text("\n".join([f"{header},device", *turns]))
    arguments = ["model", "quantize", str(package.path), "--data", str(wrong)]
    arguments += ["--max-loss", "0.2", "--labels", "wrong", "--evaluate"]
    found = []
    for out, files in (("one", [both]), ("two", [well, wrong])):
        assert main([*arguments, *map(str, files), "--out", str(tmp_path / out)]) == 0
        said = capsys.readouterr().out
        found.append([row for row in said.splitlines() if "labelled recordings" in row])

    assert len(found[0]) == 4
    assert [row.split() for row in found[0]] == [row.split() for row in found[1]]


@pytest.mark.parametrize(
    ("label", "problem"),
    [("c3", "--labels: expected 0 or 1 in every row of 'c3'"), ("wrong", "expected rows that are")],
)
def test_labels_that_say_nothing_are_refused_in_one_line(
    label: str,
    problem: str,
    package: ModelPackage,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A column of something else, and one that never tells of a fault."""
    file = str(_written(tmp_path / "a.csv", _machine(300, 5), np.zeros(300, np.bool_)))
    arguments = ["model", "quantize", str(package.path), "--data", file, "--evaluate", file]
    assert main([*arguments, "--labels", label, "--out", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err

    assert problem in said
    assert said.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_a_package_that_finds_less_is_not_written(package: ModelPackage, tmp_path: Path) -> None:
    """A fault is a small part of all windows: what is found of it counts by itself."""
    judge = partial(labelled.judge, [labelled.Recording("r", *_faulty(500, 4))])
    with pytest.raises(compress.RefusedError, match=r"expected f1 to fall by 0\.6 at most") as no:
        compress.compress(
            package, "prune", _machine(1000, 2), tmp_path / "none", 0.6, part=0.2, judge=judge
        )
    before, after = no.value.comparison.found["f1"]

    assert before - after > 0.6
    assert no.value.comparison.loss < 0.6
    assert not (tmp_path / "none").exists()
