"""How far devices have come, as the streams lane will find it once it works on what is taken.

Of what is put behind all that is in the log it has to be known beforehand whether any of it will be
rejected. So what ``streams/stages/watermark`` decides by is followed here, reading by reading: from
the newest snapshots, by the readings behind them that wait, and by those that are taken. Where that
can't be known, because readings are held until others say whether the device's clock was right, or
would be, nothing is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectors.logs.configured import consumer_group, topic
from headgate.config.schema import Config
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.errors import DataError
from headgate.core.log import (
    READINGS,
    STATE,
    STREAMS,
    Log,
    StoredRecord,
    TopicPartition,
    records_between,
)
from headgate.core.records import (
    READINGS_SCHEMAS,
    Place,
    check_schema,
    decode_readings,
    retried_from,
)
from headgate.core.stage import Snapshot
from streams.ingest.translate import Translator
from streams.process.state import newest_records, read_snapshot
from streams.stages.arrays import NO_TIME_NS

#: The stage whose state tells how far devices have come.
_STAGE = "watermark"


class _Mark(NamedTuple):
    """A device's newest event time, and what older than is late whatever that is; ns."""

    newest_ns: int = NO_TIME_NS
    floor_ns: int = NO_TIME_NS

    def joined(self, other: _Mark) -> _Mark:
        """The later of both."""
        return _Mark(max(self.newest_ns, other.newest_ns), max(self.floor_ns, other.floor_ns))


class Marks:
    """Where every device stands, and which readings can come next.

    Args:
        config: The configuration as it is now.

    Attributes:
        channels: Every channel that the streams lane knows, or will.
        taken: Messages of quarantine that have become readings, and how many, as far as those say.
    """

    def __init__(self, config: Config) -> None:
        self.channels = ChannelTable(identities=config.identities)
        self.taken: dict[Place, int] = {}
        self._config = config
        self._marks: dict[Device, _Mark] = {}
        # By feed and name, of snapshots: whose devices are told apart anew takes up their state.
        self._of_name: dict[tuple[str, str], _Mark] = {}
        self._held: set[tuple[str, str]] = set()

    async def read(self, log: Log, translator: Translator) -> None:
        """Learn from the log, and have the translator learn from it.

        Args:
            log: A started log.
            translator: Is told of channels there are, and of the times that were given to readings
                without one, so that it gives none of them again.
        """
        for partition in range(self._config.log.partitions):
            at = TopicPartition(topic(self._config, STATE), partition)
            for record in await newest_records(log, at):
                try:
                    self._add_snapshot(read_snapshot(record))
                except DataError:
                    continue  # the gateway tells of it
        for partition in range(self._config.log.partitions):
            await self._read_readings(log, partition, translator)
        translator.know(self.channels.channels)

    def take(self, batches: Iterable[Batch]) -> str:
        """Have readings come next.

        Args:
            batches: Readings in the order in which they will be appended.

        Returns:
            Why they must not come, a word of ``WHY_LEFT``, and then nothing is changed; empty where
            none of them will be rejected or held.
        """
        moved: dict[Device, _Mark] = {}
        for device, time_ns, is_ahead in _rows(batches):
            if (device.feed, device.name) in self._held:
                return "held"
            mark = moved[device] if device in moved else self._mark_of(device)
            if is_ahead and self._is_doubtful(device, mark, time_ns):
                return "ahead"
            if time_ns < self._late_ns(device, mark):
                return "late"
            moved[device] = mark._replace(newest_ns=max(mark.newest_ns, time_ns))
        self._marks.update(moved)
        return ""

    def _mark_of(self, device: Device) -> _Mark:
        mark = self._marks.get(device)
        if mark is None:
            mark = self._of_name.get((device.feed, device.name), _Mark())
        return mark

    def _late_ns(self, device: Device, mark: _Mark) -> int:
        """The watermark."""
        return max(mark.newest_ns - self._config.feed[device.feed].grace, mark.floor_ns)

    def _is_doubtful(self, device: Device, mark: _Mark, time_ns: int) -> bool:
        """Whether a reading that is ahead of the gateway's clock may be held.

        A device that has moved on more quickly while it was ahead may be allowed more.
        """
        feed = self._config.feed[device.feed]
        is_new = mark.newest_ns <= NO_TIME_NS
        return is_new or time_ns > mark.newest_ns + feed.period + feed.grace

    def _add_snapshot(self, snapshot: Snapshot) -> None:
        block = snapshot.blocks.get(_STAGE, {})
        count = len(snapshot.devices)
        newest_ns = _whole_numbers(block.get("newest_ns"), count)
        floor_ns = _whole_numbers(block.get("watermark_ns"), count)
        # Behind a jump, and on what is closed though it lies ahead, readings are held, or late.
        doubted_ns = np.maximum(
            _whole_numbers(block.get("gap_to_ns"), count),
            _whole_numbers(block.get("island_to_ns"), count),
        )
        for row, device in enumerate(snapshot.devices):
            mark = _Mark(int(newest_ns[row]), int(floor_ns[row]))
            name = device.feed, device.name
            self._marks[device] = mark
            self._of_name[name] = self._of_name.get(name, mark).joined(mark)
            if doubted_ns[row] > mark.floor_ns:
                self._held.add(name)
        channels = [channel for key in snapshot.channels for channel in self._channels_of(key)]
        if len(channels) < len(snapshot.channels):
            return
        for at in np.unique(_positions(block.get("held_channel"), len(channels))).tolist():
            self._held.add((channels[at].feed, channels[at].device))

    def _channels_of(self, key: str) -> list[Channel]:
        """The channel with this key; none where it is no key."""
        try:
            return [self.channels.channels[self.channels.row_of_key(key)]]
        except (ValueError, TypeError, AttributeError):
            return []

    async def _read_readings(self, log: Log, partition: int, translator: Translator) -> None:
        """Read what waits of a partition, and what came before where that tells something."""
        at = TopicPartition(topic(self._config, READINGS), partition)
        start, end = await log.offsets(at)
        committed = await log.committed(consumer_group(self._config, STREAMS), at) or 0
        first = max(start, committed)
        if translator.gives_times or not self._config.log.is_embedded:
            first = start
        async for records in records_between(log, at, first, end):
            if translator.gives_times:
                translator.recall(records)
            for record in records:
                self._add_record(record, is_waiting=record.offset >= committed)

    def _add_record(self, record: StoredRecord, *, is_waiting: bool) -> None:
        place = retried_from(record.headers)
        if place is None and not is_waiting:
            return
        channels = ChannelTable(identities=self._config.identities)
        try:
            check_schema(record.headers, *READINGS_SCHEMAS)
            batch = decode_readings(record.value, channels)
        except DataError:
            return  # what is said of devices; or the streams lane puts it aside
        if place is not None:
            self.taken[place] = len(batch)
        if is_waiting:
            for channel in channels.channels:
                self.channels.row(channel)
            self._add_waiting(batch)

    def _add_waiting(self, batch: Batch) -> None:
        """Follow readings that the streams lane has yet to work on."""
        devices = batch.channels.devices
        for row in np.unique(batch.device).tolist():
            of_device = batch.take(batch.device == row)
            if devices[row].feed not in self._config.feed:
                continue
            if (of_device.quality & np.uint16(Quality.AHEAD)).any():
                self._add_ahead(of_device)
            else:
                self._move(devices[row], int(of_device.time_ns.max()))

    def _add_ahead(self, batch: Batch) -> None:
        """The same where some were ahead, one by one."""
        for device, time_ns, is_ahead in _rows([batch]):
            if is_ahead and self._is_doubtful(device, self._mark_of(device), time_ns):
                self._held.add((device.feed, device.name))
            else:
                self._move(device, time_ns)

    def _move(self, device: Device, time_ns: int) -> None:
        mark = self._mark_of(device)
        self._marks[device] = mark._replace(newest_ns=max(mark.newest_ns, time_ns))


def _rows(batches: Iterable[Batch]) -> Iterator[tuple[Device, int, bool]]:
    """Of each reading, the device, the event time, and whether it was ahead."""
    for batch in batches:
        devices = batch.channels.devices
        is_ahead = (batch.quality & np.uint16(Quality.AHEAD)) != 0
        columns = (batch.device.tolist(), batch.time_ns.tolist(), is_ahead.tolist())
        for row, time_ns, ahead in zip(*columns, strict=True):
            yield devices[row], time_ns, ahead


def _whole_numbers(column: NDArray[np.generic] | None, count: int) -> NDArray[np.int64]:
    """So many numbers of a snapshot; where they are none, as if there were no time."""
    if column is None or column.shape != (count,) or column.dtype != np.int64:
        return np.full(count, NO_TIME_NS, np.int64)
    return column.astype(np.int64)


def _positions(column: NDArray[np.generic] | None, count: int) -> NDArray[np.int64]:
    """Positions among so many; those that are none are left out."""
    if column is None or column.ndim != 1 or not np.issubdtype(column.dtype, np.integer):
        return np.empty(0, np.int64)
    found = column.astype(np.int64)
    return found[(found >= 0) & (found < count)]
