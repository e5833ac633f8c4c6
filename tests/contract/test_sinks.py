"""What ``connectors.sinks.sink`` says of a sink holds for every sink that is installed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from connectors.sinks.configured import configured_sinks, open_sinks
from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused, Sink
from headgate.config.load import load_config
from headgate.config.schema import Config
from headgate.core.clock import SystemClock
from headgate.core.components import installed
from headgate.core.errors import TransientError
from headgate.core.telemetry import Telemetry
from tests.contract.sinks import Scene, as_stored, batch, point
from tests.uplink import ODD_NAMES

_ROOT = Path(__file__).parents[2]
_FEED = '[feed.f]\ntopic = "plant/{device}"\nchannels.x = {}\n'
_KILLS = 25

#: How long a sink that is back may take until it is written to, s.
_BACK_S = 30


def _marked(name: str) -> object:
    """The kind of sink, with the mark of the service that its scene needs."""
    mark = getattr(import_module(f"tests.contract.sinks.{name}"), "MARK", None)
    return pytest.param(name, marks=() if mark is None else mark)


@dataclass
class Stage:
    """A kind of sink with its other side, under a name that is not the kind's."""

    kind: str
    scene: Scene
    config_file: Path
    name: str = "here"

    def __post_init__(self) -> None:
        self.config: Config = load_config(self.config_file)
        self.kinds: tuple[Kind, ...] = configured_sinks(self.config)[self.name]
        self.telemetry = Telemetry(SystemClock())

    def make(self) -> Sink:
        """The sink, not started yet."""
        sinks = open_sinks(self.config, SystemClock(), self.telemetry)
        return next(each for each in sinks if each.name == self.name)

    def check(self, points: list[Point]) -> None:
        """These points are there, each as it was written, and nothing else is."""
        stored = self.scene.stored()
        assert set(stored) == as_stored(points)
        if self.scene.overwrites:
            assert len(stored) == len(set(stored))


@pytest.fixture(params=[_marked(name) for name in installed("sinks")])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """Every test that uses this runs on every kind of sink."""
    kind: str = request.param
    scene: Scene = import_module(f"tests.contract.sinks.{kind}").Scene(tmp_path)
    file = tmp_path / "plant.toml"
    file.write_text(f'[sink.here]\ntype = "{kind}"\n{scene.tables("here")}{_FEED}')
    try:
        yield Stage(kind, scene, file)
    finally:
        scene.close()


async def _write(sink: Sink, points: list[Point]) -> list[Refused]:
    """Write until the sink has them."""
    async with asyncio.timeout(_BACK_S):
        while True:
            try:
                return await sink.write(points)
            except TransientError:
                await asyncio.sleep(0.05)


async def test_it_is_what_its_component_says(stage: Stage) -> None:
    """Its name and kinds are those that the log keeps its records for; it counts under its name."""
    sink = stage.make()
    await sink.start()
    points = batch(0, stage.kinds)
    await _write(sink, points)
    await sink.stop()

    assert (sink.name, sink.kinds) == (stage.name, stage.kinds)
    assert sink.max_points > 0
    assert sink.max_wait_s >= 0
    assert stage.telemetry.uplink_bytes.labels(stage.name)._value.get() > 0
    stage.check(points)


async def test_what_is_written_again_has_the_same_identity(stage: Stage) -> None:
    """In one call, in another, and after a restart."""
    points = batch(1, stage.kinds)
    for turn in range(2):
        sink = stage.make()
        await sink.start()
        assert await _write(sink, points) == []
        assert await _write(sink, [*points, *points] if turn else points) == []
        await sink.stop()

    stage.check(points)
    if not stage.scene.overwrites:
        # What is there more often is there whole.
        assert set(Counter(stage.scene.stored()).values()) == {5}


async def test_what_may_pass_is_to_be_tried_again(stage: Stage) -> None:
    """What is away takes nothing and refuses nothing; neither start nor stop waits for it."""
    before, after = batch(2, stage.kinds), batch(3, stage.kinds)
    sink = stage.make()
    await sink.start()
    assert await _write(sink, before) == []
    await sink.stop()

    stage.scene.leave()
    async with asyncio.timeout(5):
        sink = stage.make()
        await sink.start()
        await sink.stop()
    sink = stage.make()
    await sink.start()
    for _ in range(2):
        with pytest.raises(TransientError):
            await sink.write(after)
    stage.scene.come_back()
    assert await _write(sink, after) == []
    await sink.stop()

    stage.check([*before, *after])


async def test_what_never_passes_is_refused_alone(stage: Stage) -> None:
    """Names that people give are taken by all; a point that is not is named, with a reason."""
    odd = [point(stage.kinds[0], f"{name}") for name in ODD_NAMES]
    bad = [] if stage.scene.refused is None else [stage.scene.refused]
    sink = stage.make()
    await sink.start()
    refused = await _write(sink, [*odd[:4], *bad, *odd[4:]])
    await sink.stop()

    assert [each.point for each in refused] == bad
    assert all(each.detail for each in refused)
    assert len(set(stage.scene.stored())) == len(odd)


async def test_a_stop_in_the_middle_loses_nothing_that_was_acknowledged(stage: Stage) -> None:
    """It ends in time; what had no answer is written again by the next."""
    acknowledged: list[Point] = []
    everything: list[Point] = []
    for turn in range(10):
        sink = stage.make()
        await sink.start()
        points = batch(turn, stage.kinds)
        everything += points
        writing = asyncio.create_task(_write(sink, points))
        await asyncio.sleep(random.Random(turn).random() / 50)
        # As the lane does it.
        writing.cancel()
        async with asyncio.timeout(10):
            (answer,) = await asyncio.gather(writing, return_exceptions=True)
            await sink.stop()
        assert answer == [] or isinstance(answer, asyncio.CancelledError)
        if answer == []:
            acknowledged += points
    assert set(stage.scene.stored()) >= as_stored(acknowledged)

    sink = stage.make()
    await sink.start()
    await _write(sink, everything)
    await sink.stop()
    stage.check(everything)


class _Writer:
    """Processes that write batches, one after the other."""

    def __init__(self, stage: Stage) -> None:
        self.acknowledged = -1
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.contract.sinks.writer",
                str(stage.config_file),
                stage.name,
            ],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def kill_one(self, after: int, pause_s: float) -> None:
        """Start one, and kill it a moment after so many batches were acknowledged."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self.acknowledged + 1}\n")
        pid, acknowledged, is_killed = None, 0, False
        for line in self._process.stdout:
            word, _, number = line.partition(" ")
            if word == "pid":
                pid = int(number)
            elif word == "ack":
                self.acknowledged = int(number)
                acknowledged += 1
            else:
                assert is_killed, "the writer ended by itself"
                return
            if pid is not None and acknowledged >= after and not is_killed:
                time.sleep(pause_s)
                os.kill(pid, signal.SIGKILL)
                is_killed = True
        raise AssertionError("the writers' parent ended")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


async def test_a_kill_loses_nothing_that_was_acknowledged(stage: Stage) -> None:
    """At whatever moment; what had no answer is written again by the next, and is there whole."""
    writer = _Writer(stage)
    moments = random.Random(stage.kind)
    try:
        for _ in range(_KILLS):
            writer.kill_one(moments.randrange(4), moments.random() / 100)
    finally:
        writer.close()
    known = [
        each for number in range(writer.acknowledged + 1) for each in batch(number, stage.kinds)
    ]
    assert known
    last = batch(writer.acknowledged + 1, stage.kinds)
    stored = set(stage.scene.stored()) if stage.scene.overwrites else None
    if stored is not None:
        assert as_stored(known) <= stored <= as_stored([*known, *last])

    # One that can only add mends, before it writes, what a kill has left.
    sink = stage.make()
    await sink.start()
    assert await _write(sink, last) == []
    await sink.stop()
    stage.check([*known, *last])
