"""``headgate action test``: the command that an alarm would give, shown or sent."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from connectors.logs.configured import open_log, topic_specs
from headgate.cli import main
from headgate.config.load import load_config
from headgate.core.clock import SystemClock
from headgate.inspect.commands import known_commands
from tests.commanded import CommandedDevice
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


def test_nothing_is_sent_unless_it_is_asked_for(
    mosquitto: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a dry run, and that does not matter here."""
    file = _write(tmp_path, mosquitto.port)
    command = ["action", "test", "stop", "--device", "p1", "--tag", "line=a", "-c", file]

    def answers(taken: object) -> list[tuple[str, bytes, bytes]]:
        return [("said/p1", taken.payload, b"")]  # type: ignore[attr-defined]

    with CommandedDevice(mosquitto.port, answers=answers) as device:
        assert main(command) == 0
        shown = capsys.readouterr().out
        assert device.taken == []
        assert main([*command, "--send"]) == 0
        sent = capsys.readouterr().out

    assert re.search(r'^stop: to cmd/a/p1: \{"id": "', shown, re.MULTILINE)
    assert "stop: not sent; --send sends it" in shown
    assert re.search(r"^stop: answered after 0\.\d\d s: ", sent, re.MULTILINE)
    (taken,) = device.taken
    assert json.loads(taken.payload)["text"] == "p1: a test of the action stop"
    assert _commands(file) == ["p1 answered"]


def test_no_answer_is_a_failure(
    mosquitto: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Written down as any other."""
    file = _write(tmp_path, mosquitto.port)

    assert (
        main(["action", "test", "stop", "--device", "p1", "--tag", "line=a", "--send", "-c", file])
        == 1
    )
    assert "stop: failed (no_answer): no answer came in time" in capsys.readouterr().out
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
