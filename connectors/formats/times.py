"""Event times as devices write them, to whole nanoseconds since 1970 UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from connectors.formats.numbers import number_text, shown
from connectors.formats.paths import ABSENT
from headgate.config.feed import TimeMapping
from headgate.core.errors import DataError
from headgate.core.iso import moment_ns

_NS_PER_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}

#: No event time is before this one, of the year 1823; before it is an impossible one.
_EARLIEST_NS = -(2**62)
_NO_TIME_NS = -(2**63)

#: No time is written in more characters.
_LONGEST_TEXT = 100

#: No ISO 8601 text with a time of day is as short as this: ``2026-W10-1``.
_DATE_LENGTH = 10


class EventTimes:
    """Event times of one feed.

    Args:
        mapping: The feed's ``time``, with a path.
    """

    def __init__(self, mapping: TimeMapping) -> None:
        #: A text without a zone that was taken for UTC, for want of ``zone``; empty before any.
        self.zoneless = ""
        self._path = mapping.path
        self._is_text = mapping.is_text
        self._pattern = mapping.pattern
        self._unit = mapping.unit
        self._ns_per_unit = _NS_PER_UNIT.get(mapping.unit, 1)
        self._zone = None if mapping.zone is None else ZoneInfo(mapping.zone)
        # What int64 holds, with room to add and subtract, is all there is.
        self._not_before_ns = max(_iso8601_to_ns(mapping.not_before), _EARLIEST_NS)
        self._max_ahead_ns = min(mapping.max_ahead, -_EARLIEST_NS)

    def time_ns(self, value: object, arrived_ns: int, later_ns: int = 0) -> int:
        """One event time, ns; raises DataError, ``bad_time``, for what is none to believe.

        Args:
            value: What stands in the payload.
            arrived_ns: When the message arrived, ns since 1970 UTC.
            later_ns: So much later it is than that value says.
        """
        if value is ABSENT:
            raise DataError("bad_time", f'no event time at "{self._path}"')
        if isinstance(value, datetime) and value.tzinfo is not None:
            time_ns = moment_ns(value)  # a format with times of its own needs no unit
        elif self._is_text:
            time_ns = self._text_to_ns(value, arrived_ns)
        else:
            time_ns = number_to_ns(value, self._ns_per_unit)
        time_ns += later_ns
        if time_ns < self._not_before_ns:
            raise DataError(
                "bad_time", f"not a believable time: {shown(value)} is before time.not_before"
            )
        if time_ns > arrived_ns + self._max_ahead_ns:
            raise DataError(
                "bad_time",
                f"not a believable time: {shown(value)} is further ahead than time.max_ahead",
            )
        return time_ns

    def column(
        self, values: Sequence[object], arrival_ns: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Event times, int64[r], and which of them, bool[r], are none to believe."""
        try:
            if self._is_text:
                texts = map(self._text_to_ns, values, arrival_ns.tolist())
                times_ns = np.array(list(texts), np.int64)
            elif set(map(type, values)) <= {int}:
                times_ns = _multiplied(np.array(values, np.int64), self._ns_per_unit)
            else:
                unit = self._ns_per_unit
                times_ns = np.array([number_to_ns(each, unit) for each in values], np.int64)
        except (DataError, OverflowError, TypeError):
            # Somebody's is not a time: one by one.
            times_ns = np.empty(len(values), np.int64)
            for position, each in enumerate(values):
                try:
                    times_ns[position] = self.time_ns(each, int(arrival_ns[position]))
                except DataError:
                    times_ns[position] = _NO_TIME_NS
        latest_ns = arrival_ns + self._max_ahead_ns
        return times_ns, (times_ns < self._not_before_ns) | (times_ns > latest_ns)

    def refusal(self, value: object, arrived_ns: int) -> DataError | None:
        """Why a value is none to believe, with what may help; None for one that is."""
        try:
            self.time_ns(value, arrived_ns)
        except DataError as error:
            hint = self.hint(value, arrived_ns)
            detail = f"{error.detail}; {hint}" if hint else error.detail
            return DataError(error.reason, detail)
        return None

    def hint(self, value: object, arrived_ns: int) -> str:
        """What to change in the configuration so that a refused time is one; empty for nothing."""
        for unit, ns in _NS_PER_UNIT.items():
            if unit == self._unit:
                continue
            try:
                time_ns = number_to_ns(value, ns)
            except DataError:
                break
            if self._not_before_ns <= time_ns <= arrived_ns + self._max_ahead_ns:
                return f'with time.unit = "{unit}" it would be one'
        if isinstance(value, str) and not self._is_text:
            try:
                _iso8601_to_ns(value)
            except DataError:
                return ""
            return 'with time.unit = "iso8601" it would be one'
        return ""

    def _moment_of_pattern(self, value: object) -> datetime:
        assert self._pattern is not None  # noqa: S101  (for the type checker)
        if isinstance(value, str) and len(value) <= _LONGEST_TEXT:
            try:
                return datetime.strptime(value.strip(), self._pattern)  # noqa: DTZ007  (see zone)
            except ValueError:
                pass
        raise DataError("bad_time", f'expected a text as "{self._pattern}", got {shown(value)}')

    def _text_to_ns(self, value: object, arrived_ns: int) -> int:
        is_iso = self._pattern is None
        moment = _moment_in(value) if is_iso else self._moment_of_pattern(value)
        text = str(value)  # it is one
        if is_iso and len(text) <= _DATE_LENGTH:
            raise DataError("bad_time", f"a date without a time of day: {shown(value)}")
        if moment.tzinfo is None:
            if self._zone is None:
                self.zoneless = self.zoneless or text
                moment = moment.replace(tzinfo=UTC)
            else:
                try:
                    moment = _in_zone(moment, self._zone, arrived_ns)
                except OverflowError:
                    raise DataError("bad_time", f"no year has it: {shown(value)}") from None
        return moment_ns(moment, text if is_iso else "")


def number_to_ns(value: object, ns_per_unit: int) -> int:
    """A number of units since 1970, whole or not, or such a number as a text, in ns.

    A fraction is taken as it was written, not as its nearest binary fraction: 0.1 s is 100 ms to
    the nanosecond.

    Raises:
        DataError: ``bad_time`` for what is no finite number.
    """
    if type(value) is int:
        return value * ns_per_unit
    if type(value) is float and value - value == 0:
        return int(Decimal(repr(value)) * ns_per_unit)
    if type(value) is str:
        number = number_text(value)
        # No larger than a float is, and no smaller: else its digits would be without end.
        if number is not None and 1e-300 < abs(float(number)) < 1e300:
            return int(Decimal(number) * ns_per_unit)
    raise DataError("bad_time", f"expected a number, got {shown(value)}")


def _iso8601_to_ns(value: object) -> int:
    """An ISO 8601 text in ns; without an offset it means UTC, without a time midnight."""
    moment = _moment_in(value)
    return moment_ns(moment if moment.tzinfo else moment.replace(tzinfo=UTC), str(value))


def _moment_in(value: object) -> datetime:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    raise DataError("bad_time", f"expected an ISO 8601 text, got {shown(value)}")


def _in_zone(moment: datetime, zone: tzinfo, arrived_ns: int) -> datetime:
    """A local time in its zone.

    In the hour that comes twice it is the second time, unless that has not come yet.
    """
    first = moment.replace(tzinfo=zone)
    second = first.replace(fold=1)
    if first.utcoffset() == second.utcoffset():
        return first
    has_come = moment_ns(second) <= arrived_ns
    return second if has_come else first


def _multiplied(times: NDArray[np.int64], ns_per_unit: int) -> NDArray[np.int64]:
    """Times in ns; what does not fit is an impossible time, as it should be."""
    most = (2**63 - 1) // ns_per_unit
    return np.where(np.abs(times) <= most, times * ns_per_unit, _NO_TIME_NS)
