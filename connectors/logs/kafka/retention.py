"""Deleting what has grown old in topics on Kafka, once all who read it are done with it.

Kafka's own limit of age asks nobody whether a record has been read, and compares the broker's clock
with the time that is written on it. So it is switched off, and records are deleted from here, by
the log's own time. Kafka's limit of size stays: it is what keeps the disk from filling up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from headgate.core.log import TopicSpec

#: Longest time between two looks, s.
_INTERVAL_CEILING_S: Final = 60.0


def interval_s(specs: Sequence[TopicSpec]) -> float | None:
    """How often to look: some times within the shortest age; None where nothing grows too old."""
    ages = [spec.retention_s for spec in specs if spec.retention_s is not None]
    return min(_INTERVAL_CEILING_S, max(1.0, min(ages) / 4)) if ages else None


async def delete_old(
    admin: AIOKafkaAdminClient,
    asker: AIOKafkaConsumer,
    specs: Sequence[TopicSpec],
    now_ms: int,
) -> None:
    """Delete records that are older than their topic's ``retention_s`` and done with.

    Args:
        admin: A started client.
        asker: A started consumer that reads nothing.
        specs: The topics.
        now_ms: The log's time, which is what records are stamped with.
    """
    limits: dict[KafkaPartition, int] = {}
    readers: dict[KafkaPartition, tuple[str, ...]] = {}
    for spec in specs:
        # A negative time would ask Kafka for something else.
        if spec.retention_s is None or (limit_ms := now_ms - round(1000 * spec.retention_s)) < 0:
            continue
        for number in range(spec.partitions):
            at = KafkaPartition(spec.name, number)
            limits[at], readers[at] = limit_ms, spec.readers or ()
    if not limits:
        return
    oldest = await asker.beginning_offsets(list(limits))
    ends = await asker.end_offsets(list(limits))
    young = await asker.offsets_for_times(limits)
    due = {at: ends[at] if young[at] is None else young[at].offset for at in limits}
    due = {at: offset for at, offset in due.items() if offset > oldest[at]}
    for group in sorted({group for at in due for group in readers[at]}):
        read = [at for at in due if group in readers[at]]
        found = await admin.list_consumer_group_offsets(group, partitions=read)
        for at in read:
            # Without an offset, everything is still to be read.
            due[at] = min(due[at], found[at].offset if at in found else -1)
    due = {at: offset for at, offset in due.items() if offset > oldest[at]}
    if due:
        await admin.delete_records({at: RecordsToDelete(offset) for at, offset in due.items()})
