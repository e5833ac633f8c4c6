"""From readings over MQTT to a device that obeys, while the lane that commands it is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from connectors.actions.memory import CommandMemory
from headgate.cli.main import main
from headgate.core.clock import SystemClock
from tests.commanded import CommandedDevice, Taken
from tests.e2e.gateway import Gateway
from tests.mosquitto import Mosquitto
from tests.processes import until

_KILLS = 8
_DEVICES = 4

_CONFIG = """
[feed.pump]
topic = "hall/{device}"
grace = "0s"
time = { path = "t", unit = "s" }
channels.temperature = { unit = "°C" }
[rule.hot]
feed = "pump"
when = "temperature > 80"
[actions]
topics = ["cmd/+"]
[action.stop]
rules = ["hot"]
states = ["open", "over"]
topic = "cmd/{device}"
answer = "said/{device}"
timeout = "2s"
max_age = "1m"
at_most = { count = 600, span = "1m" }
dry_run = false
[sink.store]
type = "local_store"
"""

# A lane that dies again and again is started later each time.
pytestmark = [pytest.mark.mosquitto, pytest.mark.thorough, pytest.mark.timeout(300)]


def test_kills_of_the_forward_lane_never_command_twice(
    mosquitto: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command comes once, or it is said that nobody knows; and all of them are settled."""
    chance = random.Random(1)
    config = f"[mqtt]\nport = {mosquitto.port}\npublish_anomalies = false\n{_CONFIG}"
    with (
        CommandedDevice(mosquitto.port, answers=_as_devices_do) as device,
        Gateway(tmp_path / "gateway", config) as gateway,
    ):
        gateway.start()
        for _ in range(_KILLS):
            _run_hot(device, chance)
            time.sleep(chance.random() / 3)
            before = _forward(gateway)
            os.kill(before, signal.SIGKILL)
            until(lambda before=before: _forward(gateway) not in (0, before), "another lane", 60)  # type: ignore[misc]
        until(lambda: _settled(gateway), "all commands settled", 90)
        commands = _commands(gateway, capsys)
        until(lambda: main(["audit", "-c", str(gateway.config_file)]) == 0, "the audit")

    taken = Counter(each.json["id"] for each in device.taken)
    states = Counter(f"{each['state']} {each['reason']}".strip() for each in commands.values())
    # Two for each time that a device ran hot.
    assert len(commands) == 2 * _KILLS * _DEVICES, states
    assert set(taken.values()) == {1}
    assert set(taken) <= set(commands)
    for command_id, each in commands.items():
        is_unknown = each["reason"] in ("interrupted", "unconfirmed", "unreachable", "old")
        assert command_id in taken or is_unknown, each
    # So many would not do: kills are not in the way of most.
    assert len(taken) > 0.8 * len(commands), states


def test_what_is_old_commands_nothing(
    mosquitto: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backlog of a device opens its alarm, and that is all; what comes live commands."""
    config = f"[mqtt]\nport = {mosquitto.port}\npublish_anomalies = false\n{_CONFIG}"
    with (
        CommandedDevice(mosquitto.port, answers=_as_devices_do) as device,
        Gateway(tmp_path / "gateway", config) as gateway,
    ):
        # Its action has been there for long.
        (gateway.folder / "data").mkdir()
        known = {"entries": [], "ids": [], "last": [], "since": {"stop": 1}, "windows": {}}
        (gateway.folder / "data/forward-actions.commands").write_text(json.dumps(known))
        gateway.start()
        now_s = SystemClock().wall_ns() // 10**9
        for at_s in (now_s - 75, now_s - 74, now_s - 73):
            _say(device, "p0", at_s, 90)
        for at_s in (now_s, now_s + 1):
            _say(device, "p1", at_s, 90)
        until(lambda: bool(device.taken), "the command")
        until(lambda: len(_commands(gateway, capsys)) == 2, "the account")
        commands = {each["device"]: each for each in _commands(gateway, capsys).values()}

    assert [each.topic for each in device.taken] == ["cmd/p1"]
    assert (commands["p0"]["state"], commands["p0"]["reason"]) == ("passed_over", "old")


def _as_devices_do(taken: Taken) -> list[tuple[str, bytes, bytes]]:
    """Once, twice, or never."""
    count = random.Random(taken.json["id"]).choice((0, 1, 1, 2))
    return [(taken.topic.replace("cmd", "said"), taken.payload, b"")] * count


def _run_hot(device: CommandedDevice, chance: random.Random) -> None:
    """Each device does, and cools down."""
    start_s = SystemClock().wall_ns() / 1e9
    for number in range(_DEVICES):
        for step, temperature in enumerate((90, 91, 20, 21)):
            _say(device, f"p{number}", start_s + step / 1000, temperature)
        time.sleep(chance.random() / 20)


def _say(device: CommandedDevice, name: str, at_s: float, temperature: float) -> None:
    device.say(f"hall/{name}", json.dumps({"t": at_s, "temperature": temperature}).encode())


def _forward(gateway: Gateway) -> int:
    """The lane's process; 0 while there is none."""
    return int(gateway.status()["lanes"]["forward"].get("pid") or 0)


def _commands(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    """By id, what the log has of each last."""
    capsys.readouterr()
    main(["log", "export", "--topic", "anomalies", "-c", str(gateway.config_file)])
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    return {each["id"]: each for each in lines if each["action"]}


def _settled(gateway: Gateway) -> bool:
    memory = CommandMemory(gateway.folder / "data/forward-actions.commands")
    memory.load()
    entries = memory.entries.values()
    backlog = gateway.status()["sinks"].get("actions", {"backlog_records": 1})["backlog_records"]
    return not backlog and bool(entries) and all(each.is_done for each in entries)
