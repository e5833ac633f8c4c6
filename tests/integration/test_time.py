"""Slow devices, and times that are wrong or missing, from a real broker into windows."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from connectors.logs.configured import topic, topic_specs
from connectors.logs.embedded.store import SqliteLog
from connectors.replay.publisher import Publisher
from headgate.config.schema import Config
from headgate.core.batch import Batch, Quality, concat
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.log import AGGREGATES, QUARANTINE, READINGS, StoredRecord, TopicPartition
from headgate.core.records import (
    RETRIED_HEADER,
    decode_aggregates,
    decode_readings,
    decode_rejected,
    readings_record,
)
from headgate.core.telemetry import Telemetry
from headgate.inspect.audit import audit
from streams.ingest.lane import IngestLane
from streams.process.lane import StreamsLane
from tests.mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(90)]


def _config(broker: Mosquitto, folder: Path, **feed: object) -> Config:
    return Config.model_validate(
        {
            "gateway": {"name": "g", "data_dir": str(folder)},
            "mqtt": {"port": broker.port},
            "ingest": {"max_wait": "5ms"},
            "log": {"partitions": 1},
            "streams": {"silent_after": "200ms", "snapshot_interval": "200ms"},
            "local_store": {},
            "feed": {
                "f": {
                    "topic": "in/{device}",
                    "time": {"path": "ts", "unit": "ms"},
                    "grace": "200ms",
                    "aggregates": [{"window": "2s"}],
                    "channels": {"v": {}},
                    **feed,
                }
            },
        }
    )


class Gateway:
    """Both lanes in this process, on an embedded log."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clock = SystemClock()
        self.log = SqliteLog(config.log_path, self.clock)
        self.telemetry = Telemetry(self.clock)
        self.lanes = (
            IngestLane(config, self.log, self.clock, self.telemetry),
            StreamsLane(config, self.log, self.clock, self.telemetry),
        )

    async def aggregated(self) -> int:
        """Readings in closed windows."""
        count = 0
        for record in await self._records(AGGREGATES):
            windows = decode_aggregates(record.value, ChannelTable())
            count += int((windows.n + windows.flagged).sum())
        return count

    async def rejected(self) -> Counter[str]:
        """Readings in quarantine, by reason."""
        reasons: Counter[str] = Counter()
        for record in await self._records(QUARANTINE):
            reasons.update(decode_rejected(record.value, ChannelTable()).reasons)
        return reasons

    async def settled(self, readings: int) -> None:
        """Wait until so many are in windows or in quarantine."""
        async with asyncio.timeout(30):
            while await self.aggregated() + (await self.rejected()).total() < readings:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def balances(self) -> None:
        """Wait until the account is whole: what is still held is told by the next snapshot."""
        async with asyncio.timeout(30):
            while not (await audit(self.config, self.log)).is_balanced:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def _records(self, name: str) -> Sequence[StoredRecord]:
        at = TopicPartition(topic(self.config, name), 0)
        return await self.log.read(at, 0, max_bytes=1 << 26)


@asynccontextmanager
async def _running(config: Config) -> AsyncIterator[Gateway]:
    gateway = Gateway(config)
    await gateway.log.start()
    await gateway.log.ensure_topics(topic_specs(config))
    stop = asyncio.Event()
    tasks = [asyncio.create_task(lane.run(stop)) for lane in gateway.lanes]
    try:
        async with asyncio.timeout(20):
            while not all(lane.health()[0] for lane in gateway.lanes):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield gateway
    finally:
        stop.set()
        async with asyncio.timeout(15):
            await asyncio.gather(*tasks)
        await gateway.log.stop()


async def _publish(broker: Mosquitto, messages: Sequence[dict[str, float]]) -> None:
    def work() -> None:
        with Publisher("127.0.0.1", broker.port, SystemClock()) as publisher:
            for message in messages:
                publisher.publish("in/d", json.dumps(message).encode())
            publisher.flush()

    await asyncio.to_thread(work)


async def test_a_sensor_slower_than_the_silence_loses_nothing(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Ten times faster than a sensor that reports every few seconds into windows of 20 s."""
    async with _running(_config(mosquitto, tmp_path)) as gateway:
        for _ in range(18):
            now_ms = gateway.clock.wall_ns() * 1000 // NS_PER_S
            await _publish(mosquitto, [{"ts": now_ms, "v": 1.0}])
            await asyncio.sleep(0.45)
        await gateway.settled(18)

        assert await gateway.aggregated() == 18
        await gateway.balances()


async def test_one_time_far_ahead_stops_no_device(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Three of today, one of tomorrow, three of today; then a clock that really is ahead."""
    async with _running(_config(mosquitto, tmp_path, period="1s", grace="2s")) as gateway:
        now_ms = gateway.clock.wall_ns() * 1000 // NS_PER_S
        offsets_s = [-3, -2, 20 * 3600, -1, 0, 1]
        await _publish(mosquitto, [{"ts": now_ms + 1000 * at, "v": at} for at in offsets_s])
        await gateway.settled(6)

        assert await gateway.aggregated() == 5
        assert await gateway.rejected() == {"ahead": 1}

        later_s = [7200, 7201, 7202, 7203]
        await _publish(mosquitto, [{"ts": now_ms + 1000 * at, "v": at} for at in later_s])
        await gateway.settled(10)

        assert await gateway.aggregated() == 9
        await gateway.balances()


async def test_a_wrong_jump_that_was_believed_costs_nothing_of_what_is_right_again(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Three of tomorrow, and then a clock that is right; the account is whole all the time."""
    async with _running(_config(mosquitto, tmp_path, period="1s", grace="2s")) as gateway:

        async def send(offsets_s: Sequence[float]) -> None:
            await _publish(
                mosquitto, [{"ts": now_ms + round(1000 * at), "v": at} for at in offsets_s]
            )

        now_ms = gateway.clock.wall_ns() * 1000 // NS_PER_S // 2000 * 2000
        await send([-61, -60.5, 72_000, 72_001, 72_002])
        # Held until the third comes, which is in the log by then.
        await send([-58, -57])
        await gateway.settled(2)
        await asyncio.sleep(0.5)
        await gateway.balances()

        await send([-56, -55.5])
        await gateway.settled(5)
        await gateway.balances()
        await send([at / 2 for at in range(-110, 0)])
        await gateway.settled(9 + 110)

        assert not await gateway.rejected()
        assert await gateway.aggregated() == 9 + 110
        await gateway.balances()


async def _publish_slowly(broker: Mosquitto, first: int, last: int, period_s: float) -> None:
    for number in range(first, last):
        await _publish(broker, [{"v": number}])
        await asyncio.sleep(period_s)


async def _read(gateway: Gateway) -> tuple[list[float], list[float], list[bool]]:
    """Values in the log, when they are said to have been, s, and which times are estimates."""
    at = TopicPartition(topic(gateway.config, READINGS), 0)
    records = await gateway.log.read(at, 0, max_bytes=1 << 26)
    table = ChannelTable()
    batch = concat((decode_readings(each.value, table) for each in records), table)
    estimated = (batch.quality & int(Quality.ESTIMATED_TIME)) != 0
    return batch.value.tolist(), (batch.time_ns / NS_PER_S).tolist(), estimated.tolist()


async def test_messages_without_a_time_that_had_waited_are_spread_over_the_wait(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Eight of them come at once after a restart; they are eight readings, at their own pace."""
    config = _config(mosquitto, tmp_path, time={}, retained="reading")
    async with _running(config) as gateway:
        await _publish_slowly(mosquitto, 0, 8, 0.4)
        async with asyncio.timeout(20):
            while len((await _read(gateway))[0]) < 8:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    await _publish_slowly(mosquitto, 8, 16, 0.4)
    async with _running(config) as gateway:
        await gateway.settled(16)
        values, times_s, estimated = await _read(gateway)

        assert await gateway.aggregated() == 16
        assert not await gateway.rejected()
        await gateway.balances()
    assert values == list(range(16))
    steps_s = [after - before for before, after in pairwise(times_s)]
    assert min(steps_s) > 0
    assert not any(estimated[:8])
    assert sum(estimated[8:]) >= 7
    # The pace was learned when they were heard; the machine may have been slow then and now.
    usual_s = sorted(steps_s[:7])[3]
    assert all(usual_s / 3 < step_s < 3 * usual_s for step_s in steps_s[7:14])


async def test_what_was_in_quarantine_does_not_say_that_somebody_listened(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """It is appended while messages wait, and they are spread over their wait all the same."""
    config = _config(mosquitto, tmp_path, time={}, retained="reading")
    async with _running(config) as gateway:
        await _publish_slowly(mosquitto, 0, 8, 0.2)
        await gateway.settled(8)
    await _publish_slowly(mosquitto, 8, 16, 0.4)
    await gateway.log.start()
    channels = ChannelTable()
    channels.row(Channel("f", "other", "f", "v"))
    retried = readings_record(Batch.from_columns(channels, [NS_PER_S], [0], [0.0]), "f")
    marked = replace(retried, headers=(*retried.headers, RETRIED_HEADER))
    await gateway.log.append(TopicPartition(topic(config, READINGS), 0), [marked])
    await gateway.log.stop()
    async with _running(config) as gateway:
        await gateway.settled(17)
        values, times_s, _ = await _read(gateway)

    assert values == [*range(8), 0, *range(8, 16)]
    # They waited for three seconds; it takes none to take what was in quarantine.
    assert times_s[-1] - times_s[9] > 0.7


async def test_messages_that_had_waited_are_not_dated_into_a_silence_that_was_heard(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Quick ones, and nothing for long, and then an outage: its readings are not late."""
    config = _config(mosquitto, tmp_path, time={}, retained="reading", period="100ms")
    async with _running(config) as gateway:
        await _publish_slowly(mosquitto, 0, 20, 0.02)
        await gateway.settled(20)
        await asyncio.sleep(1)
    await _publish_slowly(mosquitto, 20, 40, 0.02)
    async with _running(config) as gateway:
        await gateway.settled(40)

        assert await gateway.aggregated() == 40
        assert not await gateway.rejected()
