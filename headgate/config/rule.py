"""``[rule.NAME]`` in ``headgate.toml``: what somebody wants to be told of.

That a condition can be read is checked where it stands. What it names can be told only beside the
channels of its feeds (``rule_problems``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from string import Formatter
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from headgate.config.derived import expression_problems
from headgate.config.table import Table
from headgate.config.values import Flag, Name, entries_of
from headgate.core.expressions.known import known_false, known_true
from headgate.core.expressions.nodes import ExpressionError, Kind, Node
from headgate.core.expressions.parse import parse
from headgate.core.units import DurationNs

#: Of one file.
MAX_RULES = 500

#: Characters of a text in the file.
_MAX_TEXT = 500

#: How a number may be written in a text: no width, so that nobody's text becomes endless.
_FORMAT = re.compile(r"(\+?,?(\.\d{1,2})?[dfeg%]?)")

#: What a text may name besides channels.
TOLD = ("device", "feed", "rule", "severity")


class TextPart(NamedTuple):
    """A part of a rule's text.

    Attributes:
        plain: Letters as they are.
        name: What is put in behind them; empty at the end.
        form: How it is written, as Python's ``format`` has it.
    """

    plain: str
    name: str
    form: str


class RuleConfig(Table):
    """``[rule.NAME]``: a condition of one device at a time, and what is said when it holds."""

    #: The feed, or the feeds, whose devices it is for.
    feed: Annotated[tuple[Name, ...], BeforeValidator(entries_of), Field(min_length=1)]
    #: Names of the devices it is for; ``*`` stands for any letters.
    devices: tuple[str, ...] = ("*",)
    #: The condition: ``"temperature > 80"``.
    when: str
    #: For how long it must have held.
    for_: DurationNs = Field(default=0, alias="for")
    #: When it is over. None: when the condition does not hold any more.
    clear: str | None = None
    #: For how long that must have been so.
    clear_for: DurationNs = 0
    severity: Literal["minor", "major", "critical"] = "major"
    #: What is said, with channels and ``{device}`` in braces. None: the device, and the condition.
    text: Annotated[str | None, Field(max_length=_MAX_TEXT)] = None
    #: For how long a channel's last value counts where it meets others. None: as of derived
    #: channels.
    max_age: DurationNs | None = None
    #: False opens no alarm, and ends the one that is open.
    enabled: Flag = True

    @field_validator("when", "clear")
    @classmethod
    def _is_condition(cls, value: str | None) -> str | None:
        if value is None:
            return None
        read = parse(value)
        if read.kind is not Kind.CONDITION:
            what = 'expected a condition such as "temperature > 80", got a number; compare it'
            raise ExpressionError(what, read.at, value)
        if not read.names:
            raise ValueError("expected a channel in it: without one nothing ever happens")
        return value

    @field_validator("text")
    @classmethod
    def _can_be_put_in(cls, value: str | None) -> str | None:
        if value is not None:
            read_text(value)
        return value

    @field_validator("max_age")
    @classmethod
    def _is_some(cls, max_age: int | None) -> int | None:
        if max_age == 0:
            raise ValueError('expected more than "0s"')
        return max_age

    @model_validator(mode="after")
    def _two_conditions(self) -> Self:
        if self.clear is not None and parse(self.clear) == parse(self.when):
            raise ValueError(
                "clear: expected another condition than when has, or none: it is over then when "
                "that does not hold any more"
            )
        return self

    @cached_property
    def condition(self) -> Node:
        """Holds where ``when`` is known to hold."""
        return known_true(parse(self.when))

    @cached_property
    def over(self) -> Node:
        """Holds where it is known that what was said is over."""
        if self.clear is None:
            return known_false(parse(self.when))
        return known_true(parse(self.clear))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The channels whose readings may begin or end it, each once."""
        return tuple(dict.fromkeys((*self.condition.names, *self.over.names)))

    @cached_property
    def parts(self) -> tuple[TextPart, ...]:
        """The text."""
        if self.text is not None:
            return read_text(self.text)
        return (TextPart("", "device", ""), TextPart(f": {' '.join(self.when.split())}", "", ""))

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The channels in the text, each once."""
        return tuple(
            dict.fromkeys(each.name for each in self.parts if each.name not in ("", *TOLD))
        )

    def is_of(self, device: str) -> bool:
        """Whether it is for a device of this name."""
        return any(fnmatchcase(device, each) for each in self.devices)

    def lasts_ns(self, default_ns: int) -> int:
        """For how long a value of another channel counts, ns."""
        return self.max_age or default_ns


def read_text(text: str) -> tuple[TextPart, ...]:
    """A rule's text in its parts.

    Raises:
        ValueError: It holds something else than names in braces, or another form than one of a
            number.
    """
    try:
        found = list(Formatter().parse(text))
    except ValueError:
        raise ValueError(
            'expected names in braces, such as "{device}: {temperature:.1f} °C"; a brace that is '
            'meant is written twice: "{{"'
        ) from None
    parts = []
    for plain, name, form, conversion in found:
        if name == "" or conversion is not None:
            raise ValueError(
                'expected a channel, or one of device, feed, rule and severity, between "{" and '
                '"}", and behind a colon at most how its number is written'
            )
        if form and _FORMAT.fullmatch(form) is None:
            raise ValueError(
                f'expected a form such as ".1f" behind the colon, got "{form[:40]}"; digits behind '
                "the point, and one of f, e, g, d and %, are all there is"
            )
        if form and name in TOLD:
            raise ValueError(f'expected no form behind "{name}", which is no number')
        parts.append(TextPart(plain, name or "", form or ""))
    return tuple(parts)


class RuleProblem(NamedTuple):
    """What is wrong with a rule: its key below ``rule``, what, and lines that show where."""

    key: tuple[str, ...]
    what: str
    pointer: tuple[str, ...] = ()


def rule_problems(
    rules: Mapping[str, Any], feeds: Mapping[str, Mapping[str, Any]]
) -> Iterator[RuleProblem]:
    """What of rules does not fit the feeds. What is wrong with one by itself is passed over.

    Args:
        rules: The table ``rule``, as it stands in the file.
        feeds: The table ``feed``, likewise, with what presets say.
    """
    if len(rules) > MAX_RULES:
        yield RuleProblem((list(rules)[MAX_RULES],), f"expected at most {MAX_RULES} rules")
        return
    for name, rule in rules.items():
        named = rule.get("feed") if isinstance(rule, Mapping) else None
        for each in entries_of(named) if isinstance(named, str | list | tuple) else ():
            if not isinstance(each, str):
                continue
            if each not in feeds:
                known = ", ".join(feeds) or "none"
                what = f'no feed "{each}" in this file; those there are: {known}'
                yield RuleProblem((name, "feed"), what)
                continue
            for key, what, pointer in _misfits(rule, feeds[each]):
                yield RuleProblem((name, key), what, pointer)


def _misfits(
    rule: Mapping[str, Any], feed: Mapping[str, Any]
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """What of a rule does not fit one of its feeds."""
    for key in ("when", "clear"):
        if isinstance(text := rule.get(key), str):
            for what, pointer in expression_problems(text, feed):
                yield key, what, pointer
    text = rule.get("text")
    try:
        parts = read_text(text) if isinstance(text, str) else ()
    except ValueError:
        return
    for part in parts:
        if part.name in ("", *TOLD):
            continue
        for what, _ in expression_problems(f"`{part.name}`", feed):
            yield "text", f"{what} (and device, feed, rule and severity may be named)", ()
