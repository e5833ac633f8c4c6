"""A forward lane is ready once it has read its log, whether or not there is anything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from connectors.logs.configured import topic_specs
from connectors.logs.embedded.store import SqliteLog
from headgate.config.schema import Config
from headgate.core.clock import SystemClock
from headgate.core.log import StoredRecord, TopicPartition
from headgate.core.telemetry import Telemetry
from headgate.testing.scripted import MemorySink
from streams.forward.lane import ForwardLane


class _NotedWaits(SqliteLog):
    """The embedded log, with how long the lane would have waited for records at each look."""

    waits_s: list[float]
    has_looked_twice: asyncio.Event

    async def read_many(
        self,
        offsets: Mapping[TopicPartition, int],
        *,
        reader: str = "",
        max_bytes: int = 1 << 20,
        wait_s: float = 0.0,
    ) -> dict[TopicPartition, list[StoredRecord]]:
        """Note it, and don't wait."""
        self.waits_s.append(wait_s)
        if len(self.waits_s) > 1:
            self.has_looked_twice.set()
        await asyncio.sleep(0)
        return await super().read_many(offsets, reader=reader, max_bytes=max_bytes)


async def test_an_empty_log_is_looked_into_at_once(tmp_path: Path) -> None:
    """Only then are records waited for: a start-up check would take the wait for trouble."""
    config = Config.model_validate(
        {
            "gateway": {"data_dir": str(tmp_path)},
            "local_store": {},
            "log": {"partitions": 1},
            "feed": {"f": {"topic": "{device}", "channels": {"x": {}}}},
        }
    )
    clock = SystemClock()
    log = _NotedWaits(config.log_path, clock)
    log.waits_s, log.has_looked_twice = [], asyncio.Event()
    await log.start()
    await log.ensure_topics(topic_specs(config))
    lane = ForwardLane(config, log, clock, Telemetry(clock), [MemorySink("s")])
    stop = asyncio.Event()
    running = asyncio.create_task(lane.run(stop))
    await log.has_looked_twice.wait()
    is_ready, _ = lane.health()
    stop.set()
    await running
    await log.stop()

    assert is_ready
    assert log.waits_s[0] == 0
    assert log.waits_s[1] > 0
