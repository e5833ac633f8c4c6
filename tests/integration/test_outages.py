"""Sinks that are away from the first start, and clocks that are wrong: nothing that waits is lost.

On both logs.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from connectors.logs.configured import topic, topic_specs
from connectors.sinks.influxdb.sink import InfluxSink
from headgate.config.schema import Config
from headgate.core.clock import SystemClock
from headgate.core.log import AGGREGATES, ANOMALIES, READINGS, Record, TopicPartition
from headgate.core.records import anomalies_record
from tests.uplink import (
    Rig,
    Server,
    aggregates_of,
    answer,
    influxdb_of,
    make_anomaly,
    make_config,
    open_rig,
    until,
)

pytestmark = pytest.mark.timeout(120)

_DAY_S = 86_400.0


class _WrongClock(SystemClock):
    """The computer's clocks, with a wall clock that is set."""

    def __init__(self, wall_s: float) -> None:
        self.ahead_s = wall_s - time.time()  # noqa: TID251  (what is wrong is measured against it)

    def wall_ns(self) -> int:
        return super().wall_ns() + round(1e9 * self.ahead_s)


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def log_settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """``[log]`` of either log, on which no other test stands."""
    if request.param == "sqlite":
        return {}
    address = request.getfixturevalue("kafka")
    return {"url": f"kafka://{address}", "topic_prefix": f"t{uuid.uuid4().hex[:12]}."}


@pytest.fixture
async def server() -> Server:
    """A server that is there when the block of ``running`` is entered."""
    server = Server()
    async with server.running():
        pass  # it has its port now
    return server


def _config(folder: Path, url: str, log: dict[str, Any], **forward: object) -> Config:
    content = make_config(folder, url).model_dump(mode="python", exclude_unset=True)
    return Config.model_validate(
        {
            **content,
            "gateway": {"name": "gw-1", "data_dir": str(folder)},
            "sink": {
                "influxdb": {**content["sink"]["influxdb"], "max_wait": "10ms", "timeout": "2s"}
            },
            "log": {"partitions": 2, "retention": "1s", **log},
            "feed": {"f": {"topic": "{device}", "channels": {"x": {}}}},
            "forward": forward,
        }
    )


def _sink(rig: Rig) -> InfluxSink:
    return InfluxSink(influxdb_of(rig.config), rig.telemetry)


async def _outlast_retention(rig: Rig) -> None:
    """Wait until whatever age deletes is gone. The embedded log deletes when it is written to."""
    for _ in range(25):
        await asyncio.sleep(0.1)
        await rig.log.append(TopicPartition(topic(rig.config, "quarantine"), 1), [Record(b"")])


async def test_a_sink_that_is_away_from_the_first_start_gets_everything(
    server: Server, tmp_path: Path, log_settings: dict[str, Any]
) -> None:
    """It has never committed; however old what waits has grown, by ``log.retention``."""
    async with open_rig(_config(tmp_path, server.url, log_settings)) as rig:
        for window in range(40):
            record = aggregates_of([f"d{window % 2}"], window=window)
            await rig.put(AGGREGATES, record, partition=window % 2)
        await rig.put(ANOMALIES, anomalies_record([make_anomaly("d")]))
        await rig.log.append(TopicPartition(topic(rig.config, READINGS), 1), [Record(b"")])
        await _outlast_retention(rig)
        async with rig.forwarding(_sink(rig)):
            await asyncio.sleep(0.5)
        await _outlast_retention(rig)
        async with server.running(), rig.forwarding(_sink(rig)):
            await until(lambda: len(server.lines) >= 41)
        assert rig.telemetry.missed_records.labels("influxdb")._value.get() == 0
        # The streams lane has never committed either.
        at = TopicPartition(topic(rig.config, READINGS), 1)
        assert await rig.log.offsets(at) == (0, 1)

    assert len(set(server.lines)) == 41


async def test_partitions_of_which_a_sink_has_had_nothing_yet_are_kept_like_the_others(
    server: Server, tmp_path: Path, log_settings: dict[str, Any]
) -> None:
    """The gateway had delivered, but nothing of this partition before the outage."""
    async with open_rig(_config(tmp_path, server.url, log_settings)) as rig:
        await rig.put(AGGREGATES, aggregates_of(["a"]), partition=0)
        async with server.running(), rig.forwarding(_sink(rig)):
            await until(lambda: len(server.lines) == 1)
        for window in range(20):
            await rig.put(AGGREGATES, aggregates_of(["b"], window=window), partition=1)
        await _outlast_retention(rig)
        async with server.running(), rig.forwarding(_sink(rig)):
            await until(lambda: len(server.lines) >= 21)

    assert len(set(server.lines)) == 21


async def test_a_sink_that_is_no_longer_configured_holds_nothing(
    server: Server, tmp_path: Path, log_settings: dict[str, Any]
) -> None:
    """Its group is forgotten at the next start; what it had not taken grows old like the rest."""
    config = _config(tmp_path, server.url, log_settings)
    at = TopicPartition(topic(config, AGGREGATES), 0)
    async with open_rig(config) as rig:
        await rig.put(AGGREGATES, aggregates_of(["a"]))
        await _outlast_retention(rig)
        assert await rig.log.offsets(at) == (0, 1)
        other = make_config(tmp_path, server.url).sink["mqtt"]
        alone = config.model_copy(update={"sink": {"mqtt": other}})
        await rig.log.ensure_topics(topic_specs(alone))
        await _outlast_retention(rig)
        assert await rig.log.offsets(at) == (1, 1)


@pytest.mark.parametrize(
    "steps_s",
    [
        pytest.param([0.0], id="from 1970 to today"),
        pytest.param([-5 * _DAY_S, 0.0], id="from 1970 to five days behind, then right"),
        pytest.param([5 * _DAY_S, -5 * _DAY_S, 0.0], id="back and forth"),
    ],
)
async def test_setting_the_clock_makes_nothing_old(
    server: Server, tmp_path: Path, log_settings: dict[str, Any], steps_s: list[float]
) -> None:
    """What waits is as old as the time that has passed, not as two clocks are apart."""
    clock = _WrongClock(1000.0)
    config = _config(tmp_path, server.url, {**log_settings, "retention": "1d"}, max_age="3d")
    async with open_rig(config, clock) as rig:
        for window in range(20):
            await rig.put(AGGREGATES, aggregates_of(["a"], window=window))
        for number, ahead_s in enumerate(steps_s):
            async with rig.forwarding(_sink(rig)):
                await asyncio.sleep(0.4)
                clock.ahead_s = ahead_s
                await rig.put(AGGREGATES, aggregates_of(["b"], window=number))
                await asyncio.sleep(1.5)
        for reason in ("age", "room"):
            given_up = rig.telemetry.given_up_points.labels("influxdb", reason)
            assert given_up._value.get() == 0
        async with server.running(), rig.forwarding(_sink(rig)):
            await until(lambda: len(server.lines) >= 20 + len(steps_s), 40)

    assert len(set(server.lines)) == 20 + len(steps_s)


@pytest.mark.thorough
@pytest.mark.parametrize("status", [401, 404])
async def test_only_an_accepted_write_ends_a_sinks_trouble(
    server: Server, tmp_path: Path, status: int
) -> None:
    """A round in which nothing is written says nothing about the sink."""
    config = _config(tmp_path, server.url, {}, max_age="1s")
    server.script = [answer(status)] * 1000
    async with open_rig(config) as rig, server.running(), rig.forwarding(_sink(rig)) as lane:
        # Nothing to send and nothing known against the sink: that is well.
        await until(lambda: lane.health()[0])
        await rig.put(AGGREGATES, aggregates_of(["a"]))
        await until(lambda: not lane.health()[0])
        given_up = rig.telemetry.given_up_points.labels("influxdb", "age")
        await until(lambda: given_up._value.get() == 1, 60)
        # Nothing is left that could be written.
        await asyncio.sleep(2)
        assert str(status) in lane.health()[1]
        server.script = []
        await rig.put(AGGREGATES, aggregates_of(["a"], window=1))
        await until(lambda: lane.health()[0], 60)
    assert len(server.lines) == 1
