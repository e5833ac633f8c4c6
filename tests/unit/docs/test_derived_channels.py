"""The page on derived channels: its example, its tables and its feeds are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headgate.config.derived import DerivedConfig
from headgate.config.load import load_config
from headgate.core.expressions.nodes import FUNCTIONS
from headgate.core.expressions.parse import MAX_CHARACTERS, MAX_DEPTH, MAX_POWER
from headgate.testing.cases import play_case
from streams.stages.derive.spans import MAX_ROWS
from tests.unit.docs.test_docs import ROOT

_PAGE = (ROOT / "docs/derived-channels.md").read_text()
_FEEDS = re.findall(r"```toml\n(.*?)```", _PAGE, re.DOTALL)
_SINK = '\n[sink.local]\ntype = "local_store"\n'


def test_the_example_comes_out_as_the_page_says(tmp_path: Path) -> None:
    """Each field of the table has its value."""
    (tmp_path / "config.toml").write_text(_FEEDS[0] + _SINK)
    (tmp_path / "in.jsonl").write_text(re.findall(r"```json\n(.*?)```", _PAGE, re.DOTALL)[0])
    wanted = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", _PAGE, re.MULTILINE))

    outcome = play_case(tmp_path)

    (window,) = (line for line in outcome.points if line.startswith("meter_1m,"))
    fields = dict(field.split("=") for field in window.split(" ")[1].split(","))
    assert {name: float(fields[name].rstrip("i")) for name in wanted} == pytest.approx(
        {name: float(value) for name, value in wanted.items()}
    )
    assert len(wanted) == 4


@pytest.mark.parametrize("feed", _FEEDS, ids=lambda text: text.partition("]")[0])
def test_every_feed_can_be_used(feed: str, tmp_path: Path) -> None:
    """Units and all."""
    (tmp_path / "headgate.toml").write_text(feed + _SINK)

    (loaded,) = load_config(tmp_path / "headgate.toml").feed.values()
    assert loaded.derived


def test_every_function_and_key_is_told() -> None:
    """None that can be called is left out."""
    for name in FUNCTIONS:
        assert f"`{name}(" in _PAGE or re.search(rf"and .*`{name}`", _PAGE), name
    for key in DerivedConfig.model_fields:
        assert f"| `{key}` |" in _PAGE


def test_the_limits_are_those_that_hold() -> None:
    """As numbers in the text."""
    assert f"{MAX_CHARACTERS:,} characters and {MAX_DEPTH} parts" in _PAGE
    assert f"powers that are numbers are at most {MAX_POWER}" in _PAGE
    assert f"A span holds {MAX_ROWS:,} readings" in _PAGE
