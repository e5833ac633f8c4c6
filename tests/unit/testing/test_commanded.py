"""``headgate test`` says which commands come of messages, whether they are dry runs or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.cli.main import main

_CONFIG = """\
[local_store]
[feed.tank]
topic = "tanks/{line}/{device}"
time = { path = "t", unit = "s" }
channels.level = { unit = "m" }
[rule.full]
feed = "tank"
when = "level > 3"
[actions]
topics = ["cmd/#"]
[action.close]
rules = ["full"]
states = ["open", "over"]
topic = "cmd/{line}/{device}"
payload = { valve = "{state}", until = "{expires}" }
at_most = { count = 2, span = "10m" }
answer = "said/{device}"
DRY
"""
_AT = 1767225600


def _messages(*levels: tuple[str, int, float, int]) -> str:
    """Of devices, s since the first, a level, and when it arrives."""
    return "".join(
        json.dumps(
            {
                "topic": f"tanks/a/{device}",
                "payload": {"t": _AT + at_s, "level": level},
                "time": f"2026-01-01T00:{arrives_s // 60:02}:{arrives_s % 60:02}Z",
            }
        )
        + "\n"
        for device, at_s, level, arrives_s in levels
    )


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A tank is full, and is not any more; another one had been; then a third is, and a fourth."""
    folder = tmp_path / "tank"
    folder.mkdir()
    levels = [
        *(("t1", second, 4 if 10 <= second < 20 else 2, second) for second in range(40)),
        *(("t2", second - 300, 4, second) for second in range(40, 50)),
        *(("t3", second, 4, second) for second in range(50, 60)),
    ]
    (folder / "config.toml").write_text(_CONFIG.replace("DRY", "dry_run = false"))
    (folder / "in.jsonl").write_text(_messages(*levels))
    return folder


def test_commands_are_written_and_compared(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with where it goes to, what it says, and why it is not sent."""
    assert main(["test", "--write", str(case)]) == 0
    assert "4 commands" in capsys.readouterr().out
    rows = [json.loads(line) for line in (case / "commands.jsonl").read_text().splitlines()]
    assert [(each["device"], each["event"], each["reason"]) for each in rows] == [
        ("t2", "open", "old"),
        ("t1", "open", ""),
        ("t1", "over", ""),
        ("t3", "open", "rate"),
    ]
    assert rows[1] == {
        "time": "2026-01-01T00:00:10.000Z",
        "action": "close",
        "event": "open",
        "feed": "tank",
        "device": "t1",
        "tags": {"line": "a"},
        "rule": "full",
        "severity": "major",
        "topic": "cmd/a/t1",
        "payload": '{"valve": "open", "until": "2026-01-01T00:00:40.000Z"}',
        "reason": "",
    }
    assert "commands," not in (case / "out.lp").read_text()
    assert main(["test", str(case)]) == 0
    # Before it goes live the same comes out.
    (case / "config.toml").write_text(_CONFIG.replace("DRY", ""))
    assert main(["test", str(case)]) == 0


def test_a_line_may_name_what_matters_only(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """But what is not said to be passed over is sent."""
    main(["test", "--write", str(case)])
    lines = [
        '{"device": "t1", "event": "open"}',
        '{"topic": "cmd/a/t1", "event": "over"}',
        '{"reason": "old"}',
        '{"device": "t3", "reason": "rate"}',
    ]
    (case / "commands.jsonl").write_text("\n".join(lines))
    assert main(["test", str(case)]) == 0
    (case / "commands.jsonl").write_text("\n".join([*lines[:3], '{"device": "t3"}']))
    capsys.readouterr()
    assert main(["test", str(case)]) == 1
    told = capsys.readouterr().out.splitlines()[1:]
    assert told[0] == '  commands.jsonl:4: did not come: {"reason": "", "device": "t3"}'
    assert told[1].startswith("  commands.jsonl: not expected: {")
    (case / "commands.jsonl").write_text('{"to": "cmd/a/t1"}\n')
    assert main(["test", str(case)]) == 2
    (case / "commands.jsonl").unlink()
    assert main(["test", str(case)]) == 1
