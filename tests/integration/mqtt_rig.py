"""An ingest lane in this process, on a real broker and a log of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from connectors.logs.configured import topic, topic_specs
from connectors.logs.embedded.store import SqliteLog
from connectors.replay.publisher import Publisher
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.clock import Clock, SystemClock
from headgate.core.log import QUARANTINE, READINGS, TopicPartition
from headgate.core.records import (
    READINGS_SCHEMA,
    QuarantinedMessage,
    decode_messages,
    decode_readings,
    schema_of,
)
from headgate.core.telemetry import Telemetry
from streams.ingest.lane import IngestLane
from tests.mosquitto import Mosquitto

#: A good message, with its number.
GOOD = b'{"x": %d}'


def make_config(broker: Mosquitto, folder: Path, qos: int = 1, **mqtt: object) -> Config:
    """A gateway that takes what devices publish to ``in/``."""
    return Config.model_validate(
        {
            "gateway": {"name": "g", "data_dir": str(folder)},
            "mqtt": {"port": broker.port, **mqtt},
            "ingest": {"max_wait": "5ms"},
            "log": {"partitions": 1},
            "local_store": {},
            "feed": {"f": {"topic": "in/{device}", "qos": qos, "channels": {"x": {}}}},
        }
    )


class Rig:
    """An ingest lane in this process, with a log of its own."""

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self.config = config
        self.log = SqliteLog(config.log_path, clock)
        self.telemetry = Telemetry(clock)
        self.lane = IngestLane(config, self.log, clock, self.telemetry)

    async def values(self) -> list[float]:
        """All values in ``readings``, in order."""
        records = await self.log.read(
            TopicPartition(topic(self.config, READINGS), 0), 0, max_bytes=1 << 26
        )
        batches = [
            decode_readings(record.value, ChannelTable())
            for record in records
            if schema_of(record.headers) == READINGS_SCHEMA
        ]
        return [value for batch in batches for value in batch.value.tolist()]

    async def start(self) -> None:
        """Make the log ready."""
        await self.log.start()
        await self.log.ensure_topics(topic_specs(self.config))

    async def refused(self) -> list[QuarantinedMessage]:
        """What is in ``quarantine``, in order."""
        records = await self.log.read(
            TopicPartition(topic(self.config, QUARANTINE), 0), 0, max_bytes=1 << 26
        )
        return [message for record in records for message in decode_messages(record.value)]

    async def reasons(self) -> list[str]:
        """Reasons in ``quarantine``, in order."""
        return [message.reason for message in await self.refused()]

    async def has(self, count: int) -> None:
        """Wait until so many readings are in the log."""
        await until(lambda: self.telemetry.rows.labels("f")._value.get() >= count)


async def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  (conditions in code that has no events for them)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(
    config: Config, *, is_ready: bool = True, clock: Clock | None = None
) -> AsyncIterator[Rig]:
    """A lane that runs inside the block and is stopped after it."""
    rig = Rig(config, clock)
    await rig.log.start()
    await rig.log.ensure_topics(topic_specs(config))
    stop = asyncio.Event()
    task = asyncio.create_task(rig.lane.run(stop))
    try:
        if is_ready:
            await until(lambda: rig.lane.health()[0])
        yield rig
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task
        await rig.log.stop()


async def publish(broker: Mosquitto, first: int, last: int, **options: object) -> None:
    """Publish numbered messages, with QoS 1 unless told otherwise, confirmed."""

    def work() -> None:
        with Publisher("127.0.0.1", broker.port, SystemClock(), **options) as publisher:  # type: ignore[arg-type]
            for number in range(first, last):
                publisher.publish("in/d", GOOD % number)
            publisher.flush()

    await asyncio.to_thread(work)
