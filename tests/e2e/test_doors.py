"""A door that says once that it is open, and then nothing: it is told of all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from headgate.cli.main import main
from tests.e2e.gateway import Gateway
from tests.e2e.test_gateway import _points
from tests.mosquitto import Mosquitto
from tests.processes import until

_CONFIG = """
[feed.door]
topic = "hall/{device}/door"
grace = "1s"
channels.open = { states = { open = 1, closed = 0 } }

[rule.open]
feed = "door"
when = "open == 1"
for = "6s"
text = "{device} has been open for too long"
"""

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(180)]


def test_a_door_that_stays_open_is_told_of(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Exactly as long after it was opened as the rule says, once, over a kill of the lane."""
    config = f"[mqtt]\nport = {mosquitto.port}\n[local_store]\n{_CONFIG}"
    with Gateway(tmp_path / "gateway", config) as gateway:
        gateway.start()
        # By this it is known that the door sends seldom.
        for state in ("open", "closed", "open", "closed"):
            _say(mosquitto, state)
            time.sleep(3)
        assert not _alarms(gateway)
        _say(mosquitto, "open")
        time.sleep(1)
        os.kill(gateway.status()["lanes"]["streams"]["pid"], signal.SIGKILL)
        until(lambda: bool(_alarms(gateway)), "the alarm", 60)
        _say(mosquitto, "closed")
        until(lambda: not _alarms(gateway)[0]["is_open"], "its end", 60)
        assert main(["audit", "-c", str(gateway.config_file)]) == 0
        found = _alarms(gateway)
        assert gateway.stop() == 0

    assert len(found) == 1
    assert found[0]["opened_ns"] - found[0]["start_ns"] == 6_000_000_000
    assert found[0]["over_ns"] > found[0]["opened_ns"]


def _say(mosquitto: Mosquitto, state: str) -> None:
    where = ["-p", str(mosquitto.port), "-q", "1", "-t", "hall/north/door"]
    subprocess.run(["mosquitto_pub", *where, "-m", json.dumps({"open": state})], check=True)


def _alarms(gateway: Gateway) -> list[dict[str, int]]:
    return [
        {**json.loads(fields), "start_ns": time_ns}
        for name, _, time_ns, fields in _points(gateway)
        if name == "alarms"
    ]
