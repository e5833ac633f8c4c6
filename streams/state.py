"""Snapshots of device state as records of the compacted ``state`` topic.

The devices of a partition are spread over ``BUCKETS`` buckets. A bucket is one record: its key
is the bucket's number, so compaction keeps the newest snapshot of each, and its value holds the
state of all the bucket's devices as plain arrays (safetensors, LZ4), with the offset in
``readings`` up to which that state is complete. A bucket is written only when one of its devices
has moved, and replaying ``readings`` from the committed offset skips, device by device, what the
bucket's snapshot already holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from headgate.core.channels import ChannelTable, Device, device_hash
from headgate.core.errors import DataError
from headgate.core.ipc import MAX_UNPACKED_BYTES
from headgate.core.log import Record, StoredRecord
from headgate.core.stage import Selection, StateBlock
from headgate.core.wire import schema_of

#: Records per partition that its devices' state is spread over. More buckets make smaller
#: records (50,000 devices in 4 partitions are some 400 a bucket); a fixed number, because a
#: device must be found again in the bucket it was written to.
BUCKETS = 32

STATE_SCHEMA = b"state/2"

#: State as it was written when devices were told apart by feed and name alone.
OLD_STATE_SCHEMA = b"state/1"

_HEAD = "head"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of one bucket's devices.

    Attributes:
        next_offset: State is complete for all ``readings`` records below this offset.
        devices: In the order of the blocks' device positions; without tags where they were told
            apart by their names alone.
        channels: Channel keys in the order of the blocks' channel positions.
        fingerprints: By stage, what its state's meaning depends on; see ``Pipeline``.
        blocks: By stage, its state.
    """

    next_offset: int
    devices: list[Device]
    channels: list[str]
    fingerprints: dict[str, str]
    blocks: dict[str, StateBlock]


class Placement:
    """In which partition and bucket each device of a ``ChannelTable`` is kept."""

    def __init__(self, channels: ChannelTable, partitions: int) -> None:
        self._channels = channels
        self._partitions = partitions
        self._partition = np.empty(0, np.int32)
        self._bucket = np.empty(0, np.int32)

    @property
    def partition(self) -> NDArray[np.int32]:
        """int32[devices]: the partition of each device known so far."""
        self._extend()
        return self._partition

    @property
    def bucket(self) -> NDArray[np.int32]:
        """int32[devices]: the bucket, within its partition, of each device known so far."""
        self._extend()
        return self._bucket

    def _extend(self) -> None:
        known = len(self._partition)
        new = self._channels.devices[known:]
        if new:
            hashes = np.array([device_hash(each.feed, each.name) for each in new], np.int64)
            partition = (hashes % self._partitions).astype(np.int32)
            bucket = (hashes // self._partitions % BUCKETS).astype(np.int32)
            self._partition = np.concatenate([self._partition, partition])
            self._bucket = np.concatenate([self._bucket, bucket])


def selection_of(channels: ChannelTable, devices: NDArray[np.int32]) -> Selection:
    """These devices with all their channels."""
    is_selected = np.zeros(len(channels.devices), np.bool_)
    is_selected[devices] = True
    return Selection(devices, np.flatnonzero(is_selected[channels.device_of]).astype(np.int32))


def snapshot_record(bucket: int, snapshot: Snapshot) -> Record:
    """The snapshot as a record of the ``state`` topic."""
    head = {
        "next_offset": snapshot.next_offset,
        "devices": [(each.feed, each.name, dict(each.tags)) for each in snapshot.devices],
        "channels": snapshot.channels,
        "fingerprints": snapshot.fingerprints,
    }
    tensors: dict[str, NDArray[np.generic]] = {
        _HEAD: np.frombuffer(orjson.dumps(head), np.uint8),
    }
    for stage, block in snapshot.blocks.items():
        for name, array in block.items():
            tensors[f"{stage}/{name}"] = np.ascontiguousarray(array)
    raw = save(tensors)
    value = len(raw).to_bytes(8, "little") + pa.compress(raw, codec="lz4", asbytes=True)
    return Record(value, key=str(bucket).encode(), headers=(("schema", STATE_SCHEMA),))


def read_snapshot(record: StoredRecord) -> Snapshot:
    """Read a snapshot back, of this version or the one before.

    Raises:
        DataError: ``bad_record`` when the record is damaged or of another version.
    """
    if schema_of(record.headers) not in (STATE_SCHEMA, OLD_STATE_SCHEMA):
        found = schema_of(record.headers).decode(errors="replace")
        raise DataError("bad_record", f"expected {STATE_SCHEMA.decode()}, got {found!r}")
    try:
        size = int.from_bytes(record.value[:8], "little")
        if size > MAX_UNPACKED_BYTES:
            raise ValueError(f"{size} bytes, unpacked")
        raw = pa.decompress(record.value[8:], size, codec="lz4", asbytes=True)
        tensors: Mapping[str, NDArray[np.generic]] = load(raw)
        head = orjson.loads(tensors[_HEAD].tobytes())
        blocks: dict[str, StateBlock] = {}
        for path, array in tensors.items():
            if path != _HEAD:
                stage, name = path.split("/", 1)
                blocks.setdefault(stage, {})[name] = array
        return Snapshot(
            next_offset=head["next_offset"],
            devices=[
                Device(feed, name, tuple(sorted(tags.items())))
                for feed, name, tags in _with_tags(head["devices"])
            ],
            channels=head["channels"],
            fingerprints=head["fingerprints"],
            blocks=blocks,
        )
    except (
        pa.ArrowException,
        OSError,
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise DataError("bad_record", f"no state snapshot: {error}") from error


def _with_tags(devices: list[list[Any]]) -> Iterator[tuple[Any, Any, Any]]:
    for feed, name, *tags in devices:
        yield feed, name, (tags[0] if tags else {})
