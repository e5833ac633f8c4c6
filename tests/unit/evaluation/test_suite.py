"""Folders of labelled recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headgate.cli import main
from headgate.core.errors import ConfigError
from headgate.evaluation.suite import Columns, read, training_rows

pytestmark = pytest.mark.slow


def _columns(seed: int, rows: int = 500) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    value = np.sin(np.arange(rows) / 6) + 0.05 * rng.normal(size=rows)
    label = np.zeros(rows)
    value[350:380] += 4
    label[350:380] = 1
    return {
        "time": list(range(rows)),
        "value": value.round(4).tolist(),
        "cmd": (np.arange(rows) % 9 == 0).astype(float).tolist(),
        "label": label.tolist(),
    }


def _write_csv(path: Path, columns: dict[str, list[float]]) -> None:
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]))


def test_every_recording_of_a_folder_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CSV and Parquet, below it too; one that has no labels is named, and the others stay."""
    (tmp_path / "line").mkdir()
    _write_csv(tmp_path / "line" / "a.csv", _columns(1))
    pq.write_table(pa.table(_columns(2)), tmp_path / "b.parquet")
    _write_csv(tmp_path / "c.csv", {"time": [1.0, 2.0], "value": [1.0, 2.0]})
    code = main(["evaluate", "suite", "--data", str(tmp_path), "--json"])
    said = capsys.readouterr()
    found = json.loads(said.out.splitlines()[-1])

    assert code == 1
    assert found["events"] == found["detected"] == 2
    assert "line/a" in said.err
    assert "nearest" in said.err
    assert "note: model novelty in 2: a single series" in said.err
    assert "not scored: c: " in said.err
    assert "expected one of label, labels, fault" in said.err


def test_series_of_nasa_are_trained_on_the_rows_that_the_table_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's table names series and rows; a file that is not in it is none of them."""
    pq.write_table(pa.table(_columns(1)), tmp_path / "A-1.parquet")
    pq.write_table(pa.table(_columns(2)), tmp_path / "other.parquet")
    (tmp_path / "README.md").write_text(
        "# Telemetry\n\n| series | craft | train |\n|---|---|---|\n| A-1 | SMAP | 300 |\n"
    )
    code = main(["evaluate", "nasa", "--data", str(tmp_path), "--channels", "value", "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])

    assert code == 0
    assert training_rows(tmp_path) == {"A-1": 300}
    assert found["events"] == found["detected"] == 1
    assert found["vus_pr"] > 0.3


def test_a_folder_without_the_table_says_what_else_there_is(tmp_path: Path) -> None:
    """In one line."""
    (tmp_path / "README.md").write_text("nothing\n")

    with pytest.raises(ConfigError, match="headgate evaluate suite"):
        training_rows(tmp_path)


def test_recordings_without_times_want_a_period(tmp_path: Path) -> None:
    """CSV and Parquet alike."""
    columns = {name: column for name, column in _columns(1).items() if name != "time"}
    _write_csv(tmp_path / "a.csv", columns)
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        with pytest.raises(ConfigError, match="--period"):
            read(tmp_path / name, Columns())
        data, label = read(tmp_path / name, Columns(period_ns=10**9))
        assert data.time_ns[-1] == 499 * 10**9
        assert data.names == ("value", "cmd")
        assert int(label.sum()) == 30
