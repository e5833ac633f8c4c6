"""What was said of whether devices are there: of which it is, and what outlives a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from connectors.logs.embedded.store import SqliteLog
from headgate.config.schema import Config
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.log import TopicPartition, TopicSpec
from headgate.core.results import Availability, DeviceState
from headgate.inspect.devices import known_devices
from streams.build import build_pipeline
from streams.process.concerned import ConcernedDevices
from streams.process.recovery import StateKeeper
from streams.process.state import Placement

_S = 10**9
_CONFIG = Config.model_validate(
    {
        "local_store": {},
        "log": {"partitions": 1, "topic_prefix": ""},
        "feed": {"f": {"topic": "{line}/{device}", "channels": {"x": {}}}},
    }
)


def _said(device: str | None, state: str, line: str = "", **more: bool) -> Availability:
    tags = (("line", line),) if line else ()
    return Availability("f", device, 100 * _S, state, "availability", tags=tags, **more)


class _Lane:
    """What the streams lane has of the only partition."""

    def __init__(self, log: SqliteLog, now_ns: list[int] | None = None) -> None:
        self._log = log
        self.now_ns = now_ns or [0]
        self.channels = ChannelTable()
        self.pipeline = build_pipeline(_CONFIG, self.channels)
        self.keeper = StateKeeper(
            log,
            "state",
            self.pipeline,
            Placement(self.channels, 1),
            now_ns=lambda: self.now_ns[0],
        )
        self._concerned = ConcernedDevices(self.channels)

    def tell(self, offset: int, said: Availability) -> list[str]:
        """Of which devices something new is said by it, and what."""
        rows = self.keeper.told(self._concerned.rows(said), 0, offset, adds=said.adds)
        results = self.pipeline.tell([(rows, said)], 0)
        self.keeper.touch(results.moved)
        return [_shown(each) for each in results.states]

    def hear(self, offset: int, device: str, line: str, second: int) -> list[str]:
        """A reading of a device."""
        row = self.channels.row(Channel("f", device, "f", "x", tags=(("line", line),)))
        origin = Origin("readings", 0, offset)
        batch = Batch.from_columns(self.channels, [second * _S], [row], [1.0], origin=origin)
        results = self.pipeline.process(self.keeper.without_applied(batch), 0)
        self.keeper.touch(results.moved)
        return [_shown(each) for each in results.states]

    async def write(self, next_offset: int) -> None:
        """Write down what has moved."""
        buckets = self.keeper.moved_buckets(0)
        records = self.keeper.snapshot(0, buckets, next_offset)
        await self._log.append(TopicPartition("state", 0), records)
        self.keeper.settle(0, buckets)


def _shown(state: DeviceState) -> str:
    return f"{dict(state.tags).get('line', '')}/{state.device} {state.state}"


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    """A log with a topic for state, and what is in quarantine."""
    log = SqliteLog(tmp_path / "log.db", SystemClock())
    await log.start()
    await log.ensure_topics([TopicSpec("state", 1, is_compacted=True), TopicSpec("quarantine", 1)])
    yield log
    await log.stop()


async def test_it_is_of_the_devices_that_have_what_it_names(log: SqliteLog) -> None:
    """All of a feed, those of a line, those of a name; or the one, which may be new."""
    lane = _Lane(log)
    for offset, (device, line) in enumerate((("p", "a"), ("p", "b"), ("q", "a"))):
        lane.hear(offset, device, line, 1)

    assert lane.tell(3, _said("p", "offline", "a")) == ["a/p offline"]
    assert lane.tell(4, _said("p", "offline")) == ["b/p offline"]
    assert lane.tell(5, _said(None, "offline", "a", is_through=True)) == ["a/q offline"]
    assert lane.tell(6, _said("new", "offline", "a")) == []
    assert lane.tell(7, _said("new", "offline", "a", adds=True)) == ["a/new offline"]
    assert lane.tell(8, _said(None, "online", is_through=True)) == ["a/q online"]


async def test_a_replay_says_nothing_that_is_written_down(log: SqliteLog) -> None:
    """Device by device; of one that has sent nothing too, and no older word counts again."""
    lane = _Lane(log)
    lane.hear(0, "p", "a", 1)
    lane.tell(1, _said("p", "offline", "a", adds=True))
    lane.tell(2, _said("new", "offline", "a", adds=True))
    lane.tell(3, _said("new", "online", "a", adds=True))
    await lane.write(4)

    later = _Lane(log)
    assert await later.keeper.restore(0) == 2
    assert later.hear(0, "p", "a", 1) == []
    for offset, state in ((1, "offline"), (2, "offline"), (3, "online")):
        assert later.tell(offset, _said("p", state, "a", adds=True)) == []
        assert later.tell(offset, _said("new", state, "a", adds=True)) == []
        assert later.tell(offset, _said(None, state, is_through=True)) == []
    assert later.tell(4, _said("new", "offline", "a", adds=True)) == ["a/new offline"]
    assert later.hear(5, "p", "a", 2) == ["a/p online"]


async def test_the_list_of_devices_has_those_that_have_sent_nothing(log: SqliteLog) -> None:
    """With their state, and no time at which they were seen."""
    lane = _Lane(log)
    lane.tell(0, _said("new", "offline", "a", adds=True))
    lane.hear(1, "p", "a", 1)
    await lane.write(2)

    known = await known_devices(_CONFIG, log)
    assert [(each.device.name, each.state, each.seen_ns) for each in known] == [
        ("new", "offline", None),
        ("p", "online", _S),
    ]


async def test_who_has_sent_nothing_is_forgotten_as_well(log: SqliteLog) -> None:
    """After as long; what was said meanwhile counts."""
    lane = _Lane(log)
    for offset, name in enumerate(("old", "young")):
        lane.tell(offset, _said(name, "online", "a", adds=True))
    lane.now_ns[0] = 50 * _S
    lane.tell(2, _said("young", "online", "a", adds=True))
    lane.now_ns[0] = 101 * _S
    assert lane.keeper.forget_silent(100 * _S) == (1, 0)
    await lane.write(3)

    later = _Lane(log, [101 * _S])
    assert await later.keeper.restore(0) == 1
    assert later.keeper.forget_silent(100 * _S) == (0, 0)
    assert np.count_nonzero(later.keeper._known_devices()) == 1
    assert later.tell(4, _said("old", "online", "a")) == []
