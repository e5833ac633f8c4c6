"""The InfluxDB sink, against a server that refuses in every way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from connectors.logs.configured import topic
from connectors.sinks.influxdb.sink import InfluxSink
from connectors.sinks.points import Point
from headgate.core.clock import SystemClock
from headgate.core.divide import DIVIDE_BYTES
from headgate.core.errors import TransientError
from headgate.core.log import AGGREGATES, QUARANTINE, TopicPartition
from headgate.core.telemetry import Telemetry
from tests.uplink import (
    START_NS,
    TOKEN,
    Server,
    aggregates_of,
    answer,
    influxdb_of,
    make_config,
    open_rig,
    until,
    until_done,
)

_POINT = Point("aggregates", "m", (("device", "d"),), {"x": 1.0}, START_NS)

pytestmark = pytest.mark.timeout(60)


async def test_one_bad_point_is_found_and_its_neighbours_are_written(tmp_path: Path) -> None:
    """A 400 for the request costs the guilty point alone; it is in quarantine with the reason."""
    server = Server()
    server.is_bad = lambda line: "device=p7" in line
    async with server.running(), open_rig(make_config(tmp_path, server.url)) as rig:
        await rig.put(AGGREGATES, aggregates_of([f"p{number}" for number in range(20)]))
        async with rig.forwarding(InfluxSink(influxdb_of(rig.config), rig.telemetry)):
            await until(lambda: rig.written("influxdb", "aggregates") >= 19)
        quarantined = await rig.quarantined()

        assert len(server.lines) == len(set(server.lines)) == 19
        assert [reason for reason, _ in quarantined] == ["rejected_by_sink"]
        assert "device=p7" in quarantined[0][1]
        assert rig.written("influxdb", "aggregates") == 19


async def test_when_all_points_are_bad_all_are_in_quarantine(tmp_path: Path) -> None:
    """However many they are: they are divided among records that the log takes."""
    server = Server()
    server.is_bad = lambda _line: True
    async with server.running(), open_rig(make_config(tmp_path, server.url)) as rig:
        # Each as long as what is kept of it, and together more than goes into a record.
        kept = rig.config.ingest.quarantine_payload
        count = DIVIDE_BYTES // kept + 100
        devices = [f"{number}-".ljust(kept, "p") for number in range(count)]
        await rig.put(AGGREGATES, aggregates_of(devices))
        at = TopicPartition(topic(rig.config, AGGREGATES), 0)
        async with rig.forwarding(InfluxSink(influxdb_of(rig.config), rig.telemetry)):
            await until_done(rig, at, 1)
        quarantined = await rig.quarantined()
        records = await rig.log.read(TopicPartition(topic(rig.config, QUARANTINE), 0), 0)

    assert len(quarantined) == len(set(quarantined)) == count
    assert len(records) > 1
    assert rig.written("influxdb", "aggregates") == 0


@pytest.mark.parametrize(
    "page",
    [
        "<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>",
        "Client sent an HTTP request to an HTTPS server.\n",
    ],
)
async def test_a_bad_request_that_is_not_the_stores_word_blames_no_point(
    tmp_path: Path, page: str
) -> None:
    """A proxy, or a port that wants TLS, knows nothing of points: the address has to be mended."""
    server = Server()
    server.script = [lambda: web.Response(status=400, text=page)]
    async with server.running():
        settings = influxdb_of(make_config(tmp_path, server.url))
        sink = InfluxSink(settings, Telemetry(SystemClock()))
        with pytest.raises(TransientError, match=r"check influxdb\.url"):
            await sink.write([_POINT])
        assert await sink.write([_POINT]) == []
        await sink.stop()


async def test_a_proxys_page_about_too_large_a_request_is_halved_too(tmp_path: Path) -> None:
    """Proxies limit requests before the store does, and answer with a page."""
    server = Server()
    server.script = [lambda: web.Response(status=413, text="<html>413</html>")]
    async with server.running():
        settings = influxdb_of(make_config(tmp_path, server.url))
        sink = InfluxSink(settings, Telemetry(SystemClock()))
        assert await sink.write([_POINT, _POINT]) == []
        await sink.stop()

    assert len(server.lines) == 2


@pytest.mark.parametrize(
    ("asked", "waits_s"),
    [("7", 7.0), ("1e9", 300.0), ("inf", 300.0), ("nan", 0.0), ("-1", 0.0), ("soon", None)],
)
async def test_no_answer_makes_the_uplink_wait_for_ever(
    tmp_path: Path, asked: str, waits_s: float | None
) -> None:
    """Retry-After is honoured within reason, whatever stands in it."""
    server = Server()
    server.script = [answer(503, **{"Retry-After": asked})]
    async with server.running():
        settings = influxdb_of(make_config(tmp_path, server.url))
        sink = InfluxSink(settings, Telemetry(SystemClock()))
        with pytest.raises(TransientError) as refused:
            await sink.write([_POINT])
        await sink.stop()

    assert refused.value.retry_after_s == waits_s


@pytest.mark.parametrize(
    "reply",
    [
        lambda: web.Response(status=502, body=b"\xff\xfe no UTF-8"),
        lambda: web.Response(status=301, headers={"Location": "/elsewhere"}),
        lambda: web.Response(status=500, text=json.dumps(["no", "message"])),
    ],
)
async def test_an_answer_nobody_expects_is_tried_again(
    tmp_path: Path, reply: Callable[[], web.Response]
) -> None:
    """Whatever stands between gateway and store, points wait and nothing crashes."""
    server = Server()
    server.script = [reply]
    async with server.running():
        settings = influxdb_of(make_config(tmp_path, server.url))
        sink = InfluxSink(settings, Telemetry(SystemClock()))
        with pytest.raises(TransientError):
            await sink.write([_POINT])
        assert await sink.write([_POINT]) == []
        await sink.stop()

    assert server.lines == [_POINT.line()]


async def test_a_store_that_speaks_no_tls_is_named_with_the_cause(tmp_path: Path) -> None:
    """The message says more than that there was no response."""
    server = Server()
    async with server.running():
        settings = influxdb_of(make_config(tmp_path, server.url.replace("http:", "https:")))
        sink = InfluxSink(settings, Telemetry(SystemClock()))
        with pytest.raises(TransientError, match="SSL"):
            await sink.write([_POINT])
        await sink.stop()


async def test_a_token_that_can_be_no_header_is_not_shown(tmp_path: Path) -> None:
    """Two lines in the token file are a mistake to mend, not a crash that prints the token."""
    settings = influxdb_of(make_config(tmp_path, "http://127.0.0.1:1"))
    (tmp_path / "token").write_text(f"{TOKEN}\n{TOKEN}\n")
    sink = InfluxSink(settings, Telemetry(SystemClock()))
    with capture_logs() as logs, pytest.raises(TransientError, match="printable") as refused:
        await sink.write([_POINT])
    await sink.stop()

    assert TOKEN not in f"{refused.value} {logs}"


async def test_a_stopped_sink_gives_up_its_search_for_the_bad_point(tmp_path: Path) -> None:
    """Stopping does not wait for thousands of halved requests."""
    server = Server()
    server.is_bad = lambda _line: True
    async with server.running():
        settings = influxdb_of(make_config(tmp_path, server.url))
        sink = InfluxSink(settings, Telemetry(SystemClock()))
        writing = asyncio.create_task(sink.write([_POINT] * 4000))
        await until(lambda: len(server.tokens) > 3)
        await sink.stop()
        with pytest.raises(TransientError, match="stopping"):
            await writing

    assert len(server.tokens) < 4000


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_what_may_pass_is_tried_until_it_does(tmp_path: Path, status: int) -> None:
    """Retry-After is honoured; nothing is quarantined, nothing is committed before the 204."""
    server = Server()
    server.script = [answer(status, **{"Retry-After": "0.3"})] * 3
    async with server.running(), open_rig(make_config(tmp_path, server.url)) as rig:
        await rig.put(AGGREGATES, aggregates_of(["p"]))
        group = f"{rig.config.log.topic_prefix}forward-influxdb"
        at = TopicPartition(topic(rig.config, AGGREGATES), 0)
        async with rig.forwarding(InfluxSink(influxdb_of(rig.config), rig.telemetry)) as lane:
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
        await rig.put(AGGREGATES, aggregates_of([f"p{number}" for number in range(9)]))
        async with rig.forwarding(InfluxSink(influxdb_of(rig.config), rig.telemetry)):
            await until(lambda: len(server.lines) == 9)

        assert await rig.quarantined() == []


async def test_a_revoked_token_loses_nothing_and_is_never_shown(tmp_path: Path) -> None:
    """401 waits for a person; a new token in the file is taken up without a restart."""
    server = Server()
    server.script = [answer(401, **{"Retry-After": "0"})]
    config = make_config(tmp_path, "http://127.0.0.1:1")
    async with server.running():
        settings = influxdb_of(config).model_copy(update={"url": server.url})
        sink = InfluxSink(settings, Telemetry(SystemClock()))
        with capture_logs() as logs, pytest.raises(TransientError) as refused:
            await sink.write([_POINT])
        (tmp_path / "token").write_text("another")
        assert await sink.write([_POINT]) == []
        await sink.stop()

    assert refused.value.retry_after_s == 30
    assert TOKEN not in f"{refused.value} {logs}"
    assert server.tokens == [f"Token {TOKEN}", "Token another"]
