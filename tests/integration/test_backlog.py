"""A sink that was away for long: what is shown, what goes first, and what becomes of too much."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from connectors.logs.configured import topic
from connectors.sinks.influxdb.sink import InfluxSink
from headgate.config.schema import Config
from headgate.core.log import AGGREGATES, TopicPartition
from headgate.core.records import anomalies_record
from streams.forward.timings import ForwardTimings
from tests.uplink import (
    START_NS,
    Rig,
    Server,
    aggregates_of,
    influxdb_of,
    make_anomaly,
    make_config,
    open_rig,
    until,
)

pytestmark = pytest.mark.timeout(300)

#: Aggregate windows of ten seconds that make a day.
_DAY = 8640

#: The window from ``START_NS`` on that begins with a whole ten minutes.
_WHOLE = 20


@pytest.fixture
async def server() -> Server:
    """A server that is there when the block of ``running`` is entered."""
    server = Server()
    async with server.running():
        pass  # it has its port now
    return server


def _config(folder: Path, url: str, **forward: object) -> Config:
    config = make_config(folder, url)
    content = config.model_dump(mode="python", exclude_unset=True)
    return Config.model_validate(
        {
            **content,
            "gateway": {"name": "gw-1", "data_dir": str(folder)},
            "sink": {
                "influxdb": {**content["sink"]["influxdb"], "max_wait": "10ms", "timeout": "2s"}
            },
            "feed": {
                "f": {
                    "topic": "{device}",
                    "period": "1s",
                    "aggregates": [{"window": "10s"}],
                    "channels": {"x": {}},
                }
            },
            "forward": forward,
        }
    )


def _sink(rig: Rig) -> InfluxSink:
    return InfluxSink(influxdb_of(rig.config), rig.telemetry)


def _gauge(rig: Rig, name: str) -> float:
    value: float = getattr(rig.telemetry, name).labels("influxdb")._value.get()
    return value


def _times(lines: list[str]) -> list[int]:
    return [(int(line.rpartition(" ")[2]) - START_NS) // 10**9 for line in lines]


async def _settled(rig: Rig) -> None:
    """Everything has been sent."""
    await asyncio.sleep(0.3)
    await until(lambda: _gauge(rig, "backlog_records") == 0, 150)


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_live_points_go_first_and_the_backlog_beside_them(
    server: Server, tmp_path: Path, order: str
) -> None:
    """In the order that is asked for, and each point once."""
    config = _config(tmp_path, server.url, backlog_order=order)
    async with open_rig(config, timings=ForwardTimings(live_ms=300, read_bytes=4096)) as rig:
        for window in range(200):
            await rig.put("aggregates", aggregates_of(["d"], window=window))
        await asyncio.sleep(0.5)
        async with server.running(), rig.forwarding(_sink(rig)):
            await until(lambda: len(server.lines) > 20)
            await rig.put("aggregates", aggregates_of(["d"], window=5000))
            await _settled(rig)
    times = _times(server.lines)

    assert Counter(times) == Counter(10 * window for window in (*range(200), 5000))
    assert times.index(50_000) < 150
    old = [time for time in times if time != 50_000]
    first, last = (old[:50], old[-50:]) if order == "oldest" else (old[-50:], old[:50])
    assert max(first) < min(last)


async def test_what_waits_is_shown(server: Server, tmp_path: Path) -> None:
    """Points, bytes and age, while the sink is away."""
    async with open_rig(_config(tmp_path, server.url), timings=ForwardTimings(live_ms=300)) as rig:
        for window in range(20):
            await rig.put("aggregates", aggregates_of(["a", "b"], window=window))
        await asyncio.sleep(0.5)
        async with rig.forwarding(_sink(rig)):
            await until(lambda: _gauge(rig, "backlog_points") == 40)
            assert _gauge(rig, "backlog_records") == 20
            assert _gauge(rig, "backlog_bytes") > 20 * 500
            assert _gauge(rig, "backlog_age") > 0.4
        async with server.running(), rig.forwarding(_sink(rig)):
            await _settled(rig)
            assert _gauge(rig, "backlog_points") == _gauge(rig, "backlog_bytes") == 0
    assert len(server.lines) == 40


async def _outage(rig: Rig, hours: int) -> None:
    """So many hours of windows and some anomalies, while the sink is away."""
    for first in range(0, 360 * hours, 40):
        windows = range(_WHOLE + first, _WHOLE + first + 40)
        records = [aggregates_of(["d"], window=window) for window in windows]
        await rig.put("aggregates", *records)
        await rig.put("anomalies", anomalies_record([make_anomaly(f"device-{first}")]))


@pytest.mark.thorough
async def test_a_day_without_the_sink_is_spanned_from_end_to_end(
    server: Server, tmp_path: Path
) -> None:
    """Under a cap it is thinned instead of cut off; newest finest, every anomaly kept."""
    config = _config(tmp_path, server.url, max_backlog="1500kB")
    async with open_rig(config, timings=ForwardTimings(live_ms=300, thinned_bytes=400_000)) as rig:
        await _outage(rig, 24)
        await asyncio.sleep(0.5)
        async with rig.forwarding(_sink(rig)):
            await until(
                lambda: (
                    0 < _gauge(rig, "backlog_bytes") <= 1_500_000
                    and 0 < _gauge(rig, "backlog_records") < _DAY / 4
                ),
                200,
            )
        thinned = rig.telemetry.thinned_windows.labels("influxdb")._value.get()
        async with server.running(), rig.forwarding(_sink(rig)):
            await _settled(rig)
        given_up = rig.telemetry.given_up_points.labels("influxdb", "room")._value.get()
    aggregates = [line for line in server.lines if not line.startswith("anomalies")]
    covered: Counter[int] = Counter()
    for line, time in zip(aggregates, _times(aggregates), strict=True):
        window = line.partition(",")[0].rpartition("_")[2]
        length = {"10s": 1, "1m": 6, "10m": 60}[window]
        first = time // 10 - _WHOLE
        covered.update(range(first, first + length))
        assert f"flow_n={9 * length}i,flow_flagged={length}i" in line

    assert thinned > 1000
    assert given_up == 0
    assert covered == Counter(range(_DAY))
    assert {line.partition(",")[0] for line in aggregates} >= {"pump_10s", "pump_1m"}
    assert sum(line.startswith("anomalies") for line in server.lines) == _DAY / 40


async def test_a_lane_that_dies_while_it_thins_or_drains_loses_nothing(
    server: Server, tmp_path: Path
) -> None:
    """Ended at any moment and started again, on the same log; each reading in one point."""
    config = _config(tmp_path, server.url, max_backlog="300kB")
    timings = ForwardTimings(live_ms=300, thinned_bytes=30_000, read_bytes=8192)
    async with open_rig(config, timings=timings) as rig:
        await _outage(rig, 4)
        await asyncio.sleep(0.5)
        for _ in range(12):
            task = asyncio.create_task(_forward(rig))
            await asyncio.sleep(0.12)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        async with server.running():
            for _ in range(8):
                task = asyncio.create_task(_forward(rig))
                await asyncio.sleep(0.1)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            async with rig.forwarding(_sink(rig)):
                await _settled(rig)
    last: dict[tuple[str, str], str] = {}
    for line in server.lines:
        if not line.startswith("anomalies"):
            identity = line.partition(" ")[0], line.rpartition(" ")[2]
            assert last.setdefault(identity, line) == line
    covered: Counter[int] = Counter()
    for head, time_ns in last:
        length = {"10s": 1, "1m": 6, "10m": 60}[head.partition(",")[0].rpartition("_")[2]]
        start = (int(time_ns) - START_NS) // 10**10 - _WHOLE
        covered.update(range(start, start + length))

    assert covered == Counter(range(4 * 360))


async def _forward(rig: Rig) -> None:
    async with rig.forwarding(_sink(rig)):
        await asyncio.sleep(60)


async def test_what_has_waited_for_too_long_is_given_up_and_counted(
    server: Server, tmp_path: Path
) -> None:
    """Aggregates, that is; an anomaly is kept however old."""
    config = _config(tmp_path, server.url, max_age="1s")
    async with open_rig(config, timings=ForwardTimings(live_ms=100)) as rig:
        await rig.put("aggregates", *(aggregates_of(["d"], window=n) for n in range(30)))
        await rig.put("anomalies", anomalies_record([make_anomaly("d")]))
        await asyncio.sleep(1.2)
        given_up = rig.telemetry.given_up_points.labels("influxdb", "age")
        async with rig.forwarding(_sink(rig)):
            await until(lambda: given_up._value.get() == 30)
        async with server.running(), rig.forwarding(_sink(rig)):
            await until(lambda: len(server.lines) == 1)
        at = TopicPartition(topic(config, AGGREGATES), 0)
        assert (await rig.log.offsets(at))[1] == 30

    assert server.lines[0].startswith("anomalies,")
