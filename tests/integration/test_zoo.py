"""The shipped models can be made again by the commands in their README."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import models
from headgate.cli import main
from models.package import ModelPackage

_ZOO = Path(models.__file__).parent / "zoo"


def test_the_pump_model_is_what_its_readme_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same data, same normalization, same threshold; the last bits are the processor's."""
    pytest.importorskip("onnx", reason="install the extra train")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(_ZOO.parent)
    lines = (_ZOO / "README.md").read_text().splitlines()
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("    headgate ")]
    simulate, train = commands
    assert train[-2:] == ["--out", "models/zoo/pump"]
    assert main(simulate) == 0
    assert main([*train[:-1], str(tmp_path / "pump")]) == 0
    again = ModelPackage.load(tmp_path / "pump").manifest
    shipped = ModelPackage.load(_ZOO / "pump").manifest
    assert again.framing == shipped.framing
    assert again.training.rows == shipped.training.rows == 240_000
    assert again.alarm.threshold == pytest.approx(shipped.alarm.threshold, rel=1e-3)
    for ours, theirs in zip(again.channels, shipped.channels, strict=True):
        assert (ours.name, ours.unit) == (theirs.name, theirs.unit)
        assert ours.offset == pytest.approx(theirs.offset, rel=1e-6)
        assert ours.scale == pytest.approx(theirs.scale, rel=1e-6)
