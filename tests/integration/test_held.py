"""What a broker has retained of a state, and a running gateway that is restarted and killed."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from headgate.cli import main
from tests.e2e.gateway import Gateway
from tests.mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(240)]


def _config(broker: Mosquitto, version: str) -> str:
    return (
        f'[mqtt]\nport = {broker.port}\nversion = "{version}"\n[log]\npartitions = 2\n'
        '[local_store]\n[streams]\nsnapshot_interval = "1s"\n'
        '[feed.valve]\ntopic = "plant/{device}/{channel}"\nformat = "value"\nperiod = "1h"\n'
        'retained = "state"\nchannels.position = { unit = "%" }\nchannels.flow = {}\n'
    )


def _publish(broker: Mosquitto, topic: str, payload: str, *, retain: bool = True) -> None:
    command = [
        "mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", topic, "-m", payload,
        *(["-r"] if retain else []),
    ]  # fmt: skip
    subprocess.run(command, check=True)


class _Plant:
    """A gateway, and what it says of its devices."""

    def __init__(self, gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
        self.gateway = gateway
        self._capsys = capsys

    def command(self, *arguments: str) -> str:
        """What a command prints."""
        self._capsys.readouterr()
        assert main([*arguments, "-c", str(self.gateway.config_file)]) == 0
        return self._capsys.readouterr().out

    def devices(self) -> dict[str, dict[str, Any]]:
        """By name, what ``headgate devices`` has."""
        lines = self.command("devices", "--json").splitlines()
        return {each["device"]: each for each in map(json.loads, lines)}

    def wait_for(self, device: str, **held: float) -> dict[str, Any]:
        """The device, once its channels hold this."""
        deadline = time.perf_counter() + 40
        while True:
            found = self.devices().get(device, {"held": {}})
            values = {name: each["value"] for name, each in found["held"].items()}
            if values == held:
                return found
            assert time.perf_counter() < deadline, found
            time.sleep(0.1)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_it_is_known_at_once_and_is_never_a_reading(
    mosquitto: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str], version: str
) -> None:
    """After a start, a reconnect, a restart and a kill; what came live is what there is of it."""
    _publish(mosquitto, "plant/v1/position", "40")
    _publish(mosquitto, "plant/v2/position", "10")
    with Gateway(tmp_path / "gateway", _config(mosquitto, version)) as gateway:
        plant = _Plant(gateway, capsys)
        gateway.start()
        plant.wait_for("v2", position=10)
        found = plant.wait_for("v1", position=40)
        assert (found["state"], found["seen"], found["channels"]) == (None, None, 1)
        _publish(mosquitto, "plant/v1/position", "60")
        _publish(mosquitto, "plant/v1/flow", "1.5", retain=False)
        found = plant.wait_for("v1", position=60, flow=1.5)
        assert found["state"] == "online"

        mosquitto.stop()
        mosquitto.start()
        gateway.wait_for("/readyz", 45)
        _publish(mosquitto, "plant/v2/position", "20")
        plant.wait_for("v2", position=20)
        gateway.kill()
        # A change of which the gateway hears by what is retained, or by its session.
        _publish(mosquitto, "plant/v3/position", "5")
        gateway.start()
        plant.wait_for("v3", position=5)
        plant.wait_for("v1", position=60, flow=1.5)
        assert gateway.stop() == 0

        account = json.loads(plant.command("audit", "--json"))
        exported = plant.command("log", "export")
        values = [json.loads(line)["value"] for line in exported.splitlines()]
        assert sorted(values) in ([1.5, 5, 20, 60], [1.5, 20, 60])
        assert sum(each["received"] for each in account["accounts"]) == len(values)
