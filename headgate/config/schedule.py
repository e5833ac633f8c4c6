"""``[schedule.NAME]`` in ``headgate.toml``: when rules are looked at, and when people are told.

A schedule is worked out once, as the stretches of time that it has from 1970 to 2100. Whatever asks
for a time looks it up there.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, field_validator, model_validator

from headgate.config.circles import in_circle, names_under
from headgate.config.event_time import zone_of
from headgate.config.table import Table
from headgate.config.values import Name, entries_of
from headgate.core.clock import NS_PER_S
from headgate.core.stretches import Stretches
from headgate.core.wall_clock import DAY_NS, FIRST_DAY, LAST_DAY, wall_clock

#: Of one file.
MAX_SCHEDULES: Final = 100

#: Spans of a day, and dates and spans of them, that a schedule may have.
_MOST_TIMES, _MOST_DATES = 24, 400

_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NUMBER_OF: Final = {word: number for number, day in enumerate(_DAYS) for word in (day, day[:3])}

_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)|24:00")
_DATE = re.compile(r"(?:(\d{4})-)?(\d{2})-(\d{2})")

_EPOCH: Final = date(1970, 1, 1)
_YEARS: Final = range(_EPOCH.year - 1, 2101)
_MINUTE_NS: Final = 60 * NS_PER_S

#: The keys that say which times of which days; beside ``spans`` there are none of them.
_OF_DAYS: Final = ("days", "times", "dates")

Texts = Annotated[tuple[str, ...], BeforeValidator(entries_of), Field(min_length=1)]
#: Names of schedules: one, or a list.
Schedules = Annotated[tuple[Name, ...], BeforeValidator(entries_of)]


def _as_text(value: object) -> object:
    """A time as a text, where the file has it as TOML writes one."""
    return value.isoformat() if isinstance(value, date) else value


class SpanConfig(Table):
    """An entry of ``spans``: once, from one time to another, as clocks of the zone show them."""

    from_: Annotated[str, BeforeValidator(_as_text)] = Field(alias="from")
    to: Annotated[str, BeforeValidator(_as_text)]

    @field_validator("from_", "to")
    @classmethod
    def _is_time(cls, text: str) -> str:
        _local_ns(text)
        if ":" not in text:
            raise ValueError(
                f'expected a time of day too, such as "{text} 06:00"; whole days are dates'
            )
        return text

    @model_validator(mode="after")
    def _has_time(self) -> Self:
        if _local_ns(self.from_) >= _local_ns(self.to):
            raise ValueError(f'expected to to be later than from, "{self.from_}"')
        return self

    @property
    def local_ns(self) -> tuple[int, int]:
        """From when to when, ns since what clocks call 1970."""
        return _local_ns(self.from_), _local_ns(self.to)


class ScheduleConfig(Table):
    """``[schedule.NAME]``: times of days, or spans of dates."""

    #: Days of the week: ``"mon-fri"``. None: all.
    days: Texts | None = None
    #: From when to when: ``"06:00-14:00"``. One over midnight belongs to the day on which it
    #: begins. None: all day.
    times: Texts | None = None
    #: Dates, ``"2026-05-01"``, or spans of them, ``"12-24/01-01"``, with a year or of every year.
    #: None: all.
    dates: Texts | None = None
    #: In place of these: from one time to another, once.
    spans: Annotated[tuple[SpanConfig, ...], Field(max_length=_MOST_DATES)] = ()
    #: Whose clocks are meant.
    zone: str = "UTC"
    #: Schedules whose times this one leaves out.
    except_: Schedules = Field(default=(), alias="except")

    @field_validator("days")
    @classmethod
    def _are_days(cls, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for each in given or ():
            _days_of(each)
        return given

    @field_validator("times")
    @classmethod
    def _are_times(cls, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for each in given or ():
            _minutes_of(each)
        if len(given or ()) > _MOST_TIMES:
            raise ValueError(f"expected at most {_MOST_TIMES}")
        return given

    @field_validator("dates")
    @classmethod
    def _are_dates(cls, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for each in given or ():
            _dates_of(each)
        if len(given or ()) > _MOST_DATES:
            raise ValueError(f"expected at most {_MOST_DATES}")
        return given

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, zone: str) -> str:
        zone_of(zone)
        return zone

    @model_validator(mode="after")
    def _has_times(self) -> Self:
        given = [key for key in _OF_DAYS if getattr(self, key) is not None]
        if bool(given) == bool(self.spans):
            found = f"{', '.join(given)} and spans" if given else "none of them"
            raise ValueError(f"expected some of {', '.join(_OF_DAYS)}, or spans, got {found}")
        return self

    @cached_property
    def own(self) -> Stretches:
        """When it is, but for what ``except`` leaves out."""
        clock = wall_clock(zone_of(self.zone))
        if self.spans:
            local_ns = np.array([each.local_ns for each in self.spans], np.int64)
            return Stretches.of(clock.reached_ns(local_ns[:, 0]), clock.reached_ns(local_ns[:, 1]))
        begin_ns = np.flatnonzero(self._is_day()).astype(np.int64) * DAY_NS + FIRST_DAY * DAY_NS
        begins, ends = [], []
        for first, end in map(_minutes_of, self.times or ("00:00-24:00",)):
            begins.append(clock.reached_ns(begin_ns + first * _MINUTE_NS))
            ends.append(clock.reached_ns(begin_ns + end * _MINUTE_NS))
        return Stretches.of(np.concatenate(begins), np.concatenate(ends))

    def _is_day(self) -> NDArray[np.bool_]:
        """bool[d]: whether it is on a day, from ``FIRST_DAY`` on."""
        days = np.arange(FIRST_DAY, LAST_DAY)
        is_day = np.ones(len(days), np.bool_)
        if self.days is not None:
            wanted = [number for each in self.days for number in _days_of(each)]
            # The first day of all was a Thursday.
            is_day &= np.isin((days + _EPOCH.weekday()) % 7, wanted)
        if self.dates is not None:
            is_date = np.zeros(len(days), np.bool_)
            for first, end in (span for each in self.dates for span in _dates_of(each)):
                is_date[max(first - FIRST_DAY, 0) : max(end - FIRST_DAY, 0)] = True
            is_day &= is_date
        return is_day


def stretches_of(
    name: str,
    schedules: Mapping[str, ScheduleConfig],
    known: dict[str, Stretches] | None = None,
) -> Stretches:
    """The times that a schedule has; none of them leaves itself out by others.

    Args:
        name: Which.
        schedules: All.
        known: Those of others, as far as they are worked out.
    """
    known = {} if known is None else known
    if name not in known:
        own = schedules[name].own
        for other in schedules[name].except_:
            own = own.without(stretches_of(other, schedules, known))
        known[name] = own
    return known[name]


def looked_at(
    during: Iterable[str], but: Iterable[str], schedules: Mapping[str, ScheduleConfig]
) -> Stretches | None:
    """The times of some schedules, or all, without those of others; None: all there are.

    Args:
        during: Names of schedules; none: all times.
        but: Names of those that are left out.
        schedules: ``config.schedule``.
    """
    named, left_out = [*during], [*but]
    if not named and not left_out:
        return None
    found, known = Stretches.always(), dict[str, Stretches]()
    if named:
        found = Stretches.any_of([stretches_of(each, schedules, known) for each in named])
    but_these = [stretches_of(each, schedules, known) for each in left_out]
    return found.without(Stretches.any_of(but_these))


#: From the first to the last day that all schedules reach, whatever their zones, ns.
_REACH_NS: Final = ((FIRST_DAY + 2) * DAY_NS, (LAST_DAY - 2) * DAY_NS)


def has_time(stretches: Stretches, after_ns: int = _REACH_NS[0]) -> bool:
    """Whether they have any time from then on, ns since 1970 UTC, that schedules reach."""
    begin, end = np.array([after_ns], np.int64), np.array([_REACH_NS[1]], np.int64)
    return meet(stretches, Stretches.of(begin, end))


def meet(one: Stretches, other: Stretches) -> bool:
    """Whether two have some time in common."""
    return not np.array_equal(one.without(other).edges, one.edges)


class ScheduleProblem(NamedTuple):
    """What is wrong with a schedule, or a name of one: its key, and what."""

    key: tuple[str, ...]
    what: str


def schedule_problems(
    schedules: Mapping[str, Any], rules: Mapping[str, Any]
) -> Iterator[ScheduleProblem]:
    """What names of schedules lead nowhere, or in a circle.

    Args:
        schedules: The table ``schedule``, as it stands in the file.
        rules: The table ``rule``, likewise.
    """
    if len(schedules) > MAX_SCHEDULES:
        first = ("schedule", list(schedules)[MAX_SCHEDULES])
        yield ScheduleProblem(first, f"expected at most {MAX_SCHEDULES} schedules")
        return
    tables: list[tuple[tuple[str, str], object, tuple[str, ...]]] = [
        *((("schedule", name), table, ("except",)) for name, table in schedules.items()),
        *((("rule", name), table, ("during", "except")) for name, table in rules.items()),
    ]
    is_wrong = False
    for place, table, keys in tables:
        for key in keys:
            for what in unknown_schedules(names_under(table, key), schedules):
                is_wrong = True
                yield ScheduleProblem((*place, key), what)
    if not is_wrong:
        circle = in_circle({name: names_under(each, "except") for name, each in schedules.items()})
        if circle is not None:
            what = "leaves itself out, by itself or by those that it names; take one of them out"
            yield ScheduleProblem(("schedule", circle, "except"), what)


def unknown_schedules(names: Iterable[str], schedules: Iterable[str]) -> Iterator[str]:
    """What to say of names that no schedule has."""
    known = [*schedules]
    for name in names:
        if name not in known:
            yield (
                f"no [schedule.{name}] in this file; those there are: {', '.join(known) or 'none'}"
            )


def _days_of(text: str) -> list[int]:
    """Days of the week, from Monday, 0."""
    words = [word.strip().lower() for word in text.split("-")]
    if len(words) > 2 or any(word not in _NUMBER_OF for word in words):
        raise ValueError(f'expected days such as "mon-fri" or "sat", got "{text[:40]}"')
    first, last = _NUMBER_OF[words[0]], _NUMBER_OF[words[-1]]
    return [(first + more) % 7 for more in range((last - first) % 7 + 1)]


def _minutes_of(text: str) -> tuple[int, int]:
    """From when to when, in minutes from the day's midnight; over midnight beyond 24 hours."""
    parts = [part.strip() for part in text.split("-")]
    if len(parts) != 2 or any(_TIME.fullmatch(part) is None for part in parts):
        raise ValueError(f'expected from and to such as "22:00-06:00", got "{text[:40]}"')
    first, end = (60 * int(part[:-3]) + int(part[-2:]) for part in parts)
    if first in (end, 24 * 60):
        raise ValueError(
            f'expected two times of day that differ, got "{text}"; all day is "00:00-24:00"'
        )
    return first, end if first < end else end + 24 * 60


def _dates_of(text: str) -> list[tuple[int, int]]:
    """Spans of days, as counted from 1970: the first, and the one behind the last."""
    parts = [_DATE.fullmatch(part.strip()) for part in text.split("/")]
    found = [part for part in parts if part is not None]
    if len(parts) > 2 or len(found) < len(parts) or len({part[1] is None for part in found}) > 1:
        raise ValueError(
            f'expected dates such as "2026-05-01", "12-24/01-01" or "2026-08-03/2026-08-14", got '
            f'"{text[:40]}"'
        )
    begin, last = found[0], found[-1]
    if begin[1] is not None:
        first, end = _day(begin, int(begin[1])), _day(last, int(last[1]))
        if first > end:
            raise ValueError(f'expected the later date behind the slash, got "{text}"')
        return [(first, end + 1)]
    is_over_new_year = begin[0] > last[0]
    spans = [
        (_day(begin, year, is_begin=True), _day(last, year + is_over_new_year) + 1)
        for year in _YEARS
    ]
    return [(first, end) for first, end in spans if first < end]


def _day(found: re.Match[str], year: int, *, is_begin: bool = False) -> int:
    """A date's number; of 29 February in other years that of the day behind, or before it."""
    month, day = int(found[2]), int(found[3])
    try:
        # Of every year it is one that there is in some.
        date(year if found[1] is not None else 2000, month, day)
    except ValueError:
        raise ValueError("expected a date that the calendar has") from None
    if year not in range(_YEARS[1], _YEARS[-1] + 1) and found[1] is not None:
        raise ValueError(f'expected a date from 1970 to 2100, got "{found[0]}"')
    last = monthrange(year, month)[1]
    number = (date(year, month, min(day, last)) - _EPOCH).days
    return number + (day > last and is_begin)


def _local_ns(text: str) -> int:
    """A time that clocks show, ns since what they call 1970."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is not None or found.year not in _YEARS[1:]:
        raise ValueError(
            "expected a time from 1970 to 2100, without an offset since zone says it, such as "
            f'"2026-08-03T06:00", got "{text[:40]}"'
        )
    return (found - datetime(1970, 1, 1)) // timedelta(microseconds=1) * 1000  # noqa: DTZ001
