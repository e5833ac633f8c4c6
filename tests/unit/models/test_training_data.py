"""Recorded data that can't be used is refused with one clear line; the rest is taken as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headgate.core.errors import ConfigError
from models.training.data import TrainingData, csv_columns, read_csv
from models.training.train import TrainSettings, train
from models.training.windows import cut_windows


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_is_read_whatever_its_delimiter(tmp_path: Path) -> None:
    """Semicolons, times without an offset, empty cells and columns that are no numbers."""
    file = _write(
        tmp_path / "a.csv",
        "datetime;flow;note;temp\n2020-03-09 10:14:33;1.5;ok;20\n2020-03-09 10:14:34;;bad;21\n",
    )
    data = read_csv([file], time_column="datetime")

    assert data.names == ("flow", "temp")
    assert data.time_ns.tolist() == [1583748873 * 10**9, 1583748874 * 10**9]
    assert np.isnan(data.values[1, 0])


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    """Excel's "CSV UTF-8" begins with one."""
    file = tmp_path / "a.csv"
    file.write_text("time;flöw\n1;2\n", encoding="utf-8-sig")

    assert csv_columns(file) == ["time", "flöw"]
    assert read_csv([file], time_column="time").names == ("flöw",)


def test_devices_are_told_apart(tmp_path: Path) -> None:
    """By file and by the device column; each device's rows are in order of time."""
    first = _write(tmp_path / "a.csv", "time,device,x\n3,p,1\n1,p,2\n2,q,3\n")
    second = _write(tmp_path / "b.csv", "time,device,x\n1,p,4\n")
    data = read_csv([first, second], time_column="time")

    assert data.values[:, 0].tolist() == [2, 1, 3, 4]
    assert len(set(data.device.tolist())) == 3


def test_times_may_be_numbers_of_any_unit(tmp_path: Path) -> None:
    """Milliseconds since 1970, told so."""
    file = _write(tmp_path / "a.csv", "time,x\n1750000000001,1\n")
    data = read_csv([file], time_column="time", time_unit_ns=10**6)

    assert data.time_ns.tolist() == [1750000000001 * 10**6]


@pytest.mark.parametrize(
    ("text", "options", "problem"),
    [
        ("time,x\n", {}, "expected rows"),
        ("when,x\n1,2\n", {}, "expected a time column 'time'"),
        ("time,x\n1,2\n", {"channels": ["y"]}, r"expected columns \['y'\]"),
        ("time,x\nnoon,2\n", {}, ":2: expected a time"),
        ('time,x\n\n1,"two\nlines"\n\nnoon,2\n', {"channels": ["x"]}, ":6: expected a time"),
        ("time,x\n1,word\n", {}, "column of numbers"),
        ("time,x\n1750000000000,1\n", {}, ":2: .*--time-unit"),
        ("time,x\n1,2\n2,ERR\n", {}, "no number in 1 of 2 cells of x .such as 'ERR'.*--channels"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    tmp_path: Path, text: str, options: dict[str, list[str]], problem: str
) -> None:
    """The line names the file and what was expected."""
    file = _write(tmp_path / "a.csv", text)

    with pytest.raises(ConfigError, match=problem):
        read_csv([file], time_column="time", **options)  # type: ignore[arg-type]


def _data(values: list[list[float]], step_s: list[int] | None = None) -> TrainingData:
    n = len(values)
    times = np.array(step_s if step_s is not None else range(n), np.int64) * 10**9
    names = tuple(f"c{column}" for column in range(len(values[0])))
    return TrainingData(names, times, np.zeros(n, np.int32), np.array(values))


def test_windows_hold_short_gaps_and_never_cross_long_ones() -> None:
    """Two missing steps are held, six are not, and thirty years cost nothing."""
    long_run = [float(n) for n in range(100, 120)]
    step_s = [0, 1, 2, 5, 6, 13, 14, 15, *range(10**9, 10**9 + 20)]
    data = _data([[value] for value in [*map(float, range(8)), *long_run]], step_s)
    windows = cut_windows(data, data.values, period_ns=10**9, window=3, hold_limit=2)

    assert windows.end_ns[:8].tolist() == [each * 10**9 for each in (2, 3, 4, 5, 6, 7, 8, 15)]
    assert windows.values[:, :, 0].tolist() == [
        [0, 1, 2],
        [1, 2, 2],
        [2, 2, 2],
        [2, 2, 3],
        [2, 3, 4],
        [3, 4, 4],
        [4, 4, 4],
        [5, 6, 7],
        [6, 7, 7],
        [7, 7, 7],
        *([n, n + 1, n + 2] for n in long_run[:-2]),
    ]


def test_a_step_may_be_the_mean_of_its_rows() -> None:
    """Of each channel by itself; a channel without any value in the step is held."""
    nan = np.nan
    values = [[1.0, 10.0], [3.0, nan], [5.0, nan], [5.0, 20.0], *([7.0, 30.0] for _ in range(40))]
    data = _data(values, [0, 1, 2, 4, *range(6, 46)])
    means = cut_windows(
        data, data.values, period_ns=2 * 10**9, window=1, hold_limit=1, resample="mean"
    )
    assert means.values[:4, 0].tolist() == [[2, 10], [5, 10], [5, 20], [7, 30]]


def test_windows_never_cross_devices() -> None:
    """Two devices of two rows have no window of three."""
    data = _data([[1.0], [2.0], [3.0], [4.0]], [0, 1, 0, 1])
    two = TrainingData(data.names, data.time_ns, np.array([0, 0, 1, 1], np.int32), data.values)

    with pytest.raises(ConfigError, match=r"expected 3 rows in a row.*found 0 among 4"):
        cut_windows(two, two.values, period_ns=10**9, window=3, hold_limit=0)


def test_constant_channels_and_gaps_do_not_stop_training(tmp_path: Path) -> None:
    """A channel that stood still stays in the model; rows with holes are left out."""
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.normal(size=200), np.full(200, 5.0)])
    values[50:60, 0] = np.nan
    package = train("m", "f", _data(values.tolist()), {}, tmp_path / "m", TrainSettings(window=2))

    assert [channel.scale for channel in package.manifest.channels][1] == 5.0
    assert package.manifest.training.metrics["windows"] < 199


def test_a_channel_without_values_is_refused(tmp_path: Path) -> None:
    """Its name stands in the line."""
    values = [[float(n), np.nan] for n in range(20)]

    with pytest.raises(ConfigError, match="c1"):
        train("m", "f", _data(values), {}, tmp_path / "m", TrainSettings(window=2))


def test_a_spread_that_no_number_holds_is_refused(tmp_path: Path) -> None:
    """One line, and nothing is written."""
    values = np.outer(np.arange(200), [1e305, 1.0])

    with pytest.raises(ConfigError, match=r"too large; .*unit"):
        train("m", "f", _data(values.tolist()), {}, tmp_path / "m", TrainSettings())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"window": 0}, "--window: expected at least 1, got 0"),
        ({"hop": -1}, "--hop: expected at least 1"),
        ({"seed": -1}, "--seed: expected at least 0"),
        ({"period_ns": 0}, "--period: expected more than 0s"),
        ({"kind": "magic"}, "--kind: expected one of auto, .*, got 'magic'"),
        ({"window": 290}, "at 20 places or more, found 11 among 300 rows"),
        ({"kind": "level", "period_ns": 1}, "stretches of .* or another --period"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(
    tmp_path: Path, change: dict[str, object], problem: str
) -> None:
    """One line, and nothing is written."""
    data = _data(np.random.default_rng(0).normal(size=(300, 2)).tolist())
    settings = TrainSettings(**change)  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match=problem) as refusal:
        train("m", "f", data, {}, tmp_path / "m", settings)
    assert len(refusal.value.problems) == 1
    assert not list(tmp_path.iterdir())


def test_windows_too_long_for_the_memory_are_refused(tmp_path: Path) -> None:
    """The covariance grows with the square of the window."""
    data = _data(np.random.default_rng(0).normal(size=(5000, 2)).tolist())

    with pytest.raises(ConfigError, match="--window: expected at most 4096 steps of 2 channels"):
        train("m", "f", data, {}, tmp_path / "m", TrainSettings(window=4097))


def test_commas_are_decimal_signs_where_they_part_no_cells(tmp_path: Path) -> None:
    """Told in a note; where points stand as well nobody can know, and it is refused."""
    file = _write(tmp_path / "a.csv", "time;x;n\n1;2,5;3\n2;-0,25;4\n")
    told: list[str] = []
    data = read_csv([file], time_column="time", note=told.append)
    both = _write(tmp_path / "b.csv", "time;x\n1;2,5\n2;1.234,5\n")

    assert data.values[:, 0].tolist() == [2.5, -0.25]
    assert told == ["a.csv: commas are decimal ones in x"]
    with pytest.raises(ConfigError, match="column 'x', found commas and points"):
        read_csv([both], time_column="time")


def test_rows_without_times_are_as_far_apart_as_is_said(tmp_path: Path) -> None:
    """And without being told so, it is asked for."""
    file = _write(tmp_path / "a.csv", "x\n1\n2\n3\n")
    data = read_csv([file], time_column="time", period_ns=10**9)

    assert data.time_ns.tolist() == [0, 10**9, 2 * 10**9]
    with pytest.raises(ConfigError, match="how far rows are apart with --period"):
        read_csv([file], time_column="time")


def test_labels_may_be_words(tmp_path: Path) -> None:
    """In any case; a word that means neither is refused where labels are taken apart."""
    file = _write(tmp_path / "a.csv", "time,x,w\n1,2,Normal\n2,3,FAULT\n3,4,true\n4,5,no\n")
    data = read_csv([file], time_column="time", label_column="w")
    _, label = data.split_labels("w")

    assert label.tolist() == [False, True, True, False]


def test_columns_of_0_and_1_are_states_beside_one_that_takes_both() -> None:
    """Commands come by the dozen, and most are never given; alone it may not have moved yet."""
    switch, never = np.arange(50) % 2, np.zeros(50)
    measured = np.linspace(0, 1, 50)
    beside = _data(np.column_stack([switch, never, measured]).tolist())
    alone = _data(np.column_stack([never, measured]).tolist())

    assert beside.is_state.tolist() == [True, True, False]
    assert alone.is_state.tolist() == [False, False]
    assert beside.select(~beside.is_state).names == ("c2",)
