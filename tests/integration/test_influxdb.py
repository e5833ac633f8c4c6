"""The InfluxDB sink, against a server that refuses in every way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from connectors.influxdb.sink import InfluxSink
from connectors.logs import topic
from connectors.points import Point
from headgate.core.clock import SystemClock
from headgate.core.errors import TransientError
from headgate.core.log import AGGREGATES, TopicPartition
from headgate.core.telemetry import Telemetry
from tests.uplink import (
    START_NS,
    TOKEN,
    Server,
    aggregates_of,
    answer,
    make_config,
    open_rig,
    until,
)

pytestmark = pytest.mark.timeout(60)


async def test_one_bad_point_is_found_and_its_neighbours_are_written(tmp_path: Path) -> None:
    """A 400 for the request costs the guilty point alone; it is in quarantine with the reason."""
    server = Server()
    server.is_bad = lambda line: "device=p7" in line
    async with server.running(), open_rig(make_config(tmp_path, server.url)) as rig:
        assert rig.config.influxdb is not None
        await rig.put(AGGREGATES, aggregates_of([f"p{number}" for number in range(20)]))
        async with rig.forwarding(InfluxSink(rig.config.influxdb, rig.telemetry)):
            await until(lambda: rig.written("influxdb", "aggregates") >= 20)
        quarantined = await rig.quarantined()

        assert len(server.lines) == len(set(server.lines)) == 19
        assert [reason for reason, _ in quarantined] == ["rejected_by_sink"]
        assert "device=p7" in quarantined[0][1]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_what_may_pass_is_tried_until_it_does(tmp_path: Path, status: int) -> None:
    """Retry-After is honoured; nothing is quarantined, nothing is committed before the 204."""
    server = Server()
    server.script = [answer(status, **{"Retry-After": "0.3"})] * 3
    async with server.running(), open_rig(make_config(tmp_path, server.url)) as rig:
        assert rig.config.influxdb is not None
        await rig.put(AGGREGATES, aggregates_of(["p"]))
        group = f"{rig.config.log.topic_prefix}forward-influxdb"
        at = TopicPartition(topic(rig.config, AGGREGATES), 0)
        async with rig.forwarding(InfluxSink(rig.config.influxdb, rig.telemetry)) as lane:
            await until(lambda: len(server.script) < 3)
            assert await rig.log.committed(group, at) in (None, 0)
            await until(lambda: str(status) in lane.health()[1])
            started = asyncio.get_running_loop().time()
            await until(lambda: len(server.lines) == 1)
            took_s = asyncio.get_running_loop().time() - started
            await until(lambda: lane.health()[0])

        assert took_s > 0.3
        assert await rig.log.committed(group, at) == 1
        assert await rig.quarantined() == []


async def test_too_large_a_request_is_halved(tmp_path: Path) -> None:
    """413 is about the request, not about its points."""
    server = Server()
    server.script = [answer(413)]
    async with server.running(), open_rig(make_config(tmp_path, server.url)) as rig:
        assert rig.config.influxdb is not None
        await rig.put(AGGREGATES, aggregates_of([f"p{number}" for number in range(9)]))
        async with rig.forwarding(InfluxSink(rig.config.influxdb, rig.telemetry)):
            await until(lambda: len(server.lines) == 9)

        assert await rig.quarantined() == []


async def test_a_revoked_token_loses_nothing_and_is_never_shown(tmp_path: Path) -> None:
    """401 waits for a person; a new token in the file is taken up without a restart."""
    server = Server()
    server.script = [answer(401, **{"Retry-After": "0"})]
    config = make_config(tmp_path, "http://127.0.0.1:1")
    async with server.running():
        assert config.influxdb is not None
        settings = config.influxdb.model_copy(update={"url": server.url})
        sink = InfluxSink(settings, Telemetry(SystemClock()))
        point = Point("aggregates", "m", (("device", "d"),), {"x": 1.0}, START_NS)
        with capture_logs() as logs, pytest.raises(TransientError) as refused:
            await sink.write([point])
        (tmp_path / "token").write_text("another")
        assert await sink.write([point]) == []
        await sink.stop()

    assert refused.value.retry_after_s == 30
    assert TOKEN not in f"{refused.value} {logs}"
    assert server.tokens == [f"Token {TOKEN}", "Token another"]
