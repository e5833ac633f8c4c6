"""``headgate check --connect`` against real peers, and against those that are not there."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from aiohttp import web
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import connectors.mqtt.probe
from connectors.logs.configured import open_log, topic_specs
from connectors.mqtt.probe import subscriptions
from headgate.cli import main
from headgate.config.load import load_config
from headgate.core.clock import SystemClock
from headgate.demo.processes import free_port
from tests.mosquitto import MakeMosquitto, Mosquitto
from tests.processes import meanwhile
from tests.uplink import TOKEN, Server, answer
from tests.victoria import Victoria

pytestmark = pytest.mark.timeout(120)

_FEED = (
    '[feed.pump]\ntopic = "plant/{line}/{device}"\ntime = { path = "ts", unit = "ms" }\n'
    'channels = { flow = { unit = "m3/h" }, temp = {} }\n'
)
_MESSAGE = '{"ts": 1700000000123, "flow": 41.25, "temp": null}'

Ask = Callable[..., tuple[int, dict[str, dict[str, Any]]]]


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs the command on a configuration; its exit code, and its findings by what they are of."""

    def run(config: str, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
        file = tmp_path / "plant.toml"
        file.write_text(config)
        capsys.readouterr()
        code = main(["check", "-c", str(file), "--connect", "--json", *arguments])
        found = json.loads(capsys.readouterr().out)
        assert found["good"] is (code == 0)
        return code, {each["about"]: each for each in found["connect"]}

    return run


def _client(client_id: str, **callbacks: object) -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
    for name, callback in callbacks.items():
        setattr(client, name, callback)
    return client


@contextmanager
def _publishing(
    port: int, topic: str, payload: str | bytes, *, retain: bool = False, content_type: str = ""
) -> Iterator[None]:
    """Publish again and again; once, before, if it is to be retained."""
    properties = Properties(PacketTypes.PUBLISH)
    if content_type:
        properties.ContentType = content_type
        properties.UserProperty = ("batch", "7")
    client = _client("device")
    client.username_pw_set("device")
    client.connect("127.0.0.1", port)
    client.loop_start()
    first = client.publish(topic, payload, qos=1, retain=retain, properties=properties)
    first.wait_for_publish(10)
    assert first.is_published()

    def publish(stop: threading.Event) -> None:
        while not retain and not stop.wait(0.05):
            client.publish(topic, payload, properties=properties)

    try:
        with meanwhile(publish):
            yield
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_message_of_each_feed_is_shown_decoded(
    ask: Ask, mosquitto: Mosquitto, version: str
) -> None:
    """Device, tags, time and values as the gateway would take them."""
    config = f'[local_store]\n[mqtt]\nport = {mosquitto.port}\nversion = "{version}"\n{_FEED}'
    with _publishing(mosquitto.port, "plant/a/p07", _MESSAGE):
        code, found = ask(config)

    assert code == 0
    assert found["mqtt"]["text"] == (
        f"logged in at 127.0.0.1:{mosquitto.port} without a name, MQTT {version}, no TLS"
    )
    pump = found["feed.pump"]
    assert pump["text"] == (
        "plant/a/p07: p07 at 2023-11-14T22:13:20.123000Z: flow 41.25 m3/h, temp missing"
    )
    assert pump["values"] == {"flow": 41.25, "temp": None}
    assert pump["tags"] == {"line": "a"}
    assert found["log"]["state"] == found["local_store"]["state"] == "good"


@pytest.mark.mosquitto
@pytest.mark.parametrize(("version", "state"), [("5", "good"), ("3.1.1", "wrong")])
def test_a_message_is_shown_as_what_it_says_it_is(
    ask: Ask, mosquitto: Mosquitto, version: str, state: str
) -> None:
    """By its content type, which MQTT 3.1.1 has not."""
    config = (
        f'[local_store]\n[mqtt]\nport = {mosquitto.port}\nversion = "{version}"\n{_FEED}'
        '[feed.pump.content_types]\n"application/msgpack" = "msgpack"\n'
        '[feed.pump.tags]\nbatch = { user_property = "batch" }\n'
    )
    packed = bytes.fromhex("82a27473cf0000018bcfe5687ba4666c6f77cb4044a00000000000")
    with _publishing(mosquitto.port, "plant/a/p07", packed, content_type="application/msgpack;v=1"):
        _, found = ask(config)

    assert found["feed.pump"]["state"] == state
    if state == "good":
        assert found["feed.pump"]["values"] == {"flow": 41.25}
        assert found["feed.pump"]["tags"] == {"line": "a", "batch": "7"}


@pytest.mark.mosquitto
def test_a_field_that_is_no_number_is_shown_beside_its_neighbours(
    ask: Ask, mosquitto: Mosquitto
) -> None:
    """The message is good; what stood in the field is told."""
    config = f"[local_store]\n[mqtt]\nport = {mosquitto.port}\n{_FEED}"
    message = '{"ts": 1700000000123, "flow": 41.25, "temp": "unavailable"}'
    with _publishing(mosquitto.port, "plant/a/p07", message):
        code, found = ask(config)

    assert code == 0
    assert "flow 41.25 m3/h, temp missing; temp: " in found["feed.pump"]["text"]
    assert "unavailable" in found["feed.pump"]["bad_fields"]["temp"]


@pytest.mark.mosquitto
def test_a_message_without_a_value_is_a_warning(ask: Ask, mosquitto: Mosquitto) -> None:
    """Above all where it is the sender's own word for it that is not known."""
    config = f"[local_store]\n[mqtt]\nport = {mosquitto.port}\n{_FEED}quality.path = 'q'\n"
    with _publishing(mosquitto.port, "plant/a/p07", '{"ts": 1700000000123, "flow": 1, "q": "OK"}'):
        code, found = ask(config, "--wait", "500ms")

    assert code == 0
    assert found["feed.pump"]["state"] == "warning"
    assert found["feed.pump"]["text"].endswith(
        "; each reading is missing: its sender says that none is good; is quality right?"
    )


@pytest.mark.mosquitto
def test_texts_are_shown_as_they_are(ask: Ask, mosquitto: Mosquitto) -> None:
    config = f"[local_store]\n[mqtt]\nport = {mosquitto.port}\n"
    config += "[feed.pump]\ntopic = 'plant/+/{device}'\nchannels.mode.type = 'text'\n"
    with _publishing(mosquitto.port, "plant/a/p07", '{"ts": 1700000000123, "mode": "auto"}'):
        _, found = ask(config)

    assert found["feed.pump"]["text"].endswith(": mode 'auto'")
    assert found["feed.pump"]["values"] == {"mode": "auto"}


@pytest.mark.mosquitto
def test_a_message_that_is_refused_is_shown_with_its_reason(ask: Ask, mosquitto: Mosquitto) -> None:
    """The configuration or the device has to be mended; a retained message is marked."""
    config = f"[local_store]\n[mqtt]\nport = {mosquitto.port}\n{_FEED}"
    with _publishing(mosquitto.port, "plant/a/p07", '{"ts": \x1b[2J', retain=True):
        code, found = ask(config, "--wait", "500ms")

    pump = found["feed.pump"]
    assert code == 2
    assert pump["state"] == "wrong"
    assert pump["text"].startswith("plant/a/p07 (retained): refused: not_json")


@pytest.mark.mosquitto
def test_a_feed_without_messages_is_a_warning(
    ask: Ask, mosquitto: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be a slow one; --strict fails on it."""
    config = f"[local_store]\n[mqtt]\nport = {mosquitto.port}\n{_FEED}"

    code, found = ask(config, "--wait", "200ms")
    assert code == 0
    assert found["feed.pump"]["state"] == "warning"
    assert found["feed.pump"]["text"].startswith("no message within 0.2 s on plant/+/+")
    assert ask(config, "--wait", "200ms", "--strict")[0] == 2

    arguments = ["check", "-c", str(tmp_path / "plant.toml"), "--connect", "--wait", "200ms"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["good", "mqtt"],
        ["warning", "feed.pump"],
        ["good", "log"],
        ["good", "local_store"],
    ]


@pytest.mark.mosquitto
def test_a_running_gateways_session_is_left_alone(ask: Ask, make_mosquitto: MakeMosquitto) -> None:
    """Even by a broker that gives all clients of a user one session, and would take it away."""
    broker = make_mosquitto(lines="use_username_as_clientid true\n")
    config = (
        f'[local_store]\n[mqtt]\nport = {broker.port}\nusername = "gateway"\n'
        f'client_id = "gateway"\n{_FEED}'
    )
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    subscribed, came = threading.Event(), threading.Event()
    received: list[bytes] = []

    def on_message(_client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        received.append(message.payload)
        if message.payload == b"queued 999":
            came.set()

    def connect(*, is_first: bool) -> mqtt.Client:
        gateway = _client(
            "gateway", on_message=on_message, on_subscribe=lambda *_: subscribed.set()
        )
        gateway.username_pw_set("gateway")
        gateway.connect("127.0.0.1", broker.port, clean_start=False, properties=properties)
        gateway.loop_start()
        if is_first:
            while not gateway.is_connected():
                assert not subscribed.wait(0.05)
            gateway.subscribe("plant/#", 1)
            assert subscribed.wait(10)
        return gateway

    gateway = connect(is_first=True)
    gateway.disconnect()
    gateway.loop_stop()
    device = _client("device")
    device.username_pw_set("device")
    device.connect("127.0.0.1", broker.port)
    device.loop_start()
    queued = [device.publish("plant/a/p07", f"queued {n}", qos=1) for n in range(1000)]
    queued[-1].wait_for_publish(20)
    assert queued[-1].is_published()
    device.disconnect()
    device.loop_stop()
    code, found = ask(config, "--wait", "200ms")
    assert code == 0
    assert "not to take the gateway's" in found["mqtt"]["text"]
    assert not received

    gateway = connect(is_first=False)
    assert came.wait(10)
    assert received == [b"queued %d" % n for n in range(1000)]
    gateway.disconnect()
    gateway.loop_stop()


@pytest.mark.mosquitto
def test_it_leaves_nothing_at_the_broker(ask: Ask, mosquitto: Mosquitto) -> None:
    """Its sessions end with it, and their names were never used before."""
    for version in ("5", "3.1.1"):
        config = f'[local_store]\n[mqtt]\nport = {mosquitto.port}\nversion = "{version}"\n{_FEED}'
        assert ask(config, "--wait", "10ms")[0] == 0
    mosquitto.stop()
    mosquitto.start()
    with _publishing(mosquitto.port, "plant/a/p07", _MESSAGE):
        pass

    log = mosquitto.log()
    names = {
        line.split(" as ")[1].split()[0] for line in log.splitlines() if " as headgate-" in line
    }
    assert len(names) == 2
    assert all(name.startswith("headgate-check-") for name in names)
    assert not any("Restored" in line and "headgate-check" in line for line in log.splitlines())


@pytest.mark.mosquitto
def test_a_login_that_is_refused_has_to_be_mended(
    ask: Ask, make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """The broker's word, and which keys to look at."""
    passwords = tmp_path / "passwd"
    passwords.write_text("")
    broker = make_mosquitto(lines=f"allow_anonymous false\npassword_file {passwords}")
    for version in ("5", "3.1.1"):
        code, found = ask(
            f'[local_store]\n[mqtt]\nport = {broker.port}\nversion = "{version}"\n{_FEED}'
        )
        assert code == 2
        assert "Not authorized" in found["mqtt"]["text"]
        assert found["mqtt"]["text"].endswith("check mqtt.username and its password")


@pytest.mark.mosquitto
def test_a_broker_that_hangs_is_not_waited_for(
    ask: Ask, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the connection, and nothing comes."""
    monkeypatch.setattr(connectors.mqtt.probe, "ANSWER_LIMIT_S", 0.5)
    mosquitto.pause()
    try:
        code, found = ask(f"[local_store]\n[mqtt]\nport = {mosquitto.port}\n{_FEED}")
    finally:
        mosquitto.resume()
    assert code == 1
    assert found["mqtt"]["state"] == "away"
    assert "does not answer" in found["mqtt"]["text"]


def test_a_subscription_that_is_refused_or_granted_less_is_told() -> None:
    """Mosquitto grants all; others do not."""
    found = subscriptions(
        {"a": ("a/+", 1), "b": ("b/+", 1), "c": ("c/+", 2)},
        [(True, 135, "Not authorized"), (False, 1, "Granted QoS 1"), (False, 1, "Granted QoS 1")],
    )

    assert {name: (each.about, each.state) for name, each in found.items()} == {
        "a": ("feed.a", "wrong"),
        "c": ("feed.c", "warning"),
    }
    assert "Not authorized" in found["a"].text


def test_what_is_not_there_is_away(ask: Ask, tmp_path: Path) -> None:
    """Nobody listens: that may pass, so the exit code is 1."""
    (tmp_path / "token").write_text(TOKEN)
    code, found = ask(
        f'[mqtt]\nport = {free_port()}\n[influxdb]\nurl = "http://127.0.0.1:{free_port()}"\n'
        f'org = "o"\nbucket = "b"\ntoken_file = "token"\n'
        f'[log]\nurl = "kafka://127.0.0.1:{free_port()}"\n{_FEED}'
    )
    assert code == 1
    assert {name: each["state"] for name, each in found.items()} == {
        "mqtt": "away",
        "influxdb": "away",
        "log": "away",
        "gateway.data_dir": "good",
    }
    assert TOKEN not in json.dumps(found)


def _influxdb(url: str, folder: Path) -> str:
    (folder / "token").write_text(TOKEN)
    return (
        f'[mqtt]\nport = {free_port()}\n[influxdb]\nurl = "{url}"\norg = "plant"\n'
        f'bucket = "headgate"\ntoken_file = "token"\n{_FEED}'
    )


@pytest.mark.parametrize(
    ("reply", "state", "says"),
    [
        (answer(204), "good", "takes points for bucket headgate of plant"),
        # What InfluxDB 2 says to a write of nothing, once it knows that it may be written.
        (
            lambda: web.json_response(
                {"code": "invalid", "message": "writing requires points"}, status=400
            ),
            "good",
            "takes points for bucket headgate of plant",
        ),
        (
            lambda: web.json_response(
                {"code": "unauthorized", "message": "unauthorized access"}, status=401
            ),
            "wrong",
            "401 unauthorized access; check influxdb.org, bucket and token",
        ),
        (
            lambda: web.json_response(
                {"code": "not found", "message": 'bucket "headgate" not found'}, status=404
            ),
            "wrong",
            '404 bucket "headgate" not found; check influxdb.org, bucket and token',
        ),
        (lambda: web.Response(status=400, text="<html>"), "wrong", "check influxdb.url"),
        (answer(503), "away", "503"),
        (answer(400), "warning", "400 no to a trial write"),
    ],
)
async def test_the_store_is_asked_whether_it_would_take_points(
    ask: Ask, tmp_path: Path, reply: Callable[[], web.Response], state: str, says: str
) -> None:
    """By a write of no point: its answers are InfluxDB's own."""
    server = Server()
    server.script = [reply]
    async with server.running():
        code, found = await asyncio.to_thread(ask, _influxdb(server.url, tmp_path))

    assert found["influxdb"]["state"] == state
    assert says in found["influxdb"]["text"]
    assert code == (2 if state == "wrong" else 1)
    assert server.lines == []
    assert server.tokens == [f"Token {TOKEN}"]


@pytest.mark.store
def test_a_real_store_is_asked_and_gets_nothing(
    ask: Ask, tmp_path: Path, victoria: Victoria
) -> None:
    """It answers as it does to points, and has none afterwards."""
    _, found = ask(_influxdb(victoria.url, tmp_path))

    assert found["influxdb"]["state"] == "good"
    assert victoria.series() == []


def test_folders_that_can_not_be_written_have_to_be_mended(ask: Ask, tmp_path: Path) -> None:
    """Here a file stands where the folder is meant to be."""
    (tmp_path / "data").write_text("")
    code, found = ask(f"[local_store]\n[mqtt]\nport = {free_port()}\n{_FEED}")

    assert code == 2
    for about in ("log", "local_store"):
        assert found[about]["state"] == "wrong"
        assert "expected a folder that this user can write to" in found[about]["text"]


def test_too_little_room_is_a_warning_and_nothing_is_made(ask: Ask, tmp_path: Path) -> None:
    """Each is told what it may grow by."""
    _, found = ask(
        f'[local_store]\nmax_bytes = "900000GiB"\n[log]\nretention_bytes = "900000GiB"\n'
        f"[mqtt]\nport = {free_port()}\n{_FEED}"
    )

    for about, key in (("log", "log.retention_bytes"), ("local_store", "local_store.max_bytes")):
        assert found[about]["state"] == "warning"
        assert f"lower {key}, or make room" in found[about]["text"]
    assert {path.name for path in tmp_path.iterdir()} == {"plant.toml"}


def _on_kafka(kafka: str, prefix: str, partitions: int) -> str:
    return (
        f'[local_store]\n[mqtt]\nport = {free_port()}\n[log]\nurl = "kafka://{kafka}"\n'
        f'topic_prefix = "{prefix}"\npartitions = {partitions}\n{_FEED}'
    )


@pytest.mark.kafka
def test_kafka_is_asked_whether_topics_are_there_or_can_be_made(
    ask: Ask, kafka: str, tmp_path: Path
) -> None:
    """None is made by that, nor a file on this machine."""
    config = partial(_on_kafka, kafka, f"check-{free_port()}.")
    for _ in range(2):
        _, found = ask(config(2))
        assert found["log"]["state"] == "good"
        assert "0 topics are there, " in found["log"]["text"]
        assert found["log"]["text"].endswith(" can be made")
        assert found["gateway.data_dir"]["state"] == "good"
        assert {path.name for path in tmp_path.iterdir()} == {"plant.toml"}


@pytest.mark.kafka
async def test_kafka_topics_of_another_size_have_to_be_mended(
    ask: Ask, kafka: str, tmp_path: Path
) -> None:
    """As the gateway says at its start."""
    config = partial(_on_kafka, kafka, f"check-{free_port()}.")
    file = tmp_path / "made.toml"
    file.write_text(config(2))
    made = load_config(file)
    made.gateway.data_dir.mkdir()
    log = open_log(made, SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(made))
    await log.stop()

    _, found = await asyncio.to_thread(ask, config(2))
    assert found["log"]["text"].endswith(f"all {len(topic_specs(made))} topics are there")
    code, found = await asyncio.to_thread(ask, config(3))
    assert code == 2
    assert "set log.partitions = 2" in found["log"]["text"]


def test_waiting_is_for_connecting(capsys: pytest.CaptureFixture[str]) -> None:
    """And has an end."""
    assert main(["check", "--wait", "1s"]) == 2
    assert "--wait: expected --connect" in capsys.readouterr().err
    assert main(["check", "--connect", "--wait", "2d"]) == 2
    assert main(["check", "--connect", "--wait", "soon"]) == 2
