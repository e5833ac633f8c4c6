"""Times of day and dates in a pattern of ``strptime``, read as that reads them, in less time.

``datetime.strptime`` works out anew for each text what its pattern means. Here that is done once,
by the same expressions; ``tests/unit/formats/test_patterns.py`` holds the two to one result.
Patterns with weeks, and those of other languages, are left to it.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

#: What each directive of a number matches, and how many digits it has at most.
_NUMBERS = {
    "d": (r"3[0-1]|[1-2]\d|0[1-9]|[1-9]| [1-9]", 2),
    "f": (r"[0-9]{1,6}", 6),
    "H": (r"2[0-3]|[0-1]\d|\d", 2),
    "I": (r"1[0-2]|0[1-9]|[1-9]", 2),
    "j": (r"36[0-6]|3[0-5]\d|[1-2]\d\d|0[1-9]\d|00[1-9]|[1-9]\d|0[1-9]|[1-9]", 3),
    "m": (r"1[0-2]|0[1-9]|[1-9]", 2),
    "M": (r"[0-5]\d|\d", 2),
    "S": (r"6[0-1]|[0-5]\d|\d", 2),
    "y": (r"\d\d", 2),
    "Y": (r"\d\d\d\d", 4),
}
_ANY_NUMBER = {
    directive: (rf" ?\d{{1,{digits}}}", digits) for directive, (_, digits) in _NUMBERS.items()
}
_OFFSET = r"[+-]\d\d:?[0-5]\d(?::?[0-5]\d(?:\.\d{1,6})?)?|(?-i:Z)"

_ANY_OFFSET = r"[+-][\d:.]+|Z"

#: Names as ``strptime`` has them where no other language is set, in small letters.
_NAMES = {
    "a": [name.lower() for name in calendar.day_abbr],
    "A": [name.lower() for name in calendar.day_name],
    "b": [name.lower() for name in calendar.month_abbr],
    "B": [name.lower() for name in calendar.month_name],
    "p": ["am", "pm"],
}

#: Directives that stand for several others, and those that say the same thing.
_SHORT = {"%c": "%a %b %d %H:%M:%S %Y", "%x": "%m/%d/%y", "%X": "%H:%M:%S"}
_SAME = ("yY", "mbB", "HI", "aA")

#: How a time is written in English, by which it is told that no other language is set.
_EXAMPLE = datetime(1999, 3, 17, 22, 44, 55, tzinfo=UTC)
_ENGLISH = "Wednesday Wed March Mar PM|Wed Mar 17 22:44:55 1999|03/17/99|22:44:55"

#: With two digits, years from this one on are of the century before.
CENTURY = 69

_DIRECTIVE = re.compile(r"%(.)", re.DOTALL)
_SIGNS = re.compile(r"([\\.^$*+?(){}\[\]|])")
_BLANKS = re.compile(r"\s+")


class Pattern:
    """One pattern, ready for use.

    Args:
        pattern: The pattern, one that ``strptime`` can read.
    """

    def __init__(self, pattern: str) -> None:
        self.text = pattern
        #: Whether it reads the fraction of a second.
        self.has_fraction = "%f" in pattern
        #: The expression; None: there is none, and ``strptime`` reads each text.
        self.regex: re.Pattern[str] | None = None
        #: By directive, the number of its group.
        self.groups: Mapping[str, int] = {}
        self._loose: re.Pattern[str] | None = None
        for short, long in _SHORT.items():
            pattern = pattern.replace(short, long)
        directives = [each for each in _DIRECTIVE.findall(pattern) if each != "%"]
        is_known = all(each in _NUMBERS or each in _NAMES or each == "z" for each in directives)
        is_once = len(set(directives)) == len(directives)
        is_clear = all(sum(each in same for each in directives) < 2 for same in _SAME)
        if is_known and is_once and is_clear and "%%" not in pattern and _is_english():
            self.regex = re.compile(_expression(pattern, _NUMBERS), re.IGNORECASE)
            self._loose = re.compile(_expression(pattern, _ANY_NUMBER), re.IGNORECASE)
            self.groups = {each: number for number, each in enumerate(directives, 1)}

    def is_out(self, text: str) -> bool:
        """Whether it reads no text that differs from this one in its digits only."""
        return self._loose is not None and self._loose.fullmatch(text) is None

    def in_digits(self, text: str) -> re.Match[str] | None:
        """Where its directives stand in a text whose numbers may be any that have as many digits.

        None where that is not so, or is not known.
        """
        if self.regex is None or self._loose is None:
            return None
        found = self.regex.match(text)
        if found is not None and found.end() == len(text):
            return found
        loose = self._loose.fullmatch(text)
        if loose is None or "z" in self.groups:
            return None
        widths = {each: len(loose[self.groups[each]]) for each in "Yy" if each in self.groups}
        return loose if all(width == max_digits(each) for each, width in widths.items()) else None

    def read(self, text: str) -> datetime:
        """What a text says, as ``strptime`` says it.

        Raises:
            ValueError: It is not written so.
        """
        if (found := self.found(text)) is None:
            raise ValueError(f"not as {self.text}")
        return found

    def found(self, text: str) -> datetime | None:
        """The same, or None."""
        if self.regex is None:
            try:
                return datetime.strptime(text, self.text)  # noqa: DTZ007  (with a zone if it has one)
            except ValueError:
                return None
        found = self.regex.match(text)
        if found is None or found.end() != len(text):
            return None
        try:
            return self._moment(found)
        except ValueError:
            return None

    def _moment(self, found: re.Match[str]) -> datetime:
        """What is said so; ValueError for what no calendar or clock has."""
        said = dict(zip(self.groups, found.groups(), strict=True))
        year, month, day = _date_of(said)
        return datetime(
            year,
            month,
            day,
            _hour_of(said),
            int(said.get("M", 0)),
            int(said.get("S", 0)),
            int(said.get("f", "").ljust(6, "0")),
            tzinfo=_zone_of(said["z"]) if "z" in said else None,
        )


def max_digits(directive: str) -> int:
    """How many digits a directive has at most; 0 for one that is no number."""
    return _NUMBERS[directive][1] if directive in _NUMBERS else 0


def number_of(directive: str, name: str) -> int:
    """The place of a name among those that a directive knows; ValueError for another."""
    return _NAMES[directive].index(name.lower())


def offset_us(text: str) -> int:
    """What an offset says, µs; ValueError where its parts are not divided alike."""
    if text == "Z":
        return 0
    sign = -1 if text[0] == "-" else 1
    digits = text[1:]
    if digits[2] == ":":
        digits = digits[:2] + digits[3:]
        if len(digits) > 4 and digits[4] != ":":
            raise ValueError("parts are divided by : or are not")
        digits = digits[:4] + digits[5:]
    seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:6] or 0)
    return sign * (seconds * 1_000_000 + int(digits[7:].ljust(6, "0")))


def _full_year(year: int) -> int:
    """The year that two digits mean."""
    return year + (2000 if year < CENTURY else 1900)


@lru_cache(maxsize=1024)
def _zone_of(text: str) -> tzinfo:
    return timezone(timedelta(microseconds=offset_us(text)))


def _date_of(said: Mapping[str, str]) -> tuple[int, int, int]:
    """Year, month and day; ValueError for a day that there is not."""
    year = int(said["Y"]) if "Y" in said else _full_year(int(said["y"]))
    for weekday in "aA":
        if weekday in said:
            number_of(weekday, said[weekday])
    month = int(said.get("m", 1))
    for name in "bB":
        if name in said:
            month = number_of(name, said[name])
    if "j" in said:
        day = date.fromordinal(date(year, 1, 1).toordinal() + int(said["j"]) - 1)
        return day.year, day.month, day.day
    return year, month, int(said.get("d", 1))


def _hour_of(said: Mapping[str, str]) -> int:
    if "I" not in said:
        return int(said.get("H", 0))
    is_late = "p" in said and number_of("p", said["p"]) == 1
    return int(said["I"]) % 12 + 12 * is_late


def _expression(pattern: str, numbers: Mapping[str, tuple[str, int]]) -> str:
    """What a pattern is as a regular expression.

    Args:
        pattern: The pattern.
        numbers: What each directive of a number matches.
    """
    pattern = _BLANKS.sub(r"\\s+", _SIGNS.sub(r"\\\1", pattern))

    def group(found: re.Match[str]) -> str:
        directive = found[1]
        if directive == "z":
            return f"({_OFFSET if numbers is _NUMBERS else _ANY_OFFSET})"
        if directive in numbers:
            return f"({numbers[directive][0]})"
        longest_first = sorted(filter(None, _NAMES[directive]), key=len, reverse=True)
        return f"({'|'.join(map(re.escape, longest_first))})"

    return _DIRECTIVE.sub(group, pattern)


def _is_english() -> bool:
    """Whether names are English, as they are where nobody has set another language."""
    return _EXAMPLE.strftime("%A %a %B %b %p|%c|%x|%X") == _ENGLISH
