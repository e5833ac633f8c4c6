"""From readings over MQTT to a receiver, while the lane that tells it is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import defaultdict
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
            _publish(mosquitto, turn)
            time.sleep(chance.random() / 2)
            before = _forward(gateway)
            os.kill(before, signal.SIGKILL)
            until(lambda before=before: _forward(gateway) not in (0, before), "another lane", 60)  # type: ignore[misc]
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


def _publish(mosquitto: Mosquitto, turn: int) -> None:
    for device in range(_DEVICES):
        lines = "".join(
            json.dumps({"t": _START_S + 100 * turn + second, "temperature": temperature}) + "\n"
            for second, temperature in enumerate((90, 91, 20, 21))
        )
        subprocess.run(
            ["mosquitto_pub", "-p", str(mosquitto.port), "-q", "1", "-t", f"hall/p{device}", "-l"],
            input=lines.encode(),
            check=True,
        )
