"""Durations and sizes read as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.units import format_duration, parse_duration_ns, parse_size_bytes


@pytest.mark.parametrize(
    ("text", "ns"),
    [("10s", 10**10), ("1.5h", 5400 * 10**9), ("20 ms", 2 * 10**7), ("7d", 604800 * 10**9)],
)
def test_a_duration_is_read(text: str, ns: int) -> None:
    """Number and unit, with or without a space, whole or not."""
    assert parse_duration_ns(text) == ns


@pytest.mark.parametrize("text", ["10", "s", "10 parsecs", "-1s", "", 10, None])
def test_what_is_no_duration_is_refused(text: object) -> None:
    """A bare number has no unit, so it is refused with the units that are allowed."""
    with pytest.raises(ValueError, match="ns, us"):
        parse_duration_ns(text)


def test_sizes_know_both_kinds_of_prefix() -> None:
    """Decimal and binary prefixes are told apart."""
    assert (parse_size_bytes("2kB"), parse_size_bytes("2KiB")) == (2000, 2048)


@given(st.integers(0, 10**18))
def test_a_written_duration_reads_back(ns: int) -> None:
    """Formatting loses nothing."""
    assert parse_duration_ns(format_duration(ns)) == ns
