"""Records that stand in the log, and that whoever brings them has left out.

Faust hands records over that it has fetched, or drops them: when partitions are taken away and come
back, when its flow is stopped while a fetch is under way, when going back to the committed offset
fails. It takes what it has dropped for acknowledged as soon as something behind it is. So each
record is held against the one before it, and what is missing between them is read from the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import structlog

from headgate.core.log import Log, StoredRecord, TopicPartition
from headgate.core.telemetry import Telemetry
from streams.process.events import Event, StoredEvent

_logger = structlog.get_logger()

_Records = Sequence[StoredRecord]

#: Asks the log for as long as it takes.
Retry = Callable[[Callable[[], Awaitable[_Records]]], Awaitable[_Records]]


class LeftOut:
    """Finds what is missing, and reads it.

    Args:
        log: Where they stand.
        retry: Asks it.
        telemetry: Where it is counted.
    """

    def __init__(self, log: Log, retry: Retry, telemetry: Telemetry) -> None:
        self._log = log
        self._retry = retry
        self._telemetry = telemetry

    async def put_back(
        self, events: Sequence[Event], next_offsets: Mapping[int, int]
    ) -> AsyncIterator[Sequence[Event]]:
        """These events in order, with what is missing between them where it belongs.

        Args:
            events: What was brought, none of which has been worked on.
            next_offsets: By partition, below which offset everything has been worked on. It must
                have moved over what was given before the next is asked for.
        """
        while events:
            missing = await self._before(events[0], next_offsets)
            if missing:
                yield missing
            else:
                count = _in_sequence(events, next_offsets)
                yield events[:count]
                events = events[count:]

    async def _before(self, event: Event, next_offsets: Mapping[int, int]) -> list[Event]:
        """Records before this one that have not been worked on; the first of them.

        None where the log has none either: what stood there was deleted for its age or its size.
        """
        message = event.message
        next_offset = next_offsets[message.partition]
        if message.offset <= next_offset:
            return []
        at = TopicPartition(message.topic, message.partition)
        found: list[Event] = [
            StoredEvent(at, record, message.generation_id)
            for record in await self._retry(lambda: self._log.read(at, next_offset))
            if record.offset < message.offset
        ]
        if found:
            self._telemetry.left_out.inc(len(found))
            _logger.warning(
                "Records were left out on their way here; they are read from the log.",
                partition=message.partition,
                first=found[0].message.offset,
                last=found[-1].message.offset,
            )
        return found


def _in_sequence(events: Sequence[Event], next_offsets: Mapping[int, int]) -> int:
    """How many of these events, the first at least, have nothing missing between them."""
    expected: dict[int, int] = {}
    for count, event in enumerate(events):
        message = event.message
        due = expected.get(message.partition, next_offsets[message.partition])
        if count and message.offset > due:
            return count
        expected[message.partition] = message.offset + 1
    return len(events)
