"""The account of each sink's points, from what stands in either log."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connectors.logs.configured import topic
from connectors.logs.embedded.database import OFFSET_BITS
from connectors.sinks.influxdb.sink import InfluxSink
from headgate.cli.main import main
from headgate.config.schema import Config
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable
from headgate.core.errors import TransientError
from headgate.core.log import AGGREGATES, ANOMALIES, READINGS, Record
from headgate.core.records import anomalies_record, readings_record
from headgate.inspect.audit import Audit, audit
from headgate.inspect.sink_audit import SinkAccount
from streams.forward.timings import ForwardTimings
from tests.uplink import (
    Rig,
    Server,
    aggregates_of,
    influxdb_of,
    make_anomaly,
    make_config,
    open_rig,
    until,
)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def log_settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """``[log]`` of either log, on which no other test stands."""
    if request.param == "sqlite":
        return {}
    address = request.getfixturevalue("kafka")
    return {"url": f"kafka://{address}", "topic_prefix": f"t{uuid.uuid4().hex[:12]}."}


def _config(folder: Path, url: str, log: dict[str, Any], **forward: object) -> Config:
    content = make_config(folder, url).model_dump(mode="python", exclude_unset=True)
    feed = {"topic": "{device}", "period": "1s", "aggregates": [{"window": "10s"}]}
    return Config.model_validate(
        {
            **content,
            "gateway": {"name": "gw-1", "data_dir": str(folder)},
            "log": {"partitions": 1, **log},
            "feed": {"f": {**feed, "channels": {"x": {}}}},
            "forward": forward,
        }
    )


def _sink(rig: Rig) -> InfluxSink:
    return InfluxSink(influxdb_of(rig.config), rig.telemetry)


def _is_settled(result: Audit) -> bool:
    """At the sinks; no readings belong to these results."""
    return all(account.is_balanced for account in result.sinks.values())


async def _account(rig: Rig, name: str = "aggregates") -> tuple[Audit, SinkAccount]:
    # A Kafka that has never had a group takes a moment to make room for the first one.
    async with asyncio.timeout(30):
        while True:
            try:
                result = await audit(rig.config, rig.log)
            except TransientError:
                await asyncio.sleep(0.5)
            else:
                return result, result.sinks["influxdb", name]


async def test_points_are_acknowledged_or_wait(
    tmp_path: Path, log_settings: dict[str, Any]
) -> None:
    """A sink that has never been there has everything still to get; refused ones are told."""
    server = Server()
    async with server.running():
        pass
    async with open_rig(_config(tmp_path, server.url, log_settings)) as rig:
        for window in range(5):
            await rig.put(AGGREGATES, aggregates_of(["a", "b"], window=window))
        await rig.put(ANOMALIES, anomalies_record([make_anomaly("a")]))
        result, account = await _account(rig)
        assert _is_settled(result)
        assert (account.made, account.waiting) == (10, 10)

        server.is_bad = lambda line: "device=b" in line and line.endswith("20000000000")
        async with server.running(), rig.forwarding(_sink(rig)):
            await until(lambda: len(server.lines) >= 10)
            await asyncio.sleep(0.3)
        await rig.put(AGGREGATES, aggregates_of(["a"], window=9))
        result, account = await _account(rig)
        assert _is_settled(result)
        assert (account.made, account.acknowledged) == (11, 9)
        assert (account.refused, account.waiting) == (1, 1)
        _, anomalies = await _account(rig, "anomalies")
        assert (anomalies.made, anomalies.acknowledged, anomalies.waiting) == (1, 1, 0)


async def test_what_was_given_up_and_thinned_is_told_with_its_reason(
    tmp_path: Path, log_settings: dict[str, Any]
) -> None:
    """Also by a lane that is started anew, and by one that has had nothing to do since."""
    server = Server()
    async with server.running():
        pass
    config = _config(tmp_path, server.url, log_settings, max_backlog="300kB")
    async with open_rig(config, timings=ForwardTimings(live_ms=100)) as rig:
        for first in range(20, 380, 60):
            windows = range(first, first + 60)
            await rig.put(AGGREGATES, *(aggregates_of(["d"], window=each) for each in windows))
        await asyncio.sleep(0.3)
        thinned = rig.telemetry.thinned_windows.labels("influxdb")
        async with rig.forwarding(_sink(rig)):
            await until(lambda: thinned._value.get() > 50, 60)
            await asyncio.sleep(0.5)
        result, account = await _account(rig)
        assert _is_settled(result)
        assert account.let_go["thinned"] > 50
        assert account.made == 360 == account.waiting + account.let_go["thinned"]
        _, longer = await _account(rig, "aggregates, thinned")
        assert longer.made == longer.waiting + longer.let_go["thinned"]
        assert longer.waiting > 0

        object.__setattr__(config.forward, "max_age", 10**6)
        given_up = rig.telemetry.given_up_points.labels("influxdb", "age")
        async with rig.forwarding(_sink(rig)):
            await until(lambda: given_up._value.get() >= account.waiting + longer.waiting, 60)
            await asyncio.sleep(0.3)
        result, account = await _account(rig)
        assert _is_settled(result)
        assert account.waiting == account.acknowledged == 0
        assert account.let_go["age"] == 360 - account.let_go["thinned"]
        assert account.let_go_ever == account.let_go

        await rig.put(AGGREGATES, aggregates_of(["d"], window=1000))
        async with server.running(), rig.forwarding(_sink(rig)):
            await until(lambda: len(server.lines) == 1)
            await asyncio.sleep(0.3)
        _, account = await _account(rig)
        assert account.let_go["age"] == 360 - account.let_go["thinned"]
        assert account.acknowledged == 1


def _evict(config: Config, name: str, count: int) -> None:
    """The log is over its size: the oldest records go."""
    with closing(sqlite3.connect(config.log_path)) as database, database:
        database.execute(
            "DELETE FROM records WHERE id IN (SELECT r.id FROM records r"
            " JOIN partitions p ON r.id >> ? = p.id JOIN topics t ON t.id = p.topic_id"
            " WHERE t.name = ? ORDER BY r.id LIMIT ?)",
            (OFFSET_BITS, topic(config, name), count),
        )


@pytest.mark.parametrize("name", [AGGREGATES, ANOMALIES])
async def test_what_a_sink_never_got_is_a_gap_and_stays_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Before the sink is back, and after it has gone on behind the hole."""
    server = Server()
    async with server.running():
        pass
    config = _config(tmp_path, server.url, {})
    path = tmp_path / "headgate.toml"
    path.write_text(
        f"""
[gateway]
name = "gw-1"
data_dir = "{tmp_path}"
[log]
partitions = 1
[influxdb]
url = "{server.url}"
org = "o"
bucket = "b"
token_file = "{tmp_path / "token"}"
[feed.f]
topic = "{{device}}"
[feed.f.channels.x]
"""
    )
    async with open_rig(config) as rig:
        for window in range(6):
            record = (
                aggregates_of(["a"], window=window)
                if name == AGGREGATES
                else anomalies_record([make_anomaly(f"d{window}")])
            )
            await rig.put(name, record)
        _evict(config, name, 4)
        result, account = await _account(rig, name)
        assert account.evicted == 4
        assert not _is_settled(result)
        async with server.running(), rig.forwarding(_sink(rig)):
            await until(lambda: len(server.lines) == 2)
            await asyncio.sleep(0.5)
        result, account = await _account(rig, name)
        assert (account.evicted, account.acknowledged) == (4, 2)
        assert not _is_settled(result)
        # Who asks for what came after it is not told of it again.
        for age_ns, evicted in ((3600 * 10**9, 4), (10**6, 0)):
            result = await audit(config, rig.log, age_ns=age_ns)
            assert result.sinks["influxdb", name].evicted == evicted
    assert await asyncio.to_thread(main, ["audit", "-c", str(path)]) == 1
    told = capsys.readouterr().out
    assert f"influxdb: 4 records of {name} were deleted before it had taken them" in told
    assert "\nbalanced" not in told


async def test_readings_that_left_the_log_unread_are_a_gap(tmp_path: Path) -> None:
    """Nobody knows what was in them."""
    config = _config(tmp_path, "http://127.0.0.1:1", {})
    async with open_rig(config) as rig:
        await rig.put(READINGS, Record(b""), Record(b""))
        _evict(config, READINGS, 1)
        result = await audit(config, rig.log)

    assert result.unread == 1
    assert not result.is_balanced


async def test_what_is_nothing_that_is_told_makes_no_points(tmp_path: Path) -> None:
    """A record of readings among the anomalies, as nobody writes it, has no point to be missed."""
    config = _config(tmp_path, "http://127.0.0.1:1", {})
    async with open_rig(config) as rig:
        table = ChannelTable()
        row = table.row(Channel("f", "a", "f", "x", "", ()))
        batch = Batch.from_columns(table, [1, 2], [row, row], [1.0, 2.0])
        await rig.put(ANOMALIES, readings_record(batch, "f"))
        result = await audit(config, rig.log)

    assert result.sinks["influxdb", ANOMALIES].made == 0
