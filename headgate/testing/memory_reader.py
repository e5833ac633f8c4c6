"""Brings readings from a log in memory to a ``streams.process.worker.Worker``, as Faust does."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.core.log import TopicPartition
from headgate.testing.memory_log import MemoryStore
from streams.process.events import Event, StoredEvent


class MemoryReader:
    """In order, in takes, from the committed offset on; what is acknowledged is committed.

    Args:
        store: What the log stands on.
        topic: The ``readings`` topic.
        group: The consumer group.
        partitions: How many there are.

    Attributes:
        generation: The number of the assignment, as Faust counts them.
    """

    def __init__(self, store: MemoryStore, topic: str, group: str, partitions: int) -> None:
        self._store = store
        self._group = group
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]
        self.generation = 1
        self._events: dict[TopicPartition, list[StoredEvent]] = {}
        self._position: dict[TopicPartition, int] = {}
        #: Gathered before a rebalance and given out after it, as Faust does.
        self._left_over: list[StoredEvent] = []
        self.rewind()

    @property
    def numbers(self) -> list[int]:
        """The partitions' numbers."""
        return [at.partition for at in self._partitions]

    @property
    def has_left_over(self) -> bool:
        """Whether the next take was gathered before a rebalance."""
        return bool(self._left_over)

    def rewind(self) -> None:
        """Go back to what is committed, as after every assignment."""
        for at in self._partitions:
            self._position[at] = self._store.committed.get((self._group, at), 0)
            self._events[at] = []

    def rebalance(self, most: int = 20) -> None:
        """Take every partition away and assign it again, in the middle of a take."""
        self._left_over = self._gather(most)
        self.generation += 1
        self.rewind()

    def take(self, most: int) -> list[Event]:
        """The next events, so many of a partition at most; empty when there are none."""
        if self._left_over:
            left_over, self._left_over = self._left_over, []
            return [*left_over]
        return [*self._gather(most)]

    def commit(self) -> None:
        """Commit what is acknowledged without a gap."""
        for at, events in self._events.items():
            count = 0
            while count < len(events) and events[count].is_acknowledged:
                count += 1
            if count:
                self._store.committed[self._group, at] = events[count - 1].message.offset + 1
                del events[:count]

    def in_turn(self) -> Sequence[TopicPartition]:
        """The partitions in the order in which they are read now."""
        return self._partitions

    def _gather(self, most: int) -> list[StoredEvent]:
        found: list[StoredEvent] = []
        for at in self.in_turn():
            start = self._position[at]
            for record in self._store.records[at][start : start + most]:
                found.append(StoredEvent(at, record, self.generation))
                self._events[at].append(found[-1])
                self._position[at] = record.offset + 1
        return found
