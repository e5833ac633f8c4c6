"""Windows of counters, in records and in digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core import records as kinds
from headgate.core.channels import Channel, ChannelTable
from headgate.core.counts import in_digits, joined_counts
from headgate.core.errors import DataError
from headgate.core.results import STATISTICS, Aggregates


def _windows() -> tuple[Aggregates, ChannelTable]:
    table = ChannelTable()
    energy = table.row(Channel("f", "d", "f", "energy", "kWh"))
    mode = table.row(Channel("f", "d", "f", "mode", is_text=True))
    flow = table.row(Channel("f", "d", "f", "flow"))
    idle = table.texts.add(mode, "idle")
    one = np.ones(3, np.int64)
    windows = Aggregates(
        channel=np.array([energy, mode, flow], np.int32),
        start_ns=0 * one,
        window_ns=10 * one,
        n=one,
        flagged=0 * one,
        expected=one,
        stats={
            **{name: np.array([np.nan, np.nan, 2.5]) for name in STATISTICS},
            "last": np.array([0.2, idle, 2.5]),
        },
        sketch_keys=[np.empty(0, np.int32)] * 3,
        sketch_counts=[np.empty(0, np.int64)] * 3,
        spent=[{}, {idle: 10}, {}],
        counts={
            "increase": np.array([0.4, np.nan, np.nan]),
            "increase_ns": np.array([9, 0, 0]),
            "resets": np.array([1, -1, -1]),
        },
    )
    return windows, table


def test_windows_come_back_with_what_was_counted() -> None:
    """In a version of their own, beside texts; others are as they were."""
    windows, table = _windows()
    record = kinds.aggregates_record(windows, table)
    back = kinds.decode_aggregates(record.value, ChannelTable())

    assert kinds.schema_of(record.headers) == kinds.COUNT_AGGREGATES_SCHEMA
    for name, column in windows.counts.items():
        np.testing.assert_array_equal(back.counts[name], column)
    assert back.spent == windows.spent
    rows = list(kinds.kind_of(record.headers).rows(record.value, lambda *_: True))
    found = [{name: row.get(name) for name in ("increase", "increase_s", "resets")} for row in rows]
    assert found[0] == {"increase": 0.4, "increase_s": 9e-9, "resets": 1}
    assert found[2] == {"increase": None, "increase_s": None, "resets": None}
    others = kinds.aggregates_record(windows.take(np.array([1, 2])), table)
    assert kinds.schema_of(others.headers) == kinds.TEXT_AGGREGATES_SCHEMA


@pytest.mark.parametrize(("name", "value"), [("increase_ns", -1), ("resets", -2)])
def test_a_record_that_counts_less_than_nothing_is_refused(name: str, value: int) -> None:
    """It is nobody's."""
    windows, table = _windows()
    counts = {**windows.counts, name: np.array([0, 0, value])}
    written = kinds.encode_aggregates(replace(windows, counts=counts), table)
    with pytest.raises(DataError, match="less than no time"):
        kinds.decode_aggregates(written, ChannelTable())


def test_windows_without_counts_join_those_with_some() -> None:
    """As of channels that are no counters."""
    windows, _ = _windows()
    joined = joined_counts([replace(windows, counts={}), windows])

    assert joined["resets"].tolist() == [-1, -1, -1, 1, -1, -1]
    assert joined_counts([replace(windows, counts={})]) == {}


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 3))
def test_differences_have_the_digits_of_what_they_are_of(one: int, other: int, places: int) -> None:
    """As if they were worked out on paper."""
    ten = 10**places
    largest = np.array([max(one, other) / ten])
    found = in_digits(np.array([one / ten - other / ten]), largest)

    assert found.tolist() == [(one - other) / ten]


def test_numbers_without_digits_are_left_as_they_are() -> None:
    """The largest, the smallest, and such as are none."""
    odd = np.array([1e300, 1e-300, 0.0, np.nan, np.inf])
    np.testing.assert_array_equal(in_digits(odd, odd), odd)
