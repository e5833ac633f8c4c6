"""The keys that all sinks which tell people have: of what, of whom, and from which severity on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from connectors.sinks.notifications.notification import Notification
from connectors.sinks.notifications.pacing import QuietConfig
from headgate.config.schedule import Schedules, unknown_schedules
from headgate.config.told import AtMostConfig, ChoiceConfig
from headgate.config.values import entries_of
from headgate.core.units import DurationNs, parse_duration_ns

if TYPE_CHECKING:
    from headgate.config.schema import Config


def _in_bounds(timeout: int) -> int:
    # A sink has some of them one after the other in one call, which must end in time.
    if not parse_duration_ns("100ms") <= timeout <= parse_duration_ns("30s"):
        raise ValueError('expected "100ms" to "30s"')
    return timeout


#: How long telling may take, ns.
Timeout = Annotated[DurationNs, AfterValidator(_in_bounds)]

Of = Literal["alarms", "anomalies", "sensor_health", "device_state", "channel_state"]


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

    def wants(self, told: Notification) -> bool:
        """Whether somebody wants to be told of this."""
        return told.kind in self.of and self.chooses(told)

    def unusable(self, config: Config) -> Iterator[tuple[str, str]]:
        yield from super().unusable(config)
        quiet = () if self.quiet is None else self.quiet.during
        for key, names in (("during", self.during), ("except", self.except_), ("quiet", quiet)):
            yield from ((key, what) for what in unknown_schedules(names, config.schedule))
