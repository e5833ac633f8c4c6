"""All logs, made the same way for the tests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from connectors.logs.configured import sqlite_url
from connectors.logs.embedded.store import SqliteLog
from connectors.logs.kafka.log import KafkaLog
from headgate.core.clock import SystemClock
from headgate.core.log import Log, Record, StoredRecord, TopicPartition, TopicSpec
from headgate.testing.memory_log import MemoryLog, MemoryStore


@dataclass
class Workshop:
    """Makes logs that all stand on the same storage, and topics that no other test uses.

    Attributes:
        make: A log that is not started.
        broker: Faust's broker URL for it; empty where Faust has no transport for it.
        is_embedded: True for SQLite.
    """

    make: Callable[[], Log]
    broker: str
    is_embedded: bool
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:12]}.")

    @asynccontextmanager
    async def open(self, *specs: TopicSpec) -> AsyncIterator[Log]:
        """A started log with these topics."""
        log = self.make()
        await log.start()
        try:
            if specs:
                await log.ensure_topics(specs)
            yield log
        finally:
            await log.stop()

    def topic(self, name: str = "readings") -> str:
        """A topic's name."""
        return self.prefix + name


#: What ``workshop`` can be asked for: every log there is, and those that Faust can read.
EVERY_LOG = ["sqlite", pytest.param("kafka", marks=pytest.mark.kafka), "memory"]
_OF_FAUST = EVERY_LOG[:2]


@pytest.fixture(params=_OF_FAUST)
def workshop(request: pytest.FixtureRequest, tmp_path: Path) -> Workshop:
    """Every test that uses this runs on both logs that Faust can read, or on those it names."""
    if request.param == "memory":
        store = MemoryStore()
        return Workshop(lambda: MemoryLog(store, SystemClock()), "", is_embedded=False)
    if request.param == "sqlite":
        path = tmp_path / "log.db"
        return Workshop(lambda: SqliteLog(path, SystemClock()), sqlite_url(path), is_embedded=True)
    address = request.getfixturevalue("kafka")
    return Workshop(
        lambda: KafkaLog(address, SystemClock()), f"headgate-kafka://{address}", is_embedded=False
    )


async def read_all(log: Log, at: TopicPartition, start: int = 0) -> list[StoredRecord]:
    """Everything from an offset to the present end."""
    _, end = await log.offsets(at)
    records: list[StoredRecord] = []
    while start < end:
        page = await log.read(at, start)
        if not page:
            break
        records += page
        start = page[-1].offset + 1
    return records


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for something to become true; fails the test when it does not in time."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  (a file or another process, not an event)
            await asyncio.sleep(0.02)


def numbered(count: int, start: int = 0) -> list[Record]:
    """Records whose values are the numbers from ``start`` on."""
    return [Record(str(number).encode()) for number in range(start, start + count)]
