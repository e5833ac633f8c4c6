"""What is written down of devices, and what is taken up of it, a partition at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from connectors.logs.embedded.store import SqliteLog
from headgate.config.schema import Config
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.divide import DIVIDE_BYTES
from headgate.core.log import MAX_RECORD_BYTES, Record, TopicPartition, TopicSpec
from headgate.core.records import decode_messages
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from streams.build import build_pipeline
from streams.process.recovery import StateKeeper, TooLarge
from streams.process.refusals import Refusals
from streams.process.state import Placement, read_snapshot, selection_of, snapshot_record

_S = 10**9
_AT = TopicPartition("state", 0)
_CONFIG = Config.model_validate(
    {
        "local_store": {},
        "log": {"partitions": 1},
        "feed": {"f": {"topic": "{device}", "channels": {"x": {}}}},
    }
)


class Lane:
    """What the streams lane has of a partition."""

    def __init__(self, log: SqliteLog, partitions: int = 1) -> None:
        self.log = log
        self.channels = ChannelTable()
        self.pipeline = build_pipeline(_CONFIG, self.channels)
        self.placement = Placement(self.channels, partitions)
        self.keeper = StateKeeper(log, "state", self.pipeline, self.placement)

    def hear(self, *channels: Channel, second: int = 0, offset: int = 0) -> None:
        """A reading of each of these channels."""
        rows = [self.channels.row(channel) for channel in channels]
        batch = Batch.from_columns(
            self.channels,
            [second * _S] * len(rows),
            rows,
            [1.0] * len(rows),
            origin=Origin("readings", 0, offset),
        )
        results = self.pipeline.process(self.keeper.without_applied(batch), 0)
        self.keeper.touch(results.moved, results.derived)

    async def write(self, next_offset: int = 1) -> None:
        """Write down what has moved."""
        buckets = self.keeper.moved_buckets(0)
        await self.log.append(_AT, self.keeper.snapshot(0, buckets, next_offset))
        self.keeper.settle(0, buckets)

    @property
    def waiting(self) -> dict[str, int]:
        """Readings in open windows, by device and tag."""
        selection = selection_of(
            self.channels, np.arange(len(self.channels.devices), dtype=np.int32)
        )
        counts = self.pipeline._aggregator.pending(selection).tolist()
        return {
            "/".join([each.name, *(value for _, value in each.tags)]): count
            for each, count in zip(self.channels.devices, counts, strict=True)
            if count
        }


def limit(monkeypatch: pytest.MonkeyPatch, most: int, *, too_large: str = "") -> None:
    """Let a record have room for so many devices, and none for those of one name."""
    honest = StateKeeper.__dict__["_try"]

    def attempt(
        keeper: StateKeeper, key: bytes, devices: NDArray[np.int32], next_offset: int
    ) -> tuple[Record | None, str]:
        names = {keeper._channels.devices[row].name for row in devices.tolist()}
        if len(devices) > most or too_large in names:
            return None, f"{len(devices)} devices"
        answer: tuple[Record | None, str] = honest(keeper, key, devices, next_offset)
        return answer

    monkeypatch.setattr(StateKeeper, "_try", attempt)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    """A log with nothing but the topic of snapshots."""
    log = SqliteLog(tmp_path / "log.db", SystemClock())
    await log.start()
    await log.ensure_topics([TopicSpec("state", 1, is_compacted=True)])
    yield log
    await log.stop()


async def _records(log: SqliteLog) -> dict[str, int]:
    """Devices in the snapshots, by key."""
    return {
        (record.key or b"").decode(): len(read_snapshot(record).devices)
        for record in await log.read(_AT, 0, max_bytes=1 << 30)
    }


def _channel(device: str, **tags: str) -> Channel:
    return Channel("f", device, "f", "x", "", tuple(sorted(tags.items())))


async def test_state_of_devices_with_very_long_names_is_divided(log: SqliteLog) -> None:
    """160 topics with levels of 65,000 characters, all in one bucket, made a record of 10 MB."""
    rng = np.random.default_rng(4)
    channels = [_channel("d", line=rng.bytes(32_500).hex()) for _ in range(160)]
    lane = Lane(log)
    lane.hear(*channels)
    await lane.write()
    records = await log.read(_AT, 0, max_bytes=1 << 30)
    again = Lane(log)

    assert max(len(record.value) for record in records) < DIVIDE_BYTES < MAX_RECORD_BYTES
    assert await again.keeper.restore(0) == 160
    assert again.waiting == lane.waiting
    assert len(again.waiting) == 160


async def test_parts_that_are_not_needed_any_more_are_emptied(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a bucket is divided further or less: no device is there twice for good."""
    lane = Lane(log)
    channels = [_channel("d", line=str(number)) for number in range(20)]
    bucket = _bucket(lane, channels[0])
    for most in (99, 12, 3, 12, 99):
        with monkeypatch.context() as patch:
            limit(patch, most)
            lane.hear(*channels)
            await lane.write()
        found = {key: count for key, count in (await _records(log)).items() if count}

        assert sum(found.values()) == 20
        assert (list(found) == [str(bucket)]) == (most == 99)

    again = Lane(log)
    await again.keeper.restore(0)
    again.hear(*channels, second=1, offset=1)
    await again.write()
    assert await _records(log) == dict.fromkeys(await _records(log), 0) | {str(bucket): 20}


async def test_a_device_that_is_too_large_goes_to_quarantine_by_its_name(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once; its neighbours are written down, and it starts afresh."""
    lane = Lane(log)
    large = [
        Channel("f", "large", "f", "x", "", (("line", "1"), ("n", str(number))))
        for number in range(3)
    ]
    lane.channels.identities = {"f": ("line",)}
    neighbour = next(
        each
        for each in (_channel(f"d{number}", line="1") for number in range(1000))
        if lane.placement.is_in(each.owner, 0, _bucket(lane, large[0]))
    )
    limit(monkeypatch, 99, too_large="large")
    for second in range(3):
        lane.hear(*large, neighbour, second=second, offset=second)
        await lane.write(second + 1)
    found = lane.keeper.take_too_large()
    again = Lane(log)
    again.channels.identities = {"f": ("line",)}
    await again.keeper.restore(0)

    assert [(each.partition, each.devices) for each in found] == [(0, "f large")]
    assert again.waiting == {f"{neighbour.device}/1": 3}


def _bucket(lane: Lane, channel: Channel) -> int:
    row = lane.channels.device_row(channel.owner)
    return int(lane.placement.bucket[row])


async def test_texts_are_kept_as_long_as_anything_says_them(log: SqliteLog) -> None:
    """A channel may say ever new ones: neither memory nor what is written down grows by them."""
    lane = Lane(log)
    mode = Channel("f", "d", "f", "mode", is_text=True)
    row, changes = lane.channels.row(mode), []
    for number in range(400):
        batch = Batch.from_columns(
            lane.channels,
            [number * 10 * _S],
            [row],
            [lane.channels.texts.add(row, f"recipe {number}")],
            origin=Origin("readings", 0, number),
        )
        results = lane.pipeline.process(lane.keeper.without_applied(batch), 0)
        changes += results.changes
        lane.keeper.touch(results.moved)
        if number % 100 == 99:
            await lane.write(number + 1)
    written = [read_snapshot(record) for record in await log.read(_AT, 0)]
    again = Lane(log)
    await again.keeper.restore(0)
    restored = [*again.pipeline.advance(0).changes, *again.pipeline.advance(10**15).changes]
    changes += restored

    assert max(len(each.texts) for each in written) < 20
    assert len(lane.channels.texts.known(row)) < 20
    assert restored
    assert [each.state for each in changes] == [f"recipe {number}" for number in range(400)]
    assert [each.before for each in changes[1:]] == [f"recipe {number}" for number in range(399)]


def test_what_is_too_large_is_said_in_quarantine() -> None:
    """With the devices' names, and why."""
    clock = ManualClock()
    refusals = Refusals("quarantine", "state", clock, Telemetry(clock))
    at, record = refusals.of_state(TooLarge(3, "f large", "9000000 bytes"))
    (message,) = decode_messages(record.value)

    assert at == TopicPartition("quarantine", 3)
    assert (message.source, message.reason, message.payload) == (
        "log:state/3",
        "too_large",
        b"f large",
    )


@pytest.mark.parametrize(
    "way", ["bytes", "key", "another partition", "another bucket", "a stage", "twice"]
)
async def test_a_bad_snapshot_costs_its_devices_their_history_and_nothing_else(
    log: SqliteLog, way: str
) -> None:
    """All others are as they were, and the bad one's are as if they had never been seen."""
    lane = Lane(log)
    channels = [_channel(f"d{number}") for number in range(60)]
    lane.hear(*channels)
    await lane.write()
    victim = next(record for record in await log.read(_AT, 0) if record.key == b"7")
    snapshot = read_snapshot(victim)
    value, key = victim.value, b"7"
    if way == "bytes":
        value = value[:-30]
    elif way == "key":
        value, key = b"", b"7/2"
    elif way == "a stage":
        block = {**snapshot.blocks["clean"], "value": np.zeros(999)}
        blocks = {**snapshot.blocks, "clean": block}
        value = snapshot_record(b"7", replace(snapshot, blocks=blocks)).value
    elif way == "another bucket":
        key = b"8"
    elif way == "twice":
        devices = [snapshot.devices[0], *snapshot.devices[:-1]]
        value = snapshot_record(b"7", replace(snapshot, devices=devices)).value
    records = {record.key: read_snapshot(record) for record in await log.read(_AT, 0)}
    lost = {each.name for each in records[key].devices} if key in records else set()
    await log.append(_AT, [Record(value, key, victim.headers)])
    again = Lane(log, partitions=2 if way == "another partition" else 1)
    with capture_logs() as logs:
        await again.keeper.restore(0)

    if way == "another partition":
        assert again.keeper.bad_snapshots > 1
    else:
        assert again.keeper.bad_snapshots == 1
        assert again.waiting == {f"d{n}": 1 for n in range(60) if f"d{n}" not in lost}
        assert bool(lost) == (way != "key")
    assert "A state snapshot can't be read" in logs[0]["event"]
    again.hear(*channels, second=1, offset=1)
    assert len(again.waiting) == 60


async def test_snapshots_of_readings_that_are_gone_do_not_hide_new_ones(log: SqliteLog) -> None:
    """A topic that was made anew counts from 0 again; what comes must not be taken for old."""
    lane = Lane(log)
    lane.hear(_channel("d"), offset=499)
    await lane.write(500)
    again = Lane(log)
    await again.keeper.restore(0, end=3)
    again.hear(_channel("d"), second=1, offset=2)

    assert again.waiting == {"d": 2}


async def test_what_a_device_holds_is_not_understated_after_a_restart(log: SqliteLog) -> None:
    """A snapshot written while readings are read again still says how far its devices have come."""
    lane = Lane(log)
    lane.hear(_channel("d"), offset=99)
    await lane.write(100)
    middle = Lane(log)
    await middle.keeper.restore(0)
    middle.keeper.touch(np.array([0], np.int32))
    await middle.write(60)
    again = Lane(log)
    await again.keeper.restore(0)
    again.hear(_channel("d"), second=1, offset=99)

    assert again.waiting == {"d": 1}


async def test_derived_channels_are_written_down_with_what_they_are_made_from(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their open windows and what a rate goes on from, though no reading of them comes in."""
    feed = {"topic": "{device}", "channels": {"x": {}}, "derived": {"p": "1 + rate(x)"}}
    derived = {"local_store": {}, "log": {"partitions": 1}, "feed": {"f": feed}}
    monkeypatch.setattr(f"{__name__}._CONFIG", Config.model_validate(derived))
    lane = Lane(log)
    for offset, second in enumerate((100, 101, 104)):
        lane.hear(_channel("d"), second=second, offset=offset)
    waiting = lane.waiting
    await lane.write(3)
    again = Lane(log)
    await again.keeper.restore(0)

    # Of x three readings, of p the two that nothing can come before.
    assert waiting == {"d": 5}
    assert again.waiting == waiting
    closed = again.pipeline.advance(0), again.pipeline.advance(10**15)
    (made,) = (each.aggregates for each in closed if len(each.aggregates))
    names = [again.channels.channels[row].field for row in made.channel.tolist()]
    assert dict(zip(names, made.n.tolist(), strict=True)) == {"p": 2, "x": 3}


async def test_derived_channels_are_forgotten_with_the_tags_that_brought_them_about(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though their device, and so what is remembered of it, lives on."""
    feed = {
        "topic": "{device}",
        "channels": {"x": {}},
        "derived": {"p": "integral(x)"},
        "tags": {"order": {"path": "order"}},
    }
    derived = {"local_store": {}, "log": {"partitions": 1}, "feed": {"f": feed}}
    monkeypatch.setattr(f"{__name__}._CONFIG", Config.model_validate(derived))
    lane, clock = Lane(log), ManualClock()
    lane.keeper = StateKeeper(
        log, "state", lane.pipeline, lane.placement, now_ns=clock.monotonic_ns
    )
    for day in range(9):
        clock.advance(86400)
        tags = (("order", str(day)),)
        for second in range(3):
            channel = Channel("f", "d", "f", "x", tags=tags, identity=())
            lane.hear(channel, second=86400 * (1 + day) + 10 * second)
        results = lane.pipeline.advance(10**15 * (1 + day))
        lane.keeper.touch(results.moved, results.derived)
        lane.keeper.forget_silent(2 * 86400 * _S)
    await lane.write()
    (record,) = await log.read(_AT, 0, max_bytes=1 << 30)
    channels = [Channel.from_key(key) for key in read_snapshot(record).channels]

    assert sorted((each.field, *each.tags[0]) for each in channels) == [
        (field, "order", str(day)) for field in ("p", "x") for day in (6, 7, 8)
    ]
