"""What a broker may send at most, and what it is answered: too large, too much, and twice."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from connectors.mqtt.connection import Connection
from connectors.mqtt.packets import HEAD_BYTES
from connectors.mqtt.received import Received, Subscription
from headgate.config.schema import Config
from headgate.core.clock import SystemClock
from headgate.core.telemetry import Telemetry
from tests.certificates import Authority
from tests.integration.mqtt_rig import Rig, make_config, publish, running, until
from tests.mosquitto import Mosquitto, session_of, settings_of

pytestmark = pytest.mark.timeout(90)

_MAX_PAYLOAD = 64 << 10


class ByteBroker:
    """Speaks MQTT by the byte, also what no broker of good manners would say.

    Args:
        session_present: What its CONNACK says.
    """

    def __init__(self, *, session_present: bool = True) -> None:
        self.session_present = session_present
        self.port = 0
        self.connects: list[bytes] = []
        self.answers = bytearray()
        self._connected = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None

    async def start(self, tls: ssl.SSLContext | None = None) -> asyncio.Server:
        """Listen."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def send(self, data: bytes) -> None:
        """Send these bytes over the newest connection."""
        await self._connected.wait()
        assert self._writer is not None
        self._writer.write(data)
        await self._writer.drain()

    def cut(self) -> None:
        """End the connection."""
        assert self._writer is not None
        self._connected.clear()
        self._writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                packet = await _packet(reader)
                kind = packet[0] & 0xF0
                is_v5 = len(self.connects) > 0 and self.connects[-1][8] == 5
                if kind == 0x10:
                    self.connects.append(packet)
                    is_v5 = packet[8] == 5
                    writer.write(bytes([0x20, 2 + is_v5, self.session_present, 0]) + bytes(is_v5))
                elif kind == 0x80:
                    writer.write(bytes([0x90, 3 + is_v5]) + packet[2:4] + bytes(is_v5) + b"\x01")
                    self._writer = writer
                    self._connected.set()
                elif kind in (0x40, 0x50, 0x70):
                    self.answers += packet
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def _packet(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(2)
    while head[-1] & 0x80:
        head += await reader.readexactly(1)
    length = sum((byte & 127) << 7 * at for at, byte in enumerate(head[1:]))
    return head + await reader.readexactly(length)


def _length(value: int) -> bytes:
    digits = bytearray()
    while True:
        value, digit = divmod(value, 128)
        digits.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(digits)


def _publish(first: int, packet_id: int, payload: bytes, properties: bytes = b"") -> bytes:
    """An MQTT 5 PUBLISH to ``in/d``."""
    body = b"\x00\x04in/d" + packet_id.to_bytes(2, "big") + _length(len(properties)) + properties
    return bytes([first]) + _length(len(body) + len(payload)) + body + payload


@asynccontextmanager
async def connected(
    broker: ByteBroker, folder: Path, authority: Authority | None = None
) -> AsyncIterator[tuple[Connection, list[Received]]]:
    """A connection to it that keeps what it gets; with TLS, where an authority is given."""
    tls, mqtt = None, dict[str, object]()
    if authority is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(authority.folder / "broker.pem", authority.folder / "broker.key")
        mqtt["tls"] = {"ca_file": str(authority.folder / "ca.pem")}
    server = await broker.start(tls)
    config = Config.model_validate(
        {
            "gateway": {"data_dir": str(folder)},
            "mqtt": {"port": broker.port, "version": "5", **mqtt},
            "local_store": {},
            "feed": {"f": {"topic": "in/{device}", "channels": {"x": {}}}},
        }
    )
    clock = SystemClock()
    session = session_of(config, clock, Telemetry(clock))
    received: list[Received] = []
    connection = Connection(
        settings_of(config),
        session.client_id,
        clock,
        on_messages=received.append,
        subscriptions=[Subscription("in/+", 1)],
        session=session,
        max_payload_bytes=_MAX_PAYLOAD,
    )
    task = asyncio.create_task(connection.run())
    try:
        await until(lambda: not connection.trouble)
        yield connection, received
    finally:
        connection.close()
        await task
        server.close()


async def test_the_broker_is_told_the_largest_packet(tmp_path: Path) -> None:
    """On MQTT 5 the CONNECT says it: sixteen times the largest payload, and a head."""
    broker = ByteBroker()
    async with connected(broker, tmp_path):
        size = 16 * _MAX_PAYLOAD + HEAD_BYTES
        assert b"\x27" + size.to_bytes(4, "big") in broker.connects[0]


async def test_user_properties_cost_nothing(tmp_path: Path) -> None:
    """The most that a packet can hold of them are passed over, and the payload is whole."""
    pair = b"\x26\x00\x01k" + (65_000).to_bytes(2, "big") + b"v" * 65_000
    broker = ByteBroker()
    async with connected(broker, tmp_path) as (_, received):
        await broker.send(_publish(0x32, 7, b"small", b"\x26\x00\x01k\x00\x01v" * 9_000))
        await broker.send(_publish(0x32, 8, b"large", pair * 4) + _publish(0x32, 9, b"after"))
        await until(lambda: sum(len(each.topics) for each in received) == 3)
        messages = [payload for each in received for payload in each.payloads]

    # Properties beyond what fits beside the largest payload make a message too large.
    assert messages == [b"small", b"", b"after"]
    assert [dict(each.cut) for each in received if each.cut] == [{0: len(b"large")}]


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_broker_that_ignores_the_maximum_costs_no_memory(qos: int, tmp_path: Path) -> None:
    """A message of 48 MiB is handed over as its beginning, is answered, and others go on."""
    size = 48 << 20
    broker = ByteBroker()
    async with connected(broker, tmp_path) as (connection, received):
        tracemalloc.start()
        try:
            start = _publish(0x30 | qos << 1, 7, b"")[2:]
            await broker.send(bytes([0x30 | qos << 1]) + _length(len(start) + size) + start)
            for _ in range(size >> 18):
                await broker.send(bytes(1 << 18))
            await broker.send(_publish(0x32, 9, b"after"))
            await until(lambda: sum(len(each.topics) for each in received) == 2)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        for each in received:
            connection.ack(each)
        await until(lambda: len(broker.answers) == 8)

    assert received[0].cut == {0: size}
    assert received[0].topics == [b"in/d"]
    assert received[1].payloads == [b"after"]
    assert broker.answers == bytes([0x40 if qos == 1 else 0x50, 2, 0, 7, 0x40, 2, 0, 9])
    assert peak_bytes < 4 << 20


@pytest.mark.parametrize("has_tls", [False, True])
async def test_what_follows_a_large_message_does_not_wait(has_tls: bool, tmp_path: Path) -> None:
    """It may have come in one record with the end of what is thrown away: no socket tells of it."""
    authority = Authority(tmp_path / "certificates") if has_tls else None
    broker = ByteBroker()
    async with connected(broker, tmp_path, authority) as (_, received):
        for size in (1 << 18, (1 << 18) + 1000, 3 << 20):
            del received[:]
            await broker.send(_publish(0x32, 7, bytes(size)) + _publish(0x32, 9, b"after"))
            await until(lambda: sum(len(each.topics) for each in received) == 2)

            # What has come whole already is not cut.
            assert received[0].cut.get(0, len(received[0].payloads[0])) == size
            assert received[-1].payloads[-1] == b"after"


async def test_a_packet_that_no_broker_sends_ends_the_connection(tmp_path: Path) -> None:
    """Not a message, and of a megabyte: it is not read, and the reason is told."""
    broker = ByteBroker()
    with capture_logs() as logs:
        async with connected(broker, tmp_path):
            await broker.send(b"\x90" + _length(1 << 20))
            await until(lambda: len(broker.connects) == 2)
    causes = [line["cause"] for line in logs if line["log_level"] == "warning"]

    assert causes == ["the connection ended: the broker sent a packet 0x90 of 1048580 bytes"]


async def test_a_qos_2_message_is_promised_after_it_is_safe(tmp_path: Path) -> None:
    """PUBREC follows the acknowledgement, and a release is answered, whatever is known of it."""
    broker = ByteBroker()
    async with connected(broker, tmp_path) as (connection, received):
        await broker.send(_publish(0x34, 7, b"one") + b"\x62\x02\x03\xe7")
        await until(lambda: bool(received))
        await until(lambda: bytes(broker.answers) == b"\x70\x02\x03\xe7")
        connection.ack(received[0])
        await until(lambda: bytes(broker.answers[4:]) == b"\x50\x02\x00\x07")
        await broker.send(b"\x62\x04\x00\x07\x00\x00")
        await until(lambda: bytes(broker.answers[8:]) == b"\x70\x02\x00\x07")


async def test_a_qos_2_message_that_is_sent_again_comes_once(tmp_path: Path) -> None:
    """Over a new connection of the same session: before it was safe, and after."""
    broker = ByteBroker()
    async with connected(broker, tmp_path) as (connection, received):
        await broker.send(_publish(0x34, 7, b"safe") + _publish(0x34, 8, b"waiting"))
        await until(lambda: sum(len(each.topics) for each in received) == 2)
        broker.cut()
        await until(lambda: len(broker.connects) == 2)
        # 9 is a new message under an id that may be used again, 7 and 8 are those from before.
        await broker.send(
            _publish(0x3C, 7, b"safe") + _publish(0x3C, 8, b"waiting") + _publish(0x34, 9, b"new")
        )
        await until(lambda: sum(len(each.topics) for each in received) == 3)
        assert not broker.answers
        for each in received:
            connection.ack(each)
        await until(lambda: len(broker.answers) == 12)
        broker.cut()
        await until(lambda: len(broker.connects) == 3)
        await broker.send(_publish(0x3C, 7, b"safe"))
        await until(lambda: len(broker.answers) == 16)

    assert [payload for each in received for payload in each.payloads] == [
        b"safe",
        b"waiting",
        b"new",
    ]
    assert sorted(broker.answers[3::4]) == [7, 7, 8, 9]


async def test_a_new_session_begins_its_packet_ids_anew(tmp_path: Path) -> None:
    """What an earlier session left is no reason to take a message for one we had."""
    broker = ByteBroker()
    async with connected(broker, tmp_path) as (connection, received):
        await broker.send(_publish(0x34, 7, b"old"))
        await until(lambda: bool(received))
        broker.session_present = False
        broker.cut()
        await until(lambda: len(broker.connects) == 2)
        await broker.send(_publish(0x3C, 7, b"new"))
        await until(lambda: len(received) == 2)
        connection.ack(received[0])
        await asyncio.sleep(0.05)
        assert not broker.answers
        connection.ack(received[1])
        await until(lambda: bytes(broker.answers) == b"\x50\x02\x00\x07")

    assert [each.payloads for each in received] == [[b"old"], [b"new"]]


async def test_a_flood_of_qos_2_is_bounded_like_any_other(tmp_path: Path) -> None:
    """Payloads without release are handed over, not kept: the reader can stop for them."""
    broker = ByteBroker()
    async with connected(broker, tmp_path) as (connection, received):
        for packet_id in range(1, 4001):
            await broker.send(_publish(0x34, packet_id, bytes(1000)))
        await until(lambda: sum(len(each.topics) for each in received) == 4000)

        assert sum(each.size_bytes for each in received) > 4_000_000
        assert not connection._client._in_messages


@pytest.mark.mosquitto
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_huge_message_on_mqtt_3_is_put_aside_by_name(
    mosquitto: Mosquitto, tmp_path: Path, qos: int
) -> None:
    """Of 40 MB the beginning is kept with topic and size; the connection stands, others go on."""
    huge = tmp_path / "huge"
    huge.write_bytes(b"x" * 40_000_000)
    config = make_config(mosquitto, tmp_path, qos, version="3.1.1")
    async with running(config) as rig:
        await asyncio.to_thread(
            subprocess.run,
            ["mosquitto_pub", "-p", str(mosquitto.port), "-q", str(qos), "-t", "in/huge",
             "-f", str(huge)],
            check=True,
        )  # fmt: skip
        await publish(mosquitto, 0, 100)
        await rig.has(100)
        await until(lambda: rig.telemetry.quarantined.labels("too_large")._value.get() == 1)
        generation = rig.lane.intakes[0].source.connection
        refused = (await rig.refused())[0]
    # Once acknowledged, it does not come again.
    async with running(config) as again:
        await publish(mosquitto, 100, 101)
        await again.has(1)
        reasons = await again.reasons()

    assert generation == 1
    assert (refused.source, refused.payload_bytes) == ("mqtt:in/huge", 40_000_000)
    assert refused.payload == b"x" * 4096
    assert reasons == ["too_large"]


@pytest.mark.mosquitto
async def test_qos_2_messages_outlive_a_kill(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """What arrived and was in no log when the gateway died is sent again, none is lost."""
    config = make_config(mosquitto, tmp_path, 2)
    rig = Rig(config)
    await rig.start()
    held = asyncio.Event()
    rig.log.append_many = _never(held)  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(rig.lane.run(asyncio.Event()))
    await until(lambda: rig.lane.health()[0])
    await publish(mosquitto, 0, 50, qos=2)
    await held.wait()
    await asyncio.sleep(0.3)
    task.cancel()  # as kill -9 would: no goodbye, no acknowledgement
    await asyncio.gather(task, return_exceptions=True)
    await rig.log.stop()

    async with running(config) as again:
        await again.has(50)
        assert sorted(await again.values()) == list(range(50))


def _never(called: asyncio.Event) -> Callable[..., Awaitable[None]]:
    async def append_many(_records: object) -> None:
        called.set()
        await asyncio.Event().wait()

    return append_many
