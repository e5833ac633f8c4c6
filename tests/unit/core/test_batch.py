"""The batch keeps its columns together and knows where each reading came from."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.core.batch import Batch, Origin, Quality, concat
from headgate.core.channels import Channel, ChannelTable, Device, device_partition


@pytest.fixture
def channels() -> ChannelTable:
    table = ChannelTable()
    for device in ("p1", "p2"):
        table.row(Channel("pump", device, "pump", "flow", "l/min", (("line", "a"),)))
    return table


def _batch(channels: ChannelTable, offset: int, values: list[float]) -> Batch:
    n = len(values)
    return Batch.from_columns(
        channels, np.arange(n), [0] * n, values, origin=Origin("readings", 0, offset)
    )


def test_nan_becomes_missing(channels: ChannelTable) -> None:
    """A value that is not a number carries the MISSING flag, and only that one does."""
    batch = _batch(channels, 0, [1.0, float("nan")])

    assert batch.quality.tolist() == [0, Quality.MISSING]
    assert batch.usable.tolist() == [True, False]


def test_joined_batches_keep_the_source_of_each_reading(channels: ChannelTable) -> None:
    """After joining and cutting, each reading still names the record it came from."""
    joined = concat([_batch(channels, 7, [1.0, 2.0]), _batch(channels, 9, [3.0])], channels)
    cut = joined.take(np.array([2, 0]))

    assert [joined.origin[source].offset for source in cut.source.tolist()] == [9, 7]


def test_joining_nothing_is_an_empty_batch(channels: ChannelTable) -> None:
    """No batches make a batch of no readings."""
    assert len(concat([], channels)) == 0


def test_flagging_leaves_the_original_alone(channels: ChannelTable) -> None:
    """A flag is added to a copy, because columns are shared between batches."""
    batch = _batch(channels, 0, [1.0, 2.0])
    flagged = batch.flagged(np.array([1]), Quality.SPIKE)

    assert batch.quality.tolist() == [0, 0]
    assert flagged.quality.tolist() == [0, Quality.SPIKE]


def test_a_channel_survives_its_key() -> None:
    """A channel read back from its key is the same channel, odd characters included."""
    channel = Channel("f", 'a "b",=\\é', "m", "x", "°C", (("k", "v w"),))

    assert Channel.from_key(channel.key) == channel


def test_the_table_gives_equal_channels_one_row() -> None:
    """Rows are stable, count up from 0, and group by device."""
    table = ChannelTable()
    rows = [
        table.row(Channel("f", f"d{n % 100}", "m", f"x{n // 100}")) for n in (*range(200), 0, 199)
    ]

    assert rows == [*range(200), 0, 199]
    assert table.device_of.tolist() == [*range(100), *range(100)]
    assert table.row_of_key(table.channels[5].key) == 5


def test_equal_device_names_of_two_feeds_are_two_devices() -> None:
    """A device belongs to its feed."""
    table = ChannelTable()

    assert table.device_row(Device("a", "d")) != table.device_row(Device("b", "d"))


def test_a_device_stays_in_its_partition() -> None:
    """The hash is fixed for good: records written years ago are found again."""
    assert [device_partition("pump", f"p{n}", 4) for n in range(6)] == [1, 3, 1, 3, 0, 2]
