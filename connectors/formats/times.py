"""Event times as devices write them, to whole nanoseconds since 1970 UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from headgate.core.errors import DataError

_NS_PER_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def number_to_ns(value: object, ns_per_unit: int) -> int:
    """A number of units since 1970, whole or not, in ns.

    A fraction is taken as it was written, not as its nearest binary fraction: 0.1 s is 100 ms to
    the nanosecond.

    Raises:
        DataError: ``bad_time`` for what is no finite number.
    """
    if type(value) is int:
        return value * ns_per_unit
    if type(value) is float and value - value == 0:
        return int(Decimal(repr(value)) * ns_per_unit)
    raise DataError("bad_time", f"expected a number, got {value!r:.60}")


def iso8601_to_ns(value: object) -> int:
    """An ISO 8601 text in ns; without an offset it means UTC.

    Digits past the microsecond are kept, since nanoseconds are what two readings may differ in.

    Raises:
        DataError: ``bad_time`` for any other text or type.
    """
    if not isinstance(value, str):
        raise DataError("bad_time", f"expected an ISO 8601 text, got {value!r:.60}")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise DataError("bad_time", f"expected an ISO 8601 text, got {value!r:.60}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND * 1000 + _nanoseconds_past_the_microsecond(value)


def ns_per_unit(unit: str) -> int:
    """Nanoseconds in a unit of ``TimeMapping.unit`` other than ``iso8601``."""
    return _NS_PER_UNIT[unit]


def _nanoseconds_past_the_microsecond(text: str) -> int:
    _, point, fraction = text.replace(",", ".").partition(".")
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    return int(digits[6:9].ljust(3, "0")) if point and len(digits) > 6 else 0
