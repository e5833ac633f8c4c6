"""What is seen of the gateway, from what its lanes report."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from connectors.sources.gateway.file import GaugesFile
from headgate.config.preset import presets
from headgate.config.schema import Config
from headgate.core.clock import NS_PER_S
from headgate.core.telemetry import Telemetry
from headgate.gateway.gauges import Gauges, gauges_period_ns
from headgate.testing import ManualClock


@dataclass
class _Lane:
    telemetry: Telemetry
    pid: int | None = None
    restarts: int = 0
    health: tuple[bool, str] = (True, "")
    details: Mapping[str, object] = field(default_factory=dict)
    is_there: bool = True

    @property
    def metrics(self) -> str:
        return generate_latest(self.telemetry.registry).decode() if self.is_there else ""


class _Gateway:
    """Three lanes that say what a test has them say."""

    def __init__(self, folder: Path, **feed: str) -> None:
        self.clock = ManualClock()
        self.config = Config.model_validate(
            {
                "gateway": {"name": "line-3", "data_dir": str(folder)},
                "local_store": {},
                "source": {
                    "gateway": {"type": "gateway"},
                    "hall": {"type": "mqtt", "port": 1},
                    "yard": {"type": "mqtt", "port": 2},
                },
                "feed": {
                    "g": {"preset": "gateway", "source": "gateway", **feed},
                    "pump": {"topic": "{device}", "source": "hall", "channels": {"x": {}}},
                },
            }
        )
        self.lanes = {name: self.lane() for name in ("forward", "streams", "ingest")}
        self.gauges = Gauges(self.config, self.lanes, self.clock)

    def lane(self, pid: int | None = None) -> _Lane:
        return _Lane(Telemetry(self.clock), pid)

    def look(self, after_s: float = 10) -> dict[str, Any]:
        self.clock.advance(after_s)
        return self.gauges.look()


@pytest.fixture
def gateway(tmp_path: Path) -> _Gateway:
    return _Gateway(tmp_path)


def test_every_channel_of_the_preset_is_seen(gateway: _Gateway) -> None:
    """And no other; lanes have processes, and the second look knows how fast things are."""
    for lane in gateway.lanes.values():
        lane.pid = os.getpid()
    gateway.lanes["ingest"].details = {"clock": {"is_set": True}}
    gateway.lanes["ingest"].telemetry.connected.labels("hall").set(1)
    gateway.lanes["forward"].telemetry.backlog_records.labels("store").set(0)
    gateway.look()
    seen = gateway.look()

    assert {*seen} - {"gateway", "sources", "sinks"} == {*presets()["gateway"].feed["channels"]}
    assert seen["gateway"] == "line-3"
    assert seen["clock_set"] == 1
    assert 0 < seen["disk_free"] <= 100
    assert 0 < seen["memory_available"] <= 100


def test_the_sink_that_is_furthest_behind_counts(gateway: _Gateway) -> None:
    """And each stands beside it."""
    telemetry = gateway.lanes["forward"].telemetry
    for sink, records, age_s in (("store", 3, 70.5), ("told", 8, 2)):
        telemetry.backlog_records.labels(sink).set(records)
        telemetry.backlog_age.labels(sink).set(age_s)
    seen = gateway.look()

    assert (seen["oldest_waiting"], seen["waiting"]) == (70.5, 8)
    assert seen["sinks"]["store"] == {"waiting": 3, "oldest_waiting": 70.5}


def test_sources_that_are_away_are_counted(gateway: _Gateway) -> None:
    """The gateway is none of them."""
    connected = gateway.lanes["ingest"].telemetry.connected
    for name, is_there in (("hall", 1), ("yard", 0), ("gateway", 1)):
        connected.labels(name).set(is_there)
    seen = gateway.look()

    assert seen["sources_away"] == 1
    assert seen["sources"] == {"hall": {"connected": 1}, "yard": {"connected": 0}}


def test_what_devices_send_is_counted_since_the_look_before(gateway: _Gateway) -> None:
    """The gateway's own readings are not among it, nor what sinks refuse."""
    ingest, streams, forward = (
        gateway.lanes[name].telemetry for name in ("ingest", "streams", "forward")
    )
    ingest.rows.labels("pump").inc(1000)
    assert "readings_rate" not in gateway.look()

    ingest.messages.labels("pump").inc(40)
    ingest.messages.labels("g").inc(1)
    ingest.rows.labels("pump").inc(70)
    ingest.rows.labels("g").inc(15)
    ingest.quarantined.labels("unreadable").inc(10)
    streams.quarantined.labels("late").inc(6)
    forward.quarantined.labels("refused").inc(1000)
    seen = gateway.look(20)

    assert (seen["messages_rate"], seen["readings_rate"]) == (2, 3.5)
    assert seen["quarantine_share"] == 100 * 16 / 80
    assert gateway.look()["quarantine_share"] == 0


def test_a_lane_that_is_started_anew_counts_from_nothing(gateway: _Gateway) -> None:
    """Also where its count is past the former one's already."""
    gateway.lanes["ingest"] = gateway.lane(pid=-1)
    gateway.gauges = Gauges(gateway.config, gateway.lanes, gateway.clock)
    gateway.lanes["ingest"].telemetry.rows.labels("pump").inc(5)
    gateway.look()
    gateway.lanes["ingest"] = lane = gateway.lane(pid=-2)
    lane.telemetry.rows.labels("pump").inc(20)
    lane.restarts = 3

    seen = gateway.look()

    assert (seen["readings_rate"], seen["restarts"]) == (2, 3)


def test_what_nobody_knows_is_left_out(gateway: _Gateway) -> None:
    """Of a lane that says nothing; how many of them do their work is known."""
    for lane in gateway.lanes.values():
        lane.is_there, lane.health = False, (False, "starting")
    seen = gateway.look()

    assert seen["lanes_not_ready"] == 3
    left_out = {"oldest_waiting", "waiting", "sources_away", "clock_set"}
    assert left_out.isdisjoint(seen)


@pytest.mark.parametrize(("period", "wanted_s"), [("10s", 10), ("1m", 60), ("100ms", 1)])
def test_it_is_looked_at_as_often_as_the_feed_says(
    period: str, wanted_s: int, tmp_path: Path
) -> None:
    """And once a second at most."""
    assert gauges_period_ns(_Gateway(tmp_path, period=period).config) == wanted_s * NS_PER_S


def test_without_such_a_feed_nobody_looks() -> None:
    """As it is by default."""
    config = Config.model_validate(
        {"local_store": {}, "feed": {"pump": {"topic": "{device}", "channels": {"x": {}}}}}
    )
    assert gauges_period_ns(config) is None


async def test_what_is_seen_stands_in_the_file(gateway: _Gateway, tmp_path: Path) -> None:
    """And nothing is looked at once it is to stop."""
    stop = asyncio.Event()
    running = asyncio.create_task(gateway.gauges.run(1, stop))
    while (seen := GaugesFile(tmp_path).read()) is None:  # noqa: ASYNC110  (a file has no events)
        await asyncio.sleep(0)
    stop.set()
    await running

    assert json.loads(seen.payload)["gateway"] == "line-3"
    assert seen.at_ns == gateway.clock.monotonic_ns()


async def test_a_report_that_makes_no_sense_stops_nothing(
    gateway: _Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look tells of the next moment."""
    pages = iter(["headgate_rows_total{feed= 7\n"])
    monkeypatch.setattr(_Lane, "metrics", property(lambda _lane: next(pages, "")))
    stop = asyncio.Event()
    running = asyncio.create_task(gateway.gauges.run(1, stop))
    file = GaugesFile(tmp_path)
    while file.read() is None and not running.done():  # noqa: ASYNC110  (a file has no events)
        await asyncio.sleep(0)
    stop.set()
    await running
