"""Alarms that open, and are over, by the clock: the device has said all that there is to say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from connectors.logs.configured import topic_specs
from connectors.logs.embedded.store import SqliteLog
from headgate.config.schema import Config
from headgate.core.clock import SystemClock
from tests.unit.streams.process.test_settled import SeldomLane

_HOUR = 3600


class Doors(SeldomLane):
    """Doors that say when they open (above 80), and when they close."""

    def __post_init__(self) -> None:
        self.config = _config(self.folder)
        self.start()


def _config(folder: Path) -> Config:
    rule: dict[str, Any] = {"feed": "f", "when": "x > 80", "for": "5m", "clear_for": "1m"}
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
            "rule": {"open": rule},
        }
    )


@pytest.fixture
async def lane(tmp_path: Path) -> AsyncIterator[Doors]:
    """A lane on a new log."""
    log = SqliteLog(tmp_path / "log.db", SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(_config(tmp_path)))
    yield Doors(log, tmp_path)
    await log.stop()


async def test_a_door_that_says_it_once_is_open_for_too_long(lane: Doors) -> None:
    """It is told five minutes after it was opened, and a minute after it was closed."""
    await lane.hourly()
    await lane.reading(0, 90)
    await lane.pass_by(20)
    await lane.pass_by(284)
    assert not await lane.alarms()
    await lane.pass_by(2)
    assert await lane.alarms() == [(True, 300, 300)]

    await lane.reading(_HOUR, 20)
    await lane.pass_by(60)
    assert await lane.alarms() == [(True, 300, 300)]
    await lane.pass_by(6)
    assert await lane.alarms() == [(True, 300, 300), (False, 300, _HOUR + 60)]


async def test_one_that_was_closed_in_time_is_not(lane: Doors) -> None:
    """Whether it is heard of in time, or once that minute is over."""
    await lane.hourly()
    await lane.reading(0, 90)
    await lane.pass_by(200)
    await lane.reading(200, 20)
    await lane.pass_by(_HOUR)

    assert not await lane.alarms()


async def test_what_comes_late_ends_it_where_it_opened(lane: Doors) -> None:
    """Its message waited somewhere. What has been told is not taken back, and it is not lost."""
    await lane.hourly()
    await lane.reading(0, 90)
    await lane.pass_by(310)
    await lane.reading(200, 20)
    await lane.pass_by(70)

    assert await lane.alarms() == [(True, 300, 300), (False, 300, 300)]
    assert not lane.overtaken


async def test_a_replay_says_the_same(lane: Doors) -> None:
    """That it had opened by the clock was written down before anything came late."""
    await lane.hourly()
    await lane.reading(0, 90)
    await lane.pass_by(310)
    await lane.reading(200, 20)
    await lane.again()
    await lane.pass_by(70)

    assert {*await lane.alarms()} == {(True, 300, 300), (False, 300, 300)}


async def test_a_new_process_tells_it_too(lane: Doors) -> None:
    """It counts from when it is there, and the alarm's time is what it would have been."""
    await lane.hourly()
    await lane.reading(0, 90)
    await lane.pass_by(100)
    await lane.again()
    await lane.pass_by(0)
    await lane.pass_by(306)

    assert await lane.alarms() == [(True, 300, 300)]


async def test_one_that_has_said_nothing_else_is_waited_for_until_it_is_silent(
    lane: Doors,
) -> None:
    """How often it sends is not known."""
    await lane.reading(0, 90)
    for _ in range(20):
        await lane.pass_by(20)

    assert await lane.alarms() == [(True, 300, 300)]


async def test_one_that_sends_often_is_waited_for(lane: Doors) -> None:
    """Its link is away, and it may have been closed long ago."""
    for second in range(-20, 1):
        await lane.reading(second, 90)
        await lane.pass_by(1)
    await lane.pass_by(_HOUR)
    assert not await lane.alarms()
    await lane.reading(100, 20)
    await lane.reading(200, 20)

    assert not await lane.alarms()


async def test_one_whose_readings_may_wait_is_waited_for(lane: Doors) -> None:
    """More stands in the log than has been worked on."""
    await lane.hourly()
    await lane.reading(0, 90)
    await lane.wait_in_log(9)
    await lane.pass_by(_HOUR)

    assert not await lane.alarms()


async def test_a_lane_rests_only_when_no_time_is_awaited(lane: Doors) -> None:
    """The door is silent, and its windows are closed; its five minutes are not over."""
    await lane.reading(0, 90)
    for _ in range(12):
        await lane.pass_by(20)
    assert not lane.worker.is_at_rest
    for _ in range(12):
        await lane.pass_by(20)

    assert await lane.alarms() == [(True, 300, 300)]
    assert lane.worker.is_at_rest
