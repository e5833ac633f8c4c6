"""Times in ISO 8601."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.iso import iso_text, parse_iso_ns


@given(st.integers(-(2**62), 2**62))
def test_a_time_comes_back_to_the_nanosecond(time_ns: int) -> None:
    """Before 1970, too."""
    assert parse_iso_ns(iso_text(time_ns)) == time_ns


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01", 10**9),
        ("1970-01-01 01:00:00+01:00", 0),
        ("1970-01-01T00:00:00.123456789Z", 123_456_789),
        ("1970-01-01T00:00:00,5Z", 500_000_000),
        ("1970-01-01T00:00:00.1234567Z", 123_456_700),
    ],
)
def test_what_people_and_devices_write(text: str, time_ns: int) -> None:
    """UTC where it says nothing else; all digits count."""
    assert parse_iso_ns(text) == time_ns


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "12:00"])
def test_anything_else_is_refused(text: str) -> None:
    """As Python refuses it."""
    with pytest.raises(ValueError, match=r"."):
        parse_iso_ns(text)
