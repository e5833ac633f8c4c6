"""What has been silent for long is forgotten: by the stages, in the snapshots, and for good."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from connectors.logs.configured import topic, topic_specs
from connectors.logs.embedded.store import SqliteLog
from headgate.config.schema import Config
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.in_flight import RecordsInFlight
from headgate.core.log import AGGREGATES, READINGS, STATE, TopicPartition
from headgate.core.records import READINGS_SCHEMA, decode_aggregates, encode_readings
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from streams.build import build_pipeline
from streams.process import recovery
from streams.process.passing import SilentDevicesInFlight
from streams.process.state import read_snapshot
from streams.process.worker import Worker

pytestmark = pytest.mark.slow

_HOUR = 3600
_DAY = 24 * _HOUR

#: What a window says, by channel, length and start.
Windows = dict[tuple[str, int, int], tuple[int, float]]


@dataclass
class _Message:
    topic: str
    offset: int
    value: bytes | None
    partition: int = 0
    generation_id: int = 1
    headers: Any = (("schema", READINGS_SCHEMA),)


@dataclass
class _Event:
    message: _Message
    value: Any = b""

    def ack(self) -> bool:
        return True


@dataclass
class Lane:
    """The streams lane of one partition on a real log, without Faust, and with a clock by hand."""

    log: SqliteLog
    folder: Path
    clock: ManualClock = field(default_factory=ManualClock)
    offset: int = 0

    def __post_init__(self) -> None:
        self.config = _config(self.folder)
        self.start()

    def start(self) -> None:
        """A new process; the one before it is gone."""

        async def in_thread(call: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
            return call(*arguments)

        self.telemetry = Telemetry(self.clock)
        in_flight = RecordsInFlight(self.folder / "in-flight")
        in_flight.open()
        silent = SilentDevicesInFlight(self.folder / "silent")
        silent.open()
        self.worker = Worker(
            self.config,
            self.log,
            self.clock,
            self.telemetry,
            build_pipeline(self.config, ChannelTable(), self.telemetry),
            in_flight,
            silent,
            in_thread=in_thread,
        )
        self.worker.assign({0}, 1)

    async def send(self, second: int, *names: str, channel: str = "x") -> None:
        """A reading of each of these devices; behind a slash stands a tag."""
        table = ChannelTable()
        rows = []
        for name in names:
            device, _, kind = name.partition("/")
            tags = (("kind", kind),) if kind else ()
            rows.append(table.row(Channel("f", device, "f", channel, "", tags, ())))
        batch = Batch.from_columns(
            table, [second * NS_PER_S] * len(rows), rows, [second % 7 + 0.1] * len(rows)
        )
        message = _Message(topic(self.config, READINGS), self.offset, encode_readings(batch))
        self.offset += 1
        await self.worker.work_on([_Event(message)])

    async def wait(self, seconds: float) -> None:
        """Let time pass in which devices can be heard, and look."""
        self.pass_unseen(seconds)
        await self.look()

    def pass_unseen(self, seconds: float) -> None:
        """Let time pass in which devices can be heard, without the looks in it."""
        self.clock.advance(seconds)
        self.worker._heard_time._looked_ns = self.clock.monotonic_ns()
        self.worker._heard_time._counted_ns += round(seconds * NS_PER_S)

    async def look(self) -> None:
        """A look at what time has made of it, and a whole round of snapshots."""
        for _ in range(3):
            await self.worker.tick()
            self.clock.advance(6)

    async def in_snapshots(self) -> set[str]:
        """Channels in the newest snapshots."""
        newest = {}
        at = TopicPartition(topic(self.config, STATE), 0)
        for record in await self.log.read(at, 0, max_bytes=1 << 30):
            newest[record.key] = read_snapshot(record)
        return {_name(key) for each in newest.values() for key in each.channels}

    async def windows(self) -> Windows:
        """All windows in the log."""
        table = ChannelTable()
        found: Windows = {}
        at = TopicPartition(topic(self.config, AGGREGATES), 0)
        for record in await self.log.read(at, 0, max_bytes=1 << 30):
            part = decode_aggregates(record.value, table)
            for row, channel in enumerate(part.channel.tolist()):
                key = (
                    _name(table.channels[channel].key),
                    int(part.window_ns[row]),
                    int(part.start_ns[row]),
                )
                assert key not in found, "a window that closes twice"
                found[key] = (int(part.n[row]), float(part.stats["mean"][row]))
        return found

    def counted(self, kind: str) -> float:
        """How many have been forgotten."""
        name = "headgate_forgotten_total"
        return self.telemetry.registry.get_sample_value(name, {"kind": kind}) or 0


def _name(key: str) -> str:
    channel = Channel.from_key(key)
    return "/".join([channel.device, *(value for _, value in channel.tags), channel.field])


def _config(folder: Path) -> Config:
    return Config.model_validate(
        {
            "local_store": {},
            "gateway": {"data_dir": folder},
            "log": {"partitions": 1},
            "feed": {
                "f": {
                    "topic": "{device}/{kind}",
                    "identity": [],
                    "channels": {"x": {"spike": {"window": 5}}, "y": {}},
                    "aggregates": [{"window": "10s"}, {"window": "30s"}],
                }
            },
        }
    )


@pytest.fixture
async def lane(tmp_path: Path) -> AsyncIterator[Lane]:
    """A lane on a new log."""
    log = SqliteLog(tmp_path / "log.db", SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(_config(tmp_path)))
    yield Lane(log, tmp_path)
    await log.stop()


async def test_a_device_that_has_been_silent_for_long_is_forgotten_for_good(lane: Lane) -> None:
    """In memory and in the snapshots; a restart does not bring it back. The others stay."""
    await lane.send(1, "old", "live")
    await lane.wait(20 * _DAY)
    await lane.send(20 * _DAY, "live")
    await lane.wait(9 * _DAY)
    assert await lane.in_snapshots() == {"old/x", "live/x"}
    assert lane.counted("devices") == 0

    await lane.wait(1 * _DAY + 2 * _HOUR)
    assert await lane.in_snapshots() == {"live/x"}
    assert lane.counted("devices") == lane.counted("channels") == 1

    lane.start()
    await lane.look()
    assert [each.name for each in lane.worker._channels.devices] == ["live"]


async def test_silence_goes_on_over_restarts(lane: Lane) -> None:
    """Though nothing moves: it is noted once an hour."""
    await lane.send(1, "old")
    for _ in range(31):
        await lane.wait(_DAY)
        lane.start()
        await lane.look()
    assert await lane.in_snapshots() == set()


async def test_nothing_is_written_of_the_idle_more_than_once_an_hour(lane: Lane) -> None:
    """Nor ever of a bucket that holds nobody any more."""
    at = TopicPartition(topic(lane.config, STATE), 0)
    await lane.send(1, "old")
    for _ in range(2):  # it is silent, and that is said
        await lane.wait(60)
    _, before = await lane.log.offsets(at)
    for _ in range(30):
        await lane.wait(_HOUR / 3)
    _, after = await lane.log.offsets(at)
    assert 9 <= after - before <= 10

    await lane.wait(30 * _DAY)
    _, before = await lane.log.offsets(at)
    for _ in range(10):
        await lane.wait(_HOUR)
    assert (await lane.log.offsets(at))[1] == before


async def test_a_device_that_comes_back_begins_as_a_new_one_and_loses_nothing(lane: Lane) -> None:
    """Whatever time it has then, earlier ones too."""
    await lane.send(40 * _DAY, "old")
    await lane.wait(31 * _DAY)
    assert lane.counted("devices") == 1
    before = await lane.windows()
    for second in range(5):
        await lane.send(31 * _DAY + second, "old")
    await lane.wait(600)

    new = {key: window for key, window in (await lane.windows()).items() if key not in before}
    assert {count for count, _ in new.values()} == {5}
    assert lane.counted("devices") == 1
    assert await lane.in_snapshots() == {"old/x"}


async def test_nothing_is_forgotten_of_which_a_window_is_open(lane: Lane) -> None:
    """Its readings come out first."""
    await lane.send(1, "old")
    lane.pass_unseen(31 * _DAY)
    assert lane.worker._keeper.forget_silent(lane.config.forget_after) == (0, 0)
    await lane.look()
    assert len(await lane.windows()) == 2
    assert lane.counted("devices") == 1


async def test_a_channel_is_forgotten_while_its_device_goes_on(lane: Lane) -> None:
    """Of a device that is told by its name alone, and has ever new tags."""
    await lane.send(1, "d/a", "d/b")
    for days in range(1, 5):
        await lane.wait(8 * _DAY)
        await lane.send(8 * _DAY * days, "d/b")
    await lane.wait(600)
    assert await lane.in_snapshots() == {"d/b/x"}
    assert (lane.counted("devices"), lane.counted("channels")) == (0, 1)
    windows = await lane.windows()
    assert sum(count for (name, _, _), (count, _) in windows.items() if name == "d/b/x") == 10


async def test_time_in_which_nobody_can_be_heard_is_no_silence(lane: Lane) -> None:
    """The gateway's own, or the broker's."""
    await lane.send(1, "old")
    await lane.wait(_DAY)
    lane.clock.advance(60 * _DAY)
    await lane.look()
    assert lane.counted("devices") == 0


async def test_rows_of_the_forgotten_are_given_back(
    lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once they are the most; what the others give is the same to the last bit."""
    everybody = [f"d{number}" for number in range(20)]
    live = everybody[:3]

    async def run(lane: Lane) -> Windows:
        await lane.send(0, *everybody)
        await lane.wait(29 * _DAY)
        for second in range(5):
            await lane.send(29 * _DAY + second, *live)
        await lane.wait(2)
        for second in range(5, 50):
            if second == 25:
                # In the middle of open windows.
                lane.worker._heard_time._counted_ns += round(1.5 * _DAY * NS_PER_S)
                await lane.worker.tick()
            await lane.send(29 * _DAY + second, *live)
        await lane.wait(600)
        return await lane.windows()

    with monkeypatch.context() as patch:
        patch.setattr(recovery, "_WORTH_ROWS", 10)
        renewed = await run(lane)
    assert lane.counted("devices") == 17
    assert len(lane.worker._channels.devices) == 3

    (tmp_path / "other").mkdir()
    log = SqliteLog(tmp_path / "other" / "log.db", SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(_config(tmp_path)))
    other = Lane(log, tmp_path / "other")
    assert await run(other) == renewed
    assert len(other.worker._channels.devices) == 20
    await log.stop()
    assert _readings(renewed, live) == 2 * (50 + 1) * 3


def _readings(windows: Windows, devices: Iterable[str]) -> int:
    names = {f"{device}/x" for device in devices}
    return sum(count for (name, _, _), (count, _) in windows.items() if name in names)
