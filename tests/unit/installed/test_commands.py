"""Commands that install Headgate name what is there to be installed: its wheel."""

from __future__ import annotations

import re
from pathlib import Path

import headgate
from headgate.installed.extras import with_extra

_ROOT = Path(__file__).parents[3]


def _texts() -> dict[Path, str]:
    """All that people read and type from: documentation, unit file, Makefile, messages."""
    files = [*_ROOT.glob("*"), *(_ROOT / "deploy").rglob("*"), *(_ROOT / "docs").rglob("*")]
    for package in ("headgate", "streams", "connectors", "models", "benchmarks"):
        files += (_ROOT / package).rglob("*")
    kinds = (".md", ".py", ".toml", ".service", ".sh", ".yml", "")
    return {
        path: path.read_text(encoding="utf-8")
        for path in files
        if path.is_file() and path.suffix in kinds and path.name[0] != "."
    }


def test_no_command_asks_an_index_for_headgate() -> None:
    """No index has it, and somebody else could put their own there under its name."""
    asking = r"(?:pip|pipx|uv tool) install (?:[^\n`]*['\"\s])?['\"]?headgate(?:[\['\"\s=<>~]|$)"
    found = {
        str(path.relative_to(_ROOT)): match[0]
        for path, text in _texts().items()
        if (match := re.search(asking, text, re.MULTILINE))
    }

    assert re.search(asking, "x && pip install headgate\n", re.MULTILINE)
    assert re.search(asking, "pip install 'headgate[train]'")
    assert found == {}


def test_the_wheel_is_called_by_its_name() -> None:
    """The version in each command is that of this release."""
    named = {
        (str(path.relative_to(_ROOT)), version)
        for path, text in _texts().items()
        for version in re.findall(r"headgate-(\d[^-\s]*)-py3-none-any\.whl", text)
    }

    assert {path for path, _ in named} >= {"README.md", "deploy/systemd/headgate.service"}
    assert {version for _, version in named} == {headgate.__version__}


def test_an_extra_is_told_with_the_wheel() -> None:
    """In quotes, because brackets are the shell's."""
    wheel = f"./headgate-{headgate.__version__}-py3-none-any.whl"
    assert with_extra("train").startswith(f"pip install '{wheel}[train]' ")
