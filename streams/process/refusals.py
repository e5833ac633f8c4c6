"""What the streams lane puts into quarantine as a message: records, and state, it can't use."""

from __future__ import annotations

from typing import Protocol

from headgate.core.clock import Clock
from headgate.core.errors import DataError
from headgate.core.log import Record, TopicPartition
from headgate.core.records import QuarantinedMessage, messages_record
from headgate.core.telemetry import Telemetry
from streams.process.recovery import TooLarge


class _Placed(Protocol):
    """A record of the log."""

    topic: str
    partition: int
    offset: int
    value: bytes | None


class Refusals:
    """Makes ``quarantine`` records.

    Args:
        quarantine: Name of the topic in the log.
        state: Likewise of the topic of snapshots.
        clock: Source of time.
        telemetry: Counts them.
    """

    def __init__(self, quarantine: str, state: str, clock: Clock, telemetry: Telemetry) -> None:
        self._quarantine = quarantine
        self._state = state
        self._clock = clock
        self._telemetry = telemetry

    def of_record(
        self, message: _Placed, error: DataError, limit: int
    ) -> tuple[TopicPartition, Record]:
        """A record that can't be used, with so many bytes of it."""
        source = f"log:{message.topic}/{message.partition}@{message.offset}"
        return self._refused(message.partition, source, message.value or b"", error, limit)

    def of_state(self, found: TooLarge) -> tuple[TopicPartition, Record]:
        """State that can't be written down, by the names of its devices."""
        error = DataError("too_large", f"state of {found.detail}; it is lost at the next restart")
        source = f"log:{self._state}/{found.partition}"
        return self._refused(found.partition, source, found.devices.encode(), error, 1 << 16)

    def _refused(
        self, partition: int, source: str, payload: bytes, error: DataError, limit: int
    ) -> tuple[TopicPartition, Record]:
        self._telemetry.quarantined.labels(error.reason).inc()
        message = QuarantinedMessage(
            ingest_ns=self._clock.wall_ns(),
            source=source,
            payload=payload[:limit],
            reason=error.reason,
            detail=error.detail,
            payload_bytes=len(payload),
        )
        return TopicPartition(self._quarantine, partition), messages_record([message])
