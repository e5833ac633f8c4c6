"""Times in ISO 8601, to whole nanoseconds since 1970 UTC and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def parse_iso_ns(text: str) -> int:
    """A time in ns since 1970 UTC; without an offset it means UTC, without a time of day midnight.

    Raises:
        ValueError: It is no ISO 8601.
    """
    moment = datetime.fromisoformat(text)
    return moment_ns(moment if moment.tzinfo else moment.replace(tzinfo=UTC), text)


def moment_ns(moment: datetime, text: str = "") -> int:
    """A moment, which has a zone, in ns since 1970 UTC.

    Args:
        moment: Python's, which ends at the microsecond.
        text: What it was read from: two readings may differ in the digits past that.
    """
    return (moment - _EPOCH) // _MICROSECOND * 1000 + _nanoseconds_past_the_microsecond(text)


def iso_text(time_ns: int) -> str:
    """A time, ns since 1970 UTC, in ISO 8601 with all its digits."""
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{rest_ns:09d}Z"


def _nanoseconds_past_the_microsecond(text: str) -> int:
    _, point, fraction = text.replace(",", ".").partition(".")
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    return int(digits[6:9].ljust(3, "0")) if point and len(digits) > 6 else 0
