"""One run: what devices send, what goes wrong and when, and what must be there in the end."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from connectors.simulator.fleet import CHANNELS
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.demo.config import PUMP_MODEL
from headgate.testing.virtual_time import VirtualClock, VirtualLoop, run
from streams.pipeline import Pipeline
from tests.simulation.account import Account
from tests.simulation.broker import Message
from tests.simulation.gateway import Gateway
from tests.simulation.messages import MAX_PAYLOAD_BYTES, MAX_RECORDS, UNTIMED_FEED, presses, pumps
from tests.simulation.pipelines import make_pipeline
from tests.simulation.world import LATER_SINK, World

_LANES = ("ingest", "streams", "forward")
_FAULTS = (
    *("kill", "kill", "kill all", "stop", "log away", "log unsure", "broker away"),
    *("connection lost", "sink fails", "rebalance", "clock", "clock of 1970", "records left out"),
)

#: Parts of all stories.
_LATER, _AWAY = 0.2, 0.2

#: Of the presses: in each cycle one that waits for its condition, and one that does not.
_RULES = {
    "high": {
        "feed": "press",
        "when": "force > 30 and stroke >= 0",
        "for": "200ms",
        "clear": "force < 20",
        "clear_for": "100ms",
        "text": "{device}: {force:.1f}, {stroke}",
    },
    "turn": {"feed": "press", "when": "delta(force) < 0", "severity": "minor"},
    "shift": {"feed": "press", "when": "force > 25", "during": "shifts", "clear": "force < 5"},
    "slow": {"feed": "press", "when": "stroke >= 0", "suppressed_by": ["shift", "turn"]},
}
#: In the first seconds of the presses' time.
_SCHEDULES = {
    "shifts": {
        "spans": [
            {"from": "2025-06-15T15:06:41", "to": "2025-06-15T15:06:42.05"},
            {"from": "2025-06-15T15:06:42.5", "to": "2025-06-15T15:06:44"},
            {"from": "2025-06-15T15:06:46", "to": "2025-06-15T15:07"},
        ]
    }
}
_PUMP_STORIES, _EXACT_STORIES, _POISON_STORIES = 0.06, 0.8, 0.08


#: From today back to 1970, s.
_DECADES_S = 55 * 365 * 86_400

#: In so long the gateway is connected once nothing is broken any more, s.
_PAUSE_S = 10.0

#: Virtual seconds after the last fault within which all must be settled.
_PATIENCE_S = 400.0


class Lost(AssertionError):  # noqa: N818  (that is what is asserted)
    """The account of a run does not balance."""


@dataclass
class Outcome:
    """What a run was like.

    Attributes:
        seed: Gives the same run again.
        messages: Messages the broker acknowledged.
        kills: Processes killed.
        faults: All faults by kind.
        points: Points at the sink.
    """

    seed: int
    messages: int = 0
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    points: int = 0


class Story:
    """What happens in one run; everything follows from the seed.

    Args:
        seed: Any number.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.outcome = Outcome(seed)
        has_pumps = self.random.random() < _PUMP_STORIES
        #: With a short silence the clock closes windows, and how many readings are late is a
        #: matter of timing; then only the counts are held against what was sent.
        # Readings that are put aside with poison may have been sent twice: likewise.
        self.has_poison = not has_pumps and self.random.random() < _POISON_STORIES
        self.is_exact = not self.has_poison and self.random.random() < _EXACT_STORIES
        if has_pumps:
            self.told = pumps(seed % 3)
        else:
            self.told = presses(self.random, has_poison=self.has_poison, is_exact=self.is_exact)
        self.feed = "pump" if has_pumps else "press"
        #: Another sink of the configuration is there for the first time after so long, s.
        self.later_s = self.random.uniform(0, 40) if self.random.random() < _LATER else None
        #: The first one is away from the first start on for so long, s.
        self.away_s = self.random.uniform(0, 40) if self.random.random() < _AWAY else 0.0

    def config(self, folder: Path) -> Config:
        """The gateway's configuration."""
        feed = {
            "topic": "hall/{line}/{device}",
            "time": {"path": "t", "unit": "ms", "max_ahead": "20000d"},
            "period": "100ms",
            "grace": "300ms",
            "aggregates": [{"window": "1s"}],
            "channels": {
                "force": {"range": [0, 100]},
                "stroke": {},
                "mode": {"type": "text", "valid_for": "3s"},
            },
        }
        pump = {
            "topic": "plant/{line}/{device}/telemetry",
            "time": {"path": "time", "unit": "ms"},
            "period": "100ms",
            "grace": "500ms",
            "aggregates": [{"window": "1s"}],
            "channels": {name: {"unit": unit} for name, unit in CHANNELS.items()},
            "models": ["pump"],
        }
        bench = {
            "topic": "bench/{device}",
            "period": "300ms",
            "grace": "300ms",
            "aggregates": [{"window": "1s"}],
            "channels": {"speed": {}},
        }
        is_pump = self.feed == "pump"
        feeds: dict[str, object] = {self.feed: pump if is_pump else feed}
        if self.told.untimed:
            feeds[UNTIMED_FEED] = bench
        return Config.model_validate(
            {
                "gateway": {"data_dir": str(folder)},
                "log": {"partitions": 2},
                "streams": {
                    "silent_after": "1h" if self.is_exact else "3s",
                    "snapshot_interval": "500ms",
                },
                "local_store": {},
                "feed": feeds,
                "ingest": {
                    "max_payload": "1MiB" if is_pump else f"{MAX_PAYLOAD_BYTES}B",
                    "max_records": MAX_RECORDS,
                },
                "rule": {} if is_pump else _RULES,
                "schedule": _SCHEDULES,
                "influxdb": None if self.later_s is None else LATER_SINK,
                "model": {"pump": {"package": str(PUMP_MODEL)}} if is_pump else {},
            }
        )

    async def tell(self, world: World, gateway: Gateway) -> None:
        """Publish everything while things go wrong."""
        faults = [self._first_start(world), self._later_sink(world, gateway)]
        faults += [self._fault(world, gateway) for _ in range(self.random.randint(1, 5))]
        duration_s = self.random.uniform(2, 6)
        breaking = [asyncio.create_task(fault) for fault in faults]
        messages = self.told.messages
        world.broker.retained.update(self.told.before)
        while len(messages) > self.outcome.messages:
            count = self.random.randint(1, 12)
            first = self.outcome.messages
            for message in messages[first : first + count]:
                self._publish(message, world)
            await asyncio.sleep(duration_s * count / len(messages))
        await asyncio.gather(*breaking)
        if self.told.untimed:
            # Until what was retained has been sent once; then one more each, to close windows.
            await asyncio.sleep(_PAUSE_S)
            for topic_name in sorted({topic_name for topic_name, _ in self.told.untimed.values()}):
                self._publish(self.told.next_untimed(topic_name), world)

    def _publish(self, message: Message, world: World) -> None:
        world.broker.publish(message, retain=message[0] in self.told.retained)
        self.outcome.messages += 1

    async def _first_start(self, world: World) -> None:
        if self.away_s:
            world.sink_fails = 1.0
            await asyncio.sleep(self.away_s)
            world.sink_fails = 0.0

    async def _later_sink(self, world: World, gateway: Gateway) -> None:
        if self.later_s is not None:
            await asyncio.sleep(self.later_s)
            world.later = {}
            gateway.kill("forward")

    async def _fault(self, world: World, gateway: Gateway) -> None:
        await asyncio.sleep(self.random.uniform(0, 6))
        kind = self.random.choice(_FAULTS)
        self.outcome.faults[kind] += 1
        if kind in ("kill", "kill all", "stop", "rebalance", "records left out"):
            await self._disturb(kind, gateway)
        else:
            await self._break(kind, world)

    async def _disturb(self, kind: str, gateway: Gateway) -> None:
        """Faults of the gateway's own processes."""
        if kind == "kill":
            for _ in range(self.random.randint(1, 4)):
                gateway.kill(self.random.choice(_LANES))
                self.outcome.kills += 1
                await asyncio.sleep(self.random.uniform(0, 0.8))
        elif kind == "kill all":
            for lane in _LANES:
                gateway.kill(lane)
                self.outcome.kills += 1
        elif kind == "stop":
            await gateway.stop(self.random.choice(_LANES))
        elif kind == "rebalance":
            gateway.rebalance()
        elif gateway.reader is not None:
            gateway.reader.leave_out = self.random.randint(1, 40)

    async def _break(self, kind: str, world: World) -> None:
        """Faults of what surrounds it."""
        lasts_s = self.random.choice((0.3, 1.0, 4.0, 20.0))
        if kind == "connection lost":
            world.broker.disconnect()
        elif kind == "clock":
            assert isinstance(world.clock, VirtualClock)
            world.clock.offset_s += self.random.choice((86_400, -86_400, 3600, -10))
        elif kind == "clock of 1970":
            assert isinstance(world.clock, VirtualClock)
            world.clock.offset_s -= _DECADES_S
            await asyncio.sleep(lasts_s)
            world.clock.offset_s += _DECADES_S
        elif kind == "broker away":
            world.broker.is_away = True
            world.broker.disconnect()
            await asyncio.sleep(lasts_s)
            world.broker.is_away = False
        else:
            name, value = {
                "log away": ("log_is_away", True),
                "log unsure": ("log_is_unsure", 0.3),
                "sink fails": ("sink_fails", self.random.choice((0.3, 1.0))),
            }[kind]
            setattr(world, name, value)
            await asyncio.sleep(lasts_s)
            setattr(world, name, type(value)())


def play(seed: int) -> Outcome:
    """Play the story of a seed.

    Raises:
        Lost: Something is missing, there twice, or wrong.
    """
    story = Story(seed)
    # For the gateway's own jitter.
    random.seed(seed)
    loop = VirtualLoop()
    folder = Path(tempfile.mkdtemp(prefix="story-"))
    try:
        return run(_play(story, loop, folder), loop)
    finally:
        shutil.rmtree(folder)


async def _play(story: Story, loop: VirtualLoop, folder: Path) -> Outcome:
    config = story.config(folder)
    world = World(story.random, VirtualClock(loop))

    def make(channels: ChannelTable) -> Pipeline:
        return make_pipeline(config, channels, can_bear_all=not story.has_poison)

    gateway = Gateway(world, config, folder, make)
    account = Account(story, config, world)
    gateway.start()
    await story.tell(world, gateway)
    deadline_s = loop.time() + _PATIENCE_S
    pause_s, was_settled = 1.0, False
    while True:
        await asyncio.sleep(pause_s)
        problem = account.problem()
        if not problem and was_settled:
            break
        was_settled = not problem
        if loop.time() > deadline_s:
            raise Lost(f"seed {story.outcome.seed}: {problem}; {dict(story.outcome.faults)}")
        pause_s = 1.0 if was_settled else min(2 * pause_s, 20.0)
    if any(not _is_expected(error) for error in gateway.failures):
        raise Lost(f"seed {story.outcome.seed}: a lane failed") from gateway.failures[0]
    story.outcome.points = len(world.stored)
    return story.outcome


def _is_expected(error: BaseException) -> bool:
    return isinstance(error, ArithmeticError)
