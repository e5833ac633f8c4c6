"""The streams lane on the embedded log, in this process: rubbish, restarts, and what it commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from connectors.logs.configured import consumer_group, topic, topic_specs
from connectors.logs.embedded.store import SqliteLog
from headgate.config.schema import Config
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable, device_partition
from headgate.core.clock import SystemClock
from headgate.core.log import AGGREGATES, QUARANTINE, READINGS, STREAMS, Record, TopicPartition
from headgate.core.records import decode_aggregates, decode_messages, readings_record
from headgate.core.telemetry import Telemetry
from headgate.inspect.audit import audit
from streams.process.lane import StreamsLane, StreamsTimings

pytestmark = pytest.mark.timeout(60)
_START_NS = 1_750_000_000 * 10**9
_PARTITION = device_partition("f", "d", 2)


def _config(folder: Path, window: str = "10s") -> Config:
    return Config.model_validate(
        {
            "gateway": {"data_dir": str(folder)},
            "log": {"partitions": 2},
            "streams": {"snapshot_interval": "100ms", "silent_after": "1s"},
            "local_store": {},
            "feed": {
                "f": {
                    "topic": "{device}",
                    "period": "1s",
                    "aggregates": [{"window": window}],
                    "channels": {"x": {}},
                }
            },
        }
    )


def _record(table: ChannelTable, first: int, last: int) -> Record:
    row = table.row(Channel("f", "d", "f", "x"))
    seconds = np.arange(first, last)
    batch = Batch.from_columns(
        table, _START_NS + seconds * 10**9, [row] * len(seconds), seconds.astype(np.float64)
    )
    return readings_record(batch, "f")


@asynccontextmanager
async def _log(config: Config) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(config.log_path, SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(config))
    yield log
    await log.stop()


@asynccontextmanager
async def _running(config: Config, log: SqliteLog) -> AsyncIterator[Telemetry]:
    telemetry = Telemetry(SystemClock())
    lane = StreamsLane(config, log, SystemClock(), telemetry)
    stop = asyncio.Event()
    task = asyncio.create_task(lane.run(stop))
    async with asyncio.timeout(15):
        while not lane.health()[0]:  # noqa: ASYNC110  (the lane has no event for it)
            await asyncio.sleep(0.02)
    yield telemetry
    stop.set()
    async with asyncio.timeout(10):
        await task


async def _worked_on(telemetry: Telemetry, rows: int) -> None:
    async with asyncio.timeout(15):
        while telemetry.processed_rows._value.get() < rows:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_stop_in_the_middle_of_a_window_leaves_no_trace(tmp_path: Path) -> None:
    """The window that was open at the stop closes after the start, with all of its readings."""
    config, table = _config(tmp_path), ChannelTable()
    at = TopicPartition(topic(config, READINGS), _PARTITION)
    async with _log(config) as log:
        for first, last in ((0, 7), (7, 16), (16, 40)):
            async with _running(config, log) as telemetry:
                await log.append(at, [_record(table, first, last)])
                await _worked_on(telemetry, last - first)
        assert await log.committed(consumer_group(config, STREAMS), at) == 3
        windows: dict[int, int] = {}
        for partition in range(2):
            records = await log.read(TopicPartition(topic(config, AGGREGATES), partition), 0)
            for record in records:
                aggregates = decode_aggregates(record.value, ChannelTable())
                starts = ((aggregates.start_ns - _START_NS) // 10**9).tolist()
                windows.update(zip(starts, aggregates.n.tolist(), strict=True))
        result = await audit(config, log)

    assert windows == {0: 10, 10: 10, 20: 10}
    assert result.is_balanced
    assert result.sum().open == 10


@pytest.mark.parametrize(
    "record",
    [
        Record(b"rubbish"),
        Record(b"rubbish", headers=(("schema", b"readings/1"),)),
        Record(b"", headers=(("schema", b"readings/99"),)),
    ],
    ids=["no header", "no Arrow", "another version"],
)
async def test_a_record_that_is_none_goes_to_quarantine(tmp_path: Path, record: Record) -> None:
    """Between two good records; both are worked on, and the offset moves past all three."""
    config, table = _config(tmp_path), ChannelTable()
    at = TopicPartition(topic(config, READINGS), _PARTITION)
    async with _log(config) as log:
        async with _running(config, log) as telemetry:
            await log.append(at, [_record(table, 0, 5), record, _record(table, 5, 9)])
            await _worked_on(telemetry, 9)
        quarantined = await log.read(TopicPartition(topic(config, QUARANTINE), _PARTITION), 0)
        (message,) = decode_messages(quarantined[0].value)

        assert message.reason == "bad_record"
        assert message.source.endswith(f"/{_PARTITION}@1")
        assert message.payload == record.value
        assert await log.committed(consumer_group(config, STREAMS), at) == 3


async def test_windows_left_open_by_the_last_run_close_though_nothing_comes(
    tmp_path: Path,
) -> None:
    """State is taken up with the partition, and not only when its first reading comes."""
    config, table = _config(tmp_path, window="2s"), ChannelTable()
    at = TopicPartition(topic(config, READINGS), _PARTITION)
    async with _log(config) as log:
        async with _running(config, log) as telemetry:
            await log.append(at, [_record(table, 0, 2)])
            await _worked_on(telemetry, 2)
        aggregates = TopicPartition(topic(config, AGGREGATES), _PARTITION)
        assert not await log.read(aggregates, 0)

        async with _running(config, log):
            (record,) = await log.read(aggregates, 0, wait_s=10)
        assert decode_aggregates(record.value, ChannelTable()).n.tolist() == [2]
        assert (await audit(config, log)).is_balanced


async def test_a_lane_that_is_assigned_nothing_ends(tmp_path: Path) -> None:
    """A group that never settles who reads what is left and joined again."""
    timings = StreamsTimings(assignment_limit_s=0.3, check_s=0.05)
    config = _config(tmp_path)
    async with _log(config) as log:
        lane = StreamsLane(config, log, SystemClock(), Telemetry(SystemClock()), timings=timings)
        async with asyncio.timeout(15):
            with pytest.raises(RuntimeError, match="no partition has been assigned"):
                await lane._watch_progress()


async def test_a_lane_that_is_brought_no_readings_ends(tmp_path: Path) -> None:
    """When they wait in the log; it is started anew then. One without readings waits on."""
    timings = StreamsTimings(stall_s=0.3, check_s=0.05)
    config, table = _config(tmp_path), ChannelTable()
    at = TopicPartition(topic(config, READINGS), _PARTITION)
    async with _log(config) as log:
        # Without Faust: that is what a lane is like whose Faust has stopped reading.
        lane = StreamsLane(config, log, SystemClock(), Telemetry(SystemClock()), timings=timings)
        lane._worker.assign([0, 1], 1)
        await lane._worker.tick()
        watch = asyncio.create_task(lane._watch_progress())
        await asyncio.sleep(1)
        assert not watch.done()

        await log.append(at, [_record(table, 0, 7)])
        async with asyncio.timeout(15):
            with pytest.raises(RuntimeError, match="records wait in the log, and none is brought"):
                await watch
