"""What surrounds the gateway in the simulation: log, brought readings, sink; and the broker.

Each fails as it is told, and takes a little while for everything. What a process has of them ends
with the process: an answer to the dead never comes, and what they had asked for may have happened.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused
from headgate.core.clock import Clock
from headgate.core.errors import TransientError
from headgate.core.log import Record, StoredRecord, TopicPartition, TopicSpec
from streams.process.events import Event
from tests.simulation.broker import Broker

#: Settings of a sink that is never asked for: one of the simulation's own has its name.
LATER_SINK = {"url": "http://127.0.0.1:1", "org": "o", "bucket": "b", "token_env": "T"}

#: Records are deleted when they are so old, s, and all readers are done with them.
_RETENTION_S = 1.0

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
        topics: The log: records by partition.
        committed: Offsets by consumer group and partition.
        readers: By topic, the groups that must be done with a record before age deletes it.
        oldest: By partition, the first offset that age has left.
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
    topics: defaultdict[TopicPartition, list[StoredRecord]] = field(
        default_factory=lambda: defaultdict(list)
    )
    committed: dict[tuple[str, TopicPartition], int] = field(default_factory=dict)
    readers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    oldest: defaultdict[TopicPartition, int] = field(default_factory=lambda: defaultdict(int))
    log_is_away: bool = False
    log_is_unsure: float = 0.0
    broker: Broker = field(default_factory=Broker)
    stored: dict[str, str] = field(default_factory=dict)
    written: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    later: dict[str, str] | None = None
    sink_fails: float = 0.0
    appended: asyncio.Event = field(default_factory=asyncio.Event)

    def happens(self, probability: float) -> bool:
        """Draw."""
        return probability > 0 and self.random.random() < probability

    def expire(self, at: TopicPartition, now_ms: int) -> None:
        """Delete what is old and done with."""
        groups = self.readers.get(at.topic, ())
        limit = min((self.committed.get((group, at), 0) for group in groups), default=0)
        records = self.topics[at]
        while (
            self.oldest[at] < limit
            and records[self.oldest[at]].timestamp_ms < now_ms - 1000 * _RETENTION_S
        ):
            self.oldest[at] += 1


class SimulatedLog:
    """A process's access to the log, by the contract of ``headgate.core.log.Log``."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world

    async def start(self) -> None:
        await self._call(0.01)

    async def stop(self) -> None:
        """Nothing to release."""

    async def ensure_topics(self, topics: Sequence[TopicSpec]) -> None:
        await self._call(0.01)

    async def append(self, at: TopicPartition, records: Sequence[Record]) -> int:
        first = len(self._world.topics[at])
        await self.append_many({at: records})
        return first

    async def append_many(self, batches: Mapping[TopicPartition, Sequence[Record]]) -> None:
        await self._call(0.02)
        now_ms = self.now_ms()
        for at, records in batches.items():
            partition = self._world.topics[at]
            partition += [
                StoredRecord(number, now_ms, each.value, each.key, each.headers)
                for number, each in enumerate(records, len(partition))
            ]
            self._world.expire(at, now_ms)
        self._world.appended.set()
        await self._answer()

    async def read(
        self, at: TopicPartition, offset: int, *, max_bytes: int = 1 << 20, wait_s: float = 0.0
    ) -> list[StoredRecord]:
        found = await self.read_many({at: offset}, max_bytes=max_bytes, wait_s=wait_s)
        return found.get(at, [])

    async def read_many(
        self,
        offsets: Mapping[TopicPartition, int],
        *,
        reader: str = "",
        max_bytes: int = 1 << 20,
        wait_s: float = 0.0,
    ) -> dict[TopicPartition, list[StoredRecord]]:
        await self._call(0.005)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + wait_s
        while True:
            found = {
                at: _some(self._world.topics[at][max(offset, self._world.oldest[at]) :], max_bytes)
                for at, offset in offsets.items()
                if len(self._world.topics[at]) > offset
            }
            left_s = deadline_s - loop.time()
            if found or left_s <= 0:
                return found
            self._world.appended.clear()
            try:
                await asyncio.wait_for(self._world.appended.wait(), left_s)
            except TimeoutError:
                return {}
            await self._call(0.005)

    async def offsets(self, at: TopicPartition) -> tuple[int, int]:
        await self._call(0.005)
        return self._world.oldest[at], len(self._world.topics[at])

    async def offsets_many(
        self, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        await self._call(0.005)
        return {at: (self._world.oldest[at], len(self._world.topics[at])) for at in partitions}

    async def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        await self._call(0.01)
        for at, offset in offsets.items():
            self._world.committed[group, at] = offset
        await self._answer()

    async def committed(self, group: str, at: TopicPartition) -> int | None:
        await self._call(0.005)
        return self._world.committed.get((group, at))

    def now_ms(self) -> int:
        return self._world.clock.uptime()[1] // 1_000_000

    def wall_ms(self, timestamp_ms: int) -> int:
        return timestamp_ms

    async def size_bytes(self) -> int | None:
        return None

    async def _call(self, most_s: float) -> None:
        await self._process.takes(most_s)
        if self._world.log_is_away:
            await self._process.takes(0.5)
            raise TransientError("the simulated log is away")

    async def _answer(self) -> None:
        await self._process.takes(0.01)
        if self._world.happens(self._world.log_is_unsure):
            raise TransientError("the simulated log did not answer")


def _some(records: Sequence[StoredRecord], max_bytes: int) -> list[StoredRecord]:
    some: list[StoredRecord] = []
    size = 0
    for record in records:
        if some and size + len(record.value) > max_bytes:
            break
        some.append(record)
        size += len(record.value)
    return some


@dataclass
class _Message:
    """A record as Faust hands it over."""

    topic: str
    partition: int
    offset: int
    headers: Any
    value: bytes | None
    generation_id: int


class _Event:
    def __init__(self, message: _Message) -> None:
        self.message = message
        self.value: Any = message.value
        self.is_acknowledged = False

    def ack(self) -> bool:
        """Take note, once."""
        was, self.is_acknowledged = self.is_acknowledged, True
        return not was


class SimulatedReader:
    """Brings readings as Faust does: in order, in takes, from the committed offset on.

    Args:
        process: Whose.
        topic: The ``readings`` topic.
        group: The consumer group.
        partitions: How many there are.
    """

    def __init__(self, process: Process, topic: str, group: str, partitions: int) -> None:
        self._world = process.world
        self._process = process
        self._group = group
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]
        self.generation = 1
        self._events: dict[TopicPartition, list[_Event]] = {}
        self._position: dict[TopicPartition, int] = {}
        #: Gathered before a rebalance and given out after it, as Faust does.
        self._left_over: list[_Event] = []
        self.rewind()

    @property
    def numbers(self) -> list[int]:
        """The partitions' numbers."""
        return [at.partition for at in self._partitions]

    def rewind(self) -> None:
        """Go back to what is committed, as after every assignment."""
        for at in self._partitions:
            self._position[at] = self._world.committed.get((self._group, at), 0)
            self._events[at] = []

    def rebalance(self) -> None:
        """Take every partition away and assign it again, in the middle of things."""
        self._left_over = self._gather(20)
        self.generation += 1
        self.rewind()

    async def take(self, most: int) -> list[Event]:
        """The next events; empty when none come for a while."""
        if self._left_over:
            left_over, self._left_over = self._left_over, []
            return [*left_over]
        await self._process.takes(0.05)
        if self._world.log_is_away:
            await asyncio.sleep(0.2)
            return []
        found = self._gather(most)
        if not found:
            # As with a fetch, which the next append answers.
            self._world.appended.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._world.appended.wait(), _FETCH_S)
        return [*found]

    def commit(self) -> None:
        """Commit what is acknowledged without a gap."""
        if self._world.log_is_away:
            return
        for at, events in self._events.items():
            count = 0
            while count < len(events) and events[count].is_acknowledged:
                count += 1
            if count:
                offset = events[count - 1].message.offset + 1
                self._world.committed[self._group, at] = offset
                del events[:count]

    def _gather(self, most: int) -> list[_Event]:
        found: list[_Event] = []
        partitions = self._world.random.sample(self._partitions, len(self._partitions))
        for at in partitions:
            start = self._position[at]
            for record in self._world.topics[at][start : start + most]:
                message = _Message(
                    at.topic, at.partition, record.offset, record.headers, record.value,
                    self.generation,
                )  # fmt: skip
                found.append(_Event(message))
                self._events[at].append(found[-1])
                self._position[at] = record.offset + 1
        return found


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
