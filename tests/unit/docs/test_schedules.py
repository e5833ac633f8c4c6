"""The page on schedules: its example comes out as it says, and its keys are all there are."""

from __future__ import annotations

import re
from pathlib import Path

from headgate.config.rule import RuleConfig
from headgate.config.schedule import MAX_SCHEDULES, ScheduleConfig
from headgate.testing.cases import play_case
from tests.unit.docs.test_docs import ROOT

_PAGE = (ROOT / "docs/schedules.md").read_text()
_SINK = '\n[sink.local]\ntype = "local_store"\n'


def test_the_example_comes_out_as_the_page_says(tmp_path: Path) -> None:
    """The one alarm that there is, to the letter."""
    (example,) = re.findall(r"```toml\n(.*?)```", _PAGE, re.DOTALL)
    (messages,) = re.findall(r"```json\n(.*?)```", _PAGE, re.DOTALL)
    (tmp_path / "config.toml").write_text(example + _SINK)
    (tmp_path / "in.jsonl").write_text(messages)

    points = play_case(tmp_path).points

    assert [line for line in points if line.startswith("alarms,")] == re.findall(
        r"^alarms,.*$", _PAGE, re.MULTILINE
    )


def test_every_key_is_told() -> None:
    """Those of a schedule with their defaults, and those that name one."""
    table, rules = _PAGE.split("## Of a rule")
    told = dict(re.findall(r"^\| `(\w+)` \| (\S.*?) \|", table, re.MULTILINE))
    fields = {each.alias or name: each for name, each in ScheduleConfig.model_fields.items()}

    assert told.keys() == fields.keys()
    assert told["zone"] == f'`"{fields["zone"].default}"`'
    assert f"A file has {MAX_SCHEDULES} of them" in table
    of_rules = {each.alias or name for name, each in RuleConfig.model_fields.items()}
    assert {*re.findall(r"^\| `(\w+)`", rules, re.MULTILINE)} <= of_rules
