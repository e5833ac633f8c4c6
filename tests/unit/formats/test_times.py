"""What is taken for an event time, and for which."""

from __future__ import annotations

import pytest

from connectors.formats.times import EventTimes
from connectors.formats.unit_times import number_to_ns
from headgate.config.event_time import TimeConfig
from headgate.core.errors import DataError

_NOW_NS = 1_800_000_000 * 10**9


@pytest.mark.parametrize(
    ("value", "unit_ns", "ns"),
    [(0.1, 10**9, 10**8), (1750000000.123456789, 10**9, 1750000000123456717), (3, 1, 3)],
)
def test_numbers_of_units_are_exact(value: float, unit_ns: int, ns: int) -> None:
    """A decimal fraction is taken as written."""
    assert abs(number_to_ns(value, unit_ns) - ns) <= 128


def _time_ns(value: object, arrived_ns: int = _NOW_NS, **mapping: object) -> int:
    settings = {"path": "t", "unit": "iso8601", "not_before": "1900-01-01", **mapping}
    return EventTimes(TimeConfig.model_validate(settings)).time_ns(value, arrived_ns)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T00:00:01.123456789Z", 1_123_456_789),
        ("1970-01-01 01:00:00+01:00", 0),
        ("1970-01-01T01:00:00+0100", 0),
        ("19700101T000001Z", 10**9),
        ("1970-01-01T00:00", 0),
    ],
)
def test_iso_8601(text: str, ns: int) -> None:
    """With and without offset, down to the nanosecond."""
    assert _time_ns(text) == ns


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ("yesterday", "expected an ISO 8601 text"),
        (5, "expected an ISO 8601 text"),
        (None, "expected an ISO 8601 text"),
        (float("inf"), "expected an ISO 8601 text"),
        ("2020-13-01", "expected an ISO 8601 text"),
        ("2020-12-01", "without a time of day"),
        ("20201201", "without a time of day"),
        ("2020-W10-1", "without a time of day"),
        ("1850-01-01T00:00", "before time.not_before"),
        ("2100-01-01T00:00", "further ahead than time.max_ahead"),
        (["2020-12-01T00:00"], "got an array of 1"),
    ],
)
def test_what_is_no_time_has_its_reason(value: object, detail: str) -> None:
    """A day alone is none: midnight would be a guess."""
    with pytest.raises(DataError, match=f"bad_time: .*{detail}"):
        _time_ns(value)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2027-01-10T13:00:00", "2027-01-10T12:00:00Z"),
        ("2026-07-10 14:00:00.5", "2026-07-10T12:00:00.5Z"),
        ("2026-07-10T14:00:00Z", "2026-07-10T14:00:00Z"),
        # In the night the clock goes back an hour comes twice; it is 01:10 UTC when these come.
        ("2026-10-25T02:05:00", "2026-10-25T01:05:00Z"),
        ("2026-10-25T02:50:00", "2026-10-25T00:50:00Z"),
    ],
)
def test_a_local_time_is_of_the_feeds_zone(text: str, utc: str) -> None:
    """In the hour that comes twice it is the later one that has come."""
    arrived_ns = _time_ns("2026-10-25T01:10:00Z")
    options = {"zone": "Europe/Berlin", "max_ahead": "365d"}

    assert _time_ns(text, arrived_ns, **options) == _time_ns(utc)


def test_a_local_time_without_a_zone_means_utc_and_is_told() -> None:
    """The first of them, as an example."""
    times = EventTimes(TimeConfig(path="t", unit="iso8601"))
    assert times.time_ns("2026-01-01T00:00:00Z", _NOW_NS) == 1767225600 * 10**9
    assert times.zoneless == ""

    assert times.time_ns("2026-01-01T00:00:00", _NOW_NS) == 1767225600 * 10**9
    times.time_ns("2026-01-01T00:00:01", _NOW_NS)
    assert times.zoneless == "2026-01-01T00:00:00"


@pytest.mark.parametrize(
    ("value", "ns"),
    [("1750000000", 1750000000 * 10**9), (" 1750000000.25 ", 1750000000_250_000_000)],
)
def test_a_number_in_a_text_is_a_time(value: str, ns: int) -> None:
    """To the nanosecond."""
    assert _time_ns(value, unit="s") == ns


@pytest.mark.parametrize("value", ["1e400", "1e-400", "1e999999999", "1e-999999999999999999999"])
def test_a_number_without_end_is_no_time(value: str) -> None:
    """Its digits are never written out."""
    with pytest.raises(DataError, match="bad_time"):
        _time_ns(value, unit="s")


@pytest.mark.parametrize(
    ("pattern", "text", "ns"),
    [
        ("%d.%m.%Y %H:%M:%S", "02.01.1970 00:00:01", 86_401 * 10**9),
        ("%Y/%m/%d %H:%M:%S.%f", " 1970/01/01 00:00:00.25\n", 250_000_000),
        ("%a, %d %b %Y %H:%M:%S %z", "Thu, 01 Jan 1970 02:00:01 +0200", 10**9),
        ("%m/%d/%y %I:%M %p", "01/02/70 01:00 AM", 90_000 * 10**9),
    ],
)
def test_times_as_a_pattern_has_them(pattern: str, text: str, ns: int) -> None:
    """Without a zone they mean UTC, or the zone that is configured."""
    settings = {"path": "t", "not_before": "1900-01-01", "pattern": pattern}
    times = EventTimes(TimeConfig.model_validate(settings))
    assert times.time_ns(text, _NOW_NS) == ns
    assert bool(times.zoneless) == ("%z" not in pattern)
    settings["zone"] = "Asia/Tokyo"
    if "%z" not in pattern:
        tokyo = EventTimes(TimeConfig.model_validate(settings))
        assert tokyo.time_ns(text, _NOW_NS) == ns - 9 * 3600 * 10**9


@pytest.mark.parametrize(
    "value", ["2026-11-28T12:00:00", "", 5, None, "1" * 10_000, "32.01.2026 00:00"]
)
def test_what_is_not_of_the_pattern_is_no_time(value: object) -> None:
    """And the reason says what is expected."""
    times = EventTimes(TimeConfig(path="t", pattern="%d.%m.%Y %H:%M"))
    with pytest.raises(DataError, match=r'bad_time: expected a text as "%d\.%m\.%Y %H:%M", got '):
        times.time_ns(value, _NOW_NS)


@pytest.mark.parametrize("pattern", ["%d.%m.%Y", "%H:%M:%S", "%Q", "now", "%d.%m. %H:%M", "%Y %("])
def test_a_pattern_has_date_and_time(pattern: str) -> None:
    """Or the times would be of another day."""
    with pytest.raises(ValueError, match="expected a date and a time of day"):
        TimeConfig(path="t", pattern=pattern)


def test_a_pattern_is_of_texts() -> None:
    """A unit is of numbers."""
    with pytest.raises(ValueError, match="pattern is for texts"):
        TimeConfig(path="t", pattern="%d.%m.%Y %H:%M", unit="s")
    assert TimeConfig(path="t", pattern="%d.%m.%Y %H:%M", unit="iso8601").is_text


def test_names_of_zones_are_not_read() -> None:
    """Python reads them and does nothing with them."""
    with pytest.raises(ValueError, match="expected %z, an offset, in place of %Z"):
        TimeConfig(path="t", pattern="%d.%m.%Y %H:%M %Z")


def test_what_is_no_text_is_not_made_one() -> None:
    """A value that is nested as deep as can be, or is very long."""
    times = EventTimes(TimeConfig(path="t", pattern="%d.%m.%Y %H:%M"))
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(DataError, match="got an array of 1"):
        times.time_ns(deep, _NOW_NS)
    while deep:  # without this, Python would take it apart as deep as it is
        deep = deep.pop()  # type: ignore[assignment]
