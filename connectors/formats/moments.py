"""What event times mean: texts in ISO 8601 or a pattern, and numbers since some epoch."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from connectors.formats.numbers import shown
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

#: Larger numbers are no digits of a time; they would be written with an exponent.
_LARGEST = 10**15

#: Of an NTP timestamp as one number: digits at most, and the second half of 1934.
_NTP_DIGITS = 20
_LEAST_NTP = 1 << 62

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
        self.is_ntp = epoch == "ntp"
        self._is_arrival = epoch == "arrival"
        named = {"gps": _GPS_EPOCH, "ntp": _NTP_EPOCH}.get(epoch or "", epoch)
        self._ns = 0 if named is None or self._is_arrival else iso8601_to_ns(named)
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
        self._patterns = mapping.patterns
        self._has_fractions = any("%f" in pattern for pattern in self._patterns)
        #: Whether nothing but ISO 8601 is read.
        self.is_iso = mapping.pattern is None
        self._takes_dates = mapping.date_only
        self._widths = [_DIGITS] * len(mapping.paths)
        # Which of them have a fraction, be it of nothing but zeros.
        self._has_fraction = [False] * len(mapping.paths)
        if mapping.pattern is not None:
            example = datetime(2026, 11, 28, 13, 14, 15, tzinfo=UTC).strftime(mapping.pattern)
            parts = example.split(" ") if len(mapping.paths) > 1 else [example]
            if len(parts) == len(mapping.paths):
                self._widths = [len(part.partition(".")[0]) for part in parts]
                self._has_fraction = ["." in part and "%f" in mapping.pattern for part in parts]

    def part(self, place: int, value: object) -> str:
        """One of the texts, of whose digits zeros may have got lost."""
        if type(value) is int and 0 <= value < 10**LONGEST_TEXT:
            text = str(value).zfill(self._widths[place])
            return f"{text}.0" if self._has_fraction[place] else text
        if type(value) is float and 0 <= value < _LARGEST:
            whole, _, fraction = repr(value).partition(".")
            text = whole.zfill(self._widths[place])
            has_fraction = self._has_fraction[place] or fraction != "0"
            return f"{text}.{fraction}" if has_fraction else text
        if isinstance(value, str) and len(value) <= LONGEST_TEXT:
            return value.strip()
        raise DataError("bad_time", f"expected a text, got {shown(value)}")

    def digits(self, text: str) -> str:
        """The part of a text that has more digits than a ``datetime`` has, if any has."""
        if not self._patterns:
            return text
        found = _LONG_FRACTION.search(text) if self._has_fractions else None
        return "" if found is None else text[found.start() - 7 : found.end()]

    def moment(self, value: object) -> tuple[datetime, str]:
        """What a text says, and the text."""
        if self._patterns:
            return self._moment_of_pattern(value), str(value)
        moment, text = _moment_in(value), str(value)
        if len(text) <= _DATE_LENGTH and not self._takes_dates:
            raise DataError(
                "bad_time",
                f"a date without a time of day: {shown(value)}; time.date_only = true reads it as "
                "the day's beginning",
            )
        return moment, text

    def _moment_of_pattern(self, value: object) -> datetime:
        if isinstance(value, int | float) and len(self._widths) == 1:
            value = self.part(0, value)
        if isinstance(value, str) and len(value) <= 2 * LONGEST_TEXT:
            text = value.strip()
            for pattern in self._patterns:
                short = _LONG_FRACTION.sub("", text) if "%f" in pattern else text
                with suppress(ValueError):
                    return datetime.strptime(short, pattern)  # noqa: DTZ007  (see zone)
        wanted = " or ".join(f'"{pattern}"' for pattern in self._patterns)
        raise DataError("bad_time", f"expected a text as {wanted}, got {shown(value)}")


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
    return moment_ns(moment if moment.tzinfo else moment.replace(tzinfo=UTC), str(value))


def _moment_in(value: object) -> datetime:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
        found = _as_written(value) if len(value) <= LONGEST_TEXT else None
        if found is not None:
            return found
    raise DataError("bad_time", f"expected an ISO 8601 text, got {shown(value)}")


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
