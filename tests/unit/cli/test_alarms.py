"""``headgate alarms``: what is open, the worst first, and what was."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from connectors.logs.configured import open_log, topic, topic_specs
from connectors.sinks.points import alarm_note_points
from headgate.cli import main
from headgate.config.load import load_config
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.log import ANOMALIES, Record, TopicPartition
from headgate.core.records import (
    ALARMS_SCHEMA,
    OLD_ALARM_NOTES_SCHEMA,
    alarms_record,
    encode_alarm_notes,
)
from headgate.core.results import Alarm, AlarmNote
from headgate.inspect.alarms import known_alarms
from headgate.testing import ManualClock

#: Variables that may hold a user's name.
_NAMED_BY = {"LOGNAME", "USER", "LNAME", "USERNAME"}

_OLD_ALARM_NOTES = (("schema", OLD_ALARM_NOTES_SCHEMA),)

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


async def _append(path: Path, *what: Alarm | Record) -> None:
    """More of the devices p1 and p2, in the partition that has what was said of them."""
    config = load_config(path)
    log = open_log(config, SystemClock())
    await log.start()
    for each in what:
        record = alarms_record([each]) if isinstance(each, Alarm) else each
        await log.append(TopicPartition(topic(config, ANOMALIES), 1), [record])
    await log.stop()


async def _notes(path: Path) -> list[AlarmNote]:
    config = load_config(path)
    log = open_log(config, SystemClock())
    await log.start()
    try:
        return [note for each in await known_alarms(config, log) for note in each.notes]
    finally:
        await log.stop()


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
        "is_shelved": False,
        "shelved_until": None,
        "shelved_by": None,
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


def _rules(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["rule"] for line in capsys.readouterr().out.splitlines()]


def test_what_is_shelved_is_out_of_sight_for_so_long(
    config_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how much that is; until then it opens anew in vain, and then it is there again."""
    clock = ManualClock(_START_NS + 3600 * NS_PER_S)
    monkeypatch.setattr("headgate.core.clock.SystemClock", lambda: clock)
    listing = ["alarms", "-c", str(config_file)]
    answer = [*listing, "--rule", "hot", "--shelve", "8h", "--by", "anna", "--comment", "a fan"]
    assert main([*answer, "--json"]) == 0

    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (found["is_shelved"], found["is_acknowledged"]) == (True, False)
    assert (found["shelved_until"], found["shelved_by"]) == (
        "2026-01-01T09:00:00.000000000Z",
        "anna",
    )
    (note,) = found["notes"]
    assert (note["until"], note["comment"]) == (found["shelved_until"], "a fan")

    anew = replace(_HOT, start_ns=_START_NS + 7200 * NS_PER_S)
    other = replace(anew, part=(("phase", "c"),))
    asyncio.run(_append(config_file, anew, other))
    clock.advance(8 * 3600 - 0.001)
    assert main([*listing, "--json"]) == 0
    assert _rules(capsys) == ["dry", "hot", "sensor"]  # the hot one is of another part
    assert main(listing) == 0
    assert capsys.readouterr().out.endswith(
        "alarms: 3 open, 1 shelved (1 out of sight; --shelved lists them)\n"
    )
    assert main([*listing, "--shelved"]) == 0
    said = capsys.readouterr().out
    assert "│ 2026-01-01 09:00:00 by anna │" in said
    assert "2026-01-01 02:00:00" in said  # since when: the newest is shown
    assert said.endswith("alarms: 0 open, 1 shelved\n")
    assert main([*listing, "--all", "--json"]) == 0
    assert len(_rules(capsys)) == 6

    clock.advance(0.001)
    assert main([*listing, "--json"]) == 0
    assert sorted(_rules(capsys)) == ["dry", "hot", "hot", "hot", "sensor"]
    assert main([*listing, "--shelved"]) == 0
    assert capsys.readouterr().out == "alarms: 0 open\n"


def test_what_is_shelved_is_taken_off_the_shelf(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also while it is over; and whoever shelves it again has the last word."""
    listing = ["alarms", "-c", str(config_file)]
    shelve = [*listing, "--device", "p2", "--json", "--by", "anna", "--shelve"]
    assert main([*shelve, "1h"]) == 0
    assert main([*shelve, "2h"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["shelved_until"] < second["shelved_until"] == second["notes"][1]["until"]
    asyncio.run(_append(config_file, replace(_DRY, is_open=False)))

    assert main([*listing, "--device", "p2", "--unshelve", "--by", "ben"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "ben: unshelved" in said
    assert "anna: shelved until 20" in said
    assert "alarms: 0 open, 1 over" in said
    asyncio.run(_append(config_file, replace(_DRY, start_ns=_START_NS)))
    assert main([*listing, "--device", "p2"]) == 0
    assert capsys.readouterr().out.endswith("alarms: 1 open\n")
    assert main([*listing, "--device", "p2", "--unshelve", "--by", "ben"]) == 0
    assert capsys.readouterr().out == "alarms: 0 open\n"  # nothing is


def test_what_was_said_before_alarms_could_be_shelved_is_read(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an older version wrote it."""
    note = AlarmNote("f", "p2", "dry", "", _DRY.start_ns, 1, "anna", True, "", (), _DRY.tags)
    written = pa.ipc.open_stream(encode_alarm_notes([note])).read_all().drop_columns(["until"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, written.schema) as writer:
        writer.write_table(written)
    asyncio.run(
        _append(config_file, Record(sink.getvalue().to_pybytes(), headers=_OLD_ALARM_NOTES))
    )

    assert main(["alarms", "-c", str(config_file), "--device", "p2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["is_acknowledged"], found["is_shelved"]) == (True, False)
    assert [each["until"] for each in found["notes"]] == [None]


def test_each_of_several_is_answered_by_itself(config_file: Path) -> None:
    """Two of one rule at one device are two points in every sink."""
    command = ["alarms", "-c", str(config_file), "--rule", "hot", "--all", "--json", "--by", "a"]
    assert main([*command, "--comment", "known"]) == 0

    notes = asyncio.run(_notes(config_file))
    lines = [point.line() for point in alarm_note_points(notes, "gateway")]
    assert len({line.rpartition(" ")[2] for line in lines}) == len(lines) == 2


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--acknowledge"], "--rule or --device"),
        (["--comment", "x"], "--rule or --device"),
        (["--shelve", "8h"], "--rule or --device"),
        (["--unshelve"], "--rule or --device"),
        (["--rule", "hot", "--shelve", "8h", "--unshelve"], "expected one of them, got both"),
        (["--rule", "hot", "--shelve", "8"], "--shelve: "),
        (["--rule", "hot", "--shelve", "0s"], 'more than "0s" and at most "3d"'),
        (["--rule", "hot", "--shelve", "73h"], 'at most "3d", for which the log keeps it'),
        (["--by", "anna"], "expected one of --acknowledge, --shelve, --unshelve, --comment"),
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
