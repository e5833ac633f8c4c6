"""``--labels FILE.csv``: what a maintenance log says is what a column of labels would say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from headgate.cli import main
from models.package import ModelPackage

pytestmark = pytest.mark.slow

_START = 1_700_000_000
_ROWS = 700
_FAULTS = ((400, 439), (600, 639))


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with two faults, labelled in a column."""
    rng = np.random.default_rng(3)
    load = np.sin(np.arange(_ROWS) / 15)
    values = load[:, None] * np.array([2.0, 1.0]) + rng.normal(size=(_ROWS, 2)) * 0.05
    label = np.zeros(_ROWS, int)
    for first, last in _FAULTS:
        values[first : last + 1, 0] += 4
        label[first : last + 1] = 1
    file = tmp_path / "machine.csv"
    rows = [
        f"{(_START + at) * 1000},{flow:.4f},{power:.4f},{wrong}"
        for at, ((flow, power), wrong) in enumerate(zip(values, label, strict=True))
    ]
    file.write_text("\n".join(["time,flow,power,wrong", *rows]))
    return file


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The same faults as spans, and one of last year."""
    file = tmp_path / "log.csv"
    spans = [f"{(_START + first) * 1000},{(_START + last) * 1000}" for first, last in _FAULTS]
    file.write_text("\n".join(["start,end", "1660000000000,1660000009000", *spans]))
    return file


def _train(machine: Path, *more: str) -> int:
    arguments = ["model", "train", "--feed", "f", "--data", str(machine), "--time-unit", "ms"]
    return main([*arguments, "--channels", "flow,power", "--kind", "level", *more])


def test_training_leaves_the_same_rows_out(
    machine: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same package either way; where its bounds leave no span, that is told."""
    for name, labels in (("column", "wrong"), ("file", str(log))):
        assert (
            _train(machine, "--name", "m", "--labels", labels, "--out", str(tmp_path / name)) == 0
        )
        assert "80 of 700 rows are labelled as faulty" in capsys.readouterr().err
    graphs = [(tmp_path / name / "model.onnx").read_bytes() for name in ("column", "file")]
    assert graphs[0] == graphs[1]
    assert _train(machine, "--labels", str(log), "--rows", "300", "--out", str(tmp_path / "m")) == 0
    assert "no row lies in any of the 3 spans of log.csv" in capsys.readouterr().err

    assert ModelPackage.load(tmp_path / "m").manifest.training.rows == 300


def test_a_device_whose_rows_come_later_is_a_note(
    machine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spans of it are no mistake where ``--rows`` takes a part, and are one where all is taken."""
    header, *rows = machine.read_text().splitlines()
    named = [f"{row},{'p' if at < 400 else 'q'}" for at, row in enumerate(rows)]
    machine.write_text("\n".join([f"{header},device", *named]))
    log = tmp_path / "log.csv"
    times = [(_START + at) * 1000 for at in (100, 109, 600, 639)]
    log.write_text(f"start,end,device\n{times[0]},{times[1]},p\n{times[2]},{times[3]},q\n")
    train = ["--labels", str(log), "--out", str(tmp_path / "m")]
    assert _train(machine, *train, "--rows", "300") == 0
    said = capsys.readouterr().err
    assert "10 of 300 rows are labelled as faulty" in said
    assert "no row is of a device that log.csv names: q" in said
    log.write_text(log.read_text().replace(",q", ",Q"))

    assert _train(machine, *train) == 2
    assert (
        "log.csv:3: expected a device of the recording (p, q), got 'Q'" in capsys.readouterr().err
    )


def test_a_span_of_a_file_marks_all_files_of_that_name(
    machine: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training and evaluation call a device the same, whatever tells files apart on a page."""
    files = [tmp_path / folder / "mon.csv" for folder in "pq"]
    for file in files:
        file.parent.mkdir()
        file.write_text(machine.read_text())
    header, *spans = log.read_text().splitlines()
    log.write_text("\n".join([f"{header},device", *(f"{span},mon" for span in spans)]))
    model, both = str(tmp_path / "m"), [*map(str, files), "--time-unit", "ms"]
    train = ["model", "train", "--feed", "f", "--channels", "flow,power", "--kind", "level"]
    assert main([*train, "--data", *both, "--labels", str(log), "--out", model]) == 0
    assert "160 of 1,400 rows are labelled as faulty" in capsys.readouterr().err
    evaluate = ["evaluate", "csv", *both, "--package", model, "--channels", "flow,power", "--json"]
    assert main([*evaluate, "--labels", str(log)]) == 0
    printed = capsys.readouterr()

    assert json.loads(printed.out.splitlines()[-1])["events"] == 4
    assert "p/mon" in printed.err
    assert "q/mon" in printed.err


def test_an_evaluation_finds_the_same(
    machine: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figure by figure."""
    found = []
    for labels in ("wrong", str(log)):
        arguments = [
            "evaluate",
            "csv",
            str(machine),
            "--time-unit",
            "ms",
            "--json",
            "--rows",
            "300",
        ]
        assert main([*arguments, "--channels", "flow,power", "--labels", labels]) == 0
        found.append(json.loads(capsys.readouterr().out.splitlines()[-1]))

    assert found[0] == found[1]
    assert found[0]["detected"] == 2


@pytest.mark.thorough
def test_pages_and_smaller_packages_are_judged_the_same(
    machine: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By ``report`` and by ``--evaluate``, which share how labels are read."""
    model = str(tmp_path / "m")
    assert _train(machine, "--labels", str(log), "--out", model) == 0
    pages, tables = [], []
    data = ["--data", str(machine), "--time-unit", "ms"]
    for labels in ("wrong", str(log)):
        page = tmp_path / "page.html"
        assert main(["model", "report", model, *data, "--labels", labels, "--out", str(page)]) == 0
        pages.append(re.findall("<td>[^<]*</td>", page.read_text()))
        capsys.readouterr()
        small = ["model", "fp16", model, *data, "--out", str(tmp_path / "small")]
        assert main([*small, "--evaluate", str(machine), "--labels", labels]) == 0
        said = capsys.readouterr().out.splitlines()
        tables.append([line for line in said if "labelled recordings" in line])

    assert pages[0] == pages[1]
    assert len(tables[0]) == 4
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (["begin,until", "1,2"], "log.csv: expected columns start and end"),
        (["start,end", "2,1"], "log.csv:2: expected a start that is not after its end"),
        (["start,end,device", f"{_START}000,{_START}000,pump"], "(machine), got 'pump'"),
        (["start,end", f"{_START},{_START + 9}"], "found spans from 1970-01-20T16:13:20Z"),
        (
            ["start,end", f"0,{_START + 999}000"],
            "log.csv: expected rows outside its spans, found all",
        ),
    ],
)
def test_a_log_that_does_not_fit_is_one_line(
    rows: list[str],
    problem: str,
    machine: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And nothing is written."""
    log = tmp_path / "log.csv"
    log.write_text("\n".join(rows))
    assert _train(machine, "--labels", str(log), "--out", str(tmp_path / "none")) == 2
    said = capsys.readouterr().err

    assert problem in said
    assert said.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_a_log_that_is_not_there_is_neither_file_nor_column(
    machine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said so, for every command."""
    labels = ["--labels", str(tmp_path / "absent.csv")]
    assert _train(machine, *labels, "--out", str(tmp_path / "none")) == 2
    assert main(["evaluate", "csv", str(machine), "--time-unit", "ms", *labels]) == 2
    said = capsys.readouterr().err.splitlines()

    assert len(said) == 2
    assert all("which is neither" in line for line in said)
