"""What surrounds the gateway in the simulation: log, brought readings, sink; and the broker.

Each fails as it is told, and takes a little while for everything. What a process has of them ends
with the process: an answer to the dead never comes, and what they had asked for may have happened.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused
from headgate.core.clock import Clock
from headgate.core.errors import TransientError
from headgate.core.log import TopicPartition
from headgate.testing.memory_log import Call, MemoryLog, MemoryStore
from headgate.testing.memory_reader import MemoryReader
from streams.process.events import Event
from tests.simulation.broker import Broker

#: Settings of a sink that is never asked for: one of the simulation's own has its name.
LATER_SINK = {"url": "http://127.0.0.1:1", "org": "o", "bucket": "b", "token_env": "T"}

#: Records are deleted when they are so old, s, and all readers are done with them.
RETENTION_S = 1.0

#: What a call to the log takes to reach it at most, s.
_CALL_S: dict[Call, float] = {
    "start": 0.01,
    "append": 0.02,
    "read": 0.005,
    "look": 0.005,
    "commit": 0.01,
}

#: How long a reader waits for readings.
_FETCH_S = 0.25


class Process:
    """A process that can be killed at any moment.

    Args:
        world: Where it lives.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.is_alive = True
        self.stop = asyncio.Event()

    async def takes(self, most_s: float) -> None:
        """Let some time pass; the dead never return from it."""
        await asyncio.sleep(self.world.random.uniform(0, most_s))
        if not self.is_alive:
            await self.never()

    async def never(self) -> NoReturn:
        """Wait until the task is cancelled."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError


@dataclass
class World:
    """What outlives every process.

    Attributes:
        random: Decides everything.
        clock: The only clock.
        log: What stands in the log.
        log_is_away: Every call to the log fails.
        log_is_unsure: Appends and commits happen, and then fail all the same, this often.
        broker: Where the devices publish.
        stored: The sink: last line by identity.
        later: Another one, which is configured from the start and comes later; None before.
        written: Every line the sink was ever given, by identity.
        sink_fails: How often a write fails, and in half of these cases has happened.
    """

    random: random.Random
    clock: Clock
    log: MemoryStore = field(default_factory=MemoryStore)
    log_is_away: bool = False
    log_is_unsure: float = 0.0
    broker: Broker = field(default_factory=Broker)
    stored: dict[str, str] = field(default_factory=dict)
    written: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    later: dict[str, str] | None = None
    sink_fails: float = 0.0

    def happens(self, probability: float) -> bool:
        """Draw."""
        return probability > 0 and self.random.random() < probability


class SimulatedLog(MemoryLog):
    """A process's access to the log, which takes its time, is away, or is unsure."""

    def __init__(self, process: Process) -> None:
        super().__init__(process.world.log, process.world.clock)
        self._process = process
        self._world = process.world
        self.open()

    async def reach(self, call: Call) -> None:
        await self._process.takes(_CALL_S[call])
        if self._world.log_is_away:
            await self._process.takes(0.5)
            raise TransientError("the simulated log is away")

    async def answer(self) -> None:
        await self._process.takes(0.01)
        if self._world.happens(self._world.log_is_unsure):
            raise TransientError("the simulated log did not answer")


class SimulatedReader(MemoryReader):
    """Brings readings from partitions in any order, and waits for them.

    Args:
        process: Whose.
        topic: The ``readings`` topic.
        group: The consumer group.
        partitions: How many there are.
    """

    def __init__(self, process: Process, topic: str, group: str, partitions: int) -> None:
        super().__init__(process.world.log, topic, group, partitions)
        self._world = process.world
        self._process = process
        #: So many of the records that it is about to bring are dropped, as Faust does at times.
        self.leave_out = 0

    async def next_take(self, most: int) -> list[Event]:
        """The next events; empty when none come for a while."""
        if not self.has_left_over:
            await self._process.takes(0.05)
            if self._world.log_is_away:
                await asyncio.sleep(0.2)
                return []
        if self.leave_out and not self.has_left_over:
            self.leave_out -= self._drop(self.leave_out)
        found = self.take(most)
        if not found:
            # As with a fetch, which the next append answers.
            self._world.log.appended.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._world.log.appended.wait(), _FETCH_S)
        return found

    def _drop(self, most: int) -> int:
        """Leave records of a partition out; how many. Never its last: nothing would tell."""
        at = self._world.random.choice(self._partitions)
        count = min(most, max(0, len(self._store.records[at]) - self._position[at] - 1))
        # What is acknowledged behind them is committed over them.
        self._position[at] += count
        return count

    def commit(self) -> None:
        if not self._world.log_is_away:
            super().commit()

    def in_turn(self) -> Sequence[TopicPartition]:
        return self._world.random.sample(self._partitions, len(self._partitions))


class SimulatedSink:
    """Keeps points by identity, as a time-series store does.

    Args:
        process: Whose.
        name: Of the two that the gateway's configuration has.
    """

    kinds: tuple[Kind, ...] = ("anomalies", "aggregates")
    max_points = 50
    max_wait_s = 0.2

    def __init__(self, process: Process, name: str = "local_store") -> None:
        self.name = name
        self._process = process
        self._world = process.world

    async def start(self) -> None:
        """Nothing to get ready."""

    async def stop(self) -> None:
        """Nothing to release."""

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        await self._process.takes(0.05)
        fails = self._world.happens(self._world.sink_fails)
        if not fails or self._world.happens(0.5):
            for point in points:
                line = point.line()
                head, _, time_ns = line.partition(" ")[0], "", line.rpartition(" ")[2]
                identity = f"{head} {time_ns}"
                if self.name == "local_store":
                    self._world.stored[identity] = line
                elif self._world.later is not None:
                    self._world.later[identity] = line
                self._world.written[identity].add(line)
        await self._process.takes(0.02)
        if fails:
            raise TransientError("the simulated sink fails", retry_after_s=None)
        return []
