"""The records of ``readings`` as whoever brings them hands them over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headgate.core.log import StoredRecord, TopicPartition


class Message(Protocol):
    """A record of ``readings`` as it is brought."""

    topic: str
    partition: int
    offset: int
    headers: Any
    value: bytes | None
    generation_id: int


class Event(Protocol):
    """A message that waits for its acknowledgement."""

    value: Any

    @property
    def message(self) -> Message:
        """The message."""
        ...

    def ack(self) -> bool:
        """Note that everything that came of it is durable."""
        ...


@dataclass(slots=True)
class StoredMessage:
    """A record that was read from the log itself."""

    topic: str
    partition: int
    offset: int
    headers: Any
    value: bytes | None
    generation_id: int


class StoredEvent:
    """One of those."""

    def __init__(self, at: TopicPartition, record: StoredRecord, generation: int) -> None:
        self.message = StoredMessage(
            at.topic, at.partition, record.offset, record.headers, record.value, generation
        )
        self.value: Any = record.value
        self.is_acknowledged = False

    def ack(self) -> bool:
        """Take note, once."""
        was, self.is_acknowledged = self.is_acknowledged, True
        return not was


def spans(events: Sequence[Event]) -> dict[int, tuple[int, int]]:
    """By partition, the offsets that these events reach from and to."""
    found: dict[int, tuple[int, int]] = {}
    for event in events:
        at = event.message
        first, _ = found.get(at.partition, (at.offset, 0))
        found[at.partition] = (first, at.offset + 1)
    return found
