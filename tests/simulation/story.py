"""One run: what devices send, what goes wrong and when, and what must be there in the end."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from connectors.formats.arrivals import Arrivals
from connectors.formats.decoder import FeedDecoder
from connectors.logs import topic
from connectors.points import aggregate_points, anomaly_points, health_points
from connectors.simulator.fleet import CHANNELS
from headgate.config.schema import Config
from headgate.core.batch import Batch
from headgate.core.channels import ChannelTable
from headgate.core.log import QUARANTINE, READINGS, StoredRecord, TopicPartition
from headgate.core.wire import REJECTED_SCHEMA, decode_readings, decode_rejected, schema_of
from headgate.demo.config import PUMP_MODEL
from streams.pipeline import Pipeline
from tests.faults.auditor import agree
from tests.faults.store import fields_of_line
from tests.simulation.gateway import Gateway
from tests.simulation.loop import VirtualClock, VirtualLoop, run
from tests.simulation.messages import (
    AHEAD_MS,
    FUTURE_MS,
    PERIOD_MS,
    START_MS,
    closing,
    pump_messages,
)
from tests.simulation.pipelines import POISON, make_pipeline
from tests.simulation.world import LATER_SINK, Message, World

_WINDOW_NS = 10**9
_LANES = ("ingest", "streams", "forward")
_FAULTS = (
    *("kill", "kill", "kill all", "stop", "log away", "log unsure", "broker away"),
    *("connection lost", "sink fails", "rebalance", "clock", "clock of 1970"),
)

#: Parts of all stories.
_LATER, _AWAY = 0.2, 0.2
_PUMP_STORIES, _EXACT_STORIES, _POISON_STORIES = 0.06, 0.8, 0.08


#: From today back to 1970, s.
_DECADES_S = 55 * 365 * 86_400

#: Virtual seconds after the last fault within which all must be settled.
_PATIENCE_S = 400.0

Reading = tuple[str, str, int]


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
        #: Topics of devices whose clock is set forward for good.
        self.set_forward: set[bytes] = set()
        messages = pump_messages(seed % 3) if has_pumps else self._made_up_messages()
        self.messages = [*messages, *closing(messages, self.set_forward)]
        self.feed = "pump" if has_pumps else "press"
        #: Another sink of the configuration is there for the first time after so long, s.
        self.later_s = self.random.uniform(0, 40) if self.random.random() < _LATER else None
        #: The first one is away from the first start on for so long, s.
        self.away_s = self.random.uniform(0, 40) if self.random.random() < _AWAY else 0.0

    def _made_up_messages(self) -> list[Message]:
        """Presses that send in order and not, twice, late, and with clocks that are years off.

        Some clocks are wrong at times, and some are set forward for good.
        """
        draw = self.random
        messages: list[Message] = []
        devices = draw.randint(1, 4)
        off_ms = {device: draw.choice((0, 0, 0, -(10**11))) for device in range(devices)}
        wrong = {device: draw.choice((0.0, 0.0, 0.0, 0.05)) for device in range(devices)}
        forward = {device: draw.choice((99, 99, 99, 5, 8)) for device in range(devices)}
        for step in range(draw.randint(10, 45)):
            for device in range(devices):
                time_ms = START_MS + off_ms[device] + step * PERIOD_MS
                if step >= forward[device] or draw.random() < wrong[device]:
                    time_ms += AHEAD_MS
                payload = {"t": time_ms, "force": (7 * step + 3 * device) % 50, "stroke": step / 7}
                message = (b"hall/press-%d" % device, json.dumps(payload).encode())
                kind = draw.random()
                if kind < 0.04:
                    continue  # never sent
                messages.append(message)
                if kind < 0.10:
                    messages.append(message)
                elif kind < 0.16 and len(messages) > 3:
                    place = draw.randint(max(0, len(messages) - 40), len(messages) - 1)
                    messages.insert(place, messages.pop())
        self.set_forward = {b"hall/press-%d" % each for each in forward if forward[each] < 99}
        if self.has_poison:
            poison = {"t": START_MS, "force": POISON}
            message = (b"hall/press-9", json.dumps(poison).encode())
            messages.insert(draw.randint(0, len(messages)), message)
        return messages

    def config(self, folder: Path) -> Config:
        """The gateway's configuration."""
        feed = {
            "topic": "hall/{device}",
            "time": {"path": "t", "unit": "ms", "max_ahead": "20000d"},
            "period": "100ms",
            "grace": "300ms",
            "aggregates": [{"window": "1s"}],
            "channels": {"force": {"range": [0, 100]}, "stroke": {}},
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
        is_pump = self.feed == "pump"
        return Config.model_validate(
            {
                "gateway": {"data_dir": str(folder)},
                "log": {"partitions": 2},
                "streams": {
                    "silent_after": "1h" if self.is_exact else "3s",
                    "snapshot_interval": "500ms",
                },
                "local_store": {},
                "feed": {self.feed: pump if is_pump else feed},
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
        while len(self.messages) > self.outcome.messages:
            count = self.random.randint(1, 12)
            first = self.outcome.messages
            for message in self.messages[first : first + count]:
                world.publish(message)
                self.outcome.messages += 1
            await asyncio.sleep(duration_s * count / len(self.messages))
        await asyncio.gather(*breaking)

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
        if kind in ("kill", "kill all", "stop", "rebalance"):
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
        else:
            gateway.rebalance()

    async def _break(self, kind: str, world: World) -> None:
        """Faults of what surrounds it."""
        lasts_s = self.random.choice((0.3, 1.0, 4.0, 20.0))
        if kind == "connection lost":
            world.disconnect()
        elif kind == "clock":
            assert isinstance(world.clock, VirtualClock)
            world.clock.offset_s += self.random.choice((86_400, -86_400, 3600, -10))
        elif kind == "clock of 1970":
            assert isinstance(world.clock, VirtualClock)
            world.clock.offset_s -= _DECADES_S
            await asyncio.sleep(lasts_s)
            world.clock.offset_s += _DECADES_S
        elif kind == "broker away":
            world.broker_is_away = True
            world.disconnect()
            await asyncio.sleep(lasts_s)
            world.broker_is_away = False
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
    account = _Account(story, config, world)
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


@dataclass
class _Expected:
    lines: dict[str, str] = field(default_factory=dict)
    revisions: dict[str, set[str]] = field(default_factory=dict)
    rejected: set[Reading] = field(default_factory=set)


def _readings(config: Config, story: Story) -> Batch:
    """All readings that were sent, in order."""
    channels = ChannelTable()
    decoder = FeedDecoder(story.feed, config.feed[story.feed], channels, config.ingest)
    topics = [topic for topic, _ in story.messages]
    arrival_ns = np.full(len(topics), FUTURE_MS * 1_000_000)
    decoded = decoder.decode(topics, [payload for _, payload in story.messages], arrival_ns)
    decoded = Arrivals(config.feed[story.feed], channels).settle(decoded, arrival_ns)
    assert not decoded.refused
    return decoded.batch(channels)


def _names(batch: Batch) -> list[Reading]:
    channels = batch.channels.channels
    return [
        (channels[row].device, channels[row].field, time_ns)
        for row, time_ns in zip(batch.channel.tolist(), batch.time_ns.tolist(), strict=True)
    ]


def _expected(batch: Batch, config: Config) -> _Expected:
    """What comes out of an undisturbed pipeline."""
    pipeline = make_pipeline(config, batch.channels, can_bear_all=True)
    results = pipeline.process(batch, 0)
    expected = _Expected()
    gateway = config.gateway.name
    points = aggregate_points(results.aggregates, batch.channels, gateway)
    points += anomaly_points(results.anomalies, gateway)
    points += health_points(results.health, gateway)
    for point in points:
        line = point.line()
        identity = f"{line.partition(' ')[0]} {point.time_ns}"
        expected.lines[identity] = line
        expected.revisions.setdefault(identity, set()).add(line)
    for rejected in results.rejected:
        expected.rejected.update(_names(rejected.batch))
    return expected


class _Account:
    """Holds what has come out so far against what was sent.

    Args:
        story: Whose messages.
        config: The gateway's configuration.
        world: What has come out.
    """

    def __init__(self, story: Story, config: Config, world: World) -> None:
        self._story = story
        self._config = config
        self._world = world
        self._sent = _readings(config, story)
        self._expected = _expected(self._sent, config) if story.is_exact else _Expected()
        # The log only grows: what has been read of it stays true.
        self._quarantined: defaultdict[Reading, set[str]] = defaultdict(set)
        self._read = [0] * config.log.partitions

    def problem(self) -> str:
        """What is wrong, at any sink; empty when nothing is."""
        return self._problem() or self._later_problem()

    def _later_problem(self) -> str:
        """The other sink must have what the first one has, whenever it came."""
        if self._story.later_s is None:
            return ""
        stored, later = self._world.stored, self._world.later or {}
        for identity in stored.keys() ^ later.keys():
            return f"one sink alone has {identity}"
        for identity, line in stored.items():
            if not agree(later[identity], line):
                return f"the sinks have {line} and {later[identity]}"
        return ""

    def _problem(self) -> str:
        if self._story.is_exact:
            return self._point_problem() or self._quarantine_problem()
        quarantined = self._in_quarantine()
        if self._story.has_poison and not any("poison" in each for each in quarantined.values()):
            return "the poison is not in quarantine"
        return _count_problem(self._sent, quarantined, self._world)

    def _point_problem(self) -> str:
        stored, expected = self._world.stored, self._expected
        stray = stored.keys() - expected.lines.keys()
        if stray:
            return f"nobody expects {stored[min(stray)]}"
        for identity, line in expected.lines.items():
            found = stored.get(identity)
            if found is None or not agree(found, line):
                return f"expected {line}, got {found}"
            for each in self._world.written[identity]:
                if not any(agree(each, one) for one in expected.revisions[identity]):
                    return f"expected {line}, once got {each}"
        return ""

    def _quarantine_problem(self) -> str:
        quarantined, rejected = self._in_quarantine(), self._expected.rejected
        for reading in rejected:
            if reading not in quarantined:
                return f"{reading} is neither in a point nor in quarantine"
        # One that is in the log once is in a point or put aside; a replay must not do the other
        # too.
        aside = [reading for reading in quarantined if reading not in rejected]
        if aside:
            times = self._times_in_log()
            for reading in aside:
                if times[reading] == 1:
                    return f"{reading} is in a point, and in quarantine as {quarantined[reading]}"
        return ""

    def _in_quarantine(self) -> dict[Reading, set[str]]:
        """Why each reading was put aside."""
        for partition, first in enumerate(self._read):
            records = self._records(QUARANTINE, partition)
            self._read[partition] = len(records)
            for record in records[first:]:
                if schema_of(record.headers) == REJECTED_SCHEMA:
                    rejected = decode_rejected(record.value, ChannelTable())
                    names = _names(rejected.batch)
                    for name, reason in zip(names, rejected.reasons, strict=True):
                        self._quarantined[name].add(reason)
        return self._quarantined

    def _times_in_log(self) -> Counter[Reading]:
        """How often each reading was appended: again, where the broker sent it again."""
        times: Counter[Reading] = Counter()
        for partition in range(self._config.log.partitions):
            for record in self._records(READINGS, partition):
                times.update(_names(decode_readings(record.value, ChannelTable())))
        return times

    def _records(self, name: str, partition: int) -> Sequence[StoredRecord]:
        return self._world.topics[TopicPartition(topic(self._config, name), partition)]


def _count_problem(sent: Batch, quarantined: dict[Reading, set[str]], world: World) -> str:
    """Hold each window's count against the distinct readings that were sent into it."""
    in_window: Counter[tuple[str, str, int]] = Counter()
    aside: Counter[tuple[str, str, int]] = Counter()
    for device, name, time_ns in set(_names(sent)):
        window = (device, name, time_ns // _WINDOW_NS * _WINDOW_NS)
        in_window[window] += 1
        aside[window] += (device, name, time_ns) in quarantined
    counted: Counter[tuple[str, str, int]] = Counter()
    for line in world.stored.values():
        if line.startswith("anomalies,"):
            continue
        device = line.partition("device=")[2].partition(" ")[0].partition(",")[0]
        start_ns = int(line.rpartition(" ")[2])
        for key, value in fields_of_line(line).items():
            name, _, statistic = key.rpartition("_")
            if statistic in ("n", "flagged"):
                counted[device, name, start_ns] += int(value.removesuffix("i"))
    for window, count in in_window.items():
        if counted[window] > count:
            return f"{window}: {count} sent, {counted[window]} counted"
        if counted[window] + aside[window] < count:
            return f"{window}: {count} sent, {counted[window]} counted, {aside[window]} aside"
    return ""
