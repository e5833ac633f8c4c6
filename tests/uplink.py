"""What the tests of the uplink share: a log with results in it, and a server that refuses."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from aiohttp import web

from connectors.logs.configured import consumer_group, open_log, topic, topic_specs
from connectors.sinks.influxdb.config import InfluxDbConfig
from connectors.sinks.points import Kind
from connectors.sinks.sink import Sink
from headgate.config.schema import Config
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import Clock, SystemClock
from headgate.core.log import QUARANTINE, Log, Record, TopicPartition
from headgate.core.records import (
    aggregates_record,
    decode_messages,
)
from headgate.core.results import STATISTICS, Aggregates, Anomaly
from headgate.core.telemetry import Telemetry
from streams.forward.lane import ForwardLane
from streams.forward.timings import USUAL, ForwardTimings

START_NS = 1_750_000_000 * 10**9
TOKEN = "a-token-nobody-may-see"


def influxdb_of(config: Config) -> InfluxDbConfig:
    """The table of the sink ``influxdb``."""
    table = config.sink["influxdb"].table
    assert isinstance(table, InfluxDbConfig)
    return table


def make_config(folder: Path, url: str, **influxdb: object) -> Config:
    """A configuration with an InfluxDB; more of ``[influxdb]`` may be given."""
    (folder / "token").write_text(TOKEN)
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
                **influxdb,
            },
            "feed": {"f": {"topic": "{device}", "channels": {"x": {}}}},
        }
    )


def aggregates_of(devices: Sequence[str], value: float = 1.5, window: int = 0) -> Record:
    """An ``aggregates`` record with one row for each device."""
    table = ChannelTable()
    rows = [
        table.row(Channel("f", name, "pump", "flow", "", (("line", "l 1"),))) for name in devices
    ]
    n = len(rows)
    aggregates = Aggregates(
        channel=np.array(rows, np.int32),
        start_ns=np.full(n, START_NS + window * 10**10),
        window_ns=np.full(n, 10**10),
        n=np.full(n, 9),
        flagged=np.full(n, 1),
        expected=np.full(n, 10),
        stats={name: np.full(n, value) for name in STATISTICS},
        sketch_keys=[np.empty(0, np.int32)] * n,
        sketch_counts=[np.empty(0, np.int64)] * n,
    )
    return aggregates_record(aggregates, table)


def make_anomaly(device: str, *, is_open: bool = True, revision: int = 0) -> Anomaly:
    """An anomaly of the device at ``START_NS``."""
    return Anomaly(
        "f", device, "m", START_NS, START_NS, START_NS + 10**9, START_NS, 3.5, 1.0, "major",
        (("flow", 0.9), ("temp", 0.1)), "process", (), is_open, revision,
    )  # fmt: skip


async def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  (conditions in code that has no events for them)
            await asyncio.sleep(0.01)


async def until_done(rig: Rig, at: TopicPartition, offset: int, sink: str = "influxdb") -> None:
    """Wait until the sink's consumer group has committed this offset."""
    group = consumer_group(rig.config, f"forward-{sink}")
    async with asyncio.timeout(20):
        while (await rig.log.committed(group, at) or 0) < offset:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


class Rig:
    """A log with results in it, and a forward lane."""

    def __init__(self, config: Config, clock: Clock, timings: ForwardTimings, log: Log) -> None:
        self.config = config
        self.timings = timings
        self.clock = clock
        self.log = log
        self.telemetry = Telemetry(self.clock)

    async def put(self, name: str, *records: Record, partition: int = 0) -> None:
        """Append results."""
        await self.log.append(TopicPartition(topic(self.config, name), partition), records)

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
        lane = ForwardLane(self.config, self.log, self.clock, self.telemetry, sinks, self.timings)
        stop = asyncio.Event()
        task = asyncio.create_task(lane.run(stop))
        try:
            yield lane
        finally:
            stop.set()
            async with asyncio.timeout(5):
                await task


@asynccontextmanager
async def open_rig(
    config: Config,
    clock: Clock | None = None,
    timings: ForwardTimings = USUAL,
    log: Log | None = None,
) -> AsyncIterator[Rig]:
    """A rig whose log is open inside the block, and whose lanes have these timings.

    The log is the configured one if none is given.
    """
    clock = clock or SystemClock()
    rig = Rig(config, clock, timings, log or open_log(config, clock))
    await rig.log.start()
    await rig.log.ensure_topics(topic_specs(config))
    try:
        yield rig
    finally:
        await rig.log.stop()


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


def answer(status: int, **headers: str) -> Callable[[], web.Response]:
    """An answer with this status and these headers."""
    return lambda: web.json_response({"message": "no"}, status=status, headers=headers)
