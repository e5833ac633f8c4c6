"""What event times mean: texts in ISO 8601 or a pattern, and numbers since some epoch."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from connectors.formats.numbers import shown
from connectors.formats.patterns import Pattern
from connectors.formats.text_times import Moments, TextColumn
from headgate.config.event_time import TimeConfig, zone_of
from headgate.core.clock import NS_PER_S
from headgate.core.errors import DataError
from headgate.core.iso import moment_ns

#: No time is written in more characters.
LONGEST_TEXT = 100

#: No ISO 8601 text with a time of day is as short as this: ``2026-W10-1``.
_DATE_LENGTH = 10

#: ISO 8601 as it is written besides what Python reads: in small letters, with a name for UTC, or
#: with the zone in brackets behind the offset.
_WRITTEN = re.compile(
    r"(\d[\dW-]*)[T ](\d[\d:.,]*)\s*(?:(Z|UTC|GMT|[+-][\d:]+)(?:\[[^\]]*\])?)?", re.ASCII
)

#: The end of a day, and a leap second, of which Python knows none.
_MIDNIGHT = re.compile(r"24:?00(?::?00(?:[.,]0+)?)?")
_LEAP_SECOND = re.compile(r"(\d\d:?\d\d:?)60((?:[.,]\d+)?)", re.ASCII)

#: Digits of a fraction of which a pattern reads six.
_LONG_FRACTION = re.compile(r"(?<=[.,]\d{6})\d+", re.ASCII)

#: Digits of a time of day, or of a date, of which zeros before it got lost in a number.
_DIGITS = 6

#: What shows how many characters a pattern writes.
_EXAMPLE = datetime(2026, 11, 28, 13, 14, 15, tzinfo=UTC)

#: No year of a number's digits is before this one.
_LEAST_YEAR = 1000

#: Larger numbers are no digits of a time; they would be written with an exponent.
_LARGEST = 10**15

#: Of an NTP timestamp as one number: digits at most, and the second half of 1934.
_NTP_DIGITS = 20
_LEAST_NTP = 1 << 62

#: As far from 1970, ns, a zone has an offset for local times; others are read by themselves.
_PLAIN_NS = 9_000_000_000 * NS_PER_S

_GPS_EPOCH = "1980-01-06"
_NTP_EPOCH = "1900-01-01"

#: Days, as year and month, with whose beginning GPS went one second further ahead of UTC.
_LEAPS = (
    (1981, 7),
    (1982, 7),
    (1983, 7),
    (1985, 7),
    (1988, 1),
    (1990, 1),
    (1991, 1),
    (1992, 7),
    (1993, 7),
    (1994, 7),
    (1996, 1),
    (1997, 7),
    (1999, 1),
    (2006, 1),
    (2009, 1),
    (2012, 7),
    (2015, 7),
    (2017, 1),
)


class Epoch:
    """What numbers count from.

    Args:
        epoch: ``time.epoch``.
    """

    def __init__(self, epoch: str | None) -> None:
        self.is_unix = epoch is None
        #: Whether numbers are taken as they are: from 1970, or from the device's own start.
        self.is_plain = epoch in (None, "start")
        self.is_ntp = epoch == "ntp"
        self._is_arrival = epoch == "arrival"
        named = {"gps": _GPS_EPOCH, "ntp": _NTP_EPOCH}.get(epoch or "", epoch)
        has_none = self.is_plain or self._is_arrival
        self._ns = 0 if has_none or named is None else iso8601_to_ns(named)
        # By the GPS time, ns since 1970 UTC, from which on they hold.
        self._leaps_ns: Sequence[int] = ()
        if epoch == "gps":
            begins = [moment_ns(datetime(*leap, 1, tzinfo=UTC)) for leap in _LEAPS]
            self._leaps_ns = [at + (n + 1) * NS_PER_S for n, at in enumerate(begins)]

    def since(self, number_ns: int, arrived_ns: int) -> int:
        """When so many ns since the epoch are, ns since 1970 UTC."""
        if self._is_arrival:
            # Some say how old it is, others where it stands from now: it is over either way.
            return arrived_ns - abs(number_ns)
        time_ns = self._ns + number_ns
        return time_ns - bisect_right(self._leaps_ns, time_ns) * NS_PER_S


class TimeTexts:
    """How a feed's times are written that are texts.

    Args:
        mapping: The feed's ``time``.
    """

    def __init__(self, mapping: TimeConfig) -> None:
        self.zone = None if mapping.zone is None else zone_of(mapping.zone)
        self._patterns = list(map(Pattern, mapping.patterns))
        self._has_fractions = any(each.has_fraction for each in self._patterns)
        self._column = TextColumn(self._patterns)
        #: Whether nothing but ISO 8601 is read.
        self.is_iso = mapping.pattern is None
        #: Whether a pattern is left to ``strptime``: by week and day, noughts may be a time.
        self.has_weeks = any(each.regex is None for each in self._patterns)
        self._takes_dates = mapping.date_only
        self._widths = [_DIGITS] * len(mapping.paths)
        # The same of each pattern as a whole.
        examples = [_EXAMPLE.strftime(pattern.text) for pattern in self._patterns]
        self._digit_widths = [len(example.partition(".")[0]) for example in examples]
        # Which of them have a fraction, be it of nothing but zeros.
        self._has_fraction = [False] * len(mapping.paths)
        if mapping.pattern is not None:
            example = _EXAMPLE.strftime(mapping.pattern)
            parts = example.split(" ") if len(mapping.paths) > 1 else [example]
            if len(parts) == len(mapping.paths):
                self._widths = [len(part.partition(".")[0]) for part in parts]
                self._has_fraction = ["." in part and "%f" in mapping.pattern for part in parts]

    def part(self, place: int, value: object) -> str:
        """One of the texts, of whose digits zeros may have got lost."""
        if isinstance(value, str) and len(value) <= LONGEST_TEXT:
            return value.strip()
        return self._with_zeros(value, self._widths[place], has_fraction=self._has_fraction[place])

    def _with_zeros(self, value: object, width: int, *, has_fraction: bool) -> str:
        """The digits that a number means, so many before a fraction."""
        if type(value) is int and 0 <= value < 10**LONGEST_TEXT:
            text = str(value).zfill(width)
            return f"{text}.0" if has_fraction else text
        if type(value) is float and 0 <= value < _LARGEST:
            whole, _, fraction = repr(value).partition(".")
            text = whole.zfill(width)
            return f"{text}.{fraction}" if has_fraction or fraction != "0" else text
        raise DataError("bad_time", f"expected a text, got {shown(value)}")

    def digits(self, text: str) -> str:
        """The part of a text that has more digits than a ``datetime`` has, if any has."""
        if not self._patterns:
            return text
        found = _LONG_FRACTION.search(text) if self._has_fractions else None
        return "" if found is None else text[found.start() - 7 : found.end()]

    def moments(self, values: Sequence[object]) -> Moments:
        """What values say, those of them that can be read together; the others ``moment`` reads.

        Args:
            values: What stands in the payload, each of one field.
        """
        if len(self._patterns) == 1 and len(self._widths) == 1:
            values = [self._digits_as_text(value) for value in values]
        return self._column.read(values)

    def moment(self, value: object) -> tuple[datetime, str]:
        """What a text says, and the text."""
        found = self.found(value)
        if found is None:
            expected = "an ISO 8601 text"
            if self._patterns:
                wanted = " or ".join(f'"{pattern.text}"' for pattern in self._patterns)
                expected = f"a text as {wanted}"
            raise DataError("bad_time", f"expected {expected}, got {shown(value)}")
        text = str(value)
        if self.is_iso and len(text) <= _DATE_LENGTH and not self._takes_dates:
            raise DataError(
                "bad_time",
                f"a date without a time of day: {shown(value)}; time.date_only = true reads it as "
                "the day's beginning",
            )
        return found, text

    def read_left(
        self,
        values: Sequence[object],
        is_left: NDArray[np.bool_],
        found: Moments,
        is_nothing: Callable[[str], bool] | None,
    ) -> None:
        """Read texts one by one, which others are not like; what they say is put to the others.

        Args:
            values: All values.
            is_left: bool[r], which are left.
            found: What the others say.
            is_nothing: Says of a text whether it is none without a look at it; None: none is so.
        """
        for row in np.flatnonzero(is_left).tolist():
            value = values[row]
            if type(value) is not str:
                continue
            moment = None if is_nothing is not None and is_nothing(value) else self.found(value)
            is_date = self.is_iso and len(value) <= _DATE_LENGTH and not self._takes_dates
            if moment is None or is_date:
                found.is_none[row] = True
                continue
            is_local = moment.tzinfo is None
            moment = moment.replace(tzinfo=UTC) if is_local else moment
            time_ns = moment_ns(moment, self.digits(value))
            if -_PLAIN_NS < time_ns < _PLAIN_NS:
                found.time_ns[row] = time_ns
                found.is_read[row], found.has_offset[row] = True, not is_local

    def found(self, value: object) -> datetime | None:
        """What a text says, be it a date alone; None for what is not written as it should be."""
        return self._by_pattern(value) if self._patterns else _moment_in(value)

    def _by_pattern(self, value: object) -> datetime | None:
        if isinstance(value, int | float) and len(self._widths) == 1:
            return self._in_digits(value)
        if not isinstance(value, str) or len(value) > 2 * LONGEST_TEXT:
            return None
        text = value.strip()
        ways = list(zip(self._digit_widths, self._patterns, strict=True))
        if text.isdecimal():
            # Where a pattern may also read fewer digits than it has, one that has as many fits.
            ways.sort(key=lambda way: way[0] != len(text))
        for _, pattern in ways:
            short = _LONG_FRACTION.sub("", text) if pattern.has_fraction else text
            if (found := pattern.found(short)) is not None:
                return found
        return None

    def _in_digits(self, value: float) -> datetime | None:
        """What a number says whose digits are those of a time, with zeros that got lost."""
        for pattern, width in zip(self._patterns, self._digit_widths, strict=True):
            text = self._with_zeros(value, width, has_fraction=pattern.has_fraction)
            short = _LONG_FRACTION.sub("", text) if pattern.has_fraction else text
            found = pattern.found(short)
            # Zeros that get a year below 1000 are none that got lost.
            if found is not None and found.year >= _LEAST_YEAR:
                return found
        return None

    def _digits_as_text(self, value: object) -> object:
        """The text that a number means of whose digits zeros may have got lost; else the value."""
        if type(value) is str:
            return value
        is_digits = type(value) is int or type(value) is float
        is_small = is_digits and 0 <= value < _LARGEST  # type: ignore[operator]
        return self.part(0, value) if is_small else value


def ntp_to_ns(value: object) -> int | None:
    """The 64 bits of an NTP timestamp, as one number, in ns since 1900; None for smaller numbers.

    The upper half counts seconds and the lower one their fraction, so it is more than any number of
    seconds that is a time.
    """
    if (
        isinstance(value, str)
        and value.isascii()
        and value.isdecimal()
        and len(value) <= _NTP_DIGITS
    ):
        value = int(value)
    if type(value) is int and _LEAST_NTP <= value < 1 << 64:
        return value * NS_PER_S >> 32
    return None


def iso8601_to_ns(value: object) -> int:
    """An ISO 8601 text in ns; without an offset it means UTC, without a time midnight."""
    moment = _moment_in(value)
    if moment is None:
        raise DataError("bad_time", f"expected an ISO 8601 text, got {shown(value)}")
    return moment_ns(moment if moment.tzinfo else moment.replace(tzinfo=UTC), str(value))


def _moment_in(value: object) -> datetime | None:
    """What an ISO 8601 text says; None for what is none."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return _as_written(value) if len(value) <= LONGEST_TEXT else None


def _as_written(text: str) -> datetime | None:
    """What a text says that is ISO 8601 but for how it is written; None for any other."""
    # Some have a minus sign in place of a hyphen.
    found = _WRITTEN.fullmatch(text.strip().upper().replace("\N{MINUS SIGN}", "-"))
    if found is None:
        return None
    date, clock, offset = found.groups(default="")
    later = timedelta()
    if _MIDNIGHT.fullmatch(clock):
        clock, later = "00:00", timedelta(days=1)
    elif leap := _LEAP_SECOND.fullmatch(clock):
        clock, later = f"{leap[1]}59{leap[2]}", timedelta(seconds=1)
    if offset in ("UTC", "GMT"):
        offset = "Z"
    try:
        return datetime.fromisoformat(f"{date}T{clock}{offset}") + later
    except (ValueError, OverflowError):
        return None
