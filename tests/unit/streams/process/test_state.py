"""Device state is written so that it can be found again, and damage is noticed."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.core.channels import Channel, ChannelTable, Device, device_partition
from headgate.core.errors import DataError
from headgate.core.log import StoredRecord
from headgate.core.stage import Snapshot
from streams.process.state import (
    BUCKETS,
    Placement,
    bucket_key,
    read_snapshot,
    selection_of,
    snapshot_record,
)


def _table(devices: int, fields: int = 2) -> ChannelTable:
    table = ChannelTable()
    for device in range(devices):
        for field in range(fields):
            table.row(Channel("pump", f"p{device}", "pump", f"f{field}"))
    return table


def _stored(bucket: int, snapshot: Snapshot) -> StoredRecord:
    record = snapshot_record(bucket_key(bucket), snapshot)
    return StoredRecord(0, 0, record.value, record.key, record.headers)


_SNAPSHOT = Snapshot(
    next_offset=42,
    devices=[Device("pump", "p 1"), Device("pump", "é", (("line", ""), ("site", "ü/1")))],
    channels=[Channel("pump", "p 1", "pump", "f").key],
    fingerprints={"clean": "abc"},
    blocks={
        "clean": {"last": np.array([1.5, np.nan]), "empty": np.empty((0, 3), np.int64)},
        "frame.m": {"ring": np.ones((2, 4, 3), np.float32), "open": np.array([True, False])},
    },
)


def test_a_snapshot_comes_back_as_it_was() -> None:
    """Names, offsets and arrays of any shape and type survive."""
    back = read_snapshot(_stored(7, _SNAPSHOT))

    assert back.next_offset == 42
    assert back.devices == _SNAPSHOT.devices
    assert back.channels == _SNAPSHOT.channels
    assert back.fingerprints == _SNAPSHOT.fingerprints
    for stage, block in _SNAPSHOT.blocks.items():
        for name, array in block.items():
            assert back.blocks[stage][name].dtype == array.dtype
            assert back.blocks[stage][name].shape == array.shape
            assert back.blocks[stage][name].tobytes() == array.tobytes()


@pytest.mark.parametrize("cut", [0, 7, 20, -1])
def test_a_damaged_snapshot_is_refused(cut: int) -> None:
    """A record cut anywhere is a data error, never half a state."""
    whole = _stored(0, _SNAPSHOT)
    damaged = StoredRecord(0, 0, whole.value[:cut], whole.key, whole.headers)

    with pytest.raises(DataError, match="bad_record"):
        read_snapshot(damaged)


def test_a_snapshot_of_another_version_is_refused() -> None:
    """A reader never guesses at a version it does not know."""
    whole = _stored(0, _SNAPSHOT)
    other = StoredRecord(0, 0, whole.value, whole.key, (("schema", b"state/9"),))

    with pytest.raises(DataError, match="state/9"):
        read_snapshot(other)


def test_placement_follows_the_table_as_it_grows() -> None:
    """New devices get their partition and bucket; old ones keep theirs."""
    table = _table(10)
    placement = Placement(table, 4)
    before = placement.partition.tolist()
    for device in range(10, 500):
        table.row(Channel("pump", f"p{device}", "pump", "f0"))

    assert placement.partition[:10].tolist() == before
    assert placement.partition.tolist() == [
        device_partition(each.feed, each.name, 4) for each in table.devices
    ]
    assert set(placement.bucket.tolist()) == set(range(BUCKETS))


def test_a_selection_holds_all_channels_of_its_devices() -> None:
    """Channels are found through their device, wherever they stand in the table."""
    table = _table(3)
    table.row(Channel("pump", "p0", "pump", "late"))
    selection = selection_of(table, np.array([0, 2], np.int32))

    assert [table.channels[row].device for row in selection.channels] == [
        "p0",
        "p0",
        "p2",
        "p2",
        "p0",
    ]
