"""``[feed.NAME.time]`` in ``headgate.toml``: where event times stand, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Annotated, Literal, Self, TypeAlias, get_args
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, field_validator, model_validator

from headgate.config.payload_path import PayloadPath, checked_path
from headgate.config.table import Table, first_and_others
from headgate.config.values import Flag, Int
from headgate.core.units import DurationNs, parse_duration_ns

#: What numbers count, or "iso8601" for texts.
Unit: TypeAlias = Literal["s", "ms", "us", "ns", "100ns", "min", "h", "d", "w", "iso8601"]

#: Epochs that have a name, besides those that are a time.
_EPOCHS = ("arrival", "start", "gps", "ntp")


def _one_or_several(value: object) -> tuple[object, ...]:
    """What stands there, or the elements of a list, of which there must be two at least."""
    if not isinstance(value, list | tuple):
        return (value,)
    if len(value) < 2:
        raise ValueError('expected one, or a list of several such as ["date", "time"]')
    return tuple(value)


# Of unions pydantic tells what is wrong with each of their types, which no file has a word of.
def _paths(value: object) -> object:
    paths = _one_or_several(value)
    texts = [path for path in paths if isinstance(path, str)]
    if len(texts) < len(paths):
        raise ValueError('expected a path such as "time", or several: ["date", "time"]')
    for path in texts:
        checked_path(path)
    return paths if isinstance(value, list | tuple) else value


def _units(value: object) -> object:
    units = _one_or_several(value)
    if not all(unit in get_args(Unit) for unit in units):
        raise ValueError(f"expected one of {', '.join(get_args(Unit))}")
    return units if isinstance(value, list | tuple) else value


#: A zone that is an offset all the year.
_OFFSET = re.compile(r"([+-])([01]\d|2[0-3]):([0-5]\d)")


def zone_of(text: str) -> tzinfo:
    """The zone of this IANA name, or of an offset such as ``+01:00``.

    Raises:
        ValueError: There is none.
    """
    found = _OFFSET.fullmatch(text)
    if found is not None:
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        return timezone(-offset if found[1] == "-" else offset)
    try:
        return ZoneInfo(text)
    except (OSError, ValueError, KeyError):
        raise ValueError(
            'expected a time zone such as "Europe/Berlin", or an offset such as "+01:00"'
        ) from None


#: What stands for a year in a pattern.
_YEARS = ("%Y", "%y", "%G", "%c", "%x")

_NO_PATTERN = (
    "pattern: expected a date and a time of day in strptime's terms, such as "
    '"%d.%m.%Y %H:%M:%S"; a date alone with date_only = true'
)


class TimeConfig(Table):
    """``[feed.NAME.time]``: where the event time stands, and how it is written.

    Without ``path`` the arrival time is taken, and the readings are marked so.
    """

    #: Where it stands; of several paths texts are put together, and numbers added.
    path: Annotated[str | tuple[str, ...], BeforeValidator(_paths)] | None = None
    #: Where else it may stand: the first place counts where there is something.
    or_path: tuple[PayloadPath, ...] = ()
    #: Of several numbers one each: ``["s", "ns"]``. Where it is not said, ISO 8601 is read besides.
    unit: Annotated[Unit | tuple[Unit, ...], BeforeValidator(_units)] = "ms"
    #: What numbers count from, if not from 1970: a time, "gps", "ntp" or the device's "start"; or
    #: back from "arrival".
    epoch: str | None = None
    #: Times further in the future than this are refused, as are those before ``not_before``.
    max_ahead: DurationNs = parse_duration_ns("1d")
    #: Readings that must agree before a device's clock that runs ahead of all before is believed.
    confirm: Annotated[Int, Field(ge=1, le=1000)] = 3
    not_before: str = "2000-01-01T00:00:00Z"
    #: Zone of texts without one, such as "Europe/Berlin" or "+01:00"; without it they mean UTC.
    zone: str | None = None
    #: How times that are texts are written, if not as ISO 8601: as Python's ``strptime`` has it.
    #: Of a list the first that fits.
    pattern: str | None = None
    #: How else they may be written.
    or_pattern: tuple[str, ...] = ()
    #: Whether a date without a time of day is one: its midnight.
    date_only: Flag = False
    #: What a reading gets whose device has no clock yet: none, or one from before ``not_before``.
    fallback: Literal["arrival"] | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Where it stands; none: in no place of the payload."""
        if self.path is None:
            return ()
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def units(self) -> tuple[Unit, ...]:
        """What stands at each of the paths."""
        if isinstance(self.unit, tuple):
            return self.unit
        return (self.unit if self.pattern is None else "iso8601",) * len(self.paths)

    @property
    def is_text(self) -> bool:
        """Whether times are texts, and not numbers."""
        return self.unit == "iso8601" or self.pattern is not None

    @property
    def takes_texts(self) -> bool:
        """Whether times are numbers, or texts in ISO 8601, for nobody has said which."""
        is_said = "unit" in self.model_fields_set or self.pattern is not None
        return not is_said and self.epoch is None and self.is_plain

    @property
    def is_age(self) -> bool:
        """Whether they say how long before its arrival a reading was."""
        return self.epoch == "arrival"

    @property
    def is_uptime(self) -> bool:
        """Whether they say for how long the device had been running."""
        return self.epoch == "start"

    @property
    def is_from_arrival(self) -> bool:
        """Whether they mean nothing without the time they arrive at."""
        return self.is_age or self.is_uptime

    @property
    def may_be_arrival(self) -> bool:
        """Whether readings may get the time they arrive at."""
        return self.path is None or self.fallback is not None

    @property
    def is_plain(self) -> bool:
        """Whether one value is all of it."""
        return isinstance(self.path, str)

    @model_validator(mode="before")
    @classmethod
    def _several_patterns(cls, raw: object) -> object:
        raw = first_and_others(raw, "pattern")
        if isinstance(raw, Mapping) and isinstance(raw.get("or_path"), str):
            return {**raw, "or_path": [raw["or_path"]]}
        return raw

    @property
    def patterns(self) -> tuple[str, ...]:
        """How times that are texts may be written; none: as ISO 8601."""
        return () if self.pattern is None else (self.pattern, *self.or_pattern)

    @field_validator("pattern", "or_pattern")
    @classmethod
    def _can_be_read(cls, given: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        patterns = (given,) if isinstance(given, str) else given or ()
        if any("%Z" in pattern for pattern in patterns):
            # Python reads the name of a zone and does nothing with it.
            raise ValueError(
                "expected %z, an offset, in place of %Z; or leave it out and give zone"
            )
        return given

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str | None) -> str | None:
        if zone is not None:
            zone_of(zone)
        return zone

    @field_validator("epoch")
    @classmethod
    def _is_an_epoch(cls, epoch: str | None) -> str | None:
        if epoch is not None and epoch not in _EPOCHS:
            try:
                datetime.fromisoformat(epoch)
            except ValueError:
                raise ValueError(
                    'expected a time such as "1899-12-30", "gps", "ntp", "start" for numbers that '
                    'say for how long the device is running, or "arrival" for such as say how long '
                    "before their arrival"
                ) from None
        return epoch

    @field_validator("not_before")
    @classmethod
    def _is_a_time(cls, text: str) -> str:
        try:
            datetime.fromisoformat(text)
        except ValueError:
            raise ValueError('expected a time such as "2000-01-01T00:00:00Z"') from None
        return text

    @model_validator(mode="after")
    def _has_a_unit_each(self) -> Self:
        is_one_each = isinstance(self.unit, tuple)
        if is_one_each and len(self.unit) != len(self.paths):
            raise ValueError(
                f"unit: expected one for each path, of which there are {len(self.paths)}"
            )
        if len(self.paths) > 1 and not self.is_text and not is_one_each:
            raise ValueError(
                'path: are these texts or numbers? Give unit = "iso8601" or a pattern, or the unit '
                'of each, such as unit = ["s", "ns"]'
            )
        return self

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        has_text = self.takes_texts or self.is_text or "iso8601" in self.units
        has_number = not self.is_text
        if self.zone is not None and not has_text:
            raise ValueError('zone is for texts: set unit = "iso8601" or leave zone out')
        if self.pattern is not None and "unit" in self.model_fields_set and self.unit != "iso8601":
            raise ValueError("pattern is for texts, and unit for numbers: leave one of them out")
        if self.date_only and not has_text:
            raise ValueError('date_only is for texts: set unit = "iso8601" or leave it out')
        if self.epoch is not None and (has_text or not has_number):
            raise ValueError("epoch is for numbers: give their unit, or leave it out")
        if self.or_pattern and self.pattern is None:
            raise ValueError("or_pattern: beside which? Give pattern as well")
        if self.or_path and len(self.paths) > 1:
            raise ValueError("or_path: is for one path, and path has several; leave it out")
        for key in ("epoch", "fallback", "or_path"):
            if self.path is None and getattr(self, key) not in (None, ()):
                raise ValueError(f"{key}: of which times? Give path as well")
        return self

    @model_validator(mode="after")
    def _is_of_no_clock(self) -> Self:
        """What is for devices that have a clock means nothing where one has an uptime."""
        if not self.is_uptime:
            return self
        if self.fallback is not None:
            raise ValueError(
                'fallback: a device that runs has an uptime; leave it out beside epoch = "start"'
            )
        for key in ("confirm", "max_ahead", "not_before"):
            if key in self.model_fields_set:
                raise ValueError(
                    f"{key}: is for devices that have a clock, and may have a wrong one; "
                    'leave it out beside epoch = "start"'
                )
        return self

    @model_validator(mode="after")
    def _has_date_and_time(self) -> Self:
        for pattern in self.patterns:
            self._check_pattern(pattern)
        return self

    def _check_pattern(self, pattern: str) -> None:
        example = datetime(2026, 11, 28, 13, 14, 15, tzinfo=UTC)
        if self.date_only:
            example = example.replace(hour=0, minute=0, second=0)
        if not any(each in pattern for each in _YEARS):
            # Python warns of them, and takes 1900.
            raise ValueError(_NO_PATTERN)
        try:
            read = datetime.strptime(example.strftime(pattern), pattern)  # noqa: DTZ007  (see zone)
            is_whole = read.replace(second=example.second, tzinfo=UTC) == example
        except (ValueError, re.error):
            is_whole = False
        if not is_whole:
            raise ValueError(_NO_PATTERN)
