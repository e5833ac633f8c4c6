"""The laws of sinks, that a test of a few lines holds one to.

::

    async def test_my_sink_keeps_the_laws(tmp_path: Path) -> None:
        await hold_sink("mine", MyScene, tmp_path)

``MyScene`` is the sink's other side, see ``SinkScene``: what the sink writes to, a real one, which
can go away and tell what is there.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias

from connectors.sinks.configured import configured_sinks, open_sinks, sink_context
from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import MakeSink, Refused, Sink
from headgate.config.load import load_config
from headgate.core.clock import SystemClock
from headgate.core.errors import TransientError
from headgate.core.telemetry import Telemetry

#: Names that people give to devices, which every sink has to take.
ODD_NAMES: Final = (
    "a b",
    "a,b=c",
    'quo"te',
    "back\\slash",
    "ends\\",
    "a\\ x=1 ",
    "a\\,x=1",
    "ünï",
    "d" * 256,
)

#: The sink's name in the trials: no kind is called so.
_NAME: Final = "here"

_FEED: Final = '[feed.f]\ntopic = "plant/{device}"\nchannels.x = {}\n'
_START_NS: Final = 1_750_000_000 * 10**9

#: Points of each kind in a batch.
_POINTS: Final = 3

_KILLS: Final = 25
_STOPS: Final = 10

#: How long a sink that is back may take until it is written to, and its stop may take, s.
_BACK_S: Final = 30
_STOP_S: Final = 10

#: Between two tries, s.
_PAUSE_S: Final = 0.05


class StoredPoint(NamedTuple):
    """A point as a sink has it."""

    measurement: str
    device: str
    time_ns: int
    value: float


class SinkScene(Protocol):
    """A sink's other side; made with a folder of its own, in which ``data`` is the gateway's."""

    #: Whether a point that is written again takes its own place; otherwise it is there once more.
    overwrites: bool

    #: A point that the sink never takes, if there is one.
    refused: Point | None

    def __init__(self, folder: Path) -> None: ...

    def tables(self) -> str:
        """What the configuration needs behind ``type``: the rest of the sink's table first."""
        ...

    def leave(self) -> None:
        """Be away, so that nothing can be written."""
        ...

    def come_back(self) -> None:
        """Be there again, with all that was there."""
        ...

    def stored(self) -> list[StoredPoint]:
        """All that is there; raises for what can't be read."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class SinkTrial:
    """A kind of sink with its other side.

    Args:
        kind: Its type in the configuration.
        scene: Its other side.
        folder: The scene's.
        make: Makes it of its table; None for what is installed as this type.
    """

    def __init__(
        self, kind: str, scene: SinkScene, folder: Path, make: MakeSink | None = None
    ) -> None:
        self.scene = scene
        self._make = make
        self.config_file = folder / "plant.toml"
        self.config_file.write_text(
            f'[sink.{_NAME}]\ntype = "{kind}"\n{scene.tables()}{_FEED}', encoding="utf-8"
        )
        self._config = load_config(self.config_file)
        self.kinds: tuple[Kind, ...] = configured_sinks(self._config)[_NAME]
        self.telemetry = Telemetry(SystemClock())

    def make(self) -> Sink:
        """The sink, not started yet."""
        if self._make is not None:
            context = sink_context(self._config, _NAME, SystemClock(), self.telemetry)
            return self._make(self._config.sink[_NAME].table, context)
        sinks = open_sinks(self._config, SystemClock(), self.telemetry)
        return next(each for each in sinks if each.name == _NAME)

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        """Write with a sink that is made for it, until it has them."""
        sink = self.make()
        await sink.start()
        try:
            return await _write_until_taken(sink, points)
        finally:
            await sink.stop()

    def check(self, points: Sequence[Point]) -> None:
        """These points are there, each as it was written, and nothing else is."""
        stored, wanted = self.scene.stored(), _as_stored(points)
        assert set(stored) == wanted, f"expected {wanted}, found {stored}"
        if self.scene.overwrites:
            assert len(stored) == len(wanted), f"there more than once: {stored}"


Law: TypeAlias = Callable[[SinkTrial], Awaitable[None]]


async def hold_sink(kind: str, make_scene: Callable[[Path], SinkScene], folder: Path) -> None:
    """Hold a kind of sink to all the laws there are.

    Args:
        kind: Its type in the configuration.
        make_scene: Makes its other side, anew for each law.
        folder: An empty folder.

    Raises:
        AssertionError: It breaks one.
    """
    for law in LAWS:
        here = folder / law.__name__
        here.mkdir()
        await hold_sink_to(law, kind, make_scene, here)


async def hold_sink_to(
    law: Law,
    kind: str,
    make_scene: Callable[[Path], SinkScene],
    folder: Path,
    make: MakeSink | None = None,
) -> None:
    """Hold a kind of sink to one law; see ``hold_sink``.

    Args:
        law: It; ``loses_nothing_by_a_kill`` is for what is installed only.
        kind: The sink's type in the configuration.
        make_scene: Makes its other side.
        folder: An empty folder.
        make: Makes the sink of its table; None for what is installed as this type.

    Raises:
        AssertionError: It breaks the law.
    """
    scene = make_scene(folder)
    try:
        await law(SinkTrial(kind, scene, folder, make))
    finally:
        scene.close()


async def is_what_its_component_says(trial: SinkTrial) -> None:
    """Its name and kinds are those that the log keeps its records for."""
    sink, points = trial.make(), batch(0, trial.kinds)
    await sink.start()
    await _write_until_taken(sink, points)
    await sink.stop()

    assert (sink.name, tuple(sink.kinds)) == (_NAME, trial.kinds)
    assert sink.max_points > 0
    assert sink.max_wait_s >= 0
    trial.check(points)


async def counts_what_it_sends(trial: SinkTrial) -> None:
    """In bytes, under its name."""
    assert await trial.write(batch(0, trial.kinds)) == []

    sent = trial.telemetry.registry.get_sample_value("headgate_uplink_bytes_total", {"sink": _NAME})
    assert sent, "it counts no bytes under its name"


async def gives_what_is_written_again_the_same_identity(trial: SinkTrial) -> None:
    """In one call, in another, and after a restart."""
    points = batch(1, trial.kinds)
    for again in (points, points, [*points, *points], points):
        assert await trial.write(again) == []

    trial.check(points)
    if not trial.scene.overwrites:
        times = set(Counter(trial.scene.stored()).values())
        assert times == {5}, f"of what was written five times there are {times}"


async def has_what_may_pass_tried_again(trial: SinkTrial) -> None:
    """What is away takes nothing and refuses nothing; neither start nor stop waits for it."""
    before, after = batch(2, trial.kinds), batch(3, trial.kinds)
    assert await trial.write(before) == []

    trial.scene.leave()
    async with asyncio.timeout(_STOP_S):
        sink = trial.make()
        await sink.start()
        await sink.stop()
    sink = trial.make()
    await sink.start()
    for _ in range(2):
        try:
            answer = await sink.write(after)
        except TransientError:
            continue
        raise AssertionError(f"expected a TransientError from what is away, got {answer}")
    trial.scene.come_back()
    assert await _write_until_taken(sink, after) == []
    await sink.stop()

    trial.check([*before, *after])


async def refuses_alone_what_never_passes(trial: SinkTrial) -> None:
    """Names that people give are all taken; a point that is not is named, with a reason."""
    odd = [point(trial.kinds[0], name) for name in ODD_NAMES]
    bad = [] if trial.scene.refused is None else [trial.scene.refused]
    refused = await trial.write([*odd[:4], *bad, *odd[4:]])

    assert [each.point for each in refused] == bad
    assert all(each.detail for each in refused), "it gives no reason"
    assert len(set(trial.scene.stored())) == len(odd)


async def loses_nothing_by_a_stop_in_the_middle(trial: SinkTrial) -> None:
    """It ends in time, and has what it acknowledged; the next has the rest written again."""
    acknowledged: list[Point] = []
    everything: list[Point] = []
    moments = random.Random(1)
    for turn in range(_STOPS):
        sink, points = trial.make(), batch(turn, trial.kinds)
        everything += points
        await sink.start()
        writing = asyncio.create_task(_write_until_taken(sink, points))
        await asyncio.sleep(moments.random() / 50)
        # As the lane does it.
        writing.cancel()
        async with asyncio.timeout(_STOP_S):
            (answer,) = await asyncio.gather(writing, return_exceptions=True)
            await sink.stop()
        if not isinstance(answer, asyncio.CancelledError):
            assert answer == [], f"stopped in the middle it says {answer!r}"
            acknowledged += points
    missing = _as_stored(acknowledged) - set(trial.scene.stored())
    assert not missing, f"acknowledged, and not there: {missing}"

    await trial.write(everything)
    trial.check(everything)


async def loses_nothing_by_a_kill(trial: SinkTrial) -> None:
    """At whatever moment; what had no answer is written again by the next, and is there whole."""
    writer, moments = _Writer(trial.config_file), random.Random(2)
    try:
        for _ in range(_KILLS):
            writer.kill_one(moments.randrange(4), moments.random() / 100)
    finally:
        writer.close()
    numbers = range(writer.acknowledged + 1)
    known = [each for number in numbers for each in batch(number, trial.kinds)]
    assert known, "nothing was acknowledged"

    # It mends, before it writes, what a kill has left.
    last = batch(writer.acknowledged + 1, trial.kinds)
    assert await trial.write(last) == []
    trial.check([*known, *last])


#: All of them.
LAWS: tuple[Law, ...] = (
    is_what_its_component_says,
    counts_what_it_sends,
    gives_what_is_written_again_the_same_identity,
    has_what_may_pass_tried_again,
    refuses_alone_what_never_passes,
    loses_nothing_by_a_stop_in_the_middle,
    loses_nothing_by_a_kill,
)


def batch(number: int, kinds: Sequence[Kind]) -> list[Point]:
    """A batch of points; no two batches have a device in common."""
    return [point(kind, f"d{number}-{place}", number) for kind in kinds for place in range(_POINTS)]


def point(kind: Kind, device: str, number: int = 0) -> Point:
    """A point of this device, with a single field, ``x``; its time is a whole second."""
    measurement = "anomalies" if kind == "anomalies" else "pump_10s"
    tags = (("device", device), ("feed", "f"), ("gateway", "g"))
    return Point(kind, measurement, tags, {"x": number + 0.5}, _START_NS + number * 10**9)


def _as_stored(points: Sequence[Point]) -> set[StoredPoint]:
    """What a sink must have of these points."""
    return {
        StoredPoint(each.measurement, each.tag("device"), each.time_ns, float(each.fields["x"]))
        for each in points
    }


async def _write_until_taken(sink: Sink, points: Sequence[Point]) -> list[Refused]:
    """Write until the sink has them."""
    async with asyncio.timeout(_BACK_S):
        while True:
            try:
                return await sink.write(points)
            except TransientError:
                await asyncio.sleep(_PAUSE_S)


class _Writer:
    """Processes that write batches, one after the other; see ``headgate.testing.sink_writer``."""

    def __init__(self, config_file: Path) -> None:
        #: The newest batch that the sink has said yes to.
        self.acknowledged = -1
        program = (sys.executable, "-m", "headgate.testing.sink_writer")
        self._process = subprocess.Popen(
            [*program, str(config_file), _NAME],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
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
            word, _, number = line.strip().partition(" ")
            if word == "pid":
                pid = int(number)
            elif word == "ack":
                self.acknowledged = int(number)
                acknowledged += 1
            elif word == "ended":
                assert is_killed, "the writer ended by itself"
                return
            if pid is not None and acknowledged >= after and not is_killed:
                time.sleep(pause_s)
                os.kill(pid, signal.SIGKILL)
                is_killed = True
        raise AssertionError("the writers' parent ended")

    def close(self) -> None:
        """End them all."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
