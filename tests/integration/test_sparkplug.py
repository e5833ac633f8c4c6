"""Sparkplug B against a real mosquitto: nodes are asked what they mean."""

from __future__ import annotations

import asyncio
import json
import queue
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from connectors.sources.mqtt.source import MqttSource
from headgate.config.schema import Config
from tests.integration.mqtt_rig import Rig, running, until
from tests.mosquitto import Mosquitto
from tests.unit.formats.sparkplug.host import INT32, metric, nbirth, ndata

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(90)]

_ASK = "spBv1.0/g/NCMD/n"
_TEMP = metric("temp", 1, alias=7, datatype=INT32)


def _config(broker: Mosquitto, folder: Path, **mqtt: object) -> Config:
    feed = {"topic": "spBv1.0/#", "format": "sparkplug", "channels": {"temp": {}}}
    return Config.model_validate(
        {
            "gateway": {"name": "g", "data_dir": str(folder)},
            "mqtt": {"port": broker.port, **mqtt},
            "ingest": {"max_wait": "5ms", "max_payload": "4KiB"},
            "log": {"partitions": 1},
            "local_store": {},
            "feed": {"f": feed},
        }
    )


class _Node:
    """What an edge node has of MQTT: it publishes, and gets its commands."""

    def __init__(self, port: int) -> None:
        self.commands: queue.Queue[str] = queue.Queue()
        subscribed: queue.Queue[None] = queue.Queue()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _data, message: self.commands.put(message.topic)
        self._client.on_subscribe = lambda *_: subscribed.put(None)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe("spBv1.0/g/NCMD/#")
        subscribed.get(timeout=10)

    def publish(self, *messages: tuple[str, bytes]) -> None:
        for topic, payload in messages:
            self._client.publish(topic, payload).wait_for_publish(10)

    def data(self, value: int, seq: int) -> None:
        """Data by alias, without a type."""
        fields = metric(None, value, alias=7, datatype=INT32, says_type=False)
        self.publish(ndata(fields, seq=seq))

    async def is_asked(self) -> None:
        """Wait for the command; five seconds are enough."""
        assert await asyncio.to_thread(self.commands.get, timeout=5) == _ASK

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def _node(broker: Mosquitto) -> Iterator[_Node]:
    node = _Node(broker.port)
    try:
        yield node
    finally:
        node.close()


async def _refused(rig: Rig, count: int) -> None:
    quarantined = rig.telemetry.quarantined
    await until(lambda: quarantined.labels("unknown_alias")._value.get() >= count)


async def test_a_node_whose_birth_was_missed_is_asked_once(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """What it sent before goes to quarantine; what it sends after its birth has its name."""
    async with running(_config(mosquitto, tmp_path)) as rig:
        with _node(mosquitto) as node:
            node.data(5, seq=3)
            node.data(6, seq=4)
            await node.is_asked()
            node.publish(nbirth(_TEMP))
            node.data(7, seq=1)
            await rig.has(2)
            assert await rig.values() == [1, 7]
            assert await rig.reasons() == ["unknown_alias"] * 2
            assert node.commands.empty()


async def test_after_another_connection_nodes_are_asked_and_no_alias_believed(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """The numbers fit all the same: exactly so much may have been lost."""
    async with running(_config(mosquitto, tmp_path)) as rig:
        with _node(mosquitto) as node:
            node.publish(nbirth(_TEMP))
            await rig.has(1)
        mosquitto.stop()
        await until(lambda: not rig.lane.health()[0])
        mosquitto.start()
        await until(lambda: rig.lane.health()[0], 40)
        with _node(mosquitto) as node:
            node.data(7, seq=1)
            await _refused(rig, 1)
            assert await rig.values() == [1]


async def test_the_next_process_asks_the_nodes_that_it_knew(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Before they send anything under an alias."""
    config = _config(mosquitto, tmp_path)
    async with running(config) as rig:
        with _node(mosquitto) as node:
            node.publish(nbirth(_TEMP))
            await rig.has(1)
    with _node(mosquitto) as node:
        async with running(config) as rig:
            await node.is_asked()
            node.publish(nbirth(metric("temp", 9, alias=7, datatype=INT32)))
            node.data(10, seq=1)
            await rig.has(2)
            assert await rig.values() == [1, 9, 10]
            assert await rig.reasons() == []


async def test_a_birth_that_is_too_large_ends_what_was_before(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """What comes next would fit the birth before it."""
    large = nbirth(*(metric(f"m{at}", 1, alias=at, datatype=INT32) for at in range(500)))
    async with running(_config(mosquitto, tmp_path)) as rig:
        with _node(mosquitto) as node:
            node.publish(nbirth(_TEMP), large, ndata(metric(None, 7, alias=7), seq=1))
            await node.is_asked()
            assert await rig.values() == [1]
            assert await rig.reasons() == ["too_large", "unknown_alias"]


class _States:
    """What the broker has of the gateway's STATE, as a node that waits for it gets it."""

    def __init__(self, port: int) -> None:
        self.told: queue.Queue[dict[str, object]] = queue.Queue()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _data, message: self.told.put(
            json.loads(message.payload)
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe("spBv1.0/STATE/scada", qos=1)

    async def next(self) -> tuple[object, int]:
        told = await asyncio.to_thread(self.told.get, timeout=30)
        assert sorted(told) == ["online", "timestamp"]
        assert isinstance(told["timestamp"], int)
        return told["online"], told["timestamp"]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_the_primary_host_tells_whether_it_is_there(
    mosquitto: Mosquitto, tmp_path: Path, version: str
) -> None:
    """Birth and death of a connection have one time; cut off, its last will says it."""
    states = _States(mosquitto.port)
    try:
        config = _config(mosquitto, tmp_path, version=version, primary_host="scada")
        async with running(config) as rig:
            is_online, first_ms = await states.next()
            assert is_online is True
            source = rig.lane.intakes[0].source
            assert isinstance(source, MqttSource)
            raw = source._connection._client._raw
            assert raw is not None
            raw.shutdown(socket.SHUT_RDWR)
            assert await states.next() == (False, first_ms)
            # What was not acknowledged of the first connection is sent again over the second.
            while (told := await states.next()) == (True, first_ms):
                pass
            is_online, second_ms = told
            assert is_online is True
            assert second_ms > first_ms
        assert await states.next() == (False, second_ms)
    finally:
        states.close()
    late = _States(mosquitto.port)
    assert await late.next() == (False, second_ms)
    late.close()


async def test_nodes_of_version_2_2_are_told_in_their_way(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """A word in a topic of its own; cut off, its last will says it."""
    command = ["mosquitto_sub", "-p", str(mosquitto.port), "-q", "1", "-t", "STATE/#", "-v"]
    listener = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    lines = listener.stdout
    assert lines is not None

    async def becomes(word: str) -> None:
        # What was not acknowledged may come again.
        while await lines.readline() != f"STATE/scada {word}\n".encode():
            pass

    try:
        config = _config(mosquitto, tmp_path, primary_host="scada", primary_host_version="2.2")
        async with asyncio.timeout(30), running(config) as rig:
            await becomes("ONLINE")
            source = rig.lane.intakes[0].source
            assert isinstance(source, MqttSource)
            raw = source._connection._client._raw
            assert raw is not None
            raw.shutdown(socket.SHUT_RDWR)
            await becomes("OFFLINE")
            await becomes("ONLINE")
        async with asyncio.timeout(30):
            await becomes("OFFLINE")
    finally:
        listener.kill()
        await listener.wait()
