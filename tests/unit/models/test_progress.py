"""Training says how far it has come: to a terminal, and to nobody else."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from headgate.cli import main
from headgate.cli.progress import on_terminal
from models.training.data import TrainingData
from models.training.kinds import BUILT_IN as KINDS
from models.training.train import TrainSettings, train

pytestmark = pytest.mark.slow


def _data() -> TrainingData:
    values = np.random.default_rng(0).normal(size=(300, 2))
    return TrainingData(("x", "y"), np.arange(300) * 10**9, np.zeros(300, np.int32), values)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_comes_to_an_end(kind: str, tmp_path: Path) -> None:
    """Each thing done grows up to all there is of it, and the package is written last."""
    told: dict[str, list[tuple[int, int]]] = {}
    train(
        "m",
        "f",
        _data(),
        {},
        tmp_path / "m",
        TrainSettings(kind=kind),
        progress=lambda what, done, total: told.setdefault(what, []).append((done, total)),
    )

    assert next(iter(told)) == "cutting windows"
    assert list(told)[-2:] == ["scoring", "writing"]
    assert all(steps[-1][0] == steps[-1][1] for name, steps in told.items() if "epochs" not in name)
    assert len(told.get("growing trees", [])) == (10 if kind == "forest" else 0)
    assert (len(told.get("training epochs", [])) > 5) == (kind == "autoencoder")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the name of what is being done, and how much of it."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with on_terminal() as progress:
            progress("growing trees", 40, 100)
    # One reading gives what one drawing wrote, and there may be several.
    drawn = b""
    with contextlib.suppress(OSError):
        while part := os.read(ours, 1 << 16):
            drawn += part
    os.close(ours)
    shown = drawn.decode()

    assert "growing trees" in shown
    assert "40/100" in shown


def test_a_pipe_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs hold no bars."""
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with on_terminal() as progress:
        progress("growing trees", 40, 100)

    assert not pipe.getvalue()


def test_a_recording_without_faults_is_trained_on_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing on stderr; what was made on stdout."""
    data = _data()
    rows = [f"{1_700_000_000 + at},{x},{y}" for at, (x, y) in enumerate(data.values.tolist())]
    file = tmp_path / "a.csv"
    file.write_text("\n".join(["time,x,y", *rows]))
    arguments = ["model", "train", "--feed", "f", "--data", str(file), "--out"]

    assert main([*arguments, str(tmp_path / "m")]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("m 1 for feed f: mewma")
    assert not said.err
