"""Writing device state down, and taking it up again after a restart.

The order of the steps is the delivery guarantee (``docs/guarantees.md``): outputs are durable
before the snapshot that follows them is written, and the snapshot is durable before the readings
it covers are acknowledged. Whatever step a crash hits, replaying from the committed offset
repeats only what overwrites itself at the sink.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
from numpy.typing import ArrayLike, NDArray

from headgate.core.batch import Batch
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.divide import DIVIDE_BYTES
from headgate.core.errors import DataError
from headgate.core.log import Log, Record, TopicPartition
from headgate.core.stage import Selection, Snapshot, StateBlock
from streams.heirs import Heirs, heirs_of
from streams.pipeline import Pipeline
from streams.process.state import (
    BUCKETS,
    PART_BITS,
    Placement,
    bucket_key,
    bucket_of_key,
    newest_records,
    part_bits,
    read_snapshot,
    selection_of,
    snapshot_record,
)
from streams.stages.arrays import NEVER_NS
from streams.stages.columns import StateColumns

_logger = structlog.get_logger()


#: A bucket in which nothing moves is written this often, so that it is known for how long, ns.
_IDLE_NS = 3600 * NS_PER_S

#: Rows of forgotten channels that a table has at least before it is given up for a new one.
_WORTH_ROWS = 10_000

#: When a channel was heard of which nothing is known.
_NEVER_HEARD_NS = -(2**63)


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A device, or several that can't be told apart, whose state is too large for a record.

    Attributes:
        partition: Where it is kept.
        devices: Which.
        detail: How large it is.
    """

    partition: int
    devices: str
    detail: str


@dataclass(slots=True)
class _Written:
    """What is known of a bucket's records.

    Attributes:
        keys: Those in the log that may hold devices.
        next_keys: Those that hold them once what was written last is durable.
        depth: How often it is divided before it is tried whether a part fits.
        at_ns: When it was written last, monotonic time.
    """

    keys: set[bytes] = field(default_factory=set)
    next_keys: set[bytes] = field(default_factory=set)
    depth: int = 0
    at_ns: int = 0


class StateKeeper:
    """Restores the pipeline's state of a partition, and snapshots what has moved since.

    Args:
        log: The log that keeps the ``state`` topic.
        kafka_topic: The topic's name in the log.
        pipeline: Owner of the state.
        placement: Partition and bucket of each device.
        now_ns: Monotonic time: when devices are heard.
    """

    def __init__(
        self,
        log: Log,
        kafka_topic: str,
        pipeline: Pipeline,
        placement: Placement,
        *,
        now_ns: Callable[[], int] = lambda: 0,
    ) -> None:
        #: Snapshots that could not be taken up since the start.
        self.bad_snapshots = 0
        self._log = log
        self._kafka_topic = kafka_topic
        self._pipeline = pipeline
        self._channels: ChannelTable = pipeline.channels
        self._placement = placement
        self._now_ns = now_ns
        never = np.int64(_NEVER_HEARD_NS)
        self._by_device = StateColumns(covered=np.int64(0), has_moved=np.False_, told_ns=never)
        self._by_channel = StateColumns(heard_ns=never, is_forgotten=np.False_)
        self._grow()
        self._written: dict[tuple[int, int], _Written] = {}
        self._too_large: dict[bytes, TooLarge] = {}
        self._new_too_large: list[TooLarge] = []

    async def restore(self, partition: int, end: int | None = None) -> int:
        """Replace what the pipeline knows of a partition's devices by the newest snapshots.

        Args:
            partition: Which one.
            end: The offset of the next reading to come. Snapshots that say they hold what comes
                later are of readings that are not in the log any more.

        Returns:
            How many devices were restored.
        """
        self.forget(partition)
        restored: set[int] = set()
        # Oldest first: where parts of two divisions of a bucket are left, the later ones count.
        for record in await newest_records(self._log, TopicPartition(self._kafka_topic, partition)):
            try:
                bucket = bucket_of_key(record.key)
                written = self._written.setdefault(
                    (partition, bucket), _Written(at_ns=self._now_ns())
                )
                written.keys.add(record.key or b"")
                snapshot = read_snapshot(record)
                if not all(
                    self._placement.is_in(each, partition, bucket) for each in snapshot.devices
                ):
                    raise DataError("bad_record", "a device that is kept elsewhere")
                restored |= self._take_over(snapshot, restored, end)
            except DataError as error:
                # Without it the devices start afresh, which costs their open windows but never
                # stops the gateway; the readings themselves are still in the log.
                self.bad_snapshots += 1
                _logger.error(
                    "A state snapshot can't be read; its devices start without history.",
                    partition=partition,
                    offset=record.offset,
                    error=str(error),
                )
        return len(restored)

    def forget(self, partition: int) -> None:
        """Drop the pipeline's state of a partition's devices."""
        self._grow()
        devices = np.flatnonzero(self._placement.partition == partition).astype(np.int32)
        self._drop(selection_of(self._channels, devices))
        self._has_moved[devices] = False
        self._written = {at: kept for at, kept in self._written.items() if at[0] != partition}

    def without_applied(self, batch: Batch) -> Batch:
        """The batch less the readings that restored snapshots hold; the others are heard now."""
        self._grow()
        if not len(batch):
            return batch
        offsets = np.array([record.offset for record in batch.origin], np.int64)
        is_new = offsets[batch.source] >= self._covered[batch.device]
        if not is_new.all():
            batch = batch.take(is_new)
        self._heard_ns[batch.channel] = self._now_ns()
        return batch

    def told(
        self, devices: NDArray[np.int32], partition: int, offset: int, *, adds: bool
    ) -> NDArray[np.int32]:
        """Of the devices that something is said of, those of which it is new.

        Args:
            devices: int32[d], rows.
            partition: Where it stands in ``readings``: only devices that are kept there count.
            offset: Likewise; snapshots may hold it already.
            adds: Whether devices become known by it.
        """
        self._grow()
        is_new = self._placement.partition[devices] == partition
        is_new &= offset >= self._covered[devices]
        if not adds:
            is_new &= self._known_devices()[devices]
        devices = devices[is_new]
        self._told_ns[devices] = self._now_ns()
        return devices

    def touch(self, devices: NDArray[np.int32], derived: ArrayLike = ()) -> None:
        """Note that these devices' state has moved since their last snapshot.

        Derived channels that came of that are heard by it: no reading of theirs comes in.
        """
        self._grow()
        self._has_moved[devices] = True
        self._heard_ns[np.asarray(derived, np.intp)] = self._now_ns()

    def count(self, partition: int) -> int:
        """Devices of a partition of which anything is known."""
        self._grow()
        ours = self._placement.partition == partition
        return int(np.count_nonzero(self._known_devices() & ours))

    def moved_buckets(self, partition: int) -> list[int]:
        """Buckets of a partition in which a device has moved since its snapshot, rising."""
        self._grow()
        return self._buckets(self._has_moved, partition)

    def due_buckets(self, partition: int) -> list[int]:
        """Those that have moved, and those whose silence has not been noted for long, rising."""
        old_ns = self._now_ns() - _IDLE_NS
        idle = [
            bucket
            for bucket in self._buckets(self._known_devices(), partition)
            if self._records_of(partition, bucket).at_ns <= old_ns
        ]
        return sorted({*self.moved_buckets(partition), *idle})

    def forget_silent(self, after_ns: int) -> tuple[int, int]:
        """Forget the channels that have been silent for longer, and devices that have none left.

        Nothing is forgotten that has anything open. What is forgotten is left out of the next
        snapshots.

        Returns:
            How many devices and channels were forgotten.
        """
        self._grow()
        told = self._forget_told(after_ns)
        device_of = self._channels.device_of
        is_known = self._heard_ns > _NEVER_HEARD_NS
        is_old = is_known & (self._heard_ns < self._now_ns() - after_ns)
        if not is_old.any():
            return told, 0
        asked = selection_of(self._channels, np.unique(device_of[is_old]).astype(np.int32))
        is_old[asked.channels[self._pipeline.busy(asked)]] = False
        has_others = np.zeros(len(self._channels.devices), np.bool_)
        has_others[device_of[is_known & ~is_old]] = True
        concerned = np.unique(device_of[is_old]).astype(np.int32)
        gone = concerned[~has_others[concerned]]
        self._drop(selection_of(self._channels, gone))
        channels = np.flatnonzero(is_old).astype(np.int32)
        self._drop(Selection(gone[:0], channels[has_others[device_of[channels]]]))
        self._is_forgotten[channels] = True
        self._channels.texts.forget(channels.tolist())
        self._has_moved[concerned] = True
        return told + len(gone), len(channels)

    def _forget_told(self, after_ns: int) -> int:
        """Forget the devices that have sent nothing, and were told of long ago; how many."""
        is_gone = self._told_ns > _NEVER_HEARD_NS
        is_gone &= self._told_ns < self._now_ns() - after_ns
        is_gone[self._channels.device_of[self._heard_ns > _NEVER_HEARD_NS]] = False
        gone = np.flatnonzero(is_gone).astype(np.int32)
        self._drop(selection_of(self._channels, gone))
        self._has_moved[gone] = True
        return len(gone)

    @property
    def is_mostly_forgotten(self) -> bool:
        """Whether most of the table's rows are of what is forgotten, and it is worth a new one."""
        self._grow()
        is_gone = self._is_forgotten & (self._heard_ns == _NEVER_HEARD_NS)
        count = int(np.count_nonzero(is_gone))
        # What is too large to be written down would be lost.
        return count >= _WORTH_ROWS and 2 * count > len(self._channels) and not self._too_large

    def _buckets(self, is_concerned: NDArray[np.bool_], partition: int) -> list[int]:
        ours = is_concerned & (self._placement.partition == partition)
        buckets: list[int] = np.unique(self._placement.bucket[ours]).tolist()
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

    def give_up(self, devices: NDArray[np.int32]) -> None:
        """Let devices start without history; their readings that were applied stay so."""
        self._pipeline.forget(selection_of(self._channels, devices))
        self.touch(devices)

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
        is_known = self._known_devices() & (self._placement.partition == partition)
        records: list[Record] = []
        for bucket in buckets:
            devices = np.flatnonzero(is_known & (self._placement.bucket == bucket))
            records += self._bucket_records(
                partition, bucket, devices.astype(np.int32), next_offset
            )
        return records

    def settle(self, partition: int, buckets: Sequence[int]) -> None:
        """Note that the snapshots of these buckets are durable."""
        is_done = (self._placement.partition == partition) & np.isin(
            self._placement.bucket, buckets
        )
        self._has_moved[: len(is_done)] &= ~is_done
        for bucket in buckets:
            written = self._written[partition, bucket]
            written.keys = written.next_keys
            written.at_ns = self._now_ns()

    def take_too_large(self) -> list[TooLarge]:
        """What has been found too large to be written down since the last call; each once."""
        taken, self._new_too_large = self._new_too_large, []
        return taken

    def _records_of(self, partition: int, bucket: int) -> _Written:
        return self._written.setdefault((partition, bucket), _Written(at_ns=self._now_ns()))

    def _bucket_records(
        self, partition: int, bucket: int, devices: NDArray[np.int32], next_offset: int
    ) -> list[Record]:
        written = self._records_of(partition, bucket)
        parts = list(self._parts(partition, bucket, "", devices, next_offset))
        size = sum(record.size_bytes for record in parts)
        written.depth = max(0, (size // DIVIDE_BYTES).bit_length() - 1)
        written.next_keys = {record.key or b"" for record in parts}
        # Behind the new ones: until those are durable, the old ones are what there is.
        stale = sorted(written.keys - written.next_keys)
        written.keys |= written.next_keys
        return parts + [self._nobody(key, next_offset) for key in stale]

    def _parts(
        self, partition: int, bucket: int, path: str, devices: NDArray[np.int32], next_offset: int
    ) -> Iterator[Record]:
        """The bucket's devices below a path, in as many records as it takes."""
        if len(path) >= self._records_of(partition, bucket).depth or len(devices) <= 1:
            key = bucket_key(bucket, path)
            record, found = self._try(key, devices, next_offset)
            if record is not None:
                yield record
                return
            if len(devices) == 1 or len(path) == PART_BITS:
                self._note_too_large(key, partition, devices, found)
                yield self._nobody(key, next_offset)
                return
        known = self._channels.devices
        goes_right = np.array(
            [part_bits(known[row])[len(path)] == "1" for row in devices.tolist()], np.bool_
        )
        for bit, some in (("0", devices[~goes_right]), ("1", devices[goes_right])):
            yield from self._parts(partition, bucket, path + bit, some, next_offset)

    def _try(
        self, key: bytes, devices: NDArray[np.int32], next_offset: int
    ) -> tuple[Record | None, str]:
        """The record of these devices, if they have room in one; and how large it is."""
        try:
            record = snapshot_record(key, self._snapshot(devices, next_offset))
        except DataError as error:
            return None, error.detail
        return record if record.size_bytes <= DIVIDE_BYTES else None, f"{record.size_bytes} bytes"

    def _nobody(self, key: bytes, next_offset: int) -> Record:
        """What takes the place of a record that is not needed any more."""
        return snapshot_record(key, self._snapshot(np.empty(0, np.int32), next_offset))

    def _note_too_large(
        self, key: bytes, partition: int, devices: NDArray[np.int32], found: str
    ) -> None:
        key = b"%d:%b" % (partition, key)
        if key not in self._too_large:
            names = ", ".join(
                f"{self._channels.devices[row].feed} {self._channels.devices[row].name}"[:300]
                for row in devices[:10].tolist()
            )
            self._too_large[key] = TooLarge(partition, names, found)
            self._new_too_large.append(self._too_large[key])
            _logger.error(
                "A device's state is too large for the log; after a restart it starts without "
                "history.",
                devices=names,
                found=found,
            )

    def _snapshot(self, devices: NDArray[np.int32], next_offset: int) -> Snapshot:
        every = selection_of(self._channels, devices)
        is_known = self._heard_ns[every.channels] > _NEVER_HEARD_NS
        selection = Selection(every.devices, every.channels[is_known])
        blocks = self._pipeline.snapshot(selection)
        channels = selection.channels.tolist()
        # What no state has is not asked for any more; without this they would only grow in number.
        self._channels.texts.keep(channels, _floats(blocks))
        return Snapshot(
            next_offset=next_offset,
            devices=[self._channels.devices[row] for row in selection.devices.tolist()],
            channels=self._channels.keys(selection.channels),
            fingerprints=self._pipeline.fingerprints,
            blocks=blocks,
            # A device's state can be ahead of what has been read again since a restart.
            covered=np.maximum(self._covered[selection.devices], next_offset),
            silent_ns=np.maximum(self._now_ns() - self._heard_ns[selection.channels], 0),
            texts=self._channels.texts.of(channels),
        )

    def _take_over(self, snapshot: Snapshot, restored: set[int], end: int | None) -> set[int]:
        """Rows of the devices that were taken over; all of them or, with DataError, none."""
        heirs = heirs_of(snapshot, self._channels)
        self._grow()
        rows = {*heirs.devices.tolist(), *heirs.split.tolist()}
        # What an older record said of them is replaced, channels that are no longer there too.
        again = np.array(sorted(rows & restored), np.int32)
        if len(again):
            self._drop(selection_of(self._channels, again))
        try:
            self._pipeline.restore(heirs, snapshot)
        except DataError:
            self._drop(selection_of(self._channels, np.array(sorted(rows), np.int32)))
            restored -= rows
            raise
        self._note(heirs, snapshot, end)
        return rows

    def _note(self, heirs: Heirs, snapshot: Snapshot, end: int | None) -> None:
        """Note how far a restored snapshot reaches, and when its channels were heard."""
        covered = np.full(len(snapshot.devices), snapshot.next_offset, np.int64)
        if snapshot.covered is not None:
            covered = snapshot.covered
        split = int(covered.max(initial=0))
        if end is not None:
            # The topic was made anew: its readings are others than those that are covered.
            covered = np.where(covered > end, 0, covered)
            split = 0 if split > end else split
        self._covered[heirs.devices] = covered
        self._covered[heirs.split] = split
        silent_ns = 0 if snapshot.silent_ns is None else np.minimum(snapshot.silent_ns, NEVER_NS)
        heard_ns = self._now_ns() - np.broadcast_to(silent_ns, len(heirs.channels))
        self._heard_ns[heirs.channels] = np.maximum(self._heard_ns[heirs.channels], heard_ns)
        # Those that have sent nothing are there for what was told of them.
        others = np.setdiff1d(heirs.devices, self._channels.device_of[heirs.channels])
        self._told_ns[np.setdiff1d(others, heirs.ended)] = self._now_ns()

    def _known_devices(self) -> NDArray[np.bool_]:
        """bool[devices]: those of which anything has been heard, or was told."""
        is_known = self._told_ns > _NEVER_HEARD_NS
        is_known[self._channels.device_of[self._heard_ns > _NEVER_HEARD_NS]] = True
        return is_known

    def _drop(self, selection: Selection) -> None:
        self._pipeline.forget(selection)
        self._covered[selection.devices] = 0
        self._told_ns[selection.devices] = _NEVER_HEARD_NS
        self._heard_ns[selection.channels] = _NEVER_HEARD_NS

    def _grow(self) -> None:
        """Follow the table. What is used of the columns are views with just its rows."""
        devices, channels = len(self._channels.devices), len(self._channels)
        self._by_device.grow(devices)
        self._by_channel.grow(channels)
        self._covered: NDArray[np.int64] = self._by_device["covered"][:devices]
        self._has_moved: NDArray[np.bool_] = self._by_device["has_moved"][:devices]
        # Monotonic time: when something was said of whether it is there.
        self._told_ns: NDArray[np.int64] = self._by_device["told_ns"][:devices]
        # Monotonic time; before 0 where it was in another process.
        self._heard_ns: NDArray[np.int64] = self._by_channel["heard_ns"][:channels]
        self._is_forgotten: NDArray[np.bool_] = self._by_channel["is_forgotten"][:channels]


def _floats(blocks: Mapping[str, StateBlock]) -> NDArray[np.float64]:
    """float64[n]: all values that stand in stages' states, codes of texts among them."""
    columns = [
        array.ravel()
        for block in blocks.values()
        for array in block.values()
        if array.dtype == np.float64
    ]
    return np.concatenate([np.empty(0), *columns])
