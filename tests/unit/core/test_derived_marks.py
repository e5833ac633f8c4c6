"""Records of windows say which of them are of derived channels."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.core import records as kinds
from headgate.core.channels import Channel, ChannelTable
from headgate.core.divide import DIVIDE_BYTES
from headgate.core.errors import DataError
from headgate.core.results import STATISTICS, Aggregates


def _windows(count: int, keys: int = 0) -> tuple[Aggregates, ChannelTable]:
    """Windows of one channel, with sketches of so many buckets."""
    table = ChannelTable()
    rows = np.full(count, table.row(Channel("f", "d", "f", "x")), np.int32)
    one = np.ones(count, np.int64)
    random = np.random.default_rng(0)
    windows = Aggregates(
        channel=rows,
        start_ns=np.arange(count) * 10,
        window_ns=one * 10,
        n=one,
        flagged=one * 0,
        expected=one,
        stats={name: np.zeros(count) for name in STATISTICS},
        sketch_keys=[np.arange(keys, dtype=np.int32)] * count,
        sketch_counts=list(random.integers(1, 1 << 60, (count, keys))),
    )
    return windows, table


@pytest.mark.parametrize("count", [1, 7, 8, 9, 20])
def test_the_mark_comes_back(count: int) -> None:
    """For each window; and the schema is that of the others, which older readers know."""
    windows, table = _windows(count)
    is_derived = np.arange(count) % 3 == 0
    record = kinds.aggregates_record(windows, table, is_derived)

    np.testing.assert_array_equal(kinds.derived_in(record.headers, count), is_derived)
    assert kinds.schema_of(record.headers) == kinds.AGGREGATES_SCHEMA
    assert len(kinds.decode_aggregates(record.value, ChannelTable())) == count


def test_records_without_such_windows_are_as_they_were() -> None:
    """Nothing is said, and nothing is derived."""
    windows, table = _windows(3)
    record = kinds.aggregates_record(windows, table, np.zeros(3, np.bool_))

    assert record == kinds.aggregates_record(windows, table)
    assert [name for name, _ in record.headers] == ["schema"]
    assert not kinds.derived_in(record.headers, 3).any()


def test_a_record_that_is_divided_marks_its_own_windows() -> None:
    """Each part those that are in it."""
    windows, table = _windows(12, keys=DIVIDE_BYTES // 50)
    is_derived = np.arange(12) >= 5
    records = kinds.aggregates_records(windows, table, is_derived)
    counts = [len(kinds.decode_aggregates(each.value, ChannelTable())) for each in records]
    found = [
        kinds.derived_in(each.headers, count) for each, count in zip(records, counts, strict=True)
    ]

    assert len(records) > 1
    np.testing.assert_array_equal(np.concatenate(found), is_derived)


@pytest.mark.parametrize(("mark", "count"), [(b"\1", 9), (b"\1\0", 8), (b"\x80", 7), (b"", 1)])
def test_a_mark_of_other_windows_is_refused(mark: bytes, count: int) -> None:
    """Too few bits, or one of a window that there is not."""
    with pytest.raises(DataError, match="other windows"):
        kinds.derived_in((("schema", b"aggregates/1"), ("derived", mark)), count)
