"""Event times as devices write them, to whole nanoseconds since 1970 UTC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.formats.moments import (
    LONGEST_TEXT,
    Epoch,
    TimeTexts,
    iso8601_to_ns,
    ntp_to_ns,
)
from connectors.formats.numbers import number_text, shown
from connectors.formats.paths import ABSENT, first, getter
from headgate.config.event_time import TimeConfig
from headgate.core.batch import Quality
from headgate.core.errors import DataError
from headgate.core.iso import moment_ns

#: By name of a unit of times.
NS_PER_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1} | {
    "100ns": 100,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
    "w": 7 * 86_400 * 10**9,
}

_NUMBERS = re.compile(r"[0-9]+")
_LEAST_NUMBERS = 4

#: How .NET writes milliseconds since 1970; the offset is where somebody stood and means nothing.
_NET_DATE = re.compile(r"\\?/Date\((-?\d{1,18})(?:[+-]\d{4})?\)\\?/", re.ASCII)

#: Units that a person may have meant instead of another.
_LIKELY_UNITS = ("s", "ms", "us", "ns")

#: What reads a text that has a date in it, in no notation that is known.
_OTHER_TEXT = 'time.pattern says how it is written, such as "%d.%m.%Y %H:%M:%S"'

_YEAR_NS = 365 * 86_400 * 10**9

#: No event time is before this one, of the year 1823; before it is an impossible one.
_EARLIEST_NS = -(2**62)
_NO_TIME_NS = -(2**63)

#: Of a reading of which a format's own time says how long ago it was.
_FROM_NOW = int(Quality.ARRIVAL_TIME)
_MICROSECOND = timedelta(microseconds=1)

#: So many digits are a number that int64 holds.
_LONGEST_DIGITS = 18

#: What is said of a time that no device can mean.
_TOO_EARLY = "is before time.not_before"

#: Of a reading whose device has no clock: dated by its arrival, with what others say of them.
_FALLEN_BACK = int(Quality.ARRIVAL_TIME | Quality.ESTIMATED_TIME)


class EventTimes:
    """Event times of one feed.

    Args:
        mapping: The feed's ``time``, with a path.
    """

    def __init__(self, mapping: TimeConfig) -> None:
        #: A text without a zone that was taken for UTC, for want of ``zone``; empty before any.
        self.zoneless = ""
        #: Whether a text was met that is the later of two times, as far as it says itself.
        self.is_repeated = False
        self._paths = mapping.paths
        self._parts = [getter(path) for path in mapping.paths]
        self._others = [getter(path) for path in mapping.or_path]
        self._units = mapping.units
        self._is_text = mapping.is_text
        self._takes_texts = mapping.takes_texts
        self._texts = TimeTexts(mapping)
        self._unit = self._units[0]
        self._ns_per_unit = NS_PER_UNIT.get(self._unit, 1)
        self._epoch = Epoch(mapping.epoch)
        # What int64 holds, with room to add and subtract, is all there is.
        self._not_before_ns = max(iso8601_to_ns(mapping.not_before), _EARLIEST_NS)
        self._max_ahead_ns = min(mapping.max_ahead, -_EARLIEST_NS)
        #: Whether readings without a time that can be meant get their arrival time.
        self.falls_back = mapping.fallback is not None
        self._flags = int(Quality.ARRIVAL_TIME if mapping.is_age else Quality.GOOD)

    def find(self, record: object, around: Sequence[object]) -> object:
        """What a record, or what is around it, says of its time; of several fields a tuple."""
        if len(self._parts) == 1:
            value = first(self._parts[0], record, around)
            for get in self._others:
                if value is not ABSENT and value is not None:
                    break
                other = first(get, record, around)
                value = value if other is ABSENT else other
            return value
        return tuple(first(get, record, around) for get in self._parts)

    def dated(self, value: object, arrived_ns: int, later_ns: int = 0) -> tuple[int, int]:
        """A reading's time, ns, and the quality that it gives the reading.

        The arguments, and what is raised, are those of ``time_ns``.
        """
        if self.falls_back and self._has_no_clock(value, arrived_ns):
            return arrived_ns + later_ns, _FALLEN_BACK
        flags = _FROM_NOW if isinstance(value, timedelta) else self._flags
        return self.time_ns(value, arrived_ns, later_ns), flags

    def time_ns(self, value: object, arrived_ns: int, later_ns: int = 0) -> int:
        """One event time, ns; raises DataError, ``bad_time``, for what is none to believe.

        Args:
            value: What stands in the payload; of several fields a tuple.
            arrived_ns: When the message arrived, ns since 1970 UTC.
            later_ns: So much later it is than that value says.
        """
        time_ns = self._read(value, arrived_ns) + later_ns
        if time_ns < self._not_before_ns:
            raise DataError("bad_time", f"not a believable time: {_told(value)} {_TOO_EARLY}")
        if time_ns > arrived_ns + self._max_ahead_ns:
            raise DataError(
                "bad_time",
                f"not a believable time: {_told(value)} is further ahead than time.max_ahead",
            )
        return time_ns

    def _read(self, value: object, arrived_ns: int) -> int:
        """What a value says, believable or not."""
        if isinstance(value, tuple):
            return self._read_several(value, arrived_ns)
        if value is ABSENT:
            raise DataError("bad_time", f'no event time at "{self._paths[0]}"')
        if isinstance(value, datetime) and value.tzinfo is not None:
            return moment_ns(value)  # a format with times of its own needs no unit
        if isinstance(value, timedelta):
            return arrived_ns + value // _MICROSECOND * 1000
        if self._is_text:
            return self._text_to_ns(value, arrived_ns)
        fixed_ns = ntp_to_ns(value) if self._epoch.is_ntp and self._unit == "s" else None
        if fixed_ns is None:
            try:
                fixed_ns = number_to_ns(value, self._ns_per_unit)
            except DataError:
                if not self._takes_texts or not isinstance(value, str):
                    raise
                return self._number_or_text_to_ns(value, arrived_ns)
        return self._epoch.since(fixed_ns, arrived_ns)

    def _read_several(self, values: tuple[object, ...], arrived_ns: int) -> int:
        """What several fields say: texts one after the other, and numbers in all."""
        texts, total_ns = [], 0
        for place, (path, unit, value) in enumerate(
            zip(self._paths, self._units, values, strict=True)
        ):
            if unit == "iso8601":
                if value is ABSENT:
                    raise DataError("bad_time", f'no event time at "{path}"')
                texts.append(self._texts.part(place, value))
            elif value is not ABSENT:
                total_ns += number_to_ns(value, NS_PER_UNIT[unit])
            elif place == 0:
                # Of the others, zeros are left out by some.
                raise DataError("bad_time", f'no event time at "{path}"')
        if texts:
            return self._text_to_ns(" ".join(texts), arrived_ns) + total_ns
        return self._epoch.since(total_ns, arrived_ns)

    def _has_no_clock(self, value: object, arrived_ns: int) -> bool:
        """Whether a device says that it has no clock: nothing, or a time long before any."""
        values = value if isinstance(value, tuple) else (value,)
        leading = values[0]
        if leading is ABSENT or leading is None or _is_blank(leading):
            return True
        if self._unit == "iso8601" and type(leading) in (int, float) and not leading:
            return True  # digits of a date, of which all are zeros
        try:
            time_ns = self._read(value, arrived_ns)
        except DataError:
            return False
        if time_ns >= self._not_before_ns:
            return False
        # What is some seconds after 1970 in nanoseconds may be of today in seconds. No clock hits
        # that by itself; one that counts milliseconds would, for hours.
        return (
            self._unit != "ns"
            or self._likely_unit(value, arrived_ns - _YEAR_NS, arrived_ns) is None
        )

    def _likely_unit(self, value: object, earliest_ns: int, arrived_ns: int) -> str | None:
        """Another unit in which a value would be a time between the two; None for no such."""
        if isinstance(value, tuple) or not self._epoch.is_unix:
            return None
        for unit in _LIKELY_UNITS:
            if unit == self._unit:
                continue
            try:
                time_ns = number_to_ns(value, NS_PER_UNIT[unit])
            except DataError:
                return None
            if earliest_ns <= time_ns <= arrived_ns + self._max_ahead_ns:
                return unit
        return None

    def column(
        self, values: Sequence[object], arrival_ns: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Event times, int64[r], and which of them, bool[r], are none to believe."""
        try:
            if self._is_text:
                texts = map(self._text_to_ns, values, arrival_ns.tolist())
                times_ns = np.array(list(texts), np.int64)
            elif self._epoch.is_unix and (numbers := _whole_numbers(values)) is not None:
                times_ns = _multiplied(numbers, self._ns_per_unit)
            else:
                each_ns = map(self._read, values, arrival_ns.tolist())
                times_ns = np.array(list(each_ns), np.int64)
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
            hint = self.hint(value, arrived_ns, error)
            detail = f"{error.detail}; {hint}" if hint else error.detail
            return DataError(error.reason, detail)
        return None

    def hint(self, value: object, arrived_ns: int, error: DataError) -> str:
        """What to change in the configuration so that a refused time is one; empty for nothing."""
        if (unit := self._likely_unit(value, self._not_before_ns, arrived_ns)) is not None:
            return f'with time.unit = "{unit}" it would be one'
        if isinstance(value, tuple) or not self._epoch.is_unix:
            return ""
        if isinstance(value, str) and (found := self._text_hint(value, error)):
            return found
        if value is None or error.detail.endswith(_TOO_EARLY):
            return 'time.fallback = "arrival" reads those of devices that have no clock yet'
        return ""

    def _text_hint(self, value: str, error: DataError) -> str:
        if not self._is_text and not self._takes_texts:
            try:
                iso8601_to_ns(value)
            except DataError:
                pass
            else:
                return 'with time.unit = "iso8601" it would be one'
        is_unread = self._texts.is_iso and error.detail.startswith("expected")
        return _OTHER_TEXT if is_unread and _is_dated(value) else ""

    def _number_or_text_to_ns(self, value: str, arrived_ns: int) -> int:
        """What a text says that is no number, where it could have been one."""
        try:
            return self._text_to_ns(value, arrived_ns)
        except DataError as error:
            expected, _, rest = error.detail.partition(" ")
            if expected != "expected":
                raise
            raise DataError(error.reason, f"expected a number, or {rest}") from None

    def _text_to_ns(self, value: object, arrived_ns: int) -> int:
        moment, text = self._texts.moment(value)
        if moment.tzinfo is None:
            if self._texts.zone is None:
                self.zoneless = self.zoneless or text
                moment = moment.replace(tzinfo=UTC)
            else:
                try:
                    moment = self._in_zone(moment, self._texts.zone, arrived_ns)
                except OverflowError:
                    raise DataError("bad_time", f"no year has it: {_told(value)}") from None
        return moment_ns(moment, self._texts.digits(text))

    def _in_zone(self, moment: datetime, zone: tzinfo, arrived_ns: int) -> datetime:
        """A local time in its zone.

        In the hour that comes twice it is the second time, unless that is too far ahead to be
        meant; what the device sent before may say otherwise, see ``repeated_hour``.
        """
        first = moment.replace(tzinfo=zone)
        second = first.replace(fold=1)
        if first.utcoffset() == second.utcoffset():
            return first
        first_ns, second_ns = moment_ns(first), moment_ns(second)
        # A clock may be ahead, but then the nearer of the two is meant.
        ahead_ns = min((second_ns - first_ns) // 2, self._max_ahead_ns)
        if second_ns > arrived_ns + ahead_ns:
            return first
        self.is_repeated = True
        return second


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
        if ns_per_unit == NS_PER_UNIT["ms"] and (found := _NET_DATE.fullmatch(value)):
            return int(found[1]) * ns_per_unit
        number = number_text(value)
        # No larger than a float is, and no smaller: else its digits would be without end.
        if number is not None and 1e-300 < abs(float(number)) < 1e300:
            return int(Decimal(number) * ns_per_unit)
    raise DataError("bad_time", f"expected a number, got {shown(value)}")


def _is_dated(text: str) -> bool:
    """Whether a text may say a date and a time of day: it has some numbers."""
    return len(text) <= LONGEST_TEXT and len(_NUMBERS.findall(text)) >= _LEAST_NUMBERS


def _is_blank(value: object) -> bool:
    """Whether a text is empty, or has nothing but zeros where digits stand."""
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and not value.strip("0-:/.,TZ +")


def _told(value: object) -> str:
    """A value for a person to read, of several fields each."""
    if isinstance(value, tuple):
        return " and ".join(map(shown, value))[:LONGEST_TEXT]
    return shown(value)


def _whole_numbers(values: Sequence[Any]) -> NDArray[np.int64] | None:
    """Whole numbers, all of them written as such or all as digits in texts; None: they are not.

    Raises:
        OverflowError: One is too large.
    """
    kinds = set(map(type, values))
    if kinds <= {int}:
        return np.array(values, np.int64)
    if kinds != {str} or max(map(len, values)) > _LONGEST_DIGITS:
        return None
    digits = "".join(values)
    if "" in values or not (digits.isascii() and digits.isdigit()):
        return None
    numbers = np.array(list(map(int, values)), np.int64)
    # Nought is no time in a text.
    return numbers if numbers.all() else None


def _multiplied(times: NDArray[np.int64], ns_per_unit: int) -> NDArray[np.int64]:
    """Times in ns; what does not fit is an impossible time, as it should be."""
    most = (2**63 - 1) // ns_per_unit
    return np.where(np.abs(times) <= most, times * ns_per_unit, _NO_TIME_NS)
