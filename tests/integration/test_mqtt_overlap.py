"""Feeds whose topics overlap: a broker sends each message once, and the right feed takes it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from connectors.logs.configured import topic
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.log import READINGS, TopicPartition
from headgate.core.records import READINGS_SCHEMA, decode_readings, schema_of
from headgate.core.telemetry import Telemetry
from tests.integration.mqtt_rig import Rig, running, until
from tests.mosquitto import MakeMosquitto, Mosquitto, session_of

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(90)]

both_versions = pytest.mark.parametrize("version", ["5", "3.1.1"])
#: As the option of mosquitto is by default, and with it.
both_brokers = pytest.mark.parametrize("lines", ["", "allow_duplicate_messages true\n"])

_FEEDS = {
    # One covers the others, of which two cross.
    "all": {"topic": "in/{device...}", "ignore": ["in/log/#"], "other_channels": {}},
    "one": {"topic": "in/pump1/{kind}", "device": {"value": "pump1"}, "other_channels": {}},
    "data": {"topic": "in/{device}/data", "other_channels": {}},
    "log": {"topic": "in/log/{device}", "other_channels": {}},
}
_CROSSING = {name: _FEEDS[name] for name in ("one", "data")}


def _config(broker: Mosquitto, folder: Path, feeds: Mapping[str, object], version: str) -> Config:
    raw = {
        "gateway": {"name": "g", "data_dir": str(folder)},
        "mqtt": {"port": broker.port, "version": version},
        "ingest": {"max_wait": "5ms"},
        "log": {"partitions": 1},
        "local_store": {},
        "feed": {**feeds, "mark": {"topic": "mark/{device}", "other_channels": {}}},
    }
    return Config.model_validate(raw)


async def _publish(broker: Mosquitto, name: str, value: float, *more: str) -> None:
    payload = json.dumps({"x": value})
    command = [
        "mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", name, "-m", payload, *more
    ]  # fmt: skip
    await asyncio.to_thread(subprocess.run, command, check=True)


async def _read(rig: Rig) -> list[tuple[str, str, float]]:
    """Feed, device and value of all readings."""
    at = TopicPartition(topic(rig.config, READINGS), 0)
    found = []
    for record in await rig.log.read(at, 0, max_bytes=1 << 26):
        if schema_of(record.headers) == READINGS_SCHEMA:
            table = ChannelTable()
            batch = decode_readings(record.value, table)
            rows = zip(batch.channel.tolist(), batch.value.tolist(), strict=True)
            channels = [(table.channels[row], value) for row, value in rows]
            found += [(each.feed, each.device, value) for each, value in channels]
    return sorted(found)


async def _settled(rig: Rig, broker: Mosquitto, mark: int) -> list[tuple[str, str, float]]:
    """All that was read when what is sent now has come."""
    await until(lambda: rig.lane.health()[0])
    await _publish(broker, "mark/m", mark)
    async with asyncio.timeout(20):
        while not any(value == mark for _, _, value in await _read(rig)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return [each for each in await _read(rig) if each[2] < 100]


@both_brokers
@both_versions
async def test_each_message_is_read_once_and_by_the_more_specific_feed(
    make_mosquitto: MakeMosquitto, tmp_path: Path, version: str, lines: str
) -> None:
    """What is retained, what comes live, and what the broker queued while nobody was there."""
    broker = make_mosquitto(lines=lines)
    config = _config(broker, tmp_path, _FEEDS, version)
    await _publish(broker, "in/pump1/kept", 1, "-r")
    await _publish(broker, "in/log/p1", 2, "-r")
    expected = [("one", "pump1", 1.0), ("log", "p1", 2.0)]
    async with running(config) as rig:
        await _publish(broker, "in/pump1/data", 3)
        await _publish(broker, "in/tank/data", 4)
        await _publish(broker, "in/tank/more", 5)
        expected += [("one", "pump1", 3.0), ("data", "tank", 4.0), ("all", "tank/more", 5.0)]
        assert await _settled(rig, broker, 100) == sorted(expected)
    await _publish(broker, "in/pump1/data", 6)
    await _publish(broker, "in/log/p2", 7)
    await _publish(broker, "in/log/p2/more", 8)
    expected += [("one", "pump1", 6.0), ("log", "p2", 7.0)]
    async with running(config) as rig:
        assert await _settled(rig, broker, 101) == sorted(expected)
        assert not await rig.refused()
        assert rig.telemetry.ignored._value.get() == 1


@both_brokers
@both_versions
async def test_of_two_that_cross_what_is_of_neither_is_passed_over(
    make_mosquitto: MakeMosquitto, tmp_path: Path, version: str, lines: str
) -> None:
    """One filter has both, so nothing comes twice."""
    broker = make_mosquitto(lines=lines)
    config = _config(broker, tmp_path, _CROSSING, version)
    await _publish(broker, "in/pump1/data", 1, "-r")
    async with running(config) as rig:
        await until(lambda: rig.lane.health()[0])
        await _publish(broker, "in/pump1/data", 2)
        await _publish(broker, "in/tank/data", 3)
        await _publish(broker, "in/tank/more", 4)

        assert await _settled(rig, broker, 100) == [
            ("data", "tank", 3), ("one", "pump1", 1), ("one", "pump1", 2)
        ]  # fmt: skip
        assert not await rig.refused()
        assert rig.telemetry.ignored._value.get() == 1


@both_versions
async def test_what_a_session_has_from_before_is_left(
    mosquitto: Mosquitto, tmp_path: Path, version: str
) -> None:
    """Whether a feed was added or is gone: no message comes twice, or of what nobody reads."""
    some, only = _CROSSING, {"data": _FEEDS["data"]}
    expected: list[float] = []
    for value, feeds in enumerate([some, _FEEDS, some, only, _FEEDS]):
        config = _config(mosquitto, tmp_path, feeds, version)
        async with running(config) as rig:
            await _settled(rig, mosquitto, 100 + value)
            await _publish(mosquitto, "in/pump1/data", value)
            await _publish(mosquitto, "in/log/b/c", 50)
            found = await _settled(rig, mosquitto, 200 + value)
            expected.append(value)
            assert sorted(each[2] for each in found) == expected
            assert not await rig.refused()


async def test_what_an_earlier_version_subscribed_to_is_left(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """It noted nothing, and had one subscription for each feed."""
    broker = make_mosquitto(lines="allow_duplicate_messages true\n")
    config = _config(broker, tmp_path, _FEEDS, "3.1.1")
    clock = SystemClock()
    client_id = session_of(config, clock, Telemetry(clock)).client_id
    topics = [word for each in ("in/#", "in/+/data") for word in ("-t", each)]
    command = ["mosquitto_sub", "-p", str(broker.port), "-i", client_id, "-c", "-q", "1", "-E"]
    await asyncio.to_thread(subprocess.run, [*command, *topics], check=True)
    async with running(config) as rig:
        await _settled(rig, broker, 100)
        await _publish(broker, "in/tank/data", 1)
        assert await _settled(rig, broker, 101) == [("data", "tank", 1.0)]
