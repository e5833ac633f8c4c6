"""``headgate components``: what is installed, and how it is configured."""

from __future__ import annotations

import json
import tomllib

import pytest

from headgate.cli import main
from headgate.core.components import GROUPS, installed, sample


def test_all_that_is_installed_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, with where it comes from."""
    assert main(["components", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(row["group"], row["name"]) for row in rows} == {
        (group, name) for group in GROUPS for name in installed(group)
    }
    assert main(["components"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(rows)
    assert any(line.split()[:4] == ["formats", "value", "built", "in"] for line in lines)


@pytest.mark.parametrize("name", ["value", "formats.value"])
def test_one_is_explained(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Its part of the configuration, as a file that can be read."""
    assert main(["components", name]) == 0
    out = capsys.readouterr().out
    assert sample(installed("formats")["value"]) in out
    assert tomllib.loads(out)["feed"]["hall"]["format"] == {"type": "value"}


def test_a_name_that_is_none_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2."""
    assert main(["components", "valeu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for group in GROUPS:
        assert all(f"{group}.{name}" in line for name in installed(group))
