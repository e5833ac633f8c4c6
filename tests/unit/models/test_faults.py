"""What is wrong with training data is told in one line each, and nothing is told of good data."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.cli import main
from headgate.core.errors import ConfigError
from models.package import ModelPackage
from models.training.data import TrainingData
from models.training.faults import notes_on
from models.training.train import TrainSettings, train

pytestmark = pytest.mark.slow

_ROWS = 600
_SECOND = 10**9


def _machine(seed: int = 0) -> TrainingData:
    """Two channels: a cycle and a drift, with noise."""
    rng = np.random.default_rng(seed)
    at = np.arange(_ROWS)
    values = np.column_stack([np.sin(at / 20), at / 200]) + rng.normal(size=(_ROWS, 2)) * 0.1
    return TrainingData(("load", "temp"), at * _SECOND, np.zeros(_ROWS, np.int32), values)


def _notes(data: TrainingData) -> list[str]:
    return notes_on(data, _SECOND, 3, is_mean=False)


def _with(first: int, last: int, column: int, by: float) -> TrainingData:
    data = _machine()
    values = data.values.copy()
    values[first:last, column] += by
    return replace(data, values=values)


@given(st.integers(0, 10**6))
def test_a_cycle_a_drift_and_noise_are_healthy(seed: int) -> None:
    """Nothing is said of any draw of them."""
    assert _notes(_machine(seed)) == []


@given(first=st.integers(0, _ROWS - 90), length=st.integers(90, 150), by=st.sampled_from([-20, 20]))
def test_a_stretch_on_another_level_is_told(first: int, length: int, by: float) -> None:
    """Wherever it lies, with its channel and about when it was."""
    (line,) = _notes(_with(first, first + length, 0, by))
    found = re.search(r"(\S+) of 600 rows \((\d+) %\), between \S+:(\d\d):(\d\d)Z and", line)

    assert found is not None
    # A level is the mean of 30 rows: either end is no sharper than that.
    assert abs(int(found[1]) - length) <= 60
    assert abs(60 * int(found[3]) + int(found[4]) - first) <= 30
    assert "look unlike the rest in load:" in line


def test_the_smaller_part_is_the_one_that_is_told() -> None:
    """Where most rows are faulty, it is the healthy ones that look unlike the rest."""
    (line,) = _notes(_with(150, _ROWS, 1, 30.0))

    assert "between 1970-01-01T00:00:00Z and" in line
    assert "in temp: was something wrong then, or before and after?" in line


@pytest.mark.parametrize("first", [150, 300, 450])
def test_a_fault_that_grows_is_told_however_much_of_the_data_it_is(first: int) -> None:
    """A quarter, half or three quarters of the rows: no part of them has to be the usual one."""
    data = _machine()
    data.values[:, 1] += np.clip((np.arange(_ROWS) - first) / 15, 0, 1) * 5.0
    (line,) = _notes(data)
    found = re.search(r"(\S+) of 600 rows", line)

    assert found is not None
    assert abs(int(found[1]) - min(first, _ROWS - first)) <= 20
    assert "look unlike the rest in temp:" in line


def test_channels_that_were_elsewhere_at_another_time_are_not_mixed_up() -> None:
    """The clearest stretch is told, with the channels that were elsewhere at the same time."""
    data = _with(100, 200, 0, 9.0)
    data.values[420:520, 1] += 90.0
    (line,) = _notes(data)

    assert "look unlike the rest in temp:" in line
    assert "between 1970-01-01T00:07:" in line


def test_a_level_that_walks_is_healthy() -> None:
    """A walk goes everywhere in time; one in three hundred does it in a jump."""
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.normal(size=(_ROWS, 100)), axis=0)
    names = tuple(f"walk{number}" for number in range(100))
    at = np.arange(_ROWS) * _SECOND

    assert _notes(TrainingData(names, at, np.zeros(_ROWS, np.int32), walks)) == []


@given(seed=st.integers(0, 10**6), first=st.integers(0, _ROWS - 180))
def test_a_gap_is_no_level_of_its_own(seed: int, first: int) -> None:
    """A sensor that was away for a third of a drift, wherever, is told as missing only."""
    data = _machine(seed)
    data.values[first : first + 180, 1] = np.nan
    (line,) = _notes(data)

    assert line.startswith("no number in 180 of 1,200 cells")


def test_a_stretch_is_told_beside_a_gap() -> None:
    """Also where the gap reaches into it."""
    data = _with(100, 200, 0, 9.0)
    data.values[180:240, 0] = np.nan
    lines = _notes(data)

    assert len(lines) == 2
    assert "look unlike the rest in load:" in lines[1]


def test_what_comes_again_is_how_the_machine_works() -> None:
    """A pump that runs faster for a while, twice, is not suspected."""
    twice = _with(100, 190, 0, 9.0)
    twice.values[400:490, 0] += 9.0

    assert _notes(twice) == []


def test_devices_are_looked_at_one_by_one() -> None:
    """Levels of two machines differ; a stretch of one is told with the device."""
    data, other = _machine(), _with(100, 200, 0, 9.0)
    both = TrainingData(
        data.names,
        np.concatenate([data.time_ns, other.time_ns]),
        np.repeat(np.arange(2, dtype=np.int32), _ROWS),
        np.concatenate([data.values, other.values + 500]),
    )
    (line,) = _notes(both)

    assert "of 600 rows of device 2 of 2 (" in line


@pytest.mark.parametrize(
    ("value", "rows", "said"),
    [
        (np.nan, slice(50, 60), "no number in 10 of 1,200 cells (load 10)"),
        (np.inf, slice(50, 51), "no number in 1 of 1,200 cells (load 1)"),
        (7.0, slice(None), "stood still throughout: load (at 7)"),
        (-9999.0, slice(9, 10), "far beyond all others: load 1 (as far as -99"),
    ],
)
def test_a_fault_in_a_channel_is_one_line(value: float, rows: slice, said: str) -> None:
    """Which channel, how much, and what came of it."""
    data = _machine()
    data.values[rows, 0] = value
    lines = _notes(data)

    assert len(lines) == 1
    assert said in lines[0]


def test_gaps_and_rows_of_one_step_are_told() -> None:
    """How many, and the longest."""
    data = _machine()
    gap = replace(data, time_ns=np.where(np.arange(_ROWS) > 300, 60 * _SECOND, 0) + data.time_ns)
    fast = replace(data, time_ns=data.time_ns // 2)

    assert "1 gaps of more than 3 steps, the longest 1m" in _notes(gap)[0]
    assert "300 of 600 rows lie in a step of 1s that has a row already" in _notes(fast)[0]
    assert notes_on(fast, _SECOND, 3, is_mean=True) == []


def test_a_threshold_on_few_scores_is_told(tmp_path: Path) -> None:
    """It is no quantile then; the line stands in the package and on its page."""
    data = replace(_machine().head(40))
    settings = TrainSettings(kind="pca")
    package = train("m", "f", data, {}, tmp_path / "m", settings, has_page=True)
    (note,) = package.manifest.training.notes

    assert note.startswith("36 scores are few for a limit that one in 100 may pass")
    assert note in package.report.read_text()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Rows with a labelled fault, a word in place of a number, and a value out of range."""
    data = _with(200, 300, 0, 9.0)
    cells = [[f"{value:.4f}" for value in row] for row in data.values.tolist()]
    cells[20][1] = "error"
    cells[30][1] = "-9999"
    rows = [f"{at},{load},{temp},{int(200 <= at < 300)}" for at, (load, temp) in enumerate(cells)]
    file = tmp_path / "machine.csv"
    file.write_text("\n".join(["time,load,temp,wrong", *rows]))
    return file


def _train(recording: Path, *more: str) -> int:
    arguments = ["model", "train", "--feed", "f", "--data", str(recording), "--kind", "level"]
    return main([*arguments, "--out", str(recording.parent / "m"), *more])


def test_labelled_rows_are_left_out(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And no window reaches across the hole they leave, however short."""
    channels = ["--channels", "load,temp"]
    assert _train(recording, *channels, "--labels", "wrong", "--normalization", "robust") == 0
    said = capsys.readouterr().err.splitlines()
    training = ModelPackage.load(recording.parent / "m").manifest.training

    assert training.rows == 500
    assert said[0].startswith(
        "note: machine.csv: no number in 1 of 600 cells of temp (such as 'err"
    )
    assert said[1] == "note: 100 of 600 rows are labelled as faulty and left out"
    assert not any("unlike the rest" in line for line in said)
    assert training.notes == tuple(line.removeprefix("note: ") for line in said)

    assert _train(recording, *channels) == 0
    assert "look unlike the rest in load" in capsys.readouterr().err


def test_the_rest_of_labelled_rows_falls_into_stretches() -> None:
    """Each is a device of its own, whether one row lies between or a hundred."""
    data = _machine().head(6)
    rest = data.without(np.array([False, False, True, False, True, True]))

    assert rest.device.tolist() == [0, 0, 1]
    assert rest.time_ns.tolist() == [0, _SECOND, 3 * _SECOND]


def test_values_that_the_gateway_would_not_use_are_left_out(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the configuration, whose channels have ranges."""
    config = recording.parent / "headgate.toml"
    config.write_text(
        '[local_store]\n[feed.f]\ntopic = "{device}"\n[feed.f.channels]\n'
        'load = {}\ntemp = { unit = "C", range = [-50, 150] }\n'
    )
    assert _train(recording, "-c", str(config), "--labels", "wrong") == 0
    package = ModelPackage.load(recording.parent / "m")

    assert "1 out of range: left out of 1,000 values" in capsys.readouterr().err
    assert [(each.name, each.unit) for each in package.manifest.channels] == [
        ("load", ""),
        ("temp", "C"),
    ]
    assert package.manifest.channels[1].scale < 2


def test_a_span_of_a_file_is_a_span(recording: Path) -> None:
    """Rows before ``--from`` and from ``--to`` on are left out."""
    times = ["--from", "1970-01-01T00:05:10Z", "--to", "1970-01-01T00:09:10Z"]
    assert _train(recording, "--channels", "load,temp", *times) == 0

    assert ModelPackage.load(recording.parent / "m").manifest.training.rows == 240


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "time,x,wrong\n1,2,0\n2,3,\n",
            "expected 0 or 1 in every row of 'wrong', found neither in 1",
        ),
        ("time,x,wrong\n1,2,0\n2,3,7\n", "found neither in 1 of 2"),
        ("time,x,wrong\n1,2,0\n2,3\n", "found neither in 1 of 2"),
        ("time,x,wrong\n1,2,red\n2,3,blue\n", "found neither in 2 of 2"),
        ("time,x,wrong\n1,2,1\n2,3,1\n", "expected rows with 0 in 'wrong', found 1 in all 2"),
        ("time,x\n1,2\n2,3\n", "expected columns ['wrong'], found time, x"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    text: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and nothing is written."""
    file = tmp_path / "a.csv"
    file.write_text(text)

    assert _train(file, "--channels", "x", "--labels", "wrong") == 2
    said = capsys.readouterr().err
    assert problem in said
    assert said.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_a_label_that_is_no_column_is_refused() -> None:
    """Where all columns of numbers were taken."""
    with pytest.raises(
        ConfigError, match="expected a column of numbers, got 'w'; found load, temp"
    ):
        _machine().split_labels("w")
