"""Snapshots of device state as records of the compacted ``state`` topic.

The devices of a partition are spread over ``BUCKETS`` buckets. A bucket is one record: its key
is the bucket's number, so compaction keeps the newest snapshot of each, and its value holds the
state of all the bucket's devices as plain arrays (safetensors, LZ4), with the offset in
``readings`` up to which each of them is complete. A bucket is written only when one of its devices
has moved, and replaying ``readings`` from the committed offset skips, device by device, what the
bucket's snapshot already holds.

A bucket that is too large for a record is divided by a hash of its devices: ``7`` into ``7/0`` and
``7/1``, ``7/1`` into ``7/10`` and ``7/11``. What a key is about never changes, so whatever has been
written of a division when the process is killed, each device is in the newest record that is about
it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, NonNegativeInt
from safetensors import SafetensorError
from safetensors.numpy import load

from headgate.core.channels import ChannelTable, Device, device_hash
from headgate.core.errors import DataError
from headgate.core.ipc import MAX_UNPACKED_BYTES
from headgate.core.log import Log, Record, StoredRecord, TopicPartition, records_between
from headgate.core.lookup import ByDevice
from headgate.core.records import schema_of
from headgate.core.stage import Selection, Snapshot, StateBlock
from headgate.core.texts import MAX_TEXT
from streams.process.tensors import pack

#: Records per partition that its devices' state is spread over. More buckets make smaller
#: records (50,000 devices in 4 partitions are some 400 a bucket); a fixed number, because a
#: device must be found again in the bucket it was written to.
BUCKETS = 32

#: How often a bucket can be divided.
PART_BITS = 64

STATE_SCHEMA = b"state/2"

#: State as it was written when devices were told apart by feed and name alone.
OLD_STATE_SCHEMA = b"state/1"

# Names of what is no stage's.
_HEAD, _COVERED, _SILENT = "head", "covered", "silent_ns"


class Placement:
    """In which partition and bucket each device of a ``ChannelTable`` is kept."""

    def __init__(self, channels: ChannelTable, partitions: int) -> None:
        self._partitions = partitions
        self._partition = ByDevice(channels, np.int32, lambda device: self._place(device)[0])
        self._bucket = ByDevice(channels, np.int32, lambda device: self._place(device)[1])

    def is_in(self, device: Device, partition: int, bucket: int) -> bool:
        """Whether a device, of the table or not, is kept there."""
        return self._place(device) == (partition, bucket)

    @property
    def partition(self) -> NDArray[np.int32]:
        """int32[devices]: the partition of each device known so far."""
        return self._partition[:]

    @property
    def bucket(self) -> NDArray[np.int32]:
        """int32[devices]: the bucket, within its partition, of each device known so far."""
        return self._bucket[:]

    def _place(self, device: Device) -> tuple[int, int]:
        number = device_hash(device.feed, device.name)
        return number % self._partitions, number // self._partitions % BUCKETS


def selection_of(channels: ChannelTable, devices: NDArray[np.int32]) -> Selection:
    """These devices with all their channels."""
    is_selected = np.zeros(len(channels.devices), np.bool_)
    is_selected[devices] = True
    return Selection(devices, np.flatnonzero(is_selected[channels.device_of]).astype(np.int32))


def bucket_key(bucket: int, path: str = "") -> bytes:
    """The key of a bucket's record, or of a part's: the bits of its devices' ``part_bits``."""
    return (f"{bucket}/{path}" if path else str(bucket)).encode()


def bucket_of_key(key: bytes | None) -> int:
    """The bucket that a record is about; raises DataError when its key is none."""
    number, slash, path = (key or b"").partition(b"/")
    is_path = bool(slash) == bool(path) and not set(path) - set(b"01")
    if not number.isdigit() or int(number) >= BUCKETS or not is_path:
        raise DataError("bad_record", f"no key of a state snapshot: {key!r}")
    return int(number)


def part_bits(device: Device) -> str:
    """Which way a device goes each time that its bucket is divided."""
    name = orjson.dumps((device.feed, device.name, device.tags))
    return f"{int.from_bytes(blake2b(name, digest_size=8).digest()):0{PART_BITS}b}"


def snapshot_record(key: bytes, snapshot: Snapshot) -> Record:
    """The snapshot as a record of the ``state`` topic.

    Raises:
        DataError: ``too_large`` when no reader would take it.
    """
    head = {
        "next_offset": snapshot.next_offset,
        "devices": [(each.feed, each.name, dict(each.tags)) for each in snapshot.devices],
        "channels": snapshot.channels,
        "fingerprints": snapshot.fingerprints,
        **({"texts": snapshot.texts} if snapshot.texts else {}),
    }
    tensors: dict[str, NDArray[np.generic]] = {
        _HEAD: np.frombuffer(orjson.dumps(head), np.uint8),
    }
    if snapshot.covered is not None:
        tensors[_COVERED] = snapshot.covered
    if snapshot.silent_ns is not None:
        tensors[_SILENT] = snapshot.silent_ns
    for stage, block in snapshot.blocks.items():
        for name, array in block.items():
            tensors[f"{stage}/{name}"] = np.ascontiguousarray(array)
    size = sum(array.nbytes for array in tensors.values())
    if size > MAX_UNPACKED_BYTES // 2:
        raise DataError("too_large", f"{len(snapshot.devices)} devices, {size} bytes")
    raw = pack(tensors)
    value = len(raw).to_bytes(8, "little") + pa.compress(raw, codec="lz4", asbytes=True)
    return Record(value, key=key, headers=(("schema", STATE_SCHEMA),))


def read_snapshot(record: StoredRecord) -> Snapshot:
    """Read a snapshot back, of this version or the one before.

    What stands in it is only held against itself: whether it is the state of such devices, the
    pipeline has to find out.

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
        tensors: dict[str, NDArray[np.generic]] = load(raw)
        return _snapshot_of(_Head.model_validate_json(tensors.pop(_HEAD).tobytes()), tensors)
    except (
        pa.ArrowException,
        OSError,
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
    ) as error:
        raise DataError("bad_record", f"no state snapshot: {str(error)[:500]}") from error


async def newest_records(log: Log, at: TopicPartition) -> list[StoredRecord]:
    """The newest snapshot of each bucket, or part of one, the oldest of them first.

    Args:
        log: A started log.
        at: A partition of ``state``.
    """
    newest: dict[bytes, StoredRecord] = {}
    async for records in records_between(log, at, *await log.offsets(at)):
        newest.update((record.key or b"", record) for record in records)
    return sorted(newest.values(), key=lambda record: record.offset)


class _Head(BaseModel, strict=True):
    next_offset: NonNegativeInt
    devices: list[tuple[str, str] | tuple[str, str, dict[str, str]]]
    channels: list[str]
    fingerprints: dict[str, str]
    texts: list[tuple[int, str]] = []


def _snapshot_of(head: _Head, tensors: dict[str, NDArray[np.generic]]) -> Snapshot:
    devices = [
        Device(feed, name, tuple(sorted(tags[0].items()))) if tags else Device(feed, name)
        for feed, name, *tags in head.devices
    ]
    if len({*devices}) < len(devices) or len({*head.channels}) < len(head.channels):
        raise ValueError("a device or channel is there twice")
    if any(not 0 <= at < len(head.channels) or len(text) > MAX_TEXT for at, text in head.texts):
        raise ValueError("a text of no channel, or none that was written")
    numbers: dict[str, NDArray[np.int64]] = {}
    for name, count in ((_COVERED, len(devices)), (_SILENT, len(head.channels))):
        if name in tensors:
            array: NDArray[Any] = tensors.pop(name)
            if array.dtype != np.int64 or array.shape != (count,) or (array < 0).any():
                raise ValueError(f"{name}: expected {count} int64, none below 0")
            numbers[name] = array.astype(np.int64)
    blocks: dict[str, StateBlock] = {}
    for path, array in tensors.items():
        stage, name = path.split("/", 1)
        blocks.setdefault(stage, {})[name] = array
    return Snapshot(
        next_offset=head.next_offset,
        devices=devices,
        channels=head.channels,
        fingerprints=head.fingerprints,
        blocks=blocks,
        covered=numbers.get(_COVERED),
        silent_ns=numbers.get(_SILENT),
        texts=head.texts,
    )
