"""Settings of time that work and do not fit each other: what a feed sends, windows, and silence.

``headgate check`` warns of them. Each warning reads ``key: what is wrong; what to do``.
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.schema import Config
from headgate.core.units import format_duration

#: Periods of a device for which it is waited, whatever ``streams.silent_after`` says.
_PERIODS = 3


def misfits(config: Config) -> Iterator[str]:
    """What does not fit in a configuration, a line each."""
    silent_after_ns = config.streams.silent_after
    for name, feed in config.feed.items():
        period = format_duration(feed.period)
        for aggregate in feed.aggregates:
            if aggregate.window < feed.period:
                window = format_duration(aggregate.window)
                yield (
                    f"feed.{name}.aggregates: a window of {window} is shorter than the feed's "
                    f"period, {period}: most windows have no reading and do not exist, and "
                    f"`expected` is 1 in the others; use windows of {period} or longer, or correct "
                    "period"
                )
        is_given = "silent_after" in config.streams.model_fields_set
        if is_given and silent_after_ns < _PERIODS * feed.period:
            least = format_duration(_PERIODS * feed.period)
            yield (
                f"streams.silent_after: {format_duration(silent_after_ns)} has no effect on feed "
                f"{name}, which sends every {period}: its devices are waited for at least "
                f"{least}; leave silent_after out, or correct period"
            )
