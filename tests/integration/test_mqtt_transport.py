"""Over WebSockets and a socket of this machine, and what is told of the gateway's state."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from connectors.mqtt.config import MqttConfig
from connectors.mqtt.tls import tls_context
from connectors.replay.publisher import Publisher
from connectors.sources.mqtt.source import MqttSource
from headgate.core.clock import SystemClock
from headgate.demo.processes import free_port
from headgate.inspect.probe import probe
from tests.certificates import Authority
from tests.integration.mqtt_rig import make_config, running, until
from tests.mosquitto import MakeMosquitto, Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(120)]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """The path of a socket may not be long, and pytest's are."""
    with TemporaryDirectory(prefix="hg") as folder:
        yield Path(folder)


async def _publish(port: int, first: int, end: int, size: int = 0) -> None:
    def work() -> None:
        with Publisher("127.0.0.1", port, SystemClock()) as publisher:
            for number in range(first, end):
                publisher.publish("in/d", b'{"x": %d, "more": "%s"}' % (number, b"m" * size))
            publisher.flush()

    await asyncio.to_thread(work)


@pytest.mark.parametrize(("transport", "qos"), [("ws", 1), ("ws", 2), ("wss", 1), ("unix", 1)])
async def test_every_transport_brings_everything(
    make_mosquitto: MakeMosquitto, tmp_path: Path, short_folder: Path, transport: str, qos: int
) -> None:
    """Over a restart of gateway and broker; small messages, and one larger than a read."""
    plain = free_port()
    lines, listener = f"listener {plain} 127.0.0.1\n", ""
    settings: dict[str, object] = {}
    if transport == "unix":
        file = short_folder / "mqtt.sock"
        lines += f"listener 0 {file}\n"
        settings = {"transport": "unix", "socket": str(file)}
    else:
        listener = "protocol websockets\n"
        settings = {"transport": "websockets", "path": "/mqtt", "headers": {"X-Plant": "a"}}
    if transport == "wss":
        authority = Authority(tmp_path / "certificates")
        files = (authority.path("broker.pem"), authority.path("broker.key"))
        listener += "certfile {}\nkeyfile {}\n".format(*files)
        settings["tls"] = {"ca_file": authority.path("ca.pem")}
    broker = make_mosquitto(lines=lines, listener=listener)
    config = make_config(broker, tmp_path, qos, **settings)
    async with running(config) as rig:
        await _publish(plain, 0, 40)
        await rig.has(40)
        await _publish(plain, 40, 41, size=400_000)
        await rig.has(41)
        found, _ = await asyncio.to_thread(probe, config, SystemClock(), 0.1)
    await _publish(plain, 41, 50)
    async with running(config) as rig:
        await rig.has(9)
        broker.stop()
        await until(lambda: not rig.lane.health()[0])
        broker.start()
        await _publish(plain, 50, 60)
        await rig.has(19)
        values = await rig.values()

    # What the broker had no acknowledgement of when it was stopped it sends again.
    assert list(dict.fromkeys(values)) == list(range(60))
    (asked,) = [each for each in found if each.about == "mqtt"]
    assert asked.state == "good", asked.text


async def test_what_is_no_websocket_is_told(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A plain listener, one that answers otherwise, and a file that is not there."""
    config = make_config(mosquitto, tmp_path, transport="websockets")
    async with running(config, is_ready=False) as rig:
        await until(lambda: rig.lane.health()[1] not in ("starting", "not connected yet"))
        assert rig.lane.health()[1].startswith(
            f"can't connect to ws://127.0.0.1:{mosquitto.port}/mqtt: "
        )
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=_answer, args=(server,), daemon=True)
        answering.start()
        config = make_config(
            mosquitto, tmp_path, transport="websockets", port=server.getsockname()[1]
        )
        async with running(config, is_ready=False) as rig:
            await until(lambda: "WebSocket" in rig.lane.health()[1])
    config = make_config(mosquitto, tmp_path, transport="unix", socket=str(tmp_path / "none"))
    async with running(config, is_ready=False) as rig:
        await until(lambda: "No such file" in rig.lane.health()[1])


def _answer(server: socket.socket) -> None:
    """Answer as a web server that has never heard of WebSockets."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nSec-WebSocket-Accept\r\n\xff\r\n\r\n")


async def _state(broker: Mosquitto) -> str:
    """What is retained of the gateway's state."""
    command = [
        "mosquitto_sub", "-p", str(broker.port), "-t", "headgate/g/state", "-C", "1", "-W", "3",
    ]  # fmt: skip
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


async def _is_told(broker: Mosquitto, state: str) -> None:
    async with asyncio.timeout(30):
        while await _state(broker) != state:
            pass


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_the_gateway_tells_that_it_is_there(
    mosquitto: Mosquitto, tmp_path: Path, version: str
) -> None:
    """Retained; and that it is not: by itself at a stop, by its last will when it is cut off."""
    config = make_config(mosquitto, tmp_path, version=version, publish_state=True)
    async with running(config) as rig:
        await _is_told(mosquitto, "online")
        source = rig.lane.intakes[0].source
        assert isinstance(source, MqttSource)
        source.pause()
        raw = source._connection._client._raw
        assert raw is not None
        raw.shutdown(socket.SHUT_RDWR)
        await _is_told(mosquitto, "offline")
        source.resume()
        await _is_told(mosquitto, "online")
    assert await _state(mosquitto) == "offline"


async def test_nothing_is_told_unasked(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A broker that lets the gateway only read may refuse whoever leaves a will."""
    async with running(make_config(mosquitto, tmp_path)):
        assert await _state(mosquitto) == ""


async def test_a_broker_that_forbids_it_is_told_of_and_still_heard(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """Mosquitto lets the client in, and says that the message was not authorized."""
    rights = tmp_path / "acl"
    rights.write_text("topic read in/#\ntopic write in/#\n")
    broker = make_mosquitto(lines=f"acl_file {rights}\n")
    async with running(make_config(broker, tmp_path, publish_state=True)) as rig:
        await _publish(broker.port, 0, 10)
        await rig.has(10)
        assert rig.lane.health() == (True, "")


def test_protocols_are_offered_by_name(tmp_path: Path) -> None:
    """To a server that speaks several on one port (ALPN)."""
    authority = Authority(tmp_path / "certificates")
    table = {"tls": {"ca_file": authority.path("ca.pem"), "alpn": ["mqtt", "x-amzn-mqtt-ca"]}}
    tls = MqttConfig.model_validate(table).tls
    assert tls is not None
    chosen: list[str | None] = []
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(authority.path("broker.pem"), authority.path("broker.key"))
    server_context.set_alpn_protocols(["http/1.1", "x-amzn-mqtt-ca"])

    def serve(server: socket.socket) -> None:
        plain, _ = server.accept()
        with server_context.wrap_socket(plain, server_side=True) as accepted:
            chosen.append(accepted.selected_alpn_protocol())

    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=serve, args=(server,))
        serving.start()
        with (
            socket.create_connection(server.getsockname()) as plain,
            tls_context(tls, "mqtt").wrap_socket(plain, server_hostname="127.0.0.1"),
        ):
            serving.join(10)
    assert chosen == ["x-amzn-mqtt-ca"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"path": "/x"}, "path is of WebSockets"),
        ({"headers": {"a": "b"}}, "headers is of WebSockets"),
        ({"transport": "websockets", "headers": {"a b": "c"}}, "expected a header's name"),
        ({"transport": "websockets", "headers": {"a": "b\r\nc: d"}}, "expected a header's name"),
        ({"transport": "websockets", "path": "mqtt"}, "expected a path as in an address"),
        ({"transport": "unix"}, "belong together"),
        ({"socket": "/run/m.sock"}, "belong together"),
        ({"transport": "unix", "socket": "/run/m.sock", "tls": {}}, "a socket of this machine"),
    ],
)
def test_what_does_not_go_together_is_told(given: dict[str, object], problem: str) -> None:
    """Instead of being left out."""
    with pytest.raises(ValueError, match=problem):
        MqttConfig.model_validate(given)
