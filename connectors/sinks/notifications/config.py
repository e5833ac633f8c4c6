"""The keys that all sinks which tell people have: of what, of whom, and from which severity on."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from connectors.sinks.notifications.notification import Notification
from connectors.sinks.notifications.pacing import AtMostConfig, QuietConfig
from headgate.config.rule import Severity
from headgate.config.table import Table
from headgate.config.values import entries_of
from headgate.core.results import severity_rank
from headgate.core.units import DurationNs, parse_duration_ns

if TYPE_CHECKING:
    from headgate.config.schema import Config

#: Names, or patterns of names; ``*`` stands for any letters. One, or a list.
Patterns = Annotated[tuple[str, ...], BeforeValidator(entries_of), Field(min_length=1)]


def _in_bounds(timeout: int) -> int:
    # A sink has some of them one after the other in one call, which must end in time.
    if not parse_duration_ns("100ms") <= timeout <= parse_duration_ns("30s"):
        raise ValueError('expected "100ms" to "30s"')
    return timeout


#: How long telling may take, ns.
Timeout = Annotated[DurationNs, AfterValidator(_in_bounds)]

Of = Literal["alarms", "anomalies", "sensor_health", "device_state", "channel_state"]


class NotificationsConfig(Table):
    """What is told."""

    #: Measurements of points that are told.
    of: Annotated[tuple[Of, ...], BeforeValidator(entries_of), Field(min_length=1)] = ("alarms",)
    #: The least, of what has one.
    severity: Severity = "minor"
    feeds: Patterns = ("*",)
    devices: Patterns = ("*",)
    #: Of alarms.
    rules: Patterns = ("*",)
    states: Annotated[
        tuple[Literal["open", "over"], ...], BeforeValidator(entries_of), Field(min_length=1)
    ] = ("open", "over")

    #: What changed longer ago when its turn comes is not told one by one.
    max_age: DurationNs = parse_duration_ns("1h")
    #: How many are told by themselves; None: all.
    at_most: AtMostConfig | None = None
    #: Hours in which what comes waits.
    quiet: QuietConfig | None = None

    def wants(self, told: Notification) -> bool:
        """Whether somebody wants to be told of this."""
        if told.kind not in self.of or told.state not in self.states:
            return False
        if told.severity and told.rank < severity_rank(self.severity):
            return False
        return (
            _is_one_of(told.feed, self.feeds)
            and _is_one_of(told.device, self.devices)
            and (not told.rule or _is_one_of(told.rule, self.rules))
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


def _is_one_of(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
