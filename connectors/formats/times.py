"""Event times as devices write them, to whole nanoseconds since 1970 UTC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from connectors.formats.moments import (
    LONGEST_TEXT,
    Epoch,
    TimeTexts,
    iso8601_to_ns,
    ntp_to_ns,
)
from connectors.formats.numbers import shown
from connectors.formats.paths import ABSENT, first, getter
from connectors.formats.unit_times import (
    NO_TIME_NS,
    NS_PER_UNIT,
    multiplied,
    no_number,
    number_ns,
    number_to_ns,
    whole_numbers,
)
from connectors.formats.zone_offsets import ZoneOffsets
from headgate.config.event_time import TimeConfig
from headgate.core.batch import Quality
from headgate.core.clock import NS_PER_S
from headgate.core.errors import DataError
from headgate.core.iso import moment_ns

#: int64[n], times in ns.
_Times: TypeAlias = NDArray[np.int64]

_NUMBERS = re.compile(r"[0-9]+")
_LEAST_NUMBERS = 4

#: Units that a person may have meant instead of another.
_LIKELY_UNITS = ("s", "ms", "us", "ns")

#: What reads a text that has a date in it, in no notation that is known.
_OTHER_TEXT = 'time.pattern says how it is written, such as "%d.%m.%Y %H:%M:%S"'

#: So many odd texts take a while.
_MANY = 64

_YEAR_NS = 365 * 86_400 * 10**9

#: No event time is before this one, of the year 1823; before it is an impossible one.
_EARLIEST_NS = -(2**62)

#: Of a reading of which a format's own time says how long ago it was.
_FROM_NOW = int(Quality.ARRIVAL_TIME)
_MICROSECOND = timedelta(microseconds=1)

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
        #: Whether a time may stand elsewhere where there is none at its path.
        self.has_others = bool(mapping.or_path)
        self._units = mapping.units
        self._is_text = mapping.is_text
        self._takes_texts = mapping.takes_texts
        self._texts = TimeTexts(mapping)
        zone = self._texts.zone
        self._offsets = None if zone is None else ZoneOffsets(zone)
        self._unit = self._units[0]
        self._ns_per_unit = NS_PER_UNIT.get(self._unit, 1)
        self._epoch = Epoch(mapping.epoch)
        # What int64 holds, with room to add and subtract, is all there is.
        self._not_before_ns = max(iso8601_to_ns(mapping.not_before), _EARLIEST_NS)
        self._too_early = _TOO_EARLY
        if mapping.is_uptime:
            self._not_before_ns, self._too_early = 0, "is before the device's start"
        self._max_ahead_ns = min(mapping.max_ahead, -_EARLIEST_NS)
        #: Whether readings without a time that can be meant get their arrival time.
        self.falls_back = mapping.fallback is not None
        self._flags = int(Quality.ARRIVAL_TIME if mapping.is_from_arrival else Quality.GOOD)

    def find(self, record: object, around: Sequence[object]) -> object:
        """What a record, or what is around it, says of its time; of several fields a tuple."""
        if len(self._parts) == 1:
            value = first(self._parts[0], record, around)
            for get in self._others:
                if not _is_nothing(value):
                    break
                other = first(get, record, around)
                value = value if other is ABSENT else other
            return value
        return tuple(first(get, record, around) for get in self._parts)

    def find_all(
        self, records: Sequence[object], arounds: Sequence[Sequence[object]]
    ) -> list[object]:
        """What each of some records, or what is around it, says of its time."""
        find = self.find
        if len(self._parts) > 1 or self._others:
            return list(map(find, records, arounds))
        values = list(map(self._parts[0], records))
        if ABSENT in values:
            for at, value in enumerate(values):
                if value is ABSENT:
                    values[at] = find(records[at], arounds[at])
        return values

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
            raise DataError("bad_time", f"not a believable time: {_told(value)} {self._too_early}")
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
            fixed_ns = number_ns(value, self._ns_per_unit)
        if fixed_ns is None:
            if not self._takes_texts or not isinstance(value, str):
                raise no_number(value)
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

    def _together(self, values: object) -> object:
        """The text of several fields; what has none, as it is."""
        if not isinstance(values, tuple):
            return values
        try:
            return " ".join([self._texts.part(place, value) for place, value in enumerate(values)])
        except DataError:
            return values

    def _has_no_clock(self, value: object, arrived_ns: int) -> bool:
        """Whether a device says that it has no clock: nothing, or a time long before any."""
        values = value if isinstance(value, tuple) else (value,)
        leading = values[0]
        if _is_nothing(leading):
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
            time_ns = number_ns(value, NS_PER_UNIT[unit])
            if time_ns is None:
                return None
            if earliest_ns <= time_ns <= arrived_ns + self._max_ahead_ns:
                return unit
        return None

    def dated_column(
        self,
        values: Sequence[object],
        arrival_ns: NDArray[np.int64],
        later_ns: NDArray[np.int64],
    ) -> tuple[_Times, NDArray[np.uint16], NDArray[np.bool_]]:
        """What ``dated`` says of values, and which of them, bool[r], are none to believe.

        The arguments are those of ``column``.
        """
        times_ns, is_bad = self.column(values, arrival_ns, later_ns)
        flags = np.full(len(values), self._flags, np.uint16)
        if timedelta in set(map(type, values)):
            flags[[isinstance(value, timedelta) for value in values]] = _FROM_NOW
        if self.falls_back:
            may_be_none = is_bad | (times_ns - later_ns < self._not_before_ns)
            may_be_none |= np.array(list(map(_may_be_none, values)), np.bool_)
            for row in np.flatnonzero(may_be_none).tolist():
                if self._has_no_clock(values[row], int(arrival_ns[row])):
                    times_ns[row] = arrival_ns[row] + later_ns[row]
                    flags[row], is_bad[row] = _FALLEN_BACK, False
        return times_ns, flags, is_bad

    def column(
        self,
        values: Sequence[object] | _Times,
        arrival_ns: NDArray[np.int64],
        later_ns: NDArray[np.int64] | None = None,
        *,
        leaves_odd: bool = False,
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Event times, int64[r], and which of them, bool[r], are none to believe.

        Args:
            values: What stands in the payload, whole numbers maybe as int64[r].
            arrival_ns: int64[r], when the message of each arrived.
            later_ns: int64[r], so much later each is than its value says; None: none is.
            leaves_odd: Whether texts that are not as most are need not be read, where they are
                many; then they are none to believe.
        """
        times_ns = self._column(values, arrival_ns, leaves_odd=leaves_odd)
        if later_ns is not None:
            is_plain = np.abs(times_ns) < -_EARLIEST_NS
            times_ns = np.where(is_plain, times_ns + later_ns, times_ns)
        latest_ns = arrival_ns + self._max_ahead_ns
        return times_ns, (times_ns < self._not_before_ns) | (times_ns > latest_ns)

    def _column(
        self, values: Sequence[object] | _Times, arrival_ns: NDArray[np.int64], *, leaves_odd: bool
    ) -> _Times:
        """What values say, an impossible time for what says none."""
        if isinstance(values, np.ndarray):
            if self._epoch.is_unix and not self._is_text:
                return multiplied(values, self._ns_per_unit)
            return self._column(values.tolist(), arrival_ns, leaves_odd=leaves_odd)
        if self._is_text:
            return self._text_column(values, arrival_ns, leaves_odd=leaves_odd)
        try:
            if self._epoch.is_plain and (numbers := whole_numbers(values)) is not None:
                return multiplied(numbers, self._ns_per_unit)
        except OverflowError:
            pass  # of one of them: each by itself
        if self._takes_texts:
            return self._text_column(values, arrival_ns, leaves_odd=leaves_odd)
        return self._each(values, arrival_ns)

    def _each(self, values: Sequence[object], arrival_ns: NDArray[np.int64]) -> _Times:
        """The same, each by itself."""
        times_ns = np.full(len(values), NO_TIME_NS, np.int64)
        for row, (value, arrived_ns) in enumerate(zip(values, arrival_ns.tolist(), strict=True)):
            if self._is_hopeless(value):
                continue
            try:
                time_ns = self._read(value, arrived_ns)
            except DataError:
                continue
            if abs(time_ns) < -NO_TIME_NS:
                times_ns[row] = time_ns
        return times_ns

    def _is_hopeless(self, value: object) -> bool:
        """Whether ``_read`` has nothing to say of a value but why; of most such values."""
        if value is None or value is ABSENT:
            return True
        if type(value) is not str:
            return False
        if self.falls_back and self._is_text and not self._texts.has_weeks and _is_blank(value):
            return True
        if not self._is_text and number_ns(value, self._ns_per_unit) is not None:
            return False
        return not (self._is_text or self._takes_texts) or self._texts.found(value) is None

    def _text_column(
        self, values: Sequence[object], arrival_ns: NDArray[np.int64], *, leaves_odd: bool
    ) -> _Times:
        """The same of values of which some are texts, by what is alike in those."""
        is_several = len(self._paths) > 1
        found = self._texts.moments(list(map(self._together, values)) if is_several else values)
        times_ns = found.time_ns
        is_left = ~(found.is_read | found.is_none)
        if self._is_text and not is_several and not (leaves_odd and is_left.sum() >= _MANY):
            skips_blanks = self.falls_back and not self._texts.has_weeks
            is_nothing = _is_blank if skips_blanks else None
            self._texts.read_left(values, is_left, found, is_nothing)
        is_local = found.is_read & ~found.has_offset
        if is_local.any():
            rows = np.flatnonzero(is_local)
            if self._offsets is None:
                self.zoneless = self.zoneless or str(self._together(values[rows[0]]))
            else:
                local_ns, arrived_ns = times_ns[rows], arrival_ns[rows]
                times_ns[rows] = self._in_zone_all(self._offsets, local_ns, arrived_ns)
        times_ns[found.is_none] = NO_TIME_NS
        rows = np.flatnonzero(~(found.is_read | found.is_none))
        if leaves_odd and len(rows) >= _MANY:
            times_ns[rows] = NO_TIME_NS
        elif len(rows):
            times_ns[rows] = self._each([values[row] for row in rows.tolist()], arrival_ns[rows])
        return times_ns

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

    def _in_zone_all(self, offsets: ZoneOffsets, local_ns: _Times, arrived_ns: _Times) -> _Times:
        """What ``_in_zone`` makes of local times, ns, which arrived then."""
        before_ns, after_ns = offsets.of(local_ns // NS_PER_S)
        first_ns, second_ns = local_ns - before_ns, local_ns - after_ns
        is_two = before_ns != after_ns
        if not is_two.any():
            return first_ns
        ahead_ns = np.minimum((second_ns - first_ns) // 2, self._max_ahead_ns)
        is_second = is_two & (second_ns <= arrived_ns + ahead_ns)
        self.is_repeated |= bool(is_second.any())
        return np.where(is_second, second_ns, first_ns)

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


def _is_dated(text: str) -> bool:
    """Whether a text may say a date and a time of day: it has some numbers."""
    return len(text) <= LONGEST_TEXT and len(_NUMBERS.findall(text)) >= _LEAST_NUMBERS


def _is_nothing(value: object) -> bool:
    return value is ABSENT or value is None or _is_blank(value)


def _is_blank(value: object) -> bool:
    """Whether a text is empty, or has nothing but zeros where digits stand."""
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and not value.strip("0-:/.,TZ +")


def _may_be_none(value: object) -> bool:
    """Whether a value may say that a device has no clock, be it a time that can be meant or not."""
    leading = value[0] if isinstance(value, tuple) else value
    return not leading or _is_blank(leading)


def _told(value: object) -> str:
    """A value for a person to read, of several fields each."""
    if isinstance(value, tuple):
        return " and ".join(map(shown, value))[:LONGEST_TEXT]
    return shown(value)
