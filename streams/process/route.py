"""Which topic and partition each result goes to.

Every result of a device is written to the partition that its readings came from, so the order
of one device's results is the order in which they were made, and state, results and readings of
a partition can be read side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from headgate.core.batch import Batch, concat
from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.log import Record, TopicPartition
from headgate.core.lookup import ByChannel
from headgate.core.records import (
    aggregates_records,
    alarms_records,
    anomalies_records,
    changes_records,
    health_records,
    rejected_records,
    states_records,
)
from headgate.core.results import Aggregates, Alarm, Anomaly, DeviceState, SensorHealth, StateChange
from headgate.core.stage import Rejected
from streams.process.state import Placement
from streams.results import Results

#: What is told of a device, rarely enough to be objects.
_Told = TypeVar("_Told", Anomaly, SensorHealth, DeviceState, StateChange, Alarm)

#: Rows in one result record at most: a reader's turn is no longer than that. Larger ones than the
#: log takes are divided further, whatever they hold.
_MAX_ROWS = 5000


class Route:
    """Turns results into records.

    Args:
        placement: Partition of each device.
        channels: The pipeline's table.
        aggregates: Name of the topic in the log.
        anomalies: Name of the topic in the log.
        quarantine: Name of the topic in the log.
        is_derived: Whether a channel is worked out from others: its windows are marked.
    """

    def __init__(
        self,
        placement: Placement,
        channels: ChannelTable,
        *,
        aggregates: str,
        anomalies: str,
        quarantine: str,
        is_derived: Callable[[Channel], bool] = lambda _: False,
    ) -> None:
        self._placement = placement
        self._channels = channels
        self._aggregates = aggregates
        self._anomalies = anomalies
        self._quarantine = quarantine
        self._is_derived = ByChannel(channels, np.bool_, is_derived)

    def records(self, results: Results) -> dict[TopicPartition, list[Record]]:
        """The records to append, by partition, in the order in which to append them."""
        records: dict[TopicPartition, list[Record]] = {}

        def add(topic: str, partition: int, more: list[Record]) -> None:
            records.setdefault(TopicPartition(topic, partition), []).extend(more)

        for partition, health in self._by_partition(results.health).items():
            add(self._anomalies, partition, health_records(health))
        for partition, states in self._by_partition(results.states).items():
            add(self._anomalies, partition, states_records(states))
        for partition, changes in self._by_partition(results.changes).items():
            add(self._anomalies, partition, changes_records(changes))
        for partition, alarms in self._by_partition(results.alarms).items():
            add(self._anomalies, partition, alarms_records(alarms))
        for partition, anomalies in self._by_partition(results.anomalies).items():
            add(self._anomalies, partition, anomalies_records(anomalies))
        for partition, aggregates in self._aggregates_by_partition(results.aggregates):
            is_derived = self._is_derived[aggregates.channel]
            more = aggregates_records(aggregates, self._channels, is_derived)
            add(self._aggregates, partition, more)
        return records | self.rejected(results.rejected)

    def rejected(self, rejected: tuple[Rejected, ...]) -> dict[TopicPartition, list[Record]]:
        """The same for readings that go no further, and nothing else."""
        records: dict[TopicPartition, list[Record]] = {}
        for partition, batch, reasons in self._rejected_by_partition(rejected):
            at = TopicPartition(self._quarantine, partition)
            records.setdefault(at, []).extend(rejected_records(batch, reasons))
        return records

    def _by_partition(self, told: list[_Told]) -> dict[int, list[_Told]]:
        by_partition: dict[int, list[_Told]] = {}
        for each in told:
            row = self._channels.device_row(Device(each.feed, each.device, each.tags))
            by_partition.setdefault(int(self._placement.partition[row]), []).append(each)
        return by_partition

    def _aggregates_by_partition(self, aggregates: Aggregates) -> Iterator[tuple[int, Aggregates]]:
        if not len(aggregates):
            return
        partitions = self._placement.partition[self._channels.device_of[aggregates.channel]]
        for partition, rows in _groups(partitions):
            for first in range(0, len(rows), _MAX_ROWS):
                yield partition, aggregates.take(rows[first : first + _MAX_ROWS])

    def _rejected_by_partition(
        self, rejected: tuple[Rejected, ...]
    ) -> Iterator[tuple[int, Batch, list[str]]]:
        parts = [part for part in rejected if len(part.batch)]
        if not parts:
            return
        batch = concat((part.batch for part in parts), self._channels)
        reasons = np.repeat(
            np.array([part.reason for part in parts], np.object_),
            [len(part.batch) for part in parts],
        )
        partitions = np.array([record.partition for record in batch.origin], np.int32)
        # A record's rejected readings share one quarantine record, or its parts: the audit tells a
        # replay by meeting the same source record a second time.
        for partition, rows in _groups(partitions[batch.source]):
            for chunk in _chunks_of_whole_sources(rows, batch.source):
                yield partition, batch.take(chunk), reasons[chunk].tolist()


def _groups(key: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    for value in np.unique(key).tolist():
        yield value, np.flatnonzero(key == value)


def _chunks_of_whole_sources(
    rows: NDArray[np.intp], source: NDArray[np.int32]
) -> Iterator[NDArray[np.intp]]:
    """Cut rows into chunks of at least ``_MAX_ROWS``, never between rows of one source."""
    ordered = rows[np.argsort(source[rows], kind="stable")]
    sources = source[ordered]
    first = 0
    while first < len(ordered):
        last = min(first + _MAX_ROWS, len(ordered)) - 1
        end = int(np.searchsorted(sources, sources[last], side="right"))
        yield ordered[first:end]
        first = end
