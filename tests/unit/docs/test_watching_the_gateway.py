"""The page on watching the gateway: its alarm, its channels and its five rules are right."""

from __future__ import annotations

import re
from pathlib import Path

from headgate.config.load import load_config
from headgate.config.preset import presets
from headgate.testing.cases import play_case
from tests.unit.docs.test_docs import ROOT

_PAGE = (ROOT / "docs/watching-the-gateway.md").read_text()
_FIRST, _FIVE = re.findall(r"```toml\n(.*?)```", _PAGE, re.DOTALL)
_SINK = '\n[sink.local]\ntype = "local_store"\n'


def test_the_example_comes_out_as_the_page_says(tmp_path: Path) -> None:
    """The one alarm that there is, to the letter."""
    (tmp_path / "config.toml").write_text(_FIRST + _SINK)
    (tmp_path / "in.jsonl").write_text(re.findall(r"```json\n(.*?)```", _PAGE, re.DOTALL)[0])

    points = play_case(tmp_path).points

    assert [line for line in points if line.startswith("alarms,")] == re.findall(
        r"^alarms,.*$", _PAGE, re.MULTILINE
    )


def test_the_five_can_be_used(tmp_path: Path) -> None:
    """Each is another, and of a channel that there is."""
    (tmp_path / "headgate.toml").write_text(_FIVE + _SINK)

    assert len(load_config(tmp_path / "headgate.toml").rule) == 5


def test_every_channel_is_told_with_its_unit() -> None:
    """And none that there is not."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?)\|", _PAGE, re.MULTILINE)
    channels = presets()["gateway"].feed["channels"]

    assert {name: unit.strip() for name, unit in rows} == {
        name: channel.get("unit", "") for name, channel in channels.items()
    }


def test_a_channel_of_ones_own_may_be_of_one_broker(tmp_path: Path) -> None:
    """As the page shows it."""
    (own,) = re.findall(r"`(hall = \{.*?\})`", _PAGE)
    text = f"{_FIRST}[feed.gateway.channels]\n{own}\n{_SINK}"
    (tmp_path / "config.toml").write_text(text.replace("oldest_waiting > 3600", "hall == 0"))
    line = (
        r'{"topic": "gateway/gauges", "payload": "{\"gateway\": \"g\", \"oldest_waiting\": 9, '
        r'\"sources\": {\"hall\": {\"connected\": %d}}}"}'
    )
    (tmp_path / "in.jsonl").write_text(f"{line % 1}\n{line % 0}\n{line % 0}\n")

    (alarm,) = [line for line in play_case(tmp_path).points if line.startswith("alarms,")]
    assert "rule=backlog" in alarm
