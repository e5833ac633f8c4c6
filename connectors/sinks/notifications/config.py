"""The keys that all sinks which tell people have: of what, of whom, and from which severity on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from connectors.sinks.notifications.notification import COMMANDS, Notification
from connectors.sinks.notifications.pacing import QuietConfig
from headgate.config.schedule import Schedules, has_time, looked_at, unknown_schedules
from headgate.config.told import AtMostConfig, ChoiceConfig, is_one_of
from headgate.config.values import entries_of
from headgate.core.commands import FAILED
from headgate.core.results import severity_rank
from headgate.core.stretches import Stretches
from headgate.core.units import DurationNs, format_duration, parse_duration_ns

if TYPE_CHECKING:
    from headgate.config.schema import Config


def _in_bounds(timeout: int) -> int:
    # A sink has some of them one after the other in one call, which must end in time.
    if not parse_duration_ns("100ms") <= timeout <= parse_duration_ns("30s"):
        raise ValueError('expected "100ms" to "30s"')
    return timeout


def _is_some_time(span: int) -> int:
    if span == 0:
        raise ValueError('expected more than "0s"; without it all are told at once')
    return span


def _is_seldom(span: int) -> int:
    if span < parse_duration_ns("1m"):
        raise ValueError('expected at least "1m"')
    return span


#: How long telling may take, ns.
Timeout = Annotated[DurationNs, AfterValidator(_in_bounds)]

Of = Literal[
    "alarms", "anomalies", "sensor_health", "device_state", "channel_state", "commands"
]  # fmt: skip


class NotificationsConfig(ChoiceConfig):
    """What is told."""

    #: Measurements of points that are told.
    of: Annotated[tuple[Of, ...], BeforeValidator(entries_of), Field(min_length=1)] = ("alarms",)
    #: Schedules in which what changes is told; none: always.
    during: Schedules = ()
    #: Those in which it is not.
    except_: Schedules = Field(default=(), alias="except")

    #: What changed longer ago when its turn comes is not told one by one.
    max_age: DurationNs = parse_duration_ns("1h")
    #: How many are told by themselves; None: all.
    at_most: AtMostConfig | None = None
    #: Schedules in which what comes waits.
    quiet: QuietConfig | None = None
    #: Alarms only that are open for so long, and that nobody has acknowledged by then.
    unacknowledged_for: Annotated[DurationNs, AfterValidator(_is_some_time)] | None = None
    #: How long after it was told an alarm is told again that nobody has acknowledged by then.
    repeat: Annotated[DurationNs, AfterValidator(_is_seldom)] | None = None

    @model_validator(mode="after")
    def _can_be_acknowledged(self) -> Self:
        if self.unacknowledged_for is not None and self.of != ("alarms",):
            raise ValueError('unacknowledged_for: expected of = ["alarms"]: nothing else can be')
        if self.repeat is not None and "alarms" not in self.of:
            raise ValueError('repeat: expected "alarms" in of: nothing else is acknowledged')
        for key in ("unacknowledged_for", "repeat"):
            if getattr(self, key) is not None and "open" not in self.states:
                raise ValueError(f'{key}: expected "open" in states: it is of what is')
        return self

    def wants(self, told: Notification) -> bool:
        """Whether somebody wants to be told of this."""
        if told.kind == COMMANDS and told.fields.get("state") != FAILED:
            return False
        return told.kind in self.of and self.chooses(told)

    def unusable(self, config: Config) -> Iterator[tuple[str, str]]:
        yield from super().unusable(config)
        quiet = () if self.quiet is None else self.quiet.during
        for key, names in (("during", self.during), ("except", self.except_), ("quiet", quiet)):
            yield from ((key, what) for what in unknown_schedules(names, config.schedule))

    def idle(self, config: Config) -> Iterator[tuple[str, str]]:
        yield from super().idle(config)
        told = looked_at(self.during, self.except_, config.schedule)
        if told is not None and not has_time(told):
            key = "during" if self.during else "except"
            yield (
                key,
                "its schedules leave no time in which it tells anything; leave one out",
            )
        if self.quiet is not None:
            yield from (("quiet", what) for what in self._odd_quiet(self.quiet, config))
        for name, feed in config.feed.items():
            if is_one_of(name, self.feeds) and self.max_age <= feed.grace:
                yield (
                    "max_age",
                    (
                        f"readings of feed.{name} are looked at when they are "
                        f"{format_duration(feed.grace)} old (grace), so nothing that they tell is "
                        "told one by one; make it longer"
                    ),
                )

    def _odd_quiet(self, quiet: QuietConfig, config: Config) -> Iterator[str]:
        hours = looked_at(quiet.during, (), config.schedule)
        if hours is not None and not has_time(hours):
            yield "its schedules leave no time, so nothing ever waits; leave it out"
        elif hours is not None and not has_time(Stretches.always().without(hours)):
            yield (
                f'its schedules leave out no time, so what is less than "{quiet.but}" is never '
                "told; leave some"
            )
        is_severe = {*self.of} <= {"alarms", "anomalies", "commands"}
        if is_severe and severity_rank(self.severity) >= severity_rank(quiet.but):
            yield (
                f'all that it tells is as severe as but, "{quiet.but}", so nothing ever waits; '
                "leave it out, or make but more"
            )
