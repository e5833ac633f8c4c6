"""A sink that was away for long: what is shown, what goes first, and what becomes of too much.

In virtual time: an hour of waiting takes none.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from connectors.logs.configured import topic
from connectors.sinks.points import Point
from connectors.sinks.sink import Refused
from headgate.config.schema import Config
from headgate.core.errors import TransientError
from headgate.core.log import AGGREGATES, TopicPartition
from headgate.core.records import anomalies_record
from headgate.testing.memory_log import Call, MemoryLog, MemoryStore
from headgate.testing.scripted import MemorySink
from headgate.testing.virtual_time import VirtualClock, VirtualLoop, run
from streams.forward.timings import ForwardTimings
from tests.uplink import (
    START_NS,
    Rig,
    aggregates_of,
    make_anomaly,
    make_config,
    open_rig,
    until,
)

pytestmark = pytest.mark.slow

#: Aggregate windows of ten seconds that make a day.
_DAY = 8640

#: The window from ``START_NS`` on that begins with a whole ten minutes.
_WHOLE = 20


class _Log(MemoryLog):
    """Whose answers take their time, each another one."""

    chance = random.Random(5)

    async def reach(self, call: Call) -> None:
        """See ``MemoryLog``."""
        await asyncio.sleep(self.chance.uniform(0, 0.004))

    async def answer(self) -> None:
        """See ``MemoryLog``."""
        await asyncio.sleep(self.chance.uniform(0, 0.004))


class _Store(MemorySink):
    """A store that is away at first, and takes its time.

    Attributes:
        is_away: Whether nothing can be written.
        written: All that was, in order.
    """

    def __init__(self) -> None:
        super().__init__("influxdb")
        self.is_away = True
        self.written: list[Point] = []

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        """See ``MemorySink``."""
        await asyncio.sleep(0.005)
        if self.is_away:
            raise TransientError("it is away")
        self.written += points
        return await super().write(points)

    def aggregates(self) -> list[Point]:
        """Those of what was written."""
        return [each for each in self.written if each.kind == "aggregates"]


_Play: TypeAlias = Callable[[Rig, _Store], Awaitable[None]]


def _played(play: _Play, folder: Path, timings: ForwardTimings, **forward: object) -> _Store:
    """What a store has after something was played with it and the lane."""
    loop, store = VirtualLoop(), _Store()
    clock = VirtualClock(loop)

    async def main() -> None:
        config, log = _config(folder, **forward), _Log(MemoryStore(), clock)
        async with open_rig(config, clock, timings, log) as rig:
            await play(rig, store)

    run(main(), loop)
    return store


def _config(folder: Path, **forward: object) -> Config:
    content = make_config(folder, "http://127.0.0.1:1").model_dump(
        mode="python", exclude_unset=True
    )
    feed = {
        "topic": "{device}",
        "period": "1s",
        "aggregates": [{"window": "10s"}],
        "channels": {"x": {}},
    }
    return Config.model_validate({**content, "feed": {"f": feed}, "forward": forward})


def _gauge(rig: Rig, name: str) -> float:
    value: float = getattr(rig.telemetry, name).labels("influxdb")._value.get()
    return value


def _seconds(points: Sequence[Point]) -> list[int]:
    return [(each.time_ns - START_NS) // 10**9 for each in points]


def _windows(point: Point) -> range:
    """The windows of ten seconds that a point is of, counted from the first of an outage."""
    length = {"10s": 1, "1m": 6, "10m": 60}[point.measurement.rpartition("_")[2]]
    assert point.fields["flow_n"] == 9 * length
    assert point.fields["flow_flagged"] == length
    first = (point.time_ns - START_NS) // 10**10 - _WHOLE
    return range(first, first + length)


async def _settled(rig: Rig) -> None:
    """Everything has been sent."""
    await asyncio.sleep(0.3)
    await until(lambda: _gauge(rig, "backlog_records") == 0, 150)


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_live_points_go_first_and_the_backlog_beside_them(tmp_path: Path, order: str) -> None:
    """In the order that is asked for, and each point once."""

    async def play(rig: Rig, store: _Store) -> None:
        for window in range(200):
            await rig.put("aggregates", aggregates_of(["d"], window=window))
        await asyncio.sleep(0.5)
        store.is_away = False
        async with rig.forwarding(store):
            await until(lambda: len(store.written) > 20)
            await rig.put("aggregates", aggregates_of(["d"], window=5000))
            await _settled(rig)

    timings = ForwardTimings(live_ms=300, read_bytes=4096)
    times = _seconds(_played(play, tmp_path, timings, backlog_order=order).written)

    assert Counter(times) == Counter(10 * window for window in (*range(200), 5000))
    assert times.index(50_000) < 150
    old = [time for time in times if time != 50_000]
    first, last = (old[:50], old[-50:]) if order == "oldest" else (old[-50:], old[:50])
    assert max(first) < min(last)


def test_what_waits_is_shown(tmp_path: Path) -> None:
    """Points, bytes and age, while the sink is away."""

    async def play(rig: Rig, store: _Store) -> None:
        for window in range(20):
            await rig.put("aggregates", aggregates_of(["a", "b"], window=window))
        await asyncio.sleep(3600)
        async with rig.forwarding(store):
            await until(lambda: _gauge(rig, "backlog_points") == 40)
            assert _gauge(rig, "backlog_records") == 20
            assert _gauge(rig, "backlog_bytes") > 20 * 500
            assert 3600 <= _gauge(rig, "backlog_age") < 3605
            store.is_away = False
            await _settled(rig)
            assert _gauge(rig, "backlog_points") == _gauge(rig, "backlog_bytes") == 0

    assert len(_played(play, tmp_path, ForwardTimings()).written) == 40


async def _outage(rig: Rig, hours: int) -> None:
    """So many hours of windows and some anomalies, while the sink is away."""
    for first in range(0, 360 * hours, 40):
        windows = range(_WHOLE + first, _WHOLE + first + 40)
        records = [aggregates_of(["d"], window=window) for window in windows]
        await rig.put("aggregates", *records)
        await rig.put("anomalies", anomalies_record([make_anomaly(f"device-{first}")]))


@pytest.mark.thorough
def test_a_day_without_the_sink_is_spanned_from_end_to_end(tmp_path: Path) -> None:
    """Under a cap it is thinned instead of cut off; newest finest, every anomaly kept."""

    async def play(rig: Rig, store: _Store) -> None:
        await _outage(rig, 24)
        await asyncio.sleep(0.5)
        async with rig.forwarding(store):
            await until(
                lambda: (
                    0 < _gauge(rig, "backlog_bytes") <= 1_500_000
                    and 0 < _gauge(rig, "backlog_records") < _DAY / 4
                ),
                200,
            )
            assert rig.telemetry.thinned_windows.labels("influxdb")._value.get() > 1000
            store.is_away = False
            await _settled(rig)
            assert rig.telemetry.given_up_points.labels("influxdb", "room")._value.get() == 0

    timings = ForwardTimings(live_ms=300, thinned_bytes=400_000)
    store = _played(play, tmp_path, timings, max_backlog="1500kB")
    aggregates = store.aggregates()

    assert Counter(each for point in aggregates for each in _windows(point)) == Counter(range(_DAY))
    assert {point.measurement for point in aggregates} >= {"pump_10s", "pump_1m"}
    assert len(store.written) - len(aggregates) == _DAY / 40


@pytest.mark.parametrize("seed", range(3))
def test_a_lane_that_dies_while_it_thins_or_drains_loses_nothing(tmp_path: Path, seed: int) -> None:
    """Ended at any moment and started again, on the same log; each reading in one point."""
    chance = random.Random(seed)

    async def forward(rig: Rig, store: _Store) -> None:
        async with rig.forwarding(store):
            await asyncio.sleep(3600)

    async def play(rig: Rig, store: _Store) -> None:
        await _outage(rig, 4)
        await asyncio.sleep(0.5)
        for is_away, times in ((True, 12), (False, 8)):
            store.is_away = is_away
            for _ in range(times):
                task = asyncio.create_task(forward(rig, store))
                await asyncio.sleep(chance.uniform(0, 0.3))
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        # It has died while it drained, too.
        assert 0 < len(store.points) < 500
        async with rig.forwarding(store):
            await _settled(rig)

    timings = ForwardTimings(live_ms=300, thinned_bytes=30_000, read_bytes=8192)
    store = _played(play, tmp_path, timings, max_backlog="300kB")
    last: dict[tuple[object, ...], Point] = {}
    for point in store.aggregates():
        identity = point.measurement, point.tags, point.time_ns
        assert last.setdefault(identity, point) == point

    assert {point.measurement for point in last.values()} >= {"pump_10s", "pump_1m"}
    assert Counter(each for point in last.values() for each in _windows(point)) == Counter(
        range(4 * 360)
    )


def test_what_has_waited_for_too_long_is_given_up_and_counted(tmp_path: Path) -> None:
    """Aggregates, that is; an anomaly is kept however old."""

    async def play(rig: Rig, store: _Store) -> None:
        await rig.put("aggregates", *(aggregates_of(["d"], window=n) for n in range(30)))
        await rig.put("anomalies", anomalies_record([make_anomaly("d")]))
        await asyncio.sleep(3 * 86_400)
        given_up = rig.telemetry.given_up_points.labels("influxdb", "age")
        async with rig.forwarding(store):
            await until(lambda: given_up._value.get() == 30)
            store.is_away = False
            await until(lambda: len(store.written) == 1, 60)
        at = TopicPartition(topic(rig.config, AGGREGATES), 0)
        assert (await rig.log.offsets(at))[1] == 30

    (anomaly,) = _played(play, tmp_path, ForwardTimings(), max_age="2d").written
    assert anomaly.kind == "anomalies"
