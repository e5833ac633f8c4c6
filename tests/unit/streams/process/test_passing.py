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
from headgate.core.clock import SystemClock
from headgate.core.note import TRIES_ALONE
from streams.process.state import selection_of
from streams.results import Results
from tests.unit.streams.test_forgetting import Lane, _config

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
    """After one death in company, and some of its bucket alone."""
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
    assert line["devices"] == 1
    assert line["some"] == ["bad"]
    name = "headgate_bad_snapshots_total"
    assert lane.telemetry.registry.get_sample_value(name) == 1

    lane.start()
    _spoil(lane, "bad")
    lane.offset = 1
    await lane.send(700, "bad", "good-0")
    assert lane.worker._in_hand.count_together([(0, 1), (0, 2)]) == 2


async def test_a_death_of_something_else_costs_nothing(lane: Lane) -> None:
    """The next process closes the windows, bucket by bucket, and all of them count."""
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
