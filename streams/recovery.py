"""Writing device state down, and taking it up again after a restart.

The order of the steps is the delivery guarantee (``docs/guarantees.md``): outputs are durable
before the snapshot that follows them is written, and the snapshot is durable before the readings
it covers are acknowledged. Whatever step a crash hits, replaying from the committed offset
repeats only what overwrites itself at the sink.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structlog
from numpy.typing import NDArray

from headgate.core.batch import Batch
from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError
from headgate.core.log import Log, Record, StoredRecord, TopicPartition
from streams.heirs import heirs_of
from streams.pipeline import Pipeline
from streams.state import (
    BUCKETS,
    Placement,
    Snapshot,
    read_snapshot,
    selection_of,
    snapshot_record,
)

_logger = structlog.get_logger()

#: Bytes asked of the log at a time while state is read back.
_READ_BYTES = 8 << 20


class StateKeeper:
    """Restores the pipeline's state of a partition, and snapshots what has moved since.

    Args:
        log: The log that keeps the ``state`` topic.
        kafka_topic: The topic's name in the log.
        pipeline: Owner of the state.
        placement: Partition and bucket of each device.
    """

    def __init__(
        self, log: Log, kafka_topic: str, pipeline: Pipeline, placement: Placement
    ) -> None:
        self._log = log
        self._kafka_topic = kafka_topic
        self._pipeline = pipeline
        self._channels: ChannelTable = pipeline.channels
        self._placement = placement
        # By device row; grown together with the table.
        self._covered = np.empty(0, np.int64)
        self._has_moved = np.empty(0, np.bool_)

    async def restore(self, partition: int) -> int:
        """Replace what the pipeline knows of a partition's devices by the newest snapshots.

        Returns:
            How many devices were restored.
        """
        self.forget(partition)
        newest = await self._newest_records(TopicPartition(self._kafka_topic, partition))
        restored = 0
        for record in newest.values():
            try:
                restored += self._take_over(read_snapshot(record))
            except DataError as error:
                # Without it the devices start afresh, which costs their open windows but never
                # stops the gateway; the readings themselves are still in the log.
                _logger.error(
                    "A state snapshot can't be read; its devices start without history.",
                    partition=partition,
                    offset=record.offset,
                    error=str(error),
                )
        return restored

    def forget(self, partition: int) -> None:
        """Drop the pipeline's state of a partition's devices."""
        self._grow()
        devices = np.flatnonzero(self._placement.partition == partition).astype(np.int32)
        self._pipeline.forget(selection_of(self._channels, devices))
        self._covered[devices] = 0
        self._has_moved[devices] = False

    def without_applied(self, batch: Batch) -> Batch:
        """The batch less the readings that restored snapshots already hold."""
        self._grow()
        if not len(batch):
            return batch
        offsets = np.array([record.offset for record in batch.origin], np.int64)
        is_new = offsets[batch.source] >= self._covered[batch.device]
        return batch if is_new.all() else batch.take(is_new)

    def touch(self, devices: NDArray[np.int32]) -> None:
        """Note that these devices' state has moved since their last snapshot."""
        self._grow()
        self._has_moved[devices] = True

    def moved_buckets(self, partition: int) -> list[int]:
        """Buckets of a partition in which a device has moved since its snapshot, rising."""
        self._grow()
        moved = self._has_moved & (self._placement.partition == partition)
        buckets: list[int] = np.unique(self._placement.bucket[moved]).tolist()
        return buckets

    def buckets_of(self, devices: NDArray[np.int32]) -> dict[int, list[int]]:
        """The buckets that these devices are in, by partition."""
        places = np.unique(
            self._placement.partition[devices] * BUCKETS + self._placement.bucket[devices]
        )
        found: dict[int, list[int]] = {}
        for place in places.tolist():
            found.setdefault(place // BUCKETS, []).append(place % BUCKETS)
        return found

    def snapshot(self, partition: int, buckets: Sequence[int], next_offset: int) -> list[Record]:
        """Snapshot buckets of a partition.

        Args:
            partition: Which one.
            buckets: Some of its buckets.
            next_offset: The offset below which all its readings are processed.

        Returns:
            Records for the ``state`` topic. Once they are durable, ``settle`` must be called.
        """
        self._grow()
        in_partition = self._placement.partition == partition
        return [
            self._bucket_record(
                bucket,
                np.flatnonzero(in_partition & (self._placement.bucket == bucket)),
                next_offset,
            )
            for bucket in buckets
        ]

    def settle(self, partition: int, buckets: Sequence[int]) -> None:
        """Note that the snapshots of these buckets are durable."""
        is_done = (self._placement.partition == partition) & np.isin(
            self._placement.bucket, buckets
        )
        self._has_moved[: len(is_done)] &= ~is_done

    def _bucket_record(self, bucket: int, devices: NDArray[np.intp], next_offset: int) -> Record:
        selection = selection_of(self._channels, devices.astype(np.int32))
        snapshot = Snapshot(
            next_offset=next_offset,
            devices=[self._channels.devices[row] for row in selection.devices.tolist()],
            channels=self._channels.keys(selection.channels),
            fingerprints=self._pipeline.fingerprints,
            blocks=self._pipeline.snapshot(selection),
        )
        return snapshot_record(bucket, snapshot)

    async def _newest_records(self, at: TopicPartition) -> dict[bytes, StoredRecord]:
        start, end = await self._log.offsets(at)
        newest: dict[bytes, StoredRecord] = {}
        position = start
        while position < end:
            records = await self._log.read(at, position, max_bytes=_READ_BYTES)
            if not records:
                break  # only holes are left below the end: compaction removed the rest
            for record in records:
                newest[record.key or b""] = record
            position = records[-1].offset + 1
        return newest

    def _take_over(self, snapshot: Snapshot) -> int:
        heirs = heirs_of(snapshot, self._channels)
        self._grow()
        self._pipeline.restore(heirs, snapshot)
        self._covered[heirs.devices] = snapshot.next_offset
        self._covered[heirs.split] = snapshot.next_offset
        return len(heirs.devices) + len(heirs.split)

    def _grow(self) -> None:
        missing = len(self._channels.devices) - len(self._covered)
        if missing > 0:
            self._covered = np.concatenate([self._covered, np.zeros(missing, np.int64)])
            self._has_moved = np.concatenate([self._has_moved, np.zeros(missing, np.bool_)])
