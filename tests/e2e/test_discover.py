"""``headgate discover`` at a real broker, and the gateway that runs with what it wrote."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cbor2
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from headgate.cli import main
from headgate.config.load import load_config
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.demo.processes import free_port
from tests.e2e.gateway import Gateway
from tests.e2e.test_gateway import _points
from tests.mosquitto import MakeMosquitto, Mosquitto
from tests.processes import meanwhile, until
from tests.unit.discover import traffic
from tests.unit.discover.reading import decoded_by
from tests.unit.discover.test_plan import WANTED_OF_ALL

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(240)]

#: What stages may reject of readings that come much faster than their times say.
_BY_TIME = {"late", "duplicate", "conflict", "ahead"}


@pytest.fixture(autouse=True)
def recent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The times in the traffic end about now."""
    monkeypatch.setattr(traffic, "NOW_S", SystemClock().wall_ns() // NS_PER_S - 720)


def _messages() -> list[traffic.Sent]:
    every = [each for style in traffic.STYLES.values() for each in style()]
    return sorted(every, key=lambda each: each[0])


@contextmanager
def _client(
    port: int, protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311
) -> Iterator[mqtt.Client]:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


@contextmanager
def _publishing(port: int) -> Iterator[None]:
    """Publish all of the traffic again and again."""

    def publish(stop: threading.Event) -> None:
        while not stop.is_set():
            for _, topic, payload, is_retained in _messages():
                client.publish(topic, payload, retain=is_retained)
                if stop.wait(0.001):
                    return

    with _client(port) as client, meanwhile(publish):
        yield


def test_a_gateway_reads_what_was_discovered(
    mosquitto: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is good, its feeds decode what was heard, and the gateway refuses none of it."""
    out = tmp_path / "plant.toml"
    command = ["discover", "--broker", f"127.0.0.1:{mosquitto.port}", "--minutes", "0.15"]
    with _publishing(mosquitto.port):
        assert main([*command, "--out", str(out)]) == 0
    told = capsys.readouterr().out

    assert "plant.toml is written" in told
    assert main(["check", "-c", str(out)]) == 0
    config = load_config(out)
    everything = traffic.heard(iter(_messages()))
    count, good, found = decoded_by(config, everything)
    assert good >= 0.95 * count > 0
    assert found >= WANTED_OF_ALL
    # It has only listened, under a name of its own that nothing is kept for.
    log = mosquitto.log()
    assert "headgate-discover-" in log
    assert "Received PUBLISH from headgate-discover-" not in log

    with Gateway(tmp_path / "gateway", out.read_text()) as gateway:
        gateway.start()
        with _client(mosquitto.port) as client:
            for _, topic, payload, is_retained in _messages():
                client.publish(topic, payload, qos=1, retain=is_retained).wait_for_publish(10)
        wanted = {device for device, _ in WANTED_OF_ALL}
        until(
            lambda: wanted <= {json.loads(tags)["device"] for _, tags, _, _ in _points(gateway)},
            "a point of every device",
        )
        refused = {reason for reason, n in gateway.status()["quarantined"].items() if n}
        assert refused <= _BY_TIME, gateway.status()["refused"]
        assert gateway.stop() == 0


@contextmanager
def _typed(port: int) -> Iterator[None]:
    """Publish by MQTT 5 what says its type, again and again; and states that the broker keeps."""

    def publish(stop: threading.Event) -> None:
        at = 0
        while not stop.wait(0.05):
            at += 1
            record = {"t": SystemClock().wall_ns() / NS_PER_S, "flow": 20 + at / 8, "temp": 40.5}
            for device, kind, payload in (
                ("a", "application/json", json.dumps(record).encode()),
                ("a", "application/cbor", cbor2.dumps({**record, "t": record["t"] + 0.01})),
                ("b", "application/cbor", cbor2.dumps(record)),
                ("c", "application/json; charset=utf-8", json.dumps(record).encode()),
            ):
                properties = Properties(PacketTypes.PUBLISH)
                properties.ContentType = kind
                client.publish(f"skid/{device}/telemetry", payload, qos=1, properties=properties)

    with _client(port, MQTTProtocolVersion.MQTTv5) as client:
        for door in ("north", "south"):
            client.publish(f"gates/{door}/door", "open", qos=1, retain=True).wait_for_publish(10)
        with meanwhile(publish):
            yield


def test_content_types_and_retained_states_are_read_by_the_gateway(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """One feed for both formats, of which the gateway refuses nothing."""
    out = tmp_path / "plant.toml"
    command = ["discover", "--broker", f"127.0.0.1:{mosquitto.port}", "--minutes", "0.1"]
    with _typed(mosquitto.port):
        assert main([*command, "--out", str(out)]) == 0
        feeds = load_config(out).feed
        (typed,) = [each for each in feeds.values() if each.topic.startswith("skid/")]
        (doors,) = [each for each in feeds.values() if each.topic.startswith("gates/")]
        assert {"json", "cbor"} == {
            typed.format.name,
            *(each.name for each in typed.content_types.values()),
        }
        assert doors.retained == "state"

        with Gateway(tmp_path / "gateway", out.read_text()) as gateway:
            gateway.start()
            until(
                lambda: (
                    {"a", "b", "c"}
                    <= {json.loads(tags)["device"] for _, tags, _, _ in _points(gateway)}
                ),
                "a point of each device",
            )
            refused = {reason for reason, n in gateway.status()["quarantined"].items() if n}
            assert refused <= _BY_TIME, gateway.status()["refused"]
            assert gateway.stop() == 0


def test_what_goes_wrong_is_one_line(
    make_mosquitto: MakeMosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No broker, a broker that lets nobody in, nothing to hear, a file that is there."""
    out = tmp_path / "plant.toml"
    rest = ["--minutes", "0.01", "--out", str(out)]
    assert main(["discover", "--broker", f"127.0.0.1:{free_port()}", *rest]) == 1
    assert "can't connect to 127.0.0.1:" in capsys.readouterr().err

    closed = make_mosquitto(lines="allow_anonymous false")
    assert main(["discover", "--broker", f"127.0.0.1:{closed.port}", *rest]) == 1
    assert "refuses the login" in capsys.readouterr().err

    silent = make_mosquitto()
    assert main(["discover", "--broker", f"127.0.0.1:{silent.port}", *rest]) == 1
    assert "nothing was heard on #" in capsys.readouterr().err
    assert not out.exists()

    out.write_text("mine")
    assert main(["discover", "--broker", f"127.0.0.1:{silent.port}", *rest]) == 2
    assert "--out: expected a file that is not there yet" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_a_broker_with_one_session_a_user_is_left_alone(
    make_mosquitto: MakeMosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Listening would throw the gateway out."""
    broker = make_mosquitto(lines="use_username_as_clientid true")
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="any", clean_session=False)
    client.username_pw_set("gateway")
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.subscribe("a", qos=1)
    time.sleep(0.5)
    client.disconnect()
    client.loop_stop()

    command = ["discover", "--broker", f"127.0.0.1:{broker.port}", "--user", "gateway"]
    assert main([*command, "--minutes", "0.01", "--out", str(tmp_path / "plant.toml")]) == 1
    assert "gives all clients of a user one session" in capsys.readouterr().err
