"""The page on notifications: its tables can be used, and its keys are all there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connectors.sinks.apprise.addresses import not_understood
from connectors.sinks.notifications.config import NotificationsConfig
from headgate.config.load import load_config
from tests.unit.docs.test_docs import ROOT

_PAGE = (ROOT / "docs/notifications.md").read_text()
_TABLES = re.findall(r"```toml\n(.*?)```", _PAGE, re.DOTALL)

#: What tables name that do not show it themselves.
_REST = """
[feed.pump]
topic = "hall/{device}/pump"
channels.temperature = { unit = "°C" }
[feed.press-1]
topic = "hall/{device}/press"
channels.force = { unit = "kN" }
[rule]
overheated = { feed = "pump", when = "temperature > 80" }
dry = { feed = "pump", when = "temperature > 90" }
"""
_ADDRESSES = re.findall(r"^\| .* \| `(\w+://.*?)` \|$", _PAGE, re.MULTILINE)
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize("table", _TABLES, ids=lambda text: text.partition("]")[0])
def test_every_table_can_be_used(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the files and variables that it names."""
    for name in re.findall(r'_file = "(.*?)"', table):
        (tmp_path / name).write_text(_content(name))
    for name in re.findall(r'_env = "(.*?)"', table):
        monkeypatch.setenv(name, _content(name))
    (tmp_path / "headgate.toml").write_text(table + ("" if "[feed" in table else _REST))

    assert load_config(tmp_path / "headgate.toml").sink


def _content(name: str) -> str:
    if "urls" in name.lower():
        return "\n".join(_ADDRESSES)
    return _SECRET if "secret" in name.lower() else "https://hooks.example/T/B"


def test_every_key_is_told_with_its_default() -> None:
    """And none that there is not."""
    page = _PAGE.split("## What is told")[1]
    told = dict(re.findall(r"^\| `(\w+)` \| (\S.*?) \|", page, re.MULTILINE))
    fields = {each.alias or name: each for name, each in NotificationsConfig.model_fields.items()}

    assert told.keys() == fields.keys()
    for key in ("of", "feeds", "devices", "rules", "states"):
        words = ", ".join(f'"{each}"' for each in fields[key].default)
        assert told[key] == f"`[{words}]`"
    assert told["max_age"] == '`"1h"`'
    assert fields["max_age"].default == 3600 * 10**9
    assert fields["at_most"].default is fields["quiet"].default is None
    assert told["severity"] == f'`"{fields["severity"].default}"`'


def test_apprise_understands_every_address() -> None:
    """Those of the page on the sink, too."""
    page = (ROOT / "connectors/sinks/apprise/README.md").read_text()
    (examples,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)

    assert len(_ADDRESSES) == 4
    assert list(not_understood([*_ADDRESSES, *examples.splitlines()])) == []


def test_the_receiver_is_one() -> None:
    """It can at least be read."""
    (receiver,) = re.findall(r"```python\n(.*?)```", _PAGE, re.DOTALL)

    compile(receiver, "receiver", "exec")
