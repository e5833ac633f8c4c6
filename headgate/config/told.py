"""The keys by which it is chosen what of alarms and other findings is of interest, and how often.

Sinks that tell people have them, and so have actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from pydantic import BeforeValidator, Field, field_validator, model_validator

from headgate.config.reach import out_of_reach
from headgate.config.rule import Severity
from headgate.config.table import Table, as_table
from headgate.config.values import Int, entries_of
from headgate.core.results import severity_rank
from headgate.core.units import DurationNs

if TYPE_CHECKING:
    from headgate.config.schema import Config

#: Names, or patterns of names; ``*`` stands for any letters. One, or a list.
Patterns = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(entries_of),
    Field(min_length=1),
]

#: Whether something begins, or is over. One, or both.
States = Annotated[
    tuple[Literal["open", "over"], ...], BeforeValidator(entries_of), Field(min_length=1)
]


class Told(Protocol):
    """Something that may be of interest."""

    @property
    def state(self) -> str:
        """``"open"`` or ``"over"``."""
        ...

    @property
    def severity(self) -> str:
        """Empty where it has none."""
        ...

    @property
    def feed(self) -> str:
        """Its device's feed."""
        ...

    @property
    def device(self) -> str:
        """Its device."""
        ...

    @property
    def rule(self) -> str:
        """Empty where it is of none."""
        ...


class ChoiceConfig(Table):
    """Which of them are."""

    #: Kinds of finding.
    of: tuple[str, ...] = ("alarms",)
    #: The least, of what has one.
    severity: Severity = "minor"
    feeds: Patterns = ("*",)
    devices: Patterns = ("*",)
    #: Of alarms.
    rules: Patterns = ("*",)
    states: States = ("open", "over")

    def chooses(self, told: Told) -> bool:
        """Whether this is."""
        if told.state not in self.states:
            return False
        if told.severity and severity_rank(told.severity) < severity_rank(self.severity):
            return False
        return (
            is_one_of(told.feed, self.feeds)
            and is_one_of(told.device, self.devices)
            and (not told.rule or is_one_of(told.rule, self.rules))
        )

    def unusable(self, config: Config) -> Iterator[tuple[str, str]]:
        yield from super().unusable(config)
        for key, patterns, there in (
            ("feeds", self.feeds, config.feed),
            ("rules", self.rules, config.rule),
        ):
            for pattern in patterns:
                if pattern != "*" and not any(fnmatchcase(name, pattern) for name in there):
                    known = ", ".join(there) or "none"
                    yield key, f'no {key[:-1]} "{pattern}" in this file; those there are: {known}'

    def idle(self, config: Config) -> Iterator[tuple[str, str]]:
        yield from super().idle(config)
        yield from out_of_reach(self, config)
        for each in self.devices:
            if what := oddly_named(each):
                yield "devices", what


def oddly_named(pattern: str) -> str:
    """Why a pattern of devices' names is surely not meant so; empty where it may be."""
    if pattern != pattern.strip():
        return f'"{pattern}" has a blank at its ends, and names of devices have none; leave it out'
    if "," in pattern:
        every = ", ".join(f'"{each.strip()}"' for each in pattern.split(",") if each.strip())
        return f'"{pattern}" is one name with a comma in it; write several as a list: [{every}]'
    return ""


class AtMostConfig(Table):
    """``at_most``: how many in which time."""

    count: Int = Field(ge=1, le=100_000)
    span: DurationNs

    @model_validator(mode="before")
    @classmethod
    def _is_table(cls, value: object) -> object:
        return as_table(value, '{ count = 10, span = "1m" }')

    @field_validator("span")
    @classmethod
    def _is_some(cls, span: int) -> int:
        if span == 0:
            raise ValueError('expected more than "0s"')
        return span


class Window:
    """How many there were in the present span; a span begins with the first that is in it."""

    def __init__(self, begin_ns: int = 0, count: int = 0) -> None:
        self.begin_ns = begin_ns
        self.count = count

    def is_over(self, limit: AtMostConfig, now_ns: int) -> bool:
        """Whether another one begins; also where the clock was set back."""
        return not self.begin_ns <= now_ns < self.begin_ns + limit.span

    def take(self, limit: AtMostConfig, now_ns: int) -> bool:
        """Whether there may be one more."""
        return self.is_over(limit, now_ns) or self.count < limit.count

    def note(self, limit: AtMostConfig, now_ns: int) -> None:
        """There was one."""
        if self.is_over(limit, now_ns):
            self.begin_ns, self.count = now_ns, 0
        self.count += 1


def is_one_of(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns is of this name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
