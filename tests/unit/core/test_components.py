"""Components are found by group and name, whoever brings them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.core.components import BUILT_IN, component, installed, sample
from headgate.core.errors import ConfigError


@pytest.fixture(autouse=True)
def _found_anew() -> Iterator[None]:
    installed.cache_clear()
    yield
    installed.cache_clear()


def bring(monkeypatch: pytest.MonkeyPatch, folder: Path, points: str, code: str = "") -> None:
    """Have a distribution installed that has these entry points in ``headgate.formats``."""
    info = folder / "their_plant-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-plant\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(f"[headgate.formats]\n{points}\n")
    (folder / "their_plant.py").write_text(code)
    monkeypatch.syspath_prepend(folder)


def test_the_built_in_ones_are_there() -> None:
    """Each loads, says in a line what it is, and has a sample of its configuration."""
    for found in installed("formats").values():
        if found.origin == BUILT_IN:
            assert found.load().about[-1].isalnum()
            assert f'type = "{found.name}"' in sample(found)


def test_another_package_brings_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is told from which."""
    code = (
        "from headgate.config.format import FormatConfig\n"
        "from headgate.core.components import Component\n"
        "LINES = Component('lines', FormatConfig, print)\n"
    )
    bring(monkeypatch, tmp_path, "lines = their_plant:LINES", code)

    assert installed("formats")["lines"].origin == "their-plant 2.0"
    assert component("formats", "lines").make is print


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("raise OSError('no licence')", "OSError: no licence"),
        ("", "AttributeError: module 'their_plant' has no attribute 'LINES'"),
        ("LINES = 5", "expected a Component, got int"),
    ],
)
def test_one_that_is_broken_says_whose_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, what: str
) -> None:
    """Whatever it raises; the others are not affected."""
    bring(monkeypatch, tmp_path, "lines = their_plant:LINES", code)
    monkeypatch.delitem(sys.modules, "their_plant", raising=False)

    assert component("formats", "json").about
    with pytest.raises(ConfigError) as caught:
        component("formats", "lines")
    assert str(caught.value) == (
        "headgate.formats: lines (their-plant 2.0) can't be loaded from their_plant:LINES: " + what
    )


def test_two_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would not be clear which is meant."""
    bring(monkeypatch, tmp_path, "json = their_plant:JSON")

    with pytest.raises(ConfigError, match="json is there twice, built in and from their-plant"):
        installed("formats")


def test_a_name_that_is_none_is_answered_with_the_nearest() -> None:
    """And with all that there are."""
    with pytest.raises(ConfigError) as caught:
        component("formats", "jsno")
    known = ", ".join(sorted(installed("formats")))
    assert str(caught.value) == f'expected one of {known}; did you mean "json"?'
