"""A crash in the middle of writing state down changes nothing in the results."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.logs.embedded.store import SqliteLog
from headgate.config.schema import Config
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.log import TopicPartition, TopicSpec
from streams.build import build_pipeline
from streams.pipeline import Pipeline
from streams.process.recovery import StateKeeper
from streams.process.state import Placement
from streams.results import Results
from tests.examples import tried
from tests.unit.streams.process.test_keeper import limit

pytestmark = pytest.mark.slow

_CONFIG = Config.model_validate(
    {
        "local_store": {},
        "log": {"partitions": 1},
        "feed": {
            "f": {
                "topic": "{device}",
                "period": "1s",
                "grace": "2s",
                "channels": {"x": {"spike": {"window": 5}, "gap": {"limit": "3s"}}},
                "aggregates": [{"window": "10s"}, {"window": "30s"}],
            }
        },
    }
)
_AT = TopicPartition("state", 0)
_DEVICES, _BATCHES = 12, 20

#: Everything that a window says, by what identifies it.
Windows: TypeAlias = dict[tuple[str, int, int], tuple[float, ...]]


class _Lane:
    """The streams lane's handling of state, without Faust."""

    def __init__(self, log: SqliteLog) -> None:
        self.channels = ChannelTable()
        self.pipeline: Pipeline = build_pipeline(_CONFIG, self.channels)
        placement = Placement(self.channels, 1)
        self.keeper = StateKeeper(log, "state", self.pipeline, placement)

    def work_on(self, offset: int, windows: Windows) -> None:
        """Process the record at an offset; what comes out overwrites what was there before."""
        batch = self.keeper.without_applied(_record(offset, self.channels))
        results: Results = self.pipeline.process(batch, offset)
        self.keeper.touch(results.moved)
        closed = results.aggregates
        for row, channel in enumerate(closed.channel.tolist()):
            key = (
                self.channels.channels[channel].key,
                int(closed.start_ns[row]),
                int(closed.window_ns[row]),
            )
            values = tuple(float(closed.stats[name][row]) for name in sorted(closed.stats))
            windows[key] = (float(closed.n[row]), float(closed.flagged[row]), *values)


def _record(offset: int, channels: ChannelTable) -> Batch:
    """Readings of some devices: not all are in every record, and none in step with another."""
    rng = np.random.default_rng(offset)
    devices = np.flatnonzero(rng.random(_DEVICES) < 0.7)
    rows = [
        channels.row(Channel("f", f"d{device % 3}", "f", "x", "", (("line", str(device)),)))
        for device in devices
    ]
    times_ns = [(3 * offset + int(device) % 3) * 10**9 for device in devices]
    values = rng.normal(size=len(devices))
    origin = Origin("readings", 0, offset)
    return Batch.from_columns(channels, times_ns, rows, values, origin=origin)


@tried(40)
@given(
    crash=st.integers(1, _BATCHES - 1),
    interval=st.integers(1, 6),
    at_once=st.integers(1, 6),
    most=st.sampled_from([99, 2, 1]),
    torn=st.integers(0, 9),
)
def test_a_round_of_snapshots_may_be_cut_off_anywhere(
    crash: int, interval: int, at_once: int, most: int, torn: int
) -> None:
    """Buckets whose snapshots are newer than the committed offset are not fed twice.

    Nor when they are divided, into more parts or fewer each time, and only some of the last
    snapshot's records, whichever come first, were written.
    """

    async def work(log: SqliteLog) -> tuple[Windows, Windows]:
        await log.start()
        await log.ensure_topics([TopicSpec("state", 1, is_compacted=True)])
        whole: Windows = {}
        lane = _Lane(log)
        for offset in range(_BATCHES):
            lane.work_on(offset, whole)

        windows: Windows = {}
        lane, committed, left, target = _Lane(log), 0, list[int](), 0
        for offset in range(crash):
            lane.work_on(offset, windows)
            limits.undo()
            limit(limits, most * (1 + offset % 3))
            if not left and offset % interval == 0:
                left, target = lane.keeper.moved_buckets(0), offset + 1
            some, left = left[:at_once], left[at_once:]
            if some:
                await log.append(_AT, lane.keeper.snapshot(0, some, offset + 1))
                lane.keeper.settle(0, some)
                committed = committed if left else target
        limits.undo()
        limit(limits, most)
        every = lane.keeper.snapshot(0, lane.keeper.moved_buckets(0), crash)
        await log.append(_AT, every[: torn * len(every) // 9])
        assert not lane.keeper.take_too_large()

        lane = _Lane(log)
        await lane.keeper.restore(0)
        for offset in range(committed, _BATCHES):
            lane.work_on(offset, windows)
        await log.stop()
        return whole, windows

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as limits:
        whole, windows = asyncio.run(work(SqliteLog(Path(folder) / "log.db", SystemClock())))

    assert len(whole) > 20
    assert {key: repr(windows[key]) for key in sorted(windows)} == {
        key: repr(whole[key]) for key in sorted(whole)
    }
