"""The console over real HTTP, on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from headgate.config.schema import Config
from headgate.console.http import Console
from headgate.core.errors import ConfigError
from headgate.testing import ManualClock
from tests.unit.console.lanes import FakeLane, page

pytestmark = pytest.mark.slow


def _config(port: int = 0) -> Config:
    return Config.model_validate(
        {
            "console": {"port": port},
            "local_store": {},
            "feed": {"pump": {"topic": "plant/{device}", "channels": {"flow": {}}}},
        }
    )


@asynccontextmanager
async def _serving(
    lanes: dict[str, FakeLane], clock: ManualClock | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    console = Console(_config(), lanes, clock or ManualClock())
    url = await console.start()
    try:
        async with aiohttp.ClientSession(url) as session:
            yield session
    finally:
        await console.stop()


async def test_it_is_healthy_and_ready_while_all_lanes_work() -> None:
    """The body tells of each lane."""
    async with _serving({"ingest": FakeLane(pid=7), "streams": FakeLane(pid=8)}) as session:
        for path in ("/healthz", "/readyz"):
            async with session.get(path) as reply:
                assert reply.status == 200
                assert (await reply.json())["ingest"] == {
                    "ready": True,
                    "reason": "",
                    "pid": 7,
                    "restarts": 0,
                }


async def test_a_lane_that_waits_for_its_peer_is_healthy_but_not_ready() -> None:
    """Restarting the gateway would not bring the peer back."""
    lane = FakeLane(health=(False, "no connection to the broker"))
    async with _serving({"ingest": lane}) as session:
        async with session.get("/healthz") as reply:
            assert reply.status == 200
        async with session.get("/readyz") as reply:
            assert reply.status == 503
            assert (await reply.json())["ingest"]["reason"] == "no connection to the broker"


async def test_a_lane_that_is_gone_is_not_healthy() -> None:
    """Whoever watches the gateway from outside may act on it."""
    lanes = {"ingest": FakeLane(), "streams": FakeLane(is_alive=False, health=(False, "gone"))}
    async with _serving(lanes) as session, session.get("/healthz") as reply:
        assert reply.status == 503


async def test_a_silent_plant_is_seen_on_the_pages() -> None:
    """In the text of readiness, and without making it red: the gateway does its work."""
    lane = FakeLane(details={"unheard": {"tank": 61.0}})
    async with _serving({"ingest": lane}) as session:
        async with session.get("/readyz") as reply:
            assert reply.status == 200
            (line,) = (await reply.json())["warnings"]
            assert line.startswith("feed.tank: nothing has come since the start")
        async with session.get("/status") as reply:
            assert (await reply.json())["warnings"] == [line]

        presence = {"devices": 3, "silent": 1, "longest_s": 9.0, "heard_s": 0.0, "names": []}
        lane.details = {"presence": {"tank": presence}}
        async with session.get("/readyz") as reply:
            assert "warnings" not in await reply.json()
        async with session.get("/status") as reply:
            assert (await reply.json())["feeds"] == {"tank": presence}


async def test_prometheus_gets_text() -> None:
    """In the format and with the content type that it expects."""
    lane = FakeLane(page(lambda telemetry: telemetry.messages.labels("pump").inc(3)))
    async with _serving({"ingest": lane}) as session, session.get("/metrics") as reply:
        text = await reply.text()

    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'headgate_messages_total{feed="pump",lane="ingest"} 3.0' in text
    assert 'headgate_lane_ready{lane="ingest"} 1.0' in text


async def test_rates_are_taken_over_the_last_seconds() -> None:
    """And a lane that counts from 0 again gives no negative rate."""
    clock = ManualClock()
    lane = FakeLane(page(lambda telemetry: telemetry.messages.labels("pump").inc(100)))
    async with _serving({"ingest": lane}, clock) as session:
        await asyncio.sleep(0.1)
        clock.advance(2)
        lane.metrics = page(lambda telemetry: telemetry.messages.labels("pump").inc(150))
        rate = await _rate_other_than(session, 0.0)
        assert rate == pytest.approx(25)

        lane.metrics = page(lambda telemetry: telemetry.messages.labels("pump").inc(1))
        assert await _rate_other_than(session, rate) == 0


async def test_only_reading_is_possible() -> None:
    """Nothing can be changed, and no other site's script may read."""
    async with _serving({"ingest": FakeLane()}) as session:
        for method in ("POST", "PUT", "DELETE"):
            async with session.request(method, "/status") as reply:
                assert reply.status == 405
        async with session.get("/status", headers={"Origin": "http://elsewhere"}) as reply:
            assert "Access-Control-Allow-Origin" not in reply.headers
        async with session.get("/../etc/passwd") as reply:
            assert reply.status == 404


async def test_an_address_that_is_taken_is_the_users_mistake() -> None:
    """The message names the key to change."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        console = Console(_config(taken.getsockname()[1]), {}, ManualClock())

        with pytest.raises(ConfigError, match=r"console: expected an address .* console\.port"):
            await console.start()


async def _rate_other_than(session: aiohttp.ClientSession, rate: float) -> float:
    """The first other rate that the console tells; it looks at the lanes once a second."""
    for _ in range(30):
        async with session.get("/status") as reply:
            found: float = (await reply.json())["rates"]["messages_per_s"]
        if found != rate:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"the rate is still {rate}")
