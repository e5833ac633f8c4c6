"""``headgate alarms``: what is open, the worst first, and what was."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.logs.configured import open_log, topic, topic_specs
from headgate.cli import main
from headgate.config.load import load_config
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.log import ANOMALIES, Record, TopicPartition
from headgate.core.records import ALARMS_SCHEMA, alarms_record
from headgate.core.results import Alarm

#: Variables that may hold a user's name.
_NAMED_BY = {"LOGNAME", "USER", "LNAME", "USERNAME"}

_START_NS = 1_767_225_600 * NS_PER_S

_HOT = Alarm(
    "f",
    "p1\n",
    "hot",
    _START_NS,
    _START_NS + 30 * NS_PER_S,
    _START_NS + 30 * NS_PER_S,
    is_open=True,
    severity="major",
    text="p1: \u202e81 °C",
    part=(("phase", "b"),),
    tags=(("line", "a"),),
)
_DRY = replace(_HOT, rule="dry", severity="critical", device="p2", start_ns=_START_NS - 60, part=())
_STUCK = replace(_HOT, rule="sensor", severity="minor", device="p3", channel="flow", part=())


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gateway's configuration, and what its log holds of four alarms."""
    monkeypatch.setenv("COLUMNS", "160")
    path = tmp_path / "headgate.toml"
    path.write_text(
        f'[gateway]\ndata_dir = "{tmp_path}"\n[log]\npartitions = 2\n[local_store]\n'
        '[feed.f]\ntopic = "f/{line}/{device}"\n[feed.f.channels]\nx = {}\n'
    )
    asyncio.run(_fill(path))
    return path


async def _fill(path: Path) -> None:
    config = load_config(path)
    log = open_log(config, SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(config))
    first, second = (TopicPartition(topic(config, ANOMALIES), number) for number in range(2))
    over = replace(_HOT, is_open=False, time_ns=_START_NS + 90 * NS_PER_S)
    again = replace(_HOT, start_ns=_START_NS + 600 * NS_PER_S)
    broken = Record(b"no record", headers=(("schema", ALARMS_SCHEMA),))
    await log.append(first, [alarms_record([_HOT]), broken, alarms_record([over, again])])
    await log.append(second, [alarms_record([_DRY, _STUCK])])
    await log.stop()


def test_what_is_open_is_listed_the_worst_first(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each once, in its newest state, with what tells it from others."""
    assert main(["alarms", "-c", str(config_file)]) == 0

    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]
    assert [row[:5] for row in cells] == [
        ["critical", "dry", "p2 line=a", "2025-12-31 23:59:59", "open"],
        ["major", "hot", "p1\\n line=a phase=b", "2026-01-01 00:10:00", "open"],
        ["minor", "sensor", "p3 line=a flow", "2026-01-01 00:00:00", "open"],
    ]
    assert {tuple(row[5:]) for row in cells} == {("p1: \\u202e81 °C",)}
    assert out.endswith("alarms: 3 open\n")


def test_what_is_over_is_listed_when_it_is_asked_for(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind what is open."""
    assert main(["alarms", "-c", str(config_file), "--all", "--rule", "hot", "--json"]) == 0

    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["is_open"] for each in found] == [True, False]
    assert found[1] == {
        "rule": "hot",
        "severity": "major",
        "feed": "f",
        "device": "p1\n",
        "tags": {"line": "a"},
        "part": {"phase": "b"},
        "channel": None,
        "text": "p1: \u202e81 °C",
        "is_open": False,
        "is_acknowledged": False,
        "start": "2026-01-01T00:00:00.000000000Z",
        "opened": "2026-01-01T00:00:30.000000000Z",
        "over": "2026-01-01T00:01:30.000000000Z",
        "duration_s": 90.0,
        "notes": [],
    }
    assert main(["alarms", "-c", str(config_file), "--all"]) == 0
    assert capsys.readouterr().out.endswith("alarms: 3 open, 1 over\n")


def test_one_device_can_be_asked_for(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And where there is no alarm, that is said."""
    assert main(["alarms", "-c", str(config_file), "--device", "p3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["channel"] == "flow"
    assert main(["alarms", "-c", str(config_file), "--device", "p9"]) == 0
    assert capsys.readouterr().out == "alarms: 0 open\n"


def test_an_alarm_is_acknowledged_by_somebody(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once; who, when and what is said stands in the log, and all of it is listed."""
    answer = ["alarms", "-c", str(config_file), "--rule", "hot", "--acknowledge", "--json"]
    assert main([*answer, "--by", " anna ", "--comment", "a fitter is\non her way"]) == 0

    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (found["is_acknowledged"], found["is_open"]) == (True, True)
    (note,) = found["notes"]
    assert note["by"] == "anna"
    assert note["comment"] == "a fitter is\non her way"
    assert note["acknowledges"] is True
    assert note["time"] > "2026-01-01"

    # Without a comment nothing is to be said of what is acknowledged.
    assert main(answer) == 0
    assert capsys.readouterr().out == ""
    assert main(["alarms", "-c", str(config_file)]) == 0
    assert "anna: acknowledged, a fitter" in " ".join(
        capsys.readouterr().out.replace("│", " ").split()
    )
    assert main(["alarms", "-c", str(config_file), "--unacknowledged", "--json"]) == 0
    rules = [json.loads(line)["rule"] for line in capsys.readouterr().out.splitlines()]
    assert rules == ["dry", "sensor"]


def test_a_comment_acknowledges_nothing(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is of what is over, too, where that is asked for."""
    command = ["alarms", "-c", str(config_file), "--rule", "hot", "--all", "--json"]
    assert main([*command, "--comment", "known"]) == 0

    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["is_open"] for each in found] == [True, False]
    assert [each["is_acknowledged"] for each in found] == [False, False]
    assert [note["comment"] for each in found for note in each["notes"]] == ["known"] * 2


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--acknowledge"], "--rule or --device"),
        (["--comment", "x"], "--rule or --device"),
        (["--by", "anna"], "--acknowledge or --comment"),
        (["--rule", "hot", "--comment", " "], "--comment: expected a text of 1 to 1,000"),
        (["--rule", "hot", "--acknowledge", "--by", "n" * 101], "--by: expected a text"),
    ],
)
def test_an_answer_says_what_it_is_of(
    config_file: Path, capsys: pytest.CaptureFixture[str], options: list[str], what: str
) -> None:
    """Nobody acknowledges everything by mistake."""
    assert main(["alarms", "-c", str(config_file), *options]) == 2
    assert what in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without a name")
def test_who_has_no_name_must_give_one() -> None:
    """As in a container that runs under a number without a user."""
    code = "import os; from headgate.cli.alarms import _user; os.setuid(54321); _user()"
    bare = {key: os.environ[key] for key in os.environ.keys() - _NAMED_BY}
    done = subprocess.run(
        [sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=False
    )

    said = "headgate.core.errors.ConfigError: --by: expected the name of who says it"
    assert done.stderr.splitlines()[-1].startswith(said)
