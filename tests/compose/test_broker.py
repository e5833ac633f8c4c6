"""The broker of docker-compose.yml, started by its own script on a real mosquitto."""

from __future__ import annotations

import os
import queue
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from headgate.demo.processes import free_port
from tests.services import require

ROOT = Path(__file__).resolve().parents[2]
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
SECRETS = {
    "mqtt_gateway_password": "of the gateway",
    "mqtt_simulator_password": "of the simulator",
    "mqtt_devices": "p1:of p1\n\np2:of p2\n",
}

pytestmark = pytest.mark.mosquitto


@dataclass(frozen=True)
class Ports:
    """Where the broker listens: for devices, and for the gateway."""

    devices: int
    gateway: int


def moved(text: str, folder: Path, ports: Ports) -> str:
    """A file of the container with its paths below ``folder``, and its ports on loopback."""
    for path in ("/run/headgate", "/run/secrets", "/mosquitto/config", "/mosquitto/data"):
        text = text.replace(path, f"{folder}{path}")
    text = text.replace("listener 1883 0.0.0.0", f"listener {ports.devices} 127.0.0.1")
    return text.replace("listener 1884 0.0.0.0", f"listener {ports.gateway} 127.0.0.1")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Ports]:
    """Ports of a mosquitto with the compose file's script, configuration and access list."""
    require(
        "mosquitto",
        shutil.which("mosquitto", path=PATH) is not None,
        "install Debian's packages mosquitto and mosquitto-clients",
    )
    ports = Ports(free_port(), free_port())
    for folder in ("run/headgate", "run/secrets", "mosquitto/config", "mosquitto/data"):
        (tmp_path / folder).mkdir(parents=True)
    for name, value in SECRETS.items():
        (tmp_path / "run/secrets" / name).write_text(value)
    config = tmp_path / "mosquitto/config"
    compose = ROOT / "deploy/compose"
    # Started by root, mosquitto would become another user, who can't read this folder.
    text = moved((compose / "mosquitto.conf").read_text(), tmp_path, ports) + "\nuser root\n"
    (config / "mosquitto.conf").write_text(text)
    (config / "acl").write_text((compose / "mosquitto.acl").read_text())
    (config / "acl").chmod(0o600)
    (config / "start.sh").write_text(moved((compose / "mosquitto.sh").read_text(), tmp_path, ports))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", str(config / "start.sh")],
            stdout=log,
            stderr=log,
            env={**os.environ, "PATH": PATH},
        )
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", ports.gateway)) == 0:
                    break
            time.sleep(0.05)
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield ports
    finally:
        process.terminate()
        process.wait(timeout=10)


def connect(
    port: int, user: str | None, password: str | None, client_id: str | None = None
) -> tuple[Client, ReasonCode]:
    """Log in, and return the client with the broker's answer."""
    answers: queue.SimpleQueue[ReasonCode] = queue.SimpleQueue()

    def on_connect(
        _client: Client, _data: object, _flags: object, reason: ReasonCode, _: Properties | None
    ) -> None:
        answers.put(reason)

    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id or user or "nobody")
    client.on_connect = on_connect
    if user is not None:
        client.username_pw_set(user, password)
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client, answers.get(timeout=5)


@pytest.mark.parametrize(
    ("user", "password"),
    [(None, None), ("gateway", "wrong"), ("p1", "of p2"), ("nobody", "of p1")],
)
def test_strangers_are_refused(broker: Ports, user: str | None, password: str | None) -> None:
    """Without the right password nobody gets in, and nobody gets in without a name."""
    client, answer = connect(broker.devices, user, password)
    client.loop_stop()

    assert answer.is_failure


@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
def test_a_device_cannot_take_the_gateways_session(
    broker: Ports, version: MQTTProtocolVersion
) -> None:
    """With its own password and the gateway's client id it is another client all the same."""
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    ended: queue.SimpleQueue[ReasonCode] = queue.SimpleQueue()
    gateway, _ = connect(broker.gateway, "gateway", "of the gateway", "headgate-gateway-f00d")
    gateway.on_message = lambda _client, _data, message: received.put(message.payload)
    gateway.on_disconnect = lambda _client, _data, _flags, reason, _properties: ended.put(reason)
    gateway.subscribe("plant/#", qos=1)
    command = [
        "mosquitto_pub", "-p", str(broker.devices), "-u", "p1", "-P", "of p1", "-q", "1",
        "-i", "headgate-gateway-f00d", "-t", "plant/a/p1/telemetry", "-m", "own",
        "-V", "5" if version == MQTTProtocolVersion.MQTTv5 else "311",
    ]  # fmt: skip
    published = subprocess.run(command, check=False)
    arrived = received.get(timeout=5)
    gateway.disconnect()
    gateway.loop_stop()

    assert published.returncode == 0
    assert arrived == b"own"
    assert [ended.get(timeout=5).is_failure, ended.empty()] == [False, True]


def test_a_device_speaks_for_itself_only(broker: Ports) -> None:
    """What a device publishes under another's name never reaches the gateway."""
    received: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()

    def on_message(_client: Client, _data: object, message: MQTTMessage) -> None:
        received.put((message.topic, message.payload))

    gateway, _ = connect(broker.gateway, "gateway", "of the gateway")
    gateway.on_message = on_message
    gateway.subscribe("plant/#", qos=1)
    device, _ = connect(broker.devices, "p1", "of p1")
    simulator, _ = connect(broker.devices, "simulator", "of the simulator")
    for client, topic, payload in (
        (device, "plant/a/p1/telemetry", b"own"),
        (device, "plant/a/p2/telemetry", b"another's"),
        (device, "headgate/gateway/anomalies/p1", b"the gateway's"),
        (simulator, "plant/a/p2/telemetry", b"of any pump"),
    ):
        client.publish(topic, payload, qos=1).wait_for_publish(timeout=5)
    arrived = [received.get(timeout=5), received.get(timeout=5)]
    for client in (gateway, device, simulator):
        client.disconnect()
        client.loop_stop()

    assert arrived == [("plant/a/p1/telemetry", b"own"), ("plant/a/p2/telemetry", b"of any pump")]
    assert received.empty()


def test_passwords_are_kept_hashed_and_private(broker: Ports, tmp_path: Path) -> None:
    """The file the broker reads holds no password, and only its owner reads it."""
    users = tmp_path / "run/headgate/users"
    lines = users.read_text().splitlines()

    assert broker.devices
    assert [line.split(":")[0] for line in lines] == ["gateway", "simulator", "p1", "p2"]
    assert not any("of " in line for line in lines)
    assert users.stat().st_mode & 0o077 == 0


def test_the_health_check_passes(broker: Ports, tmp_path: Path) -> None:
    """The options file that the health check reads lets it log in."""
    check = subprocess.run(
        [
            "mosquitto_sub",
            "-p",
            str(broker.gateway),
            "-t",
            "$SYS/broker/version",
            "-C",
            "1",
            "-W",
            "5",
        ],
        env={"PATH": PATH, "XDG_CONFIG_HOME": str(tmp_path / "run/headgate/health")},
        capture_output=True,
        check=False,
    )

    assert check.returncode == 0
    assert b"mosquitto" in check.stdout
