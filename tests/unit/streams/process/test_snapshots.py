"""When state is written down: by how much a restart would have to work on again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from headgate.config.schema import Config
from headgate.core.log import Record, TopicPartition
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from streams.process.snapshots import WORTH_READINGS, Snapshots

_S = 10**9
_FEEDS = {"local_store": {}, "feed": {"f": {"topic": "{device}", "channels": {"x": {}}}}}


class Keeper:
    """One whose devices have moved in every bucket."""

    def __init__(self, devices: int) -> None:
        self._devices = devices

    def count(self, _partition: int) -> int:
        return self._devices

    def due_buckets(self, _partition: int) -> list[int]:
        return list(range(32))

    def snapshot(self, _partition: int, buckets: Sequence[int], _offset: int) -> list[Record]:
        return [Record(b"", b"%d" % bucket) for bucket in buckets]

    def settle(self, _partition: int, _buckets: Sequence[int]) -> None:
        pass


class Lane:
    """Snapshots on a clock that is moved by hand."""

    def __init__(self, streams: dict[str, str], devices: int = 10) -> None:
        config = Config.model_validate({**_FEEDS, "streams": streams})
        self.clock = ManualClock()
        #: Buckets of each write.
        self.writes: list[int] = []
        keeper: Any = Keeper(devices)
        self.snapshots = Snapshots(
            "state",
            config.streams.snapshot_interval,
            config.longest_snapshot_interval,
            keeper,
            self.clock,
            Telemetry(self.clock),
            append=self._append,
            in_thread=_at_once,
        )

    async def _append(self, records: Mapping[TopicPartition, Sequence[Record]]) -> None:
        self.writes += [len(some) for some in records.values()]

    async def rounds(self, seconds: int, readings_per_s: int) -> list[int]:
        """When rounds of the only partition began, s."""
        begun: list[int] = []
        for second in range(seconds):
            before = sum(self.writes)
            for _ in range(40):
                await self.snapshots.write_some({0: 1})
                self.clock.advance(0.025)
            self.snapshots.readings += readings_per_s
            if sum(self.writes) > before and (not begun or second - begun[-1] > 4):
                begun.append(second)
        return begun


async def _at_once(call: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
    return call(*arguments)


async def test_few_readings_are_not_worth_a_round_before_a_minute_is_over() -> None:
    assert await Lane({}).rounds(200, 1000) == [60, 120, 180]


async def test_many_readings_have_a_round_every_five_seconds() -> None:
    assert await Lane({}).rounds(22, WORTH_READINGS) == [5, 10, 15, 20]


async def test_a_round_begins_as_soon_as_there_is_enough_to_be_spared() -> None:
    assert await Lane({}).rounds(50, WORTH_READINGS // 20) == [20, 40]


async def test_an_interval_that_is_given_is_kept_however_few_readings_come() -> None:
    assert await Lane({"snapshot_interval": "5s"}).rounds(22, 0) == [5, 10, 15, 20]


@pytest.mark.parametrize(("devices", "most"), [(10, 8), (256, 8), (1024, 2), (100_000, 1)])
async def test_so_many_devices_are_written_at_once_as_take_no_longer_than_readings(
    devices: int, most: int
) -> None:
    lane = Lane({}, devices)
    for _ in range(130):
        lane.clock.advance(0.5)
        await lane.snapshots.write_some(dict.fromkeys(range(1), 1))
        if lane.writes:
            break
    assert lane.writes[0] == most
