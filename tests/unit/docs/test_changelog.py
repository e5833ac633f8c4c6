"""What has changed and is not released yet: files that make a section of the changelog."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.unit.docs.test_docs import ROOT, broken_links

_FOLDER = ROOT / "changelog.d"
_CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
_KINDS = [each["directory"] for each in _CONFIG["type"]]
_FRAGMENTS = sorted(path.name for path in _FOLDER.glob("*") if path.name != "README.md")
_START = "# Changelog\n\n" + _CONFIG["start_string"] + "\n## 0.1.0\n\n- The first.\n"


def _problems(name: str, text: str) -> list[str]:
    """What is wrong with a file of the folder; its links are as from the changelog."""
    problems = []
    if not re.fullmatch(rf"\+[a-z0-9]+(-[a-z0-9]+)*\.({'|'.join(_KINDS)})\.md", name):
        problems.append("name")
    if not re.match(r"[\w`*\"]", text):
        problems.append("text")
    return [*problems, *broken_links(text, ROOT / "CHANGELOG.md")]


@pytest.mark.parametrize("name", _FRAGMENTS)
def test_a_fragment_has_a_known_kind_and_a_text(name: str) -> None:
    """And its links lead somewhere once it stands in the changelog."""
    assert _problems(name, (_FOLDER / name).read_text()) == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("+a-thing.feature.md", "A thing.\n", "name"),
        ("12.added.md", "A thing.\n", "name"),
        ("+a-thing.added.rst", "A thing.\n", "name"),
        ("+a-thing.added.md", "", "text"),
        ("+a-thing.added.md", "\n", "text"),
        ("+a-thing.added.md", "- A thing.\n", "text"),
        ("+a-thing.added.md", "A thing ([how](docs/nowhere.md)).\n", "docs/nowhere.md"),
    ],
)
def test_a_fragment_that_is_none_is_told(name: str, text: str, problem: str) -> None:
    """Each mistake by itself."""
    assert _problems(name, text) == [problem]


def test_the_page_of_the_folder_names_the_kinds() -> None:
    """All of them, in the order in which they come."""
    page = (_FOLDER / "README.md").read_text()

    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == _KINDS


def _build(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["build", "--yes", "--version", "9.8.7", "--date", "2027-01-02"]
    return subprocess.run(
        [sys.executable, "-m", "towncrier", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with the fragments there are, one of each kind more, and a changelog."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(_FOLDER, tmp_path / "changelog.d")
    for kind in _KINDS:
        (tmp_path / f"changelog.d/+of-a-test.{kind}.md").write_text(f"It is {kind},\nand told.\n")
    (tmp_path / "CHANGELOG.md").write_text(_START)
    return tmp_path


def test_the_fragments_make_a_section(folder: Path) -> None:
    """Above the releases before, kind by kind, each as an item; then they are gone."""
    texts = [path.read_text() for path in (folder / "changelog.d").glob("+*")]
    done = _build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    changelog = (folder / "CHANGELOG.md").read_text()
    section, before = changelog.split("\n## 0.1.0\n")

    assert section.startswith(_START.split("\n## 0.1.0")[0] + "\n## 9.8.7 (2027-01-02)\n")
    headings = re.findall(r"^### (.*)$", section, re.MULTILINE)
    assert headings == [each["name"] for each in _CONFIG["type"]]
    parts = dict(zip(_KINDS, re.split(r"^### .*$", section, flags=re.MULTILINE)[1:], strict=True))
    for kind, part in parts.items():
        assert f"\n- It is {kind},\n  and told.\n" in part
    for text in texts:
        assert "- " + text.strip().replace("\n", "\n  ") + "\n" in section
    assert section.count("\n- ") == len(texts)
    assert before == "\n- The first.\n"
    assert [path.name for path in (folder / "changelog.d").iterdir()] == ["README.md"]


def test_a_kind_that_nobody_knows_is_refused(folder: Path) -> None:
    """It would be left out of the release without a word."""
    (folder / "changelog.d/+another.feature.md").write_text("It is new.\n")
    done = _build(folder)

    assert done.returncode != 0
    assert "+another.feature.md" in done.stdout + done.stderr
    assert (folder / "CHANGELOG.md").read_text() == _START


def test_the_changelog_has_the_place_for_the_next_release() -> None:
    """Once, above all that there are."""
    above, _, below = (ROOT / "CHANGELOG.md").read_text().partition(_CONFIG["start_string"])

    assert "\n## " not in above
    assert "\n## 0.1.0" in below
    assert _CONFIG["start_string"] not in below
