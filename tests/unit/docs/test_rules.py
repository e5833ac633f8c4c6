"""The page on rules: its example, its table and its twelve rules are right."""

from __future__ import annotations

import re
from pathlib import Path

from headgate.config.load import load_config
from headgate.config.rule import MAX_RULES, RuleConfig
from headgate.testing.cases import play_case
from tests.unit.docs.test_docs import ROOT

_PAGE = (ROOT / "docs/rules.md").read_text()
_FIRST, _SUPPRESSED, _TWELVE = re.findall(r"```toml\n(.*?)```", _PAGE, re.DOTALL)
_SINK = '\n[sink.local]\ntype = "local_store"\n'


def test_the_example_comes_out_as_the_page_says(tmp_path: Path) -> None:
    """The one alarm that there is, to the letter."""
    (tmp_path / "config.toml").write_text(_FIRST + _SINK)
    (tmp_path / "in.jsonl").write_text(re.findall(r"```json\n(.*?)```", _PAGE, re.DOTALL)[0])

    points = play_case(tmp_path).points

    assert [line for line in points if line.startswith("alarms,")] == re.findall(
        r"^alarms,.*$", _PAGE, re.MULTILINE
    )


def test_the_twelve_can_be_used(tmp_path: Path) -> None:
    """Units and all; and there are twelve."""
    (tmp_path / "headgate.toml").write_text(_TWELVE + _SINK)

    assert len(load_config(tmp_path / "headgate.toml").rule) == 12


def test_those_that_are_suppressed_can_be_used(tmp_path: Path) -> None:
    """And suppress one another in no circle."""
    (tmp_path / "headgate.toml").write_text(_SUPPRESSED + _SINK)

    assert [*load_config(tmp_path / "headgate.toml").rule] == ["off", "no_flow", "no_pressure"]


def test_every_key_is_told_with_its_default() -> None:
    """And none that there is not."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?)\|", _PAGE, re.MULTILINE)
    told = {key: default.strip() for key, default in rows}
    fields = {field.alias or name: field for name, field in RuleConfig.model_fields.items()}

    assert told.keys() == fields.keys()
    for key in ("for", "clear_for"):
        assert (told[key], fields[key].default) == ('`"0s"`', 0)
    assert RuleConfig(feed=("f",), offline=True).given_severity == "major"
    assert f"A file has {MAX_RULES} of them" in _PAGE
