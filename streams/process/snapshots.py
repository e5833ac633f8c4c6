"""When device state is written down: in rounds, a little at a time.

While state is written no reading is worked on, so a round goes through a partition's buckets over
the whole interval, and the partitions have their rounds one after the other.

Each snapshot spares a restart some readings, and costs a write. Where few readings come there is
little to spare, so that rounds are further apart.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import Clock
from headgate.core.log import Record, TopicPartition
from headgate.core.telemetry import Telemetry
from streams.process.recovery import StateKeeper
from streams.process.state import BUCKETS

#: Buckets whose snapshots are in memory together.
_BUCKETS_AT_ONCE = 8

#: Devices that are worth a write of their own: it takes no longer than a batch of readings.
_DEVICES_AT_ONCE = 64

#: Readings that are soon worked on again, of all partitions together: not for fewer than these is a
#: round due before the longest interval is over.
WORTH_READINGS = 200_000


@dataclass(slots=True)
class _Round:
    """A partition's snapshots, bucket after bucket.

    Attributes:
        partition: Which one.
        next_offset: Below it all is covered once the last bucket is written, because later
            readings are in the later buckets' snapshots too.
        buckets: Those left.
        start_ns: When it began.
        least: Buckets that are written together if there are so many.
        done: Buckets written.
    """

    partition: int
    next_offset: int
    buckets: list[int]
    start_ns: int
    least: int
    done: int = 0


class Snapshots:
    """Writes down what has moved, in rounds.

    Args:
        kafka_topic: The ``state`` topic's name in the log.
        interval_ns: Each partition has a round this often while readings keep coming …
        longest_ns: … and this often at least.
        keeper: Makes the snapshots.
        clock: Source of time.
        telemetry: Where the time that a round takes goes.
        append: Appends to the log, and returns when that is durable.
        in_thread: Calls a function where the pipeline runs.
    """

    def __init__(
        self,
        kafka_topic: str,
        interval_ns: int,
        longest_ns: int,
        keeper: StateKeeper,
        clock: Clock,
        telemetry: Telemetry,
        *,
        append: Callable[[Mapping[TopicPartition, Sequence[Record]]], Awaitable[None]],
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self._kafka_topic = kafka_topic
        self._interval_ns = interval_ns
        self._longest_ns = longest_ns
        self._keeper = keeper
        self._clock = clock
        self._telemetry = telemetry
        self._append = append
        self._in_thread = in_thread
        self._round: _Round | None = None
        # When each partition's last round began, and the readings that had been worked on by then.
        self._begun_ns: dict[int, int] = {}
        self._begun_at: dict[int, int] = {}
        #: Readings that have been worked on.
        self.readings = 0

    @property
    def is_under_way(self) -> bool:
        """Whether a round goes on."""
        return self._round is not None

    async def write_some(self, next_offsets: Mapping[int, int]) -> tuple[int, int] | None:
        """Write so much that a round ends in its time.

        Args:
            next_offsets: By partition, the offset below which all readings are processed.

        Returns:
            The partition whose round has ended, and the offset below which its readings are
            covered now; None while a round goes on or none is due.
        """
        now_ns = self._clock.monotonic_ns()
        if self._round is None:
            self._round = self._next_round(now_ns, next_offsets)
        if self._round is None:
            return None
        current = self._round
        done_by_now = (now_ns - current.start_ns) * len(next_offsets) / max(1, self._interval_ns)
        due = math.ceil(done_by_now * BUCKETS) - current.done
        count = min(len(current.buckets), max(current.least, due))
        buckets = current.buckets[:count]
        with self._telemetry.timed("snapshot"):
            await self.write(current.partition, buckets, next_offsets[current.partition])
        current.buckets = current.buckets[count:]
        current.done += count
        if current.buckets:
            return None
        self._round = None
        return current.partition, current.next_offset

    async def write(self, partition: int, buckets: Sequence[int], next_offset: int) -> None:
        """Snapshot buckets as they are, and wait until that is durable."""
        at = TopicPartition(self._kafka_topic, partition)
        # Not all in one go: a whole fleet's state need not be in memory twice.
        for first in range(0, len(buckets), _BUCKETS_AT_ONCE):
            some = buckets[first : first + _BUCKETS_AT_ONCE]
            records = await self._in_thread(self._keeper.snapshot, partition, some, next_offset)
            await self._append({at: records})
            self._keeper.settle(partition, some)

    async def write_moved(
        self, devices: NDArray[np.int32], next_offsets: Mapping[int, int]
    ) -> None:
        """Snapshot the buckets of these devices in which something has moved since theirs."""
        for partition, buckets in self._keeper.buckets_of(devices).items():
            if partition in next_offsets:
                moved = {*buckets}.intersection(self._keeper.moved_buckets(partition))
                await self.write(partition, sorted(moved), next_offsets[partition])

    def forget(self, partition: int) -> None:
        """Drop what is known of a partition that was taken away."""
        self._begun_ns.pop(partition, None)
        self._begun_at.pop(partition, None)
        if self._round is not None and self._round.partition == partition:
            self._round = None

    def _next_round(self, now_ns: int, next_offsets: Mapping[int, int]) -> _Round | None:
        """A round of the partition that has waited longest, if its time has come."""
        if not next_offsets:
            return None
        partition = min(next_offsets, key=lambda each: self._begun_ns.get(each, 0))
        passed_ns = now_ns - self._begun_ns.setdefault(partition, now_ns)
        readings = self.readings - self._begun_at.setdefault(partition, self.readings)
        is_worth_it = passed_ns >= self._interval_ns and readings >= WORTH_READINGS
        if not is_worth_it and passed_ns < self._longest_ns:
            return None
        self._begun_ns[partition], self._begun_at[partition] = now_ns, self.readings
        buckets = self._keeper.due_buckets(partition)
        devices = max(1, self._keeper.count(partition))
        least = max(1, min(_BUCKETS_AT_ONCE, _DEVICES_AT_ONCE * BUCKETS // devices))
        return _Round(partition, next_offsets[partition], buckets, now_ns, least)
