"""``headgate init``: a working folder, whole or not at all."""

from __future__ import annotations

import resource
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import headgate
from headgate.cli import main

_ROOT = Path(__file__).parents[3]


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_working_folder_is_good_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its files are those of the project, and the first command that is named says yes."""
    folder = tmp_path / "my plant" / "gateway"

    assert main(["init", str(folder)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert main(["check", "-c", str(folder / "headgate.toml"), "--strict"]) == 0

    wheel = f"deploy/image/headgate-{headgate.__version__}-py3-none-any.whl"
    written = _files(folder)
    assert wheel in written
    for name in written - {wheel}:
        assert (folder / name).read_bytes() == (_ROOT / name).read_bytes()
    assert {path.name for path in folder.parent.iterdir()} == {"gateway"}
    for path in folder.iterdir():
        assert any(path.name in line for line in told if line.startswith("wrote ")), path
    check, run = (shlex.split(line) for line in told[-2:])
    assert check == ["headgate", "check", "-c", str(folder / "headgate.toml"), "--connect"]
    assert run == ["headgate", "run", "-c", str(folder / "headgate.toml")]


def test_a_folder_that_is_there_may_be_used(tmp_path: Path) -> None:
    """What else is in it stays."""
    (tmp_path / "notes.txt").write_text("mine")

    assert main(["init", str(tmp_path)]) == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "headgate.toml").is_file()


@pytest.mark.parametrize("name", ["headgate.toml", "models", ".dockerignore", "deploy"])
def test_nothing_is_overwritten(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names what is in the way, and nothing is written; a dead link is in the way too."""
    (tmp_path / name).symlink_to("nowhere")

    assert main(["init", str(tmp_path)]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / name}: expected nothing of that name")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says so."""
    (tmp_path / "file").touch()

    assert main(["init", str(tmp_path / "file" / "plant")]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path}/file/plant: expected a folder that can be written to")


def test_what_can_not_be_written_whole_is_not_written(tmp_path: Path) -> None:
    """Where the wheel finds no room any more, the files before it and the folders go again."""
    (tmp_path / "here").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "headgate.cli", "init", str(tmp_path / "here/new/gateway")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "expected a folder that can be written to" in line
    assert list((tmp_path / "here").iterdir()) == []


def test_the_wheel_has_no_secret_and_no_leavings(tmp_path: Path) -> None:
    """Not what people keep in deploy/compose, and nothing that Python or a tool leaves."""
    main(["init", str(tmp_path)])
    (wheel,) = (tmp_path / "deploy/image").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    assert len(names) == len(set(names))
    assert not [name for name in names if "/secrets/" in name or "__pycache__" in name]
    assert {name.partition("/")[0] for name in names} == {
        *("headgate", "streams", "connectors", "models"),
        f"headgate-{headgate.__version__}.dist-info",
    }
