"""From readings over MQTT to a receiver, while the lane that tells it is killed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from headgate.cli.main import main
from tests.e2e.gateway import Gateway
from tests.mosquitto import Mosquitto
from tests.processes import until
from tests.receiver import Answer, Receiver, Taken

_START_S = 1_767_225_600
_KILLS = 10
_DEVICES = 3

_CONFIG = """
[feed.pump]
topic = "hall/{device}"
grace = "0s"
time = { path = "t", unit = "s" }
channels.temperature = { unit = "°C" }

[rule.hot]
feed = "pump"
when = "temperature > 80"
severity = "critical"
text = "{device}: {temperature:.0f} °C"
"""

# A lane that dies again and again is started later each time.
pytestmark = [pytest.mark.mosquitto, pytest.mark.thorough, pytest.mark.timeout(300)]


def test_ten_kills_of_the_forward_lane_lose_no_alarm(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Each opens and is over for the receiver; what comes twice has the same id."""
    receiver, chance = Receiver(_at_times_slow), random.Random(1)
    receiver.start()
    config = (
        f"[mqtt]\nport = {mosquitto.port}\npublish_anomalies = false\n{_CONFIG}"
        f'[sink.told]\ntype = "webhook"\nurl = "{receiver.url}"\nmax_age = "3650d"\n'
    )
    with Gateway(tmp_path / "gateway", config) as gateway:
        gateway.start()
        for turn in range(_KILLS):
            _publish(mosquitto, 100 * turn, (90, 91, 20, 21))
            _kill(gateway, chance)
        wanted = {
            (f"p{device}", _START_S + 100 * turn, state)
            for device in range(_DEVICES)
            for turn in range(_KILLS)
            for state in ("open", "over")
        }
        until(lambda: set(_told(receiver)) == wanted, "every state of every alarm", 60)
        until(lambda: main(["audit", "-c", str(gateway.config_file)]) == 0, "the audit")
    receiver.stop()

    assert all(len(ids) == 1 for ids in _told(receiver).values())
    assert len({each for ids in _told(receiver).values() for each in ids}) == len(wanted)


def test_kills_of_the_forward_lane_tell_what_was_shelved_once(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Nothing of it before, and then each as it is: when somebody says so, and by itself."""
    receiver, chance = Receiver(_at_times_slow), random.Random(2)
    receiver.start()
    config = (
        f"[mqtt]\nport = {mosquitto.port}\npublish_anomalies = false\n{_CONFIG}"
        f'[sink.told]\ntype = "webhook"\nurl = "{receiver.url}"\nmax_age = "3650d"\n'
    )
    first = {(f"p{device}", _START_S, "open") for device in range(_DEVICES)}
    over = {(device, start_s, "over") for device, start_s, _ in first}
    anew = {(device, start_s + 100, "open") for device, start_s, _ in first}
    with Gateway(tmp_path / "gateway", config) as gateway:
        answer = ["alarms", "-c", str(gateway.config_file), "--rule", "hot", "--by", "anna"]
        gateway.start()
        _publish(mosquitto, 0, (90, 91))
        until(lambda: set(_told(receiver)) == first, "the alarms", 60)
        assert main([*answer, "--shelve", "1h"]) == 0
        _kill(gateway, chance)
        _publish(mosquitto, 60, (20, 21))
        _publish(mosquitto, 100, (90, 91))
        _kill(gateway, chance)
        until(lambda: _metric(gateway, "headgate_alarms_total") == 2 * _DEVICES, "alarms", 60)
        hidden = "headgate_shelved_alarms"
        until(lambda: _metric(gateway, hidden) == _DEVICES, "alarms that are not told", 60)
        until(lambda: main(["audit", "-c", str(gateway.config_file)]) == 0, "the audit")
        assert set(_told(receiver)) == first

        assert main([*answer, "--unshelve"]) == 0
        for _ in range(3):
            _kill(gateway, chance)
        until(lambda: set(_told(receiver)) == first | over | anew, "all as it is", 60)
        assert all(len(ids) == 1 for ids in _told(receiver).values())

        assert main([*answer, "--shelve", "2s"]) == 0
        for _ in range(3):
            _kill(gateway, chance)
        until(lambda: all(len(_told(receiver)[each]) == 2 for each in anew), "what is open", 60)
        until(lambda: main(["audit", "-c", str(gateway.config_file)]) == 0, "the audit")
    receiver.stop()

    assert {each: len(ids) for each, ids in _told(receiver).items()} == {
        **dict.fromkeys(first | over, 1),
        **dict.fromkeys(anew, 2),
    }


def test_kills_of_the_forward_lane_tell_once_what_nobody_has_acknowledged(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """And nobody of what somebody has, who said so before there was a sink."""
    receiver, chance = Receiver(_at_times_slow), random.Random(3)
    receiver.start()
    config = f"[mqtt]\nport = {mosquitto.port}\npublish_anomalies = false\n{_CONFIG}"
    sink = (
        f'[sink.told]\ntype = "webhook"\nurl = "{receiver.url}"\nmax_age = "3650d"\n'
        'unacknowledged_for = "10m"\n'
    )
    with Gateway(tmp_path / "gateway", f"{config}[local_store]\n") as gateway:
        gateway.start()
        _publish(mosquitto, 0, (90, 91))
        until(lambda: _metric(gateway, "headgate_alarms_total") == _DEVICES, "alarms", 60)
        answer = ["alarms", "-c", str(gateway.config_file), "--rule", "hot", "--by", "anna"]
        assert main([*answer, "--device", "p0", "--acknowledge"]) == 0
        assert gateway.stop() == 0
    with Gateway(tmp_path / "gateway", f"{config}{sink}") as gateway:
        gateway.start()
        for _ in range(3):
            _kill(gateway, chance)
        seen = {(f"p{device}", _START_S, "open") for device in range(1, _DEVICES)}
        until(lambda: set(_told(receiver)) == seen, "what nobody has acknowledged", 60)
        _publish(mosquitto, 60, (20, 21))
        for _ in range(2):
            _kill(gateway, chance)
        seen |= {(device, start_s, "over") for device, start_s, _ in seen}
        until(lambda: set(_told(receiver)) == seen, "the ends of these", 60)
        until(lambda: main(["audit", "-c", str(gateway.config_file)]) == 0, "the audit")
    receiver.stop()

    assert all(len(ids) == 1 for ids in _told(receiver).values())
    assert len({each for ids in _told(receiver).values() for each in ids}) == len(seen)


def _kill(gateway: Gateway, chance: random.Random) -> None:
    """Kill the forward lane at some time, and wait for the next one."""
    time.sleep(chance.random() / 2)
    before = _forward(gateway)
    os.kill(before, signal.SIGKILL)
    until(lambda: _forward(gateway) not in (0, before), "another lane", 60)


def _metric(gateway: Gateway, name: str) -> float:
    """What the gateway says of itself."""
    metrics = gateway.get("/metrics")[1].decode()
    line = re.search(rf"^{name}{{.*}} (.*)$", metrics, re.MULTILINE)
    return float(line[1]) if line else 0.0


def _at_times_slow(taken: Taken) -> Answer:
    """So that kills come before it, while it is answered, and behind it."""
    return Answer(204, pause_s=random.Random(taken.id).random() / 10)


def _told(receiver: Receiver) -> dict[tuple[str, int, str], set[str]]:
    """By device, start and state, the ids under which it was told."""
    found = defaultdict(set)
    for taken in list(receiver.taken):
        said = json.loads(taken.body)
        start_s = said["fields"]["opened_ns"] // 10**9
        found[said["device"], start_s, said["state"]].add(taken.id)
    return dict(found)


def _forward(gateway: Gateway) -> int:
    """The lane's process; 0 while there is none."""
    return int(gateway.status()["lanes"]["forward"].get("pid") or 0)


def _publish(mosquitto: Mosquitto, at_s: int, temperatures: Sequence[int]) -> None:
    for device in range(_DEVICES):
        lines = "".join(
            json.dumps({"t": _START_S + at_s + second, "temperature": temperature}) + "\n"
            for second, temperature in enumerate(temperatures)
        )
        subprocess.run(
            ["mosquitto_pub", "-p", str(mosquitto.port), "-q", "1", "-t", f"hall/p{device}", "-l"],
            input=lines.encode(),
            check=True,
        )
