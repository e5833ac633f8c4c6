"""``headgate action test``: the command that an alarm would give, shown or sent."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from connectors.logs.configured import open_log, topic_specs
from headgate.cli import main
from headgate.config.load import load_config
from headgate.core.clock import SystemClock
from headgate.inspect.commands import known_commands
from tests.commanded import CommandedDevice, Taken
from tests.mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(60)]

_FILE = """
[feed.pump]
topic = "hall/{line}/{device}"
channels.temperature = {}
[rule]
hot = { feed = "pump", when = "temperature > 80" }
[sink.here]
type = "local_store"
[actions]
topics = ["cmd/a/+"]
[action.stop]
rules = ["hot"]
topic = "cmd/{line}/{device}"
answer = "said/{device}"
timeout = "1s"
"""


def _write(folder: Path, port: int) -> str:
    """The configuration, and a log as a gateway leaves one; what names it."""
    file = folder / "headgate.toml"
    head = f'[gateway]\ndata_dir = "{folder / "data"}"\n[mqtt]\nport = {port}\n'
    file.write_text(head + _FILE)

    async def make() -> None:
        config = load_config(file)
        log = open_log(config, SystemClock())
        await log.start()
        await log.ensure_topics(topic_specs(config))
        await log.stop()

    asyncio.run(make())
    return str(file)


def _commands(file: str) -> list[str]:
    """What has become of those that the log has."""

    async def read() -> list[str]:
        config = load_config(Path(file))
        log = open_log(config, SystemClock())
        await log.start()
        found = await known_commands(config, log)
        await log.stop()
        return [f"{each.device} {each.state} {each.reason}".strip() for each in found]

    return asyncio.run(read())


def _send(file: str, *more: str) -> tuple[int, str]:
    """Run it for the device p1 in a process of its own; exit code and output."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "headgate.cli", "action", "test", "stop", "-c", file),
            *("--device", "p1", "--tag", "line=a", *more),
        ],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout


def test_nothing_is_sent_unless_it_is_asked_for(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """It is a dry run, and that does not matter here."""
    file = _write(tmp_path, mosquitto.port)

    def answers(taken: Taken) -> list[tuple[str, bytes, bytes]]:
        return [("said/p1", taken.payload, b"")]

    with CommandedDevice(mosquitto.port, answers=answers) as device:
        shown = _send(file)
        assert device.taken == []
        sent = _send(file, "--send")

    assert shown[0] == sent[0] == 0
    assert re.search(r'^stop: to cmd/a/p1: \{"id": "', shown[1], re.MULTILINE)
    assert "stop: not sent; --send sends it" in shown[1]
    assert re.search(r"^stop: answered after \d+\.\d\d s: ", sent[1], re.MULTILINE)
    (taken,) = device.taken
    assert taken.json["text"] == "p1: a test of the action stop"
    assert _commands(file) == ["p1 answered"]


def test_no_answer_is_a_failure(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Written down as any other."""
    file = _write(tmp_path, mosquitto.port)
    code, said = _send(file, "--send")

    assert code == 1
    assert "stop: failed (no_answer): no answer came in time" in said
    assert _commands(file) == ["p1 failed no_answer"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["stop", "--device", "p1", "--tag", "line=b"],
            1,
            '[actions] topics don\'t allow "cmd/b/p1"',
        ),
        (["stop", "--device", "p1"], 1, "nothing stands there"),
        (["stop", "--device", "p/1", "--tag", "line=a"], 1, 'has "/"'),
        (["stop", "--device", "p1", "--over"], 2, "is not for that"),
        (["stop", "--device", "p1", "--rule", "cold"], 2, "for no such rule"),
        (["stop", "--device", "p1", "--tag", "line"], 2, "--tag: expected NAME=VALUE, got line"),
        (["start", "--device", "p1"], 2, "no action start in this file; there are stop"),
    ],
)
def test_what_may_not_be_sent_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    """In one line."""
    file = _write(tmp_path, 1)

    assert main(["action", "test", *arguments, "-c", file]) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
