"""What a run of messages holds, and records of the log of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

import numpy as np

from connectors.logs.configured import topic
from headgate.config.schema import Config
from headgate.core.batch import Batch, concat
from headgate.core.channels import ChannelTable, Remaining, device_partition
from headgate.core.log import QUARANTINE, READINGS, Record, TopicPartition
from headgate.core.lookup import ByDevice
from headgate.core.records import (
    KeyGroup,
    QuarantinedMessage,
    availability_records,
    held_records,
    messages_records,
    readings_records,
)
from headgate.core.results import Availability


@dataclass(slots=True)
class Translated:
    """What a run of messages holds, on its way to the log.

    Attributes:
        batches: By feed, readings.
        said: By feed, what was said of whether devices are there, and what channels hold that is no
            reading, each behind so many batches.
        quarantined: By partition, messages and examples.
        rows: By feed, how many readings.
        records: By partition of the log, what of it has been made into records.
        has_caught_up: Whether what comes now has not waited at the broker, by the devices' pace.
    """

    batches: dict[str, list[Batch]] = field(default_factory=dict)
    said: dict[str, list[tuple[int, Availability | Batch]]] = field(default_factory=dict)
    quarantined: dict[int, list[QuarantinedMessage]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    records: dict[TopicPartition, list[Record]] = field(default_factory=dict)
    has_caught_up: bool = False

    def say(self, availability: Availability) -> None:
        """Add what was said, behind the readings that there are."""
        self._add(availability.feed, availability)

    def hold(self, feed: str, batch: Batch) -> None:
        """Add what channels hold, behind the readings that there are."""
        self._add(feed, batch)

    def _add(self, feed: str, each: Availability | Batch) -> None:
        place = len(self.batches.get(feed, ()))
        self.said.setdefault(feed, []).append((place, each))


class Encoder:
    """Makes records of what was taken.

    Args:
        config: The whole configuration.
        channels: The table that batches point into.
    """

    def __init__(self, config: Config, channels: ChannelTable) -> None:
        self._config = config
        self._channels = channels
        self._partition_of_device = self._new_partitions()
        self._key_groups = self._new_key_groups()
        self._readings = topic(config, READINGS)
        self._quarantine = topic(config, QUARANTINE)

    def keep(self, remaining: Remaining) -> None:
        """Forget all but what remains of the table, which takes its place."""
        self._channels = remaining.table
        self._partition_of_device = self._new_partitions()
        self._key_groups = self._new_key_groups()

    def encode(self, translated: Translated) -> None:
        """Make records of what was taken so far."""
        for feed in translated.batches | translated.said:
            batches, first = translated.batches.get(feed, []), 0
            for end, said in groupby(translated.said.get(feed, ()), itemgetter(0)):
                self._add_readings(feed, batches[first:end], translated.records)
                self._add_others(feed, [each for _, each in said], translated.records)
                first = end
            self._add_readings(feed, batches[first:], translated.records)
        for partition, messages in translated.quarantined.items():
            at = TopicPartition(self._quarantine, partition)
            translated.records.setdefault(at, []).extend(messages_records(messages))
        translated.batches, translated.said, translated.quarantined = {}, {}, {}

    def _new_key_groups(self) -> dict[tuple[str, int], KeyGroup]:
        return {
            (name, partition): KeyGroup(self._channels)
            for name in self._config.feed
            for partition in range(self._config.log.partitions)
        }

    def _add_others(
        self,
        feed: str,
        others: Sequence[Availability | Batch],
        records: dict[TopicPartition, list[Record]],
    ) -> None:
        """Add what is no reading, in its order."""
        for is_held, some in groupby(others, lambda each: isinstance(each, Batch)):
            every = list(some)
            if is_held:
                batches = [each for each in every if isinstance(each, Batch)]
                self._add_readings(feed, batches, records, held_records)
            else:
                self._add_said([each for each in every if isinstance(each, Availability)], records)

    def _add_said(
        self, said: Sequence[Availability], records: dict[TopicPartition, list[Record]]
    ) -> None:
        """Add what was said where the readings of the devices are; of all devices, everywhere."""
        every = self._config.log.partitions
        by_partition: dict[int, list[Availability]] = {}
        for each in said:
            ours: Sequence[int] = range(every)
            if each.device is not None:
                ours = (device_partition(each.feed, each.device, every),)
            for partition in ours:
                by_partition.setdefault(partition, []).append(each)
        for partition, some in by_partition.items():
            at = TopicPartition(self._readings, partition)
            records.setdefault(at, []).extend(availability_records(some))

    def _add_readings(
        self,
        feed: str,
        batches: Sequence[Batch],
        records: dict[TopicPartition, list[Record]],
        made: Callable[[Batch, str, KeyGroup], list[Record]] = readings_records,
    ) -> None:
        if not batches:
            return
        batch = concat(batches, self._channels)
        partitions = self._partition_of_device[batch.device]
        for partition in np.unique(partitions).tolist():
            rows = np.flatnonzero(partitions == partition)
            for first in range(0, len(rows), self._config.ingest.max_rows):
                part = batch.take(rows[first : first + self._config.ingest.max_rows])
                at = TopicPartition(self._readings, partition)
                more = made(part, feed, self._key_groups[feed, partition])
                records.setdefault(at, []).extend(more)

    def _new_partitions(self) -> ByDevice[np.int32]:
        count = self._config.log.partitions
        return ByDevice(
            self._channels, np.int32, lambda each: device_partition(each.feed, each.name, count)
        )
