"""A package that is not of the tree: installed beside the gateway, its components are used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.package import ModelPackage
from models.runtime import Runtime

_PROJECT = Path(__file__).parents[1] / "outside"
_CONFIG = """
[local_store]
[feed.pump]
topic = "plant/{device}"
format = { type = "semicolons", keys = ["flow", "pressure"] }
channels = { flow = {}, pressure = {} }
"""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the package is installed in, as pip does it."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(_PROJECT, folder / "project")
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", *options, "--no-build-isolation"),
            *("--target", str(folder / "site"), str(folder / "project")),
        ],
        check=True,
    )
    return folder / "site"


def _run(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", ""), str(site)]))
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_its_components_are_listed_and_explained(site: Path) -> None:
    """With the package that they come from."""
    done = _run(site, "-m", "headgate.cli", "components")
    (line,) = [line for line in done.stdout.splitlines() if " semicolons " in line]
    assert line.split() == [
        *("formats", "semicolons", "our-plant", "1.2"),
        *("values", "between", "semicolons"),
    ]
    done = _run(site, "-m", "headgate.cli", "components", "semicolons")
    assert 'keys = ["flow", "pressure"]' in done.stdout


def test_listing_loads_nothing_that_only_training_needs(site: Path) -> None:
    """A gateway need not have it installed."""
    code = (
        "import sys; from headgate.cli import main; main(['components']);"
        "sys.exit(str({'onnx', 'onnxruntime', 'scipy', 'sklearn', 'spox'} & {*sys.modules}))"
    )
    done = _run(site, "-c", code)
    assert "farthest" in done.stdout
    assert done.stderr.strip() == "set()"


def test_its_format_is_configured_as_any_other(site: Path, tmp_path: Path) -> None:
    """And a mistake in its table is told as any other is."""
    path = tmp_path / "headgate.toml"
    path.write_text(_CONFIG)
    done = _run(site, "-m", "headgate.cli", "check", "-c", str(path))
    assert done.returncode == 0, done.stderr

    path.write_text(_CONFIG.replace("keys", "kesy"))
    done = _run(site, "-m", "headgate.cli", "check", "-c", str(path))
    assert done.returncode == 2
    assert f'{path}:5: feed.pump.format.kesy: unknown key; did you mean "keys"?' in done.stderr


def test_its_cleaning_rule_works_as_any_other(site: Path, tmp_path: Path) -> None:
    """A reading that leaps, and the leap back, count as flagged, over a restart between the two."""
    path = tmp_path / "headgate.toml"
    path.write_text(
        _CONFIG.replace("pressure = {}", "pressure = { max_rate = { per_second = 0.5 } }")
        + 'period = "1s"\naggregates = [{ window = "8s" }]\n'
    )
    windows = str(_PROJECT / "windows.py")
    done = _run(site, windows, str(path))
    assert done.stdout.splitlines() == ["p1 6 2 3.30", "p2 8 0 5.00"], done.stderr

    path.write_text(path.read_text().replace("per_second = 0.5", "per_secnd = 0"))
    done = _run(site, "-m", "headgate.cli", "check", "-c", str(path))
    where = f"{path}:6: feed.pump.channels.pressure.max_rate"
    assert f'{where}.per_secnd: unknown key; did you mean "per_second"?' in done.stderr
    assert f"{where}.per_second: missing; this key is required" in done.stderr

    path.write_text(path.read_text().replace("max_rate", "max_rat"))
    done = _run(site, "-m", "headgate.cli", "check", "-c", str(path))
    assert f'{where[:-1]}: unknown key; did you mean "max_rate"?' in done.stderr


def test_its_cleaning_rule_is_held_to_the_laws_in_two_lines(site: Path) -> None:
    """Any cut, any restart, growth and forgetting."""
    code = "from headgate.testing.stages import hold_rule; hold_rule('max_rate')"
    done = _run(site, "-c", code)
    assert done.returncode == 0, done.stderr


def test_its_kind_of_model_is_trained(site: Path, tmp_path: Path) -> None:
    """By its name; the package runs where it is not installed."""
    rows = [f"{second},{second % 7},{-(second % 5)}" for second in range(300)]
    data = tmp_path / "healthy.csv"
    data.write_text("\n".join(["time,flow,pressure", *rows]))
    command = ("-m", "headgate.cli", "model", "train", "--feed", "pump", "--data", str(data))
    options = ("--time", "time", "--time-unit", "s", "--out", str(tmp_path / "m"))
    done = _run(site, *command, *options, "--kind", "farthest")
    assert done.returncode == 0, done.stderr
    assert "m 1 for feed pump: farthest (asked for)" in done.stdout
    assert Runtime(ModelPackage.load(tmp_path / "m")).run(np.full((1, 1, 2), 9, np.float32)).score

    done = _run(site, *command, *options, "--kind", "farhtest")
    assert "--kind: expected one of auto, " in done.stderr
    assert "farthest" in done.stderr


def test_its_format_is_held_to_the_laws_in_two_lines(site: Path) -> None:
    """Those that ours keep."""
    code = "from headgate.testing.formats import hold_format; hold_format('semicolons')"
    done = _run(site, "-c", code)
    assert done.returncode == 0, done.stderr
