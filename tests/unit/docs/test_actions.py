"""The page on commands: its tables can be used, and its keys, names, states and reasons are all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headgate.config.action import MAX_ACTIONS, PAYLOAD_NAMES, ActionConfig, ActionsConfig
from headgate.config.load import load_config
from headgate.core import commands
from tests.unit.docs.test_docs import ROOT

_PAGE = (ROOT / "docs/actions.md").read_text()
_TABLES = re.findall(r"```toml\n(.*?)```", _PAGE, re.DOTALL)

#: What the second one names and does not show itself.
_REST = """
[feed.pump]
topic = "plant/{line}/{device}/telemetry"
channels.temperature = { unit = "°C" }
[rule]
overheated = { feed = "pump", when = "temperature > 80" }
[sink.store]
type = "local_store"
"""


@pytest.mark.parametrize("table", _TABLES, ids=["first", "others"])
def test_every_table_can_be_used(table: str, tmp_path: Path) -> None:
    """As it stands on the page."""
    (tmp_path / "headgate.toml").write_text(table + ("" if "[feed" in table else _REST))

    assert load_config(tmp_path / "headgate.toml").action


def test_every_key_is_told_with_its_default() -> None:
    """And none that there is not."""
    page = _PAGE.split("## The table")[1].split("## Where a command may go")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (\S.*?) \|", page, re.MULTILINE))
    fields = ActionConfig.model_fields

    assert told.keys() == fields.keys()
    assert list(ActionsConfig.model_fields) == ["topics"]
    assert f"A file has {MAX_ACTIONS} of them at most" in page
    for key in ("of", "feeds", "devices", "states"):
        words = ", ".join(f'"{each}"' for each in fields[key].default)
        assert told[key] == f"`[{words}]`"
    for key, shown in (("timeout", "10s"), ("max_age", "30s")):
        assert told[key] == f'`"{shown}"`'
        assert fields[key].default == int(shown[:-1]) * 10**9
    assert told["qos"] == f"`{fields['qos'].default}`"
    assert (told["retain"], told["dry_run"]) == ("`false`", "`true`")
    assert (fields["retain"].default, fields["dry_run"].default) == (False, True)
    assert told["at_most"] == '`{ count = 10, span = "1m" }`'
    limit = fields["at_most"].default
    assert (limit.count, limit.span) == (10, 60 * 10**9)


def test_every_name_is_told() -> None:
    """As they may stand in braces."""
    (told,) = re.findall(
        r"^\*\*Names in braces\*\*.*?(?=Values of channels)", _PAGE, re.MULTILINE | re.DOTALL
    )
    names = set(re.findall(r"`(\w+)`", told))

    assert names - {"open", "over", "max_age"} == set(PAYLOAD_NAMES)


def test_every_state_and_reason_is_told() -> None:
    """In the table of what becomes of a command, and none that there is not."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\| ", _PAGE.split("## What becomes")[1], re.MULTILINE)
    told = {state for state, _ in rows}
    reasons = {each for _, cell in rows for each in re.findall(r"`(\w+)`", cell)}
    constants = {value for name, value in vars(commands).items() if name.isupper()}

    assert told == set(commands.STATES)
    assert reasons == {each for each in constants if isinstance(each, str)} - told


def test_the_device_is_one() -> None:
    """It can at least be read."""
    (device,) = re.findall(r"```python\n(.*?)```", _PAGE, re.DOTALL)

    compile(device, "device", "exec")
