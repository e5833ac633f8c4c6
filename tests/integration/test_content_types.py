"""Several formats on one topic, from clients that are not ours over a real broker."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

import cbor2
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from connectors.logs.configured import topic
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.log import READINGS, TopicPartition
from headgate.core.properties import Properties as Beside
from headgate.core.records import READINGS_SCHEMA, decode_readings, schema_of
from headgate.testing.recording import read_recording
from tests.integration.mqtt_rig import Rig, running, until
from tests.mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(60)]

_SECONDS = 1_767_225_600


def _config(broker: Mosquitto, folder: Path, qos: int = 1, **given: object) -> Config:
    feed = {
        "topic": "in/{device}",
        "qos": qos,
        "time": {"path": "at", "unit": "s"},
        "channels": {"x": {}},
        "tags": {"batch": {"user_property": "batch"}},
        "content_types": {"application/cbor": "cbor", "application/senml+json": "senml"},
    }
    return Config.model_validate(
        {
            "gateway": {"name": "g", "data_dir": str(folder)},
            "mqtt": {"port": broker.port, **given},
            "ingest": {"max_wait": "5ms"},
            "log": {"partitions": 1},
            "local_store": {},
            "feed": {"f": feed},
        }
    )


def _message(number: int) -> tuple[str | None, bytes]:
    """Content type and payload of a message whose value is this, each in another format."""
    at = _SECONDS + number
    record = {"at": at, "x": number}
    return (
        (None, b'{"at": %d, "x": %d}' % (at, number)),
        ("application/cbor", cbor2.dumps(record)),
        ("Application/SenML+JSON; charset=utf-8", b'[{"n":"x","t":%d,"v":%d}]' % (at, number)),
        ("text/plain", b'{"at": %d, "x": %d}' % (at, number)),
    )[number % 4]


def _publish_all(broker: Mosquitto, first: int, last: int, qos: int) -> None:
    """By paho, with further properties around the content type."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    sent = []
    for number in range(first, last):
        said, payload = _message(number)
        properties = Properties(PacketTypes.PUBLISH)
        if number % 3:
            properties.UserProperty = ("batch", "none")
            properties.UserProperty = ("other", "none")
            properties.UserProperty = ("batch", str(number % 3))
            properties.ResponseTopic = "answers"
        if said is not None:
            properties.ContentType = said
        sent.append(client.publish(f"in/d{number % 5}", payload, qos, properties=properties))
    for each in sent:
        each.wait_for_publish(20)
    client.disconnect()
    client.loop_stop()


#: Device, batch, seconds after the first, and value.
_Read: TypeAlias = tuple[str, str | None, int, float]


async def _readings(rig: Rig) -> list[_Read]:
    """All readings, by value."""
    at = TopicPartition(topic(rig.config, READINGS), 0)
    found: list[_Read] = []
    for record in await rig.log.read(at, 0, max_bytes=1 << 26):
        if schema_of(record.headers) == READINGS_SCHEMA:
            batch = decode_readings(record.value, ChannelTable())
            every = [batch.channels.channels[row] for row in batch.channel]
            names = [each.device for each in every]
            batches = [dict(each.tags).get("batch") for each in every]
            seconds = (batch.time_ns // 10**9 - _SECONDS).tolist()
            found += zip(names, batches, seconds, batch.value.tolist(), strict=True)
    return sorted(found, key=itemgetter(3))


def _expected(count: int) -> list[_Read]:
    return [
        (f"d{number % 5}", str(number % 3) if number % 3 else None, number, float(number))
        for number in range(count)
    ]


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_each_message_is_read_as_what_it_says_it_is(
    mosquitto: Mosquitto, tmp_path: Path, qos: int
) -> None:
    """JSON, CBOR and SenML of one device, on one topic, with every quality of service.

    And with its batch, which stands beside it, or does not.
    """
    async with running(_config(mosquitto, tmp_path, qos)) as rig:
        await asyncio.to_thread(_publish_all, mosquitto, 0, 400, qos)
        await rig.has(400)

        assert await _readings(rig) == _expected(400)
        assert await rig.refused() == []


async def test_it_is_remembered_of_what_waits_at_the_broker(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """While the gateway is away, and over a kill of the broker."""
    config = _config(mosquitto, tmp_path)
    async with running(config):
        pass
    await asyncio.to_thread(_publish_all, mosquitto, 0, 40, 1)
    await asyncio.sleep(2)  # mosquitto writes its sessions down once a second
    mosquitto.stop(signal.SIGKILL)
    mosquitto.start()
    async with running(config) as rig:
        await rig.has(40)

        assert await _readings(rig) == _expected(40)


async def test_a_group_shares_it_out(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Each gateway reads what comes to it as what it says it is."""
    first = _config(mosquitto, tmp_path / "a", shared_group="plant", client_id="a")
    second = _config(mosquitto, tmp_path / "b", shared_group="plant", client_id="b")
    async with running(first) as one, running(second) as other:
        await asyncio.to_thread(_publish_all, mosquitto, 0, 100, 1)

        async with asyncio.timeout(20):
            found: list[_Read] = []
            while len(found) < 100:
                found = [*await _readings(one), *await _readings(other)]
                await asyncio.sleep(0.05)
        assert sorted(found, key=itemgetter(3)) == _expected(100)
        assert [*await one.refused(), *await other.refused()] == []


async def _mosquitto_pub(broker: Mosquitto, payload: bytes, *options: str) -> None:
    command = ["mosquitto_pub", "-V", "5", "-p", str(broker.port), "-q", "1", "-t", "in/d0", "-s"]
    await asyncio.to_thread(subprocess.run, [*command, *options], input=payload, check=True)


_CBOR = ("-D", "PUBLISH", "content-type", "application/cbor")


async def test_what_is_retained_keeps_it(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """It counts once; and the same bytes once more, when they say that they are something else."""
    payload = cbor2.dumps({"at": _SECONDS, "x": 0})
    await _mosquitto_pub(mosquitto, payload, "-r", *_CBOR)
    config = _config(mosquitto, tmp_path)
    async with running(config) as rig:
        await rig.has(1)

        assert await _readings(rig) == _expected(1)
    await _mosquitto_pub(mosquitto, payload, "-r")
    async with running(config) as rig:
        await until(lambda: rig.telemetry.quarantined.labels("not_utf8")._value.get() == 1)

        assert await _readings(rig) == _expected(1)


async def test_a_recording_of_mosquitto_sub_has_it(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """As it came, so that a case is played as the gateway reads it."""
    more = ("-D", "PUBLISH", "user-property", "batch", "7")
    await _mosquitto_pub(mosquitto, b'{"at": 1, "x": 2}', "-r", *_CBOR, *more)
    command = ["mosquitto_sub", "-V", "5", "-p", str(mosquitto.port), "-t", "in/#", "-C", "1"]
    listening = await asyncio.to_thread(
        subprocess.run, [*command, "-F", "%j"], check=True, capture_output=True
    )
    recording = tmp_path / "in.jsonl"
    recording.write_bytes(listening.stdout)
    (found,) = read_recording(recording)

    assert found.payload == b'{"at": 1, "x": 2}'
    assert found.properties == Beside(b"application/cbor", ((b"batch", b"7"),))


async def test_what_is_not_what_it_says_is_refused_with_it(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Quarantine tells the content type; those before and behind are read."""
    async with running(_config(mosquitto, tmp_path)) as rig:
        await asyncio.to_thread(_publish_all, mosquitto, 0, 4, 1)
        await _mosquitto_pub(mosquitto, b'{"at": 5, "x": 9}', *_CBOR)
        await asyncio.to_thread(_publish_all, mosquitto, 4, 8, 1)
        await rig.has(8)

        assert await _readings(rig) == _expected(8)
        (refused,) = await rig.refused()
        assert refused.reason == "not_cbor"
        assert refused.content_type == "application/cbor"
        assert "application/cbor" not in refused.detail


async def test_over_mqtt_3_there_is_none(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Messages are in the feed's format, as whatever they were sent."""
    async with running(_config(mosquitto, tmp_path, version="3.1.1")) as rig:
        await asyncio.to_thread(_publish_all, mosquitto, 0, 4, 1)
        await rig.has(2)
        await until(lambda: rig.telemetry.quarantined.labels("not_utf8")._value.get() == 1)

        assert [each[1::2] for each in await _readings(rig)] == [(None, 0), (None, 3)]
