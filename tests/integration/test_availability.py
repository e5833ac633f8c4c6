"""Devices that say whether they are there, by real last wills, to a running gateway."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headgate.cli import main
from tests.e2e.gateway import Gateway
from tests.e2e.told import Told
from tests.mosquitto import Mosquitto
from tests.processes import end

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(240)]


def _config(broker: Mosquitto) -> str:
    return (
        f"[mqtt]\nport = {broker.port}\n[log]\npartitions = 2\n[local_store]\n"
        '[streams]\nsnapshot_interval = "1s"\n'
        '[feed.press]\ntopic = "hall/{device}"\nchannels.force = {}\nperiod = "1h"\n'
        '[feed.press.availability]\ntopic = ["hall/{device}/status", "bridge/state"]\n'
        'path = "state"\n'
    )


def _publish(broker: Mosquitto, topic: str, payload: str, *, retain: bool = False) -> None:
    command = [
        "mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", topic, "-m", payload,
        *(["-r"] if retain else []),
    ]  # fmt: skip
    subprocess.run(command, check=True)


@contextmanager
def _connected(broker: Mosquitto, topic: str, will: str) -> Iterator[subprocess.Popen[bytes]]:
    """A client with a retained last will; it has been heard once it stands here."""
    client = subprocess.Popen(
        [
            "mosquitto_sub", "-p", str(broker.port), "-t", "ready", "-v",
            "--will-topic", topic, "--will-payload", will, "--will-retain", "--will-qos", "1",
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert client.stdout is not None
        # It hears itself being called as soon as its connection stands.
        _publish(broker, "ready", "now", retain=True)
        assert client.stdout.readline() == b"ready now\n"
        yield client
    finally:
        end(client, within_s=10, number=signal.SIGKILL)
        assert client.stdout is not None
        client.stdout.close()


def test_a_last_will_takes_its_device_away_and_a_reading_brings_it_back(
    mosquitto: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through a kill of the gateway and a restart of the broker, which repeats what it retains."""
    _publish(mosquitto, "hall/gone/status", "offline", retain=True)
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway, Told(mosquitto) as told:
        gateway.start()
        told.wait_for(lambda: told.states == {"press/gone": ("offline", "availability")})

        with _connected(mosquitto, "hall/p1/status", '{"state": "offline"}') as device:
            _publish(mosquitto, "hall/p1/status", '{"state": "online"}', retain=True)
            _publish(mosquitto, "hall/p1", '{"force": 1}')
            told.wait_for(lambda: told.count("online") == 1)
            device.kill()
            told.wait_for(lambda: told.states["press/p1"] == ("offline", "availability"))

        gateway.kill()
        gateway.start()
        _publish(mosquitto, "hall/p1", '{"force": 2}')
        told.wait_for(lambda: told.states["press/p1"] == ("online", "reading"))
        mosquitto.stop()
        mosquitto.start()
        gateway.wait_for("/readyz", 60)
        # Behind whatever the broker repeats.
        _publish(mosquitto, "hall/p2", '{"force": 3}')
        told.wait_for(lambda: told.states.get("press/p2") == ("online", "reading"))
        assert told.states["press/p1"] == ("online", "reading")
        assert [each for each in told.every if each[0] == "press/gone"] == [
            ("press/gone", "offline", "availability")
        ]
        assert gateway.stop() == 0

    config = str(gateway.config_file)
    assert main(["audit", "-c", config]) == 0
    capsys.readouterr()
    assert main(["devices", "-c", config, "--offline"]) == 0
    assert "devices: 1, away: 1" in capsys.readouterr().out


def test_the_will_of_a_bridge_is_that_of_all_its_devices(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """They are back with it, but for one that is away by itself; unknown words are put aside."""
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway, Told(mosquitto) as told:
        gateway.start()
        for name in ("p1", "p2", "p3"):
            _publish(mosquitto, f"hall/{name}", '{"force": 1}')
        _publish(mosquitto, "hall/p3/status", "offline")
        _publish(mosquitto, "hall/p3/status", "asleep")
        told.wait_for(lambda: told.count("online") == 2 and told.count("offline") == 1)
        with _connected(mosquitto, "bridge/state", "offline") as bridge:
            bridge.kill()
            told.wait_for(lambda: told.count("offline") == 3)
        _publish(mosquitto, "bridge/state", '{"state": "online"}', retain=True)
        told.wait_for(lambda: told.count("online") == 2)

        assert told.states["press/p3"] == ("offline", "availability")
        # Lanes report what they count once a second.
        told.wait_for(lambda: _refused(gateway) == [b"1.0"])


def test_a_device_that_is_new_behind_a_bridge_that_is_away_is_away(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Also where the gateway was killed since the bridge went, and what is retained is known."""
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway, Told(mosquitto) as told:
        gateway.start()
        _publish(mosquitto, "hall/p1", '{"force": 1}')
        told.wait_for(lambda: told.count("online") == 1)
        _publish(mosquitto, "bridge/state", "offline", retain=True)
        told.wait_for(lambda: told.count("offline") == 1)
        gateway.kill()
        gateway.start()
        gateway.wait_for("/readyz", 60)

        _publish(mosquitto, "hall/p2/status", "online", retain=True)
        told.wait_for(lambda: "press/p2" in told.states)
        assert told.states["press/p2"] == ("offline", "availability")
        _publish(mosquitto, "bridge/state", "online", retain=True)
        told.wait_for(lambda: told.states["press/p2"] == ("online", "availability"))


def _refused(gateway: Gateway) -> list[bytes]:
    metrics = gateway.get("/metrics")[1]
    return re.findall(rb'_quarantined_total{.*"unknown_state".*} (\S+)', metrics)
