"""``headgate components``: what is installed, and how it is configured."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from headgate.cli import main
from headgate.config.preset import presets
from headgate.core.components import GROUPS, installed, sample


def test_all_that_is_installed_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, with where it comes from."""
    assert main(["components", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(row["group"], row["name"]) for row in rows} == {
        *((group, name) for group in GROUPS for name in installed(group)),
        *(("presets", name) for name in presets()),
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


def test_presets_are_listed_and_say_what_they_stand_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As a feed that could stand in a file."""
    assert main(["components"]) == 0
    listed = capsys.readouterr().out
    assert main(["components", "presets.zigbee2mqtt"]) == 0
    shown = capsys.readouterr().out

    assert re.search(r"^presets +zigbee2mqtt +built in +Zigbee2MQTT: ", listed, re.MULTILINE)
    assert shown.startswith('## preset = "zigbee2mqtt" stands for\n## Zigbee2MQTT: ')
    feed = tomllib.loads(shown)["feed"]["zigbee2mqtt"]
    assert feed["topic"] == "zigbee2mqtt/{device}"


def test_a_component_and_a_preset_of_one_name_are_both_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each after the other."""
    assert main(["components", "sparkplug"]) == 0

    shown = capsys.readouterr().out
    assert "## formats.sparkplug" in shown
    assert '## preset = "sparkplug" stands for' in shown


def test_check_says_what_a_preset_stands_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """In a line for each feed that has one."""
    file = tmp_path / "headgate.toml"
    file.write_text(
        '[sink.store]\ntype = "local_store"\n[feed.homie]\npreset = "homie"\n'
        '[feed.lora]\npreset = "chirpstack"\nother_channels = false\n'
    )

    assert main(["check", "-c", str(file)]) == 0

    lines = capsys.readouterr().out.splitlines()
    homie = (
        "feed.homie: preset homie: homie/{device}/{node}/{channel}, without homie/$broadcast/# and "
        "7 more, availability by homie/{device}/$state, value, every number; "
    )
    assert lines[1].startswith(homie)
    assert "json, lora_rssi, lora_snr; `headgate components presets.chirpstack`" in lines[2]
