"""What a device that sends seldom has said is looked at before it says more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from connectors.logs.configured import topic, topic_specs
from connectors.logs.embedded.store import SqliteLog
from headgate.config.schema import Config
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.log import AGGREGATES, ANOMALIES, READINGS, STATE, Record, TopicPartition
from headgate.core.records import (
    ALARMS_SCHEMA,
    decode_aggregates,
    decode_alarms,
    encode_readings,
    schema_of,
)
from tests.unit.streams.test_forgetting import Lane, _Event, _Message

_HOUR = 3600


class SeldomLane(Lane):
    """One with rules; what it has been sent can be sent to a new process of it again."""

    def __init__(self, log: SqliteLog, folder: Path) -> None:
        self.sent: list[_Message] = []
        super().__init__(log, folder)

    def __post_init__(self) -> None:
        self.config = _config(self.folder)
        self.start()

    async def reading(
        self,
        second: float,
        value: float,
        channel: str = "x",
        *,
        quality: int = 0,
        device: str = "d",
    ) -> None:
        """A reading of the one device, or of another."""
        table = ChannelTable()
        row = table.row(Channel("f", device, "f", channel, "", (), ()))
        batch = Batch.from_columns(
            table, [round(second * NS_PER_S)], [row], [value], quality=[quality]
        )
        name = topic(self.config, READINGS)
        self.sent.append(_Message(name, len(self.sent), encode_readings(batch)))
        await self.worker.work_on([_Event(_copy(self.sent[-1]))])

    async def hourly(self) -> None:
        """Let it be known that the device sends once an hour."""
        for hour in range(-3, 0):
            await self.reading(hour * _HOUR, 20)
            await self.pass_by(_HOUR)

    async def wait_in_log(self, count: int) -> None:
        """Let so many records stand in the log that nobody brings."""
        at = TopicPartition(topic(self.config, READINGS), 0)
        await self.log.append_many({at: [Record(b"") for _ in range(count)]})

    async def again(self) -> None:
        """A new process, to which everything is brought again."""
        self.start()
        await self.worker.work_on([_Event(_copy(message)) for message in self.sent])

    async def pass_by(self, seconds: float) -> None:
        """Let time pass, and look."""
        self.clock.advance(seconds)
        await self.worker.tick()

    async def alarms(self) -> list[tuple[bool, float, float]]:
        """Of each alarm in the log, whether it is open, when it opened, and when that was said."""
        at = TopicPartition(topic(self.config, ANOMALIES), 0)
        return [
            (alarm.is_open, alarm.opened_ns / NS_PER_S, alarm.time_ns / NS_PER_S)
            for record in await self.log.read(at, 0, max_bytes=1 << 30)
            if schema_of(record.headers) == ALARMS_SCHEMA
            for alarm in decode_alarms(record.value)
        ]

    async def counts(self) -> dict[int, int]:
        """By window, how many readings of the channel it has."""
        at = TopicPartition(topic(self.config, AGGREGATES), 0)
        found: dict[int, int] = {}
        for record in await self.log.read(at, 0, max_bytes=1 << 30):
            table = ChannelTable()
            part = decode_aggregates(record.value, table)
            for row, channel in enumerate(part.channel.tolist()):
                if table.channels[channel].field == "x":
                    found[int(part.start_ns[row]) // NS_PER_S] = int(part.n[row])
        return found

    async def snapshots(self) -> int:
        """How many records of state there are."""
        return len(await self.log.read(TopicPartition(topic(self.config, STATE), 0), 0))

    @property
    def overtaken(self) -> float:
        """Readings that no rule looked at."""
        return self.telemetry.registry.get_sample_value("headgate_overtaken_readings_total") or 0


def _copy(message: _Message) -> _Message:
    return _Message(message.topic, message.offset, message.value)


def _config(folder: Path) -> Config:
    rule: dict[str, Any] = {"feed": "f", "max_age": "2h"}
    return Config.model_validate(
        {
            "local_store": {},
            "gateway": {"data_dir": folder},
            "log": {"partitions": 1},
            "feed": {
                "f": {
                    "topic": "{device}",
                    "channels": {"x": {}, "y": {}},
                    "grace": "5s",
                    "aggregates": [{"window": "10s"}],
                }
            },
            "rule": {"high": {**rule, "when": "x > 80"}, "sum": {**rule, "when": "x + y > 150"}},
        }
    )


@pytest.fixture
async def lane(tmp_path: Path) -> AsyncIterator[SeldomLane]:
    """A lane on a new log."""
    log = SqliteLog(tmp_path / "log.db", SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(_config(tmp_path)))
    yield SeldomLane(log, tmp_path)
    await log.stop()


async def test_an_alarm_does_not_wait_for_the_next_hour(lane: SeldomLane) -> None:
    """It is told once the grace is over, by the clock; and nothing more comes of the next one."""
    await lane.hourly()
    await lane.reading(0, 90)
    await lane.pass_by(4.9)
    assert not await lane.alarms()
    await lane.pass_by(0.2)

    assert await lane.alarms() == [(True, 0, 0)]
    await lane.pass_by(_HOUR)
    await lane.reading(_HOUR, 91)
    await lane.reading(2 * _HOUR, 91)
    assert await lane.alarms() == [(True, 0, 0)]


async def test_a_device_that_sends_often_is_waited_for(lane: SeldomLane) -> None:
    """Its link is away for longer than the grace, and what it had kept comes in any order."""
    for second in range(20):
        await lane.reading(second, 20)
        await lane.pass_by(1)
    await lane.pass_by(8)
    assert not await lane.alarms()
    for measured, value in ((22.0, 20), (18.5, 90), (30.0, 20)):
        await lane.reading(measured, value)

    assert await lane.alarms() == [(True, 18.5, 18.5), (False, 18.5, 19)]
    assert not lane.overtaken


async def test_devices_whose_readings_may_wait_are_waited_for(lane: SeldomLane) -> None:
    """More stands in the log than has been worked on."""
    await lane.hourly()
    await lane.reading(100, 90)
    await lane.wait_in_log(9)
    await lane.pass_by(60)

    assert not await lane.alarms()


async def test_but_not_until_nothing_waits_at_all(lane: SeldomLane) -> None:
    """Others send all the time, so that something always stands in the log."""
    await lane.hourly()
    await lane.reading(100, 90)
    await lane.wait_in_log(9)
    await lane.pass_by(6)
    for second in range(5):
        await lane.wait_in_log(1)
        await lane.reading(100 + second, 20, device="e")
        assert not await lane.alarms()
        await lane.pass_by(0.25)

    assert await lane.alarms() == [(True, 100, 100)]


async def test_what_was_awaited_is_so_anew_once_something_has_come(lane: SeldomLane) -> None:
    """What stood in the log before that does not count."""
    await lane.hourly()
    await lane.reading(100, 20)
    await lane.wait_in_log(5)
    await lane.pass_by(6)
    await lane.reading(101, 90)
    await lane.wait_in_log(5)
    await lane.pass_by(6)
    assert not await lane.alarms()


async def test_what_comes_behind_it_is_in_its_window_and_in_no_rule(lane: SeldomLane) -> None:
    """It is late for rules alone, and counted."""
    await lane.hourly()
    await lane.reading(100, 20)
    await lane.pass_by(6)
    await lane.reading(97, 90)
    await lane.reading(100, 70, "y")
    await lane.reading(200, 30)
    await lane.reading(300, 30)

    assert not await lane.alarms()
    assert lane.overtaken == 2
    counts = await lane.counts()
    assert {start: counts[start] for start in (90, 100, 200)} == {90: 1, 100: 1, 200: 1}


async def test_that_it_was_settled_is_known_in_a_replay(lane: SeldomLane) -> None:
    """Also where nothing came of it, and nothing of it was written down before."""
    await lane.hourly()
    written = await lane.snapshots()
    await lane.reading(100, 20)
    await lane.pass_by(5.5)
    assert await lane.snapshots() == written
    await lane.reading(97, 90)
    await lane.again()
    await lane.reading(200, 30)
    await lane.reading(300, 30)

    assert not await lane.alarms()


async def test_an_alarm_is_not_told_otherwise_in_a_replay(lane: SeldomLane) -> None:
    """It was told of what is settled, so that what came behind it counts for nothing."""
    await lane.hourly()
    await lane.reading(100, 90)
    await lane.pass_by(6)
    told = await lane.alarms()
    await lane.reading(97, 95)
    await lane.again()
    await lane.reading(200, 90)
    await lane.reading(300, 90)

    assert told == [(True, 100, 100)]
    assert {*await lane.alarms()} == {*told}


async def test_a_clock_that_is_set_back_settles_anew(lane: SeldomLane) -> None:
    """What is older then does not come behind anything."""
    await lane.hourly()
    for second in range(20):
        await lane.reading(50 * _HOUR + second, 20, quality=int(Quality.AHEAD))
    await lane.pass_by(_HOUR)
    for hour in range(1, 8):
        await lane.reading(hour * _HOUR, 90)
        await lane.pass_by(_HOUR)

    assert await lane.alarms() == [(True, 1.0 * _HOUR, 1.0 * _HOUR)]
    assert not lane.overtaken
