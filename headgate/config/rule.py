"""``[rule.NAME]`` in ``headgate.toml``: what somebody wants to be told of.

That a condition can be read is checked where it stands. What it names can be told only beside the
channels of its feeds (``rule_problems``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from headgate.config.circles import in_circle, names_under
from headgate.config.derived import PERIODS, MaxAge, expression_problems, usual_age_ns
from headgate.config.named_text import TextPart, text_parts
from headgate.config.schedule import Schedules
from headgate.config.table import Table
from headgate.config.values import Flag, Name, entries_of
from headgate.core.expressions.known import known_false, known_true
from headgate.core.expressions.nodes import ExpressionError, Kind, Node
from headgate.core.expressions.parse import parse
from headgate.core.units import DurationNs

if TYPE_CHECKING:
    from headgate.config.feed import FeedConfig

#: Of one file.
MAX_RULES = 500

#: Characters of a text in the file.
_MAX_TEXT = 500

#: How a number may be written in a text: no width, so that nobody's text becomes endless.
_FORMAT = re.compile(r"\+?,?(d|(\.\d{1,2})?[feg%]?)")

#: What a text may name besides channels; and besides these where it is no condition's, of which
#: the last ones are numbers.
TOLD = ("device", "feed", "rule", "severity")
_TOLD_OF: Mapping[str, tuple[str, ...]] = {
    "offline": (),
    "sensors": ("channel", "fault"),
    "model": ("channel", "model", "verdict", "score", "threshold"),
}
_NUMBERS = ("score", "threshold")

#: What is said where no text is given.
_USUAL_TEXTS = {
    "offline": "{device} is away",
    "sensors": "{device}: {channel} {fault}",
    "model": "{device}: {model} finds an anomaly, most of it {channel}",
}

#: Keys that say what a rule looks for, of which it has one.
LOOKED_FOR = ("when", "offline", "sensors", "model")

#: Keys that only conditions have.
_OF_CONDITIONS = ("for_", "clear", "clear_for", "max_age", "suppressed_by")

SensorFault = Literal["dropout", "stuck", "flat", "spike", "noise", "drift"]
Severity = Literal["minor", "major", "critical"]


class RuleConfig(Table):
    """``[rule.NAME]``: what is looked for in one device at a time, and what is said of it.

    One of ``when``, ``offline``, ``sensors`` and ``model`` says what.
    """

    #: The feed, or the feeds, whose devices it is for.
    feed: Annotated[tuple[Name, ...], BeforeValidator(entries_of), Field(min_length=1)]
    #: Names of the devices it is for; ``*`` stands for any letters.
    devices: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        BeforeValidator(entries_of),
        Field(min_length=1),
    ] = ("*",)
    #: A condition: ``"temperature > 80"``.
    when: str | None = None
    #: That the device is away.
    offline: Flag = False
    #: That a sensor has one of these faults.
    sensors: Annotated[tuple[SensorFault, ...], BeforeValidator(entries_of)] = ()
    #: An anomaly of this model.
    model: Name | None = None
    #: For how long it must have held.
    for_: DurationNs = Field(default=0, alias="for")
    #: When it is over. None: when the condition does not hold any more.
    clear: str | None = None
    #: For how long that must have been so.
    clear_for: DurationNs = 0
    #: None: of a model's that of the anomaly, otherwise "major".
    severity: Severity | None = None
    #: What is said, with channels and ``{device}`` in braces. None: the device, and the condition.
    text: Annotated[str | None, Field(min_length=1, max_length=_MAX_TEXT)] = None
    #: For how long a channel's last value counts where it meets others. None: as of derived
    #: channels, and as long as ``for`` and ``clear_for`` at least.
    max_age: MaxAge | None = None
    #: Schedules in which it is looked at; none: always.
    during: Schedules = ()
    #: Those in which it is not.
    except_: Schedules = Field(default=(), alias="except")
    #: Rules of the same devices, while an alarm of any of which is open it is not looked at.
    suppressed_by: Annotated[tuple[Name, ...], BeforeValidator(entries_of)] = ()
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

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        named = [key for key in LOOKED_FOR if getattr(self, key)]
        if len(named) != 1:
            found = " and ".join(named) or "none of them"
            raise ValueError(f"expected one of {', '.join(LOOKED_FOR)}, got {found}")
        # Of what others find it is they who say how long it takes.
        odd = [key for key in _OF_CONDITIONS if key.rstrip("_") in self._given]
        if self.when is None and odd:
            raise ValueError(
                f"{odd[0].rstrip('_')}: expected it beside when only, got it beside {named[0]}"
            )
        return self

    @model_validator(mode="after")
    def _is_looked_at(self) -> Self:
        given = [key for key in ("during", "except_") if getattr(self, key)]
        if given and not self.when and not self.sensors:
            # That a device is away, or an anomaly goes on, is not said again: when a schedule
            # begins nobody would notice it.
            found = "offline" if self.offline else "model"
            raise ValueError(
                f"{given[0].rstrip('_')}: expected it beside when and sensors only, got it beside "
                f"{found}, of which nothing is said again when a schedule begins; let the sink "
                "wait: quiet = { during = ... }"
            )
        return self

    @property
    def _given(self) -> set[str]:
        return {name.rstrip("_") for name in self.model_fields_set}

    @model_validator(mode="after")
    def _two_conditions(self) -> Self:
        if self.when and self.clear is not None and parse(self.clear) == parse(self.when):
            raise ValueError(
                "clear: expected another condition than when has, or none: it is over then when "
                "that does not hold any more"
            )
        return self

    @cached_property
    def condition(self) -> Node:
        """Holds where ``when``, which it must have, is known to hold."""
        return known_true(parse(self.when or ""))

    @cached_property
    def over(self) -> Node:
        """Holds where it is known that what was said is over."""
        if self.clear is None:
            return known_false(parse(self.when or ""))
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
        if self.when is not None:
            said = f": {' '.join(self.when.split())}"
            return (TextPart("", "device", ""), TextPart(said, "", ""))
        kind = next(key for key in LOOKED_FOR if getattr(self, key))
        return read_text(_USUAL_TEXTS[kind])

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The channels in the text, each once."""
        if self.when is None:
            return ()
        return tuple(
            dict.fromkeys(each.name for each in self.parts if each.name not in ("", *TOLD))
        )

    @property
    def given_severity(self) -> str:
        """Its severity, where nothing else says one."""
        return self.severity or "major"

    def is_of(self, device: str) -> bool:
        """Whether it is for a device of this name."""
        return any(fnmatchcase(device, each) for each in self.devices)

    @property
    def is_for_all(self) -> bool:
        """Whether it is for devices of all names."""
        return "*" in self.devices

    def lasts_ns(self, default_ns: int) -> int:
        """For how long a value of another channel counts, ns.

        Args:
            default_ns: For how long it does in derived channels of the feed.
        """
        # A device that sends more seldom than by default counts as one that sends on: between two
        # readings of it there may be as long as something has to hold.
        return self.max_age or max(default_ns, self.for_, self.clear_for)

    def stands_ns(self, feed: FeedConfig) -> int:
        """For how long what was found at a reading counts where no other comes, ns.

        A device of which it is said how often it sends is not believed for longer than it is
        waited for.
        """
        usual_ns = usual_age_ns(feed)
        if self.max_age is None and feed.expect_every is not None:
            return max(usual_ns, PERIODS * feed.expect_every)
        if self.max_age is None and "period" in feed.model_fields_set:
            return usual_ns
        return self.lasts_ns(usual_ns)


def read_text(text: str) -> tuple[TextPart, ...]:
    """A rule's text in its parts.

    Raises:
        ValueError: It holds something else than names in braces, or another form than one of a
            number.
    """
    names = "a channel, or one of device, feed, rule and severity"
    parts = text_parts(text, names, "{device}: {temperature:.1f} °C")
    for part in parts:
        if part.form and _FORMAT.fullmatch(part.form) is None:
            raise ValueError(
                f'expected a form such as ".1f" behind the colon, got "{part.form[:40]}"; digits '
                "behind the point, and one of f, e, g and %, or d alone, are all there is"
            )
    return parts


def silencers_first(suppressed_by: Mapping[str, Sequence[str]]) -> list[str]:
    """Names of rules, in their order but each behind those that it is suppressed by.

    Args:
        suppressed_by: By rule; in no circle.
    """
    ordered: dict[str, None] = {}

    def add(name: str) -> None:
        if name not in ordered:
            for each in suppressed_by[name]:
                add(each)
            ordered[name] = None

    for name in suppressed_by:
        add(name)
    return list(ordered)


class RuleProblem(NamedTuple):
    """What is wrong with a rule: its key below ``rule``, what, and lines that show where."""

    key: tuple[str, ...]
    what: str
    pointer: tuple[str, ...] = ()


def rule_problems(
    rules: Mapping[str, Any],
    feeds: Mapping[str, Mapping[str, Any]],
) -> Iterator[RuleProblem]:
    """What of rules does not fit the feeds. What is wrong with one by itself is passed over.

    Args:
        rules: The table ``rule``, as it stands in the file.
        feeds: The table ``feed``, likewise, with what presets say.
    """
    if len(rules) > MAX_RULES:
        yield RuleProblem((list(rules)[MAX_RULES],), f"expected at most {MAX_RULES} rules")
        return
    yield from _suppression_problems(rules)
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


def _suppression_problems(rules: Mapping[str, Any]) -> Iterator[RuleProblem]:
    """What is wrong with rules that are suppressed by others."""
    found = [
        RuleProblem((name, "suppressed_by"), what)
        for name, rule in rules.items()
        for other in names_under(rule, "suppressed_by")
        if (what := _no_suppressor(rule, other, rules))
    ]
    yield from found
    if found:
        return
    circle = in_circle({name: names_under(rule, "suppressed_by") for name, rule in rules.items()})
    if circle is not None:
        what = "suppresses itself, by itself or by those that it names; take one of them out"
        yield RuleProblem((circle, "suppressed_by"), what)


def _no_suppressor(rule: Mapping[str, Any], name: str, rules: Mapping[str, Any]) -> str:
    """Why a rule can't be suppressed by the one of this name; empty where it can."""
    if name not in rules:
        return f'no rule "{name}" in this file; those there are: {", ".join(rules)}'
    if not names_under(rules[name], "when"):
        return f'expected a rule that has when, got "{name}", which has none'
    missing = {*names_under(rule, "feed")} - {*names_under(rules[name], "feed")}
    if missing:
        return (
            f'expected a rule of the same devices, got "{name}", which is not for feed '
            f"{min(missing)}"
        )
    return ""


def _misfits(
    rule: Mapping[str, Any], feed: Mapping[str, Any]
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """What of a rule does not fit one of its feeds."""
    yield from _not_found_there(rule, feed)
    for key in ("when", "clear"):
        if isinstance(text := rule.get(key), str):
            for what, pointer in expression_problems(text, feed):
                yield key, what, pointer
    text = rule.get("text")
    try:
        parts = read_text(text) if isinstance(text, str) else ()
    except ValueError:
        return
    kind = next((key for key in LOOKED_FOR if rule.get(key)), "when")
    names = (*TOLD, *_TOLD_OF.get(kind, ()))
    for part in parts:
        yield from (("text", what, ()) for what in _not_put_in(part, kind, names, feed))


def _not_put_in(
    part: TextPart, kind: str, names: Sequence[str], feed: Mapping[str, Any]
) -> Iterator[str]:
    """What is wrong with a part of a text, of a rule that looks for this."""
    if "`" in part.name:
        yield f'expected a name as it is, without backquotes, got "{part.name}"'
    elif part.name in ("", *names):
        if part.form and part.name not in _NUMBERS:
            yield f'expected no form behind "{part.name}", which is no number'
    elif kind != "when":
        yield f'no "{part.name}" to put in; there are: {", ".join(names)}'
    else:
        for what, _ in expression_problems(f"`{part.name}`", feed):
            yield f"{what} (and {', '.join(TOLD)} may be named)"


def _not_found_there(
    rule: Mapping[str, Any], feed: Mapping[str, Any]
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """What a rule looks for, and its feed does not."""
    wanted = feed.get("models")
    if isinstance(model := rule.get("model"), str) and model not in (wanted or ()):
        known = ", ".join(map(str, wanted or ())) or "none"
        yield "model", f'no model "{model}" in the feed\'s models; those there are: {known}', ()
    if rule.get("offline") is True and feed.get("device_state") is False:
        yield "offline", "the feed says device_state = false: nobody looks whether it is away", ()
    if rule.get("sensors") and feed.get("sensor_health") is False:
        yield "sensors", "the feed says sensor_health = false: nobody looks at its sensors", ()
