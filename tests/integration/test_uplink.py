"""The uplink: to a real store, to a server that refuses in every way, and to MQTT."""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from connectors.embedded_log.store import SqliteLog
from connectors.forward import ForwardLane
from connectors.influxdb.sink import InfluxSink
from connectors.local_store.store import LocalStore
from connectors.logs import topic, topic_specs
from connectors.mqtt.results import MqttResults
from connectors.points import Kind, Point
from connectors.sink import Refused, Sink
from headgate.config.schema import Config
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.errors import TransientError
from headgate.core.log import AGGREGATES, ANOMALIES, QUARANTINE, Record, TopicPartition
from headgate.core.stage import STATISTICS, Aggregates, Anomaly
from headgate.core.telemetry import Telemetry
from headgate.core.wire import (
    aggregates_record,
    anomalies_record,
    decode_messages,
)
from headgate.testing import ManualClock
from tests.mosquitto import Mosquitto
from tests.victoria import Victoria

pytestmark = pytest.mark.timeout(60)

_START_NS = 1_750_000_000 * 10**9
_TOKEN = "a-token-nobody-may-see"
_ODD_NAMES = ["a b", "a,b=c", 'quo"te', "back\\slash", "ends\\", "ünï", "d" * 256]


def _config(folder: Path, url: str) -> Config:
    (folder / "token").write_text(_TOKEN)
    return Config.model_validate(
        {
            "gateway": {"name": "gw-1", "data_dir": str(folder)},
            "log": {"partitions": 1},
            "influxdb": {
                "url": url,
                "org": "o",
                "bucket": "b",
                "token_file": str(folder / "token"),
                "max_wait": "10ms",
                "timeout": "2s",
            },
            "feed": {"f": {"topic": "{device}", "channels": {"x": {}}}},
        }
    )


def _aggregates(devices: Sequence[str], value: float = 1.5, window: int = 0) -> Record:
    table = ChannelTable()
    rows = [
        table.row(Channel("f", name, "pump", "flow", "", (("line", "l 1"),))) for name in devices
    ]
    n = len(rows)
    aggregates = Aggregates(
        channel=np.array(rows, np.int32),
        start_ns=np.full(n, _START_NS + window * 10**10),
        window_ns=np.full(n, 10**10),
        n=np.full(n, 9),
        flagged=np.full(n, 1),
        expected=np.full(n, 10),
        stats={name: np.full(n, value) for name in STATISTICS},
        sketch_keys=[np.empty(0, np.int32)] * n,
        sketch_counts=[np.empty(0, np.int64)] * n,
    )
    return aggregates_record(aggregates, table)


def _anomaly(device: str, *, is_open: bool = True, revision: int = 0) -> Anomaly:
    return Anomaly(
        "f", device, "m", _START_NS, _START_NS + 10**9, _START_NS, 3.5, 1.0, "major",
        (("flow", 0.9), ("temp", 0.1)), is_open, revision,
    )  # fmt: skip


async def _until(condition: Callable[[], bool], within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  (conditions in code that has no events for them)
            await asyncio.sleep(0.01)


class Rig:
    """A log with results in it, and a forward lane."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clock = SystemClock()
        self.log = SqliteLog(config.log_path, self.clock)
        self.telemetry = Telemetry(self.clock)

    async def put(self, name: str, *records: Record) -> None:
        """Append results."""
        await self.log.append(TopicPartition(topic(self.config, name), 0), records)

    async def quarantined(self) -> list[tuple[str, str]]:
        """``(reason, payload)`` of what is in quarantine."""
        records = await self.log.read(TopicPartition(topic(self.config, QUARANTINE), 0), 0)
        return [
            (message.reason, message.payload.decode())
            for record in records
            for message in decode_messages(record.value)
        ]

    def written(self, sink: str, kind: Kind) -> float:
        """Points that the sink has acknowledged."""
        value: float = self.telemetry.points.labels(sink, kind)._value.get()
        return value

    @asynccontextmanager
    async def forwarding(self, *sinks: Sink) -> AsyncIterator[ForwardLane]:
        """The lane runs inside the block, and is stopped after it within 5 s."""
        lane = ForwardLane(self.config, self.log, self.clock, self.telemetry, sinks)
        stop = asyncio.Event()
        task = asyncio.create_task(lane.run(stop))
        try:
            yield lane
        finally:
            stop.set()
            async with asyncio.timeout(5):
                await task


@asynccontextmanager
async def _rig(config: Config) -> AsyncIterator[Rig]:
    rig = Rig(config)
    await rig.log.start()
    await rig.log.ensure_topics(topic_specs(config))
    try:
        yield rig
    finally:
        await rig.log.stop()


@pytest.mark.store
async def test_points_reach_a_real_store(victoria: Victoria, tmp_path: Path) -> None:
    """With their tags as they were, however odd the device's name, and once each."""
    config = _config(tmp_path, victoria.url)
    assert config.influxdb is not None
    async with _rig(config) as rig:
        await rig.put(AGGREGATES, _aggregates(_ODD_NAMES), _aggregates(_ODD_NAMES))
        await rig.put(ANOMALIES, anomalies_record([_anomaly("a b")]))
        async with rig.forwarding(InfluxSink(config.influxdb, rig.telemetry)):
            await _until(lambda: rig.written("influxdb", "aggregates") >= 2 * len(_ODD_NAMES))
        means = victoria.series("pump_10s_flow_mean")
        peaks = victoria.series("anomalies_peak_score")

        devices = {series["metric"]["device"] for series in means}
        # A name can't end in a backslash on the wire: there it would escape what follows.
        assert devices == {*(name for name in _ODD_NAMES if name != "ends\\"), "ends\\_"}
        assert all(series["metric"]["gateway"] == "gw-1" for series in means)
        assert all(series["metric"]["line"] == "l 1" for series in means)
        assert {tuple(series["values"]) for series in means} == {(1.5,)}
        assert {tuple(series["timestamps"]) for series in means} == {(_START_NS // 10**6,)}
        assert [series["metric"]["device"] for series in peaks] == ["a b"]
        assert await rig.quarantined() == []


class Server:
    """An HTTP server that answers as it is told, and keeps the lines it has accepted."""

    def __init__(self) -> None:
        self.script: list[Callable[[], web.Response]] = []
        self.is_bad: Callable[[str], bool] = lambda _line: False
        self.lines: list[str] = []
        self.tokens: list[str] = []
        self.url = ""

    async def _write(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        self.tokens.append(request.headers["Authorization"])
        if self.script:
            return self.script.pop(0)()
        lines = body.decode().split("\n")
        if any(self.is_bad(line) for line in lines):
            return web.json_response({"code": "invalid", "message": "bad point"}, status=400)
        self.lines.extend(lines)
        return web.Response(status=204)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve inside the block."""
        app = web.Application()
        app.router.add_post("/api/v2/write", self._write)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", int(self.url.rpartition(":")[2] or 0))
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()


def _answer(status: int, **headers: str) -> Callable[[], web.Response]:
    return lambda: web.json_response({"message": "no"}, status=status, headers=headers)


async def test_one_bad_point_is_found_and_its_neighbours_are_written(tmp_path: Path) -> None:
    """A 400 for the request costs the guilty point alone; it is in quarantine with the reason."""
    server = Server()
    server.is_bad = lambda line: "device=p7" in line
    async with server.running(), _rig(_config(tmp_path, server.url)) as rig:
        assert rig.config.influxdb is not None
        await rig.put(AGGREGATES, _aggregates([f"p{number}" for number in range(20)]))
        async with rig.forwarding(InfluxSink(rig.config.influxdb, rig.telemetry)):
            await _until(lambda: rig.written("influxdb", "aggregates") >= 20)
        quarantined = await rig.quarantined()

        assert len(server.lines) == len(set(server.lines)) == 19
        assert [reason for reason, _ in quarantined] == ["rejected_by_sink"]
        assert "device=p7" in quarantined[0][1]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_what_may_pass_is_tried_until_it_does(tmp_path: Path, status: int) -> None:
    """Retry-After is honoured; nothing is quarantined, nothing is committed before the 204."""
    server = Server()
    server.script = [_answer(status, **{"Retry-After": "0.3"})] * 3
    async with server.running(), _rig(_config(tmp_path, server.url)) as rig:
        assert rig.config.influxdb is not None
        await rig.put(AGGREGATES, _aggregates(["p"]))
        group = f"{rig.config.log.topic_prefix}forward-influxdb"
        at = TopicPartition(topic(rig.config, AGGREGATES), 0)
        async with rig.forwarding(InfluxSink(rig.config.influxdb, rig.telemetry)) as lane:
            await _until(lambda: len(server.script) < 3)
            assert await rig.log.committed(group, at) in (None, 0)
            await _until(lambda: str(status) in lane.health()[1])
            started = asyncio.get_running_loop().time()
            await _until(lambda: len(server.lines) == 1)
            took_s = asyncio.get_running_loop().time() - started
            await _until(lambda: lane.health()[0])

        assert took_s > 0.3
        assert await rig.log.committed(group, at) == 1
        assert await rig.quarantined() == []


async def test_too_large_a_request_is_halved(tmp_path: Path) -> None:
    """413 is about the request, not about its points."""
    server = Server()
    server.script = [_answer(413)]
    async with server.running(), _rig(_config(tmp_path, server.url)) as rig:
        assert rig.config.influxdb is not None
        await rig.put(AGGREGATES, _aggregates([f"p{number}" for number in range(9)]))
        async with rig.forwarding(InfluxSink(rig.config.influxdb, rig.telemetry)):
            await _until(lambda: len(server.lines) == 9)

        assert await rig.quarantined() == []


async def test_a_revoked_token_loses_nothing_and_is_never_shown(tmp_path: Path) -> None:
    """401 waits for a person; a new token in the file is taken up without a restart."""
    server = Server()
    server.script = [_answer(401, **{"Retry-After": "0"})]
    config = _config(tmp_path, "http://127.0.0.1:1")
    async with server.running():
        assert config.influxdb is not None
        settings = config.influxdb.model_copy(update={"url": server.url})
        sink = InfluxSink(settings, Telemetry(SystemClock()))
        point = Point("aggregates", "m", (("device", "d"),), {"x": 1.0}, _START_NS)
        with capture_logs() as logs, pytest.raises(TransientError) as refused:
            await sink.write([point])
        (tmp_path / "token").write_text("another")
        assert await sink.write([point]) == []
        await sink.stop()

    assert refused.value.retry_after_s == 30
    assert _TOKEN not in f"{refused.value} {logs}"
    assert server.tokens == [f"Token {_TOKEN}", "Token another"]


async def test_a_store_that_is_absent_or_hangs_holds_up_nobody_else(tmp_path: Path) -> None:
    """The local store goes on, the lane stops in time, and the uplink follows when it is back."""
    server = Server()
    async with server.running():
        pass  # its address, with nobody there
    async with _rig(_config(tmp_path, server.url)) as rig:
        assert rig.config.influxdb is not None
        influxdb = InfluxSink(rig.config.influxdb, rig.telemetry)
        store = LocalStore(tmp_path / "p.db", 10**18, 10**9, rig.clock, rig.telemetry)
        await rig.put(ANOMALIES, anomalies_record([_anomaly("p")]))
        await rig.put(AGGREGATES, _aggregates(["p"]))
        async with rig.forwarding(influxdb, store) as lane:
            await _until(lambda: rig.written("local_store", "aggregates") == 1)
            await _until(lambda: "influxdb" in lane.health()[1])
            assert rig.written("influxdb", "anomalies") == 0
        async with (
            server.running(),
            rig.forwarding(InfluxSink(rig.config.influxdb, rig.telemetry)),
        ):
            await _until(lambda: len(server.lines) == 2)

        # Anomalies go first.
        assert server.lines[0].startswith("anomalies,")


async def test_a_record_that_is_none_goes_to_quarantine(tmp_path: Path) -> None:
    """What can't be read does not hold up what comes after it."""
    async with _rig(_config(tmp_path, "http://127.0.0.1:1")) as rig:
        store = LocalStore(tmp_path / "p.db", 10**18, 10**9, rig.clock, rig.telemetry)
        await rig.put(AGGREGATES, Record(b"rubbish"), _aggregates(["p"]))
        async with rig.forwarding(store):
            await _until(lambda: rig.written("local_store", "aggregates") == 1)

        assert await rig.quarantined() == [("bad_record", "rubbish")]


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as database:
        return database.execute(query).fetchall()


async def test_the_local_store_overwrites_and_joins(tmp_path: Path) -> None:
    """A point that comes again replaces the first; channels of one window share a point."""
    path = tmp_path / "p.db"
    store = LocalStore(path, 10**18, 10**9, SystemClock(), Telemetry(SystemClock()))
    tags = (("device", "d"),)
    await store.write([Point("aggregates", "m", tags, {"a_mean": 1.0, "a_n": 2}, 5)])
    await store.write([Point("aggregates", "m", tags, {"b_mean": 7.0}, 5)])
    await store.write([Point("aggregates", "m", tags, {"a_mean": 3.0}, 5)])
    await store.stop()
    ((fields,),) = _rows(path, "SELECT fields FROM points")

    assert json.loads(str(fields)) == {"a_mean": 3.0, "a_n": 2, "b_mean": 7.0}
    assert path.stat().st_mode & 0o077 == 0


async def test_the_local_store_is_bounded_and_keeps_anomalies_longest(tmp_path: Path) -> None:
    """Over its size the oldest aggregates go first; past their age all points go."""
    path = tmp_path / "p.db"
    clock = ManualClock()
    telemetry = Telemetry(clock)
    store = LocalStore(path, 100 * 10**9, 400_000, clock, telemetry)
    await store.write([Point("anomalies", "anomalies", (("device", "d"),), {"x": 1}, 1)])
    for turn in range(5):
        clock.advance(11)
        await store.write(
            [
                Point("aggregates", "m", (("device", f"d{n}"),), {"text": "x" * 100}, turn)
                for n in range(2000)
            ]
        )
    counted = _rows(path, "SELECT kind, count(*) FROM points GROUP BY kind")
    kinds: dict[str, int] = dict(counted)
    evicted = telemetry.evicted_points.labels("local_store")._value.get()

    assert kinds["anomalies"] == 1
    assert 0 < kinds.get("aggregates", 0) + evicted <= 10_000
    assert evicted > 0

    clock.advance(200)
    await store.write([Point("anomalies", "anomalies", (("device", "new"),), {"x": 1}, 2)])
    await store.stop()
    assert _rows(path, "SELECT count(*) FROM points") == [(1,)]


async def test_a_damaged_local_store_is_an_error_to_try_again(tmp_path: Path) -> None:
    """Points wait in the log; nothing is thrown away and nothing crashes."""
    path = tmp_path / "p.db"
    path.write_bytes(b"this is no database" * 100)
    store = LocalStore(path, 10**18, 10**9, SystemClock(), Telemetry(SystemClock()))
    with pytest.raises(TransientError, match=r"p\.db"):
        await store.write([Point("anomalies", "m", (), {"x": 1}, 1)])
    await store.stop()


@pytest.mark.mosquitto
async def test_anomalies_go_back_to_mqtt_retained(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A screen that connects later still sees the last state of each device."""
    config = _config(tmp_path, "http://127.0.0.1:1")
    config = config.model_copy(
        update={"mqtt": config.mqtt.model_copy(update={"port": mosquitto.port})}
    )
    async with _rig(config) as rig:
        await rig.put(ANOMALIES, anomalies_record([_anomaly("p/1 +#")]))
        await rig.put(ANOMALIES, anomalies_record([_anomaly("p/1 +#", is_open=False, revision=1)]))
        async with rig.forwarding(MqttResults(config, rig.clock, rig.telemetry)):
            await _until(lambda: rig.written("mqtt", "anomalies") == 2)
    listening = await asyncio.create_subprocess_exec(
        "mosquitto_sub", "-h", "127.0.0.1", "-p", str(mosquitto.port), "-C", "1", "-v",
        "-t", "headgate/#", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(listening.communicate(), 10)
    name, _, payload = output.decode().partition(" {")
    content = json.loads("{" + payload)

    assert name == "headgate/gw-1/anomalies/p%2F1 %2B%23"
    assert (content["device"], content["is_open"], content["revision"]) == ("p/1 +#", False, 1)


class _Slow:
    """A sink that never answers."""

    name = "slow"
    kinds: tuple[Kind, ...] = ("anomalies", "aggregates")
    max_points = 10
    max_wait_s = 0.0

    async def start(self) -> None:
        """Nothing."""

    async def stop(self) -> None:
        """Nothing."""

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        """Hang."""
        await asyncio.Event().wait()
        return []


async def test_a_sink_that_never_answers_slows_no_other(tmp_path: Path) -> None:
    """Each sink has its own way through the log."""
    async with _rig(_config(tmp_path, "http://127.0.0.1:1")) as rig:
        store = LocalStore(tmp_path / "p.db", 10**18, 10**9, rig.clock, rig.telemetry)
        async with rig.forwarding(_Slow(), store):
            for window in range(5):
                await rig.put(AGGREGATES, _aggregates(["p"], window=window))
            await _until(lambda: rig.written("local_store", "aggregates") == 5)
