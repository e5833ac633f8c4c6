"""A device whose state ends each process that closes its windows costs its own history only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from connectors.logs.configured import topic_specs
from connectors.logs.embedded.store import SqliteLog
from headgate.core.channels import device_hash
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.note import TRIES_ALONE
from streams.process.state import BUCKETS, selection_of
from streams.results import Results
from tests.unit.streams.test_forgetting import Lane, _config

#: Kept in one bucket with the bad one.
_MATE = next(
    name
    for name in map(str, range(1000))
    if device_hash("f", name) % BUCKETS == device_hash("f", "bad") % BUCKETS
)

_GOOD = [f"good-{number}" for number in range(20)]


@pytest.fixture
async def lane(tmp_path: Path) -> AsyncIterator[Lane]:
    """A lane on a new log."""
    log = SqliteLog(tmp_path / "log.db", SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(_config(tmp_path)))
    yield Lane(log, tmp_path)
    await log.stop()


def _spoil(lane: Lane, name: str) -> None:
    """Let the state of this device end the process, as long as it is there, when time passes."""
    pipeline = lane.worker._pipeline
    advance = pipeline.advance

    def dying(now_ns: int, among: NDArray[np.int32] | None = None) -> Results:
        every = np.arange(len(pipeline.channels.devices)) if among is None else among
        bad = [row for row in every.tolist() if pipeline.channels.devices[row].name == name]
        if bad and pipeline.busy(selection_of(pipeline.channels, np.array(bad, np.int32))).any():
            raise RuntimeError("the process ends")
        return advance(now_ns, among)

    pipeline.advance = dying  # type: ignore[method-assign]


async def test_the_others_windows_close(lane: Lane) -> None:
    """After one death in company, and some of it alone."""
    await lane.send(1, *_GOOD, "bad")
    await lane.worker.finish()
    deaths = 0
    with capture_logs() as logs:
        for _ in range(10):
            lane.start()
            _spoil(lane, "bad")
            try:
                await lane.look()
                lane.clock.advance(600)
                await lane.look()
            except RuntimeError:
                deaths += 1
            else:
                break

    assert deaths == 1 + TRIES_ALONE
    assert {channel for channel, *_ in await lane.windows()} == {f"{name}/x" for name in _GOOD}
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert line["device"] == "bad"
    name = "headgate_bad_snapshots_total"
    assert lane.telemetry.registry.get_sample_value(name) == 1


async def test_what_is_known_of_a_device_outlives_others_that_are_due_before(lane: Lane) -> None:
    """They are closed in each process first, and keep what they have."""
    await lane.send(1, "bad")
    await lane.worker.finish()
    lives = 0
    with capture_logs() as logs:
        for _ in range(10):
            lives += 1
            lane.start()
            await lane.worker.tick()
            _spoil(lane, "bad")
            try:
                for second in (8, 9):
                    await lane.send(100 * lives + second, _MATE)
                    lane.clock.advance(1)
                lane.clock.advance(20)
                await lane.worker.tick()
                lane.clock.advance(600)
                await lane.worker.tick()
            except RuntimeError:
                continue
            break
    await lane.look()

    assert lives == 2 + TRIES_ALONE
    assert [line["device"] for line in logs if line["log_level"] == "error"] == ["bad"]
    starts_s = {start_ns // NS_PER_S for _, window_ns, start_ns in await lane.windows()}
    assert {100 * life for life in range(1, lives + 1)} <= starts_s


async def test_a_death_of_something_else_costs_nothing(lane: Lane) -> None:
    """The next process closes the windows one device after the other, and all of them count."""
    await lane.send(1, *_GOOD)
    await lane.worker.finish()
    lane.start()
    await lane.look()
    lane.clock.advance(600)
    _spoil(lane, "good-3")
    with pytest.raises(RuntimeError):
        await lane.look()
    lane.start()
    await lane.look()
    lane.clock.advance(600)
    await lane.look()

    assert {channel for channel, *_ in await lane.windows()} == {f"{name}/x" for name in _GOOD}
    name = "headgate_bad_snapshots_total"
    assert lane.telemetry.registry.get_sample_value(name) == 0
