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
    yield from _times_without_a_place(config)
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


def _times_without_a_place(config: Config) -> Iterator[str]:
    """Feeds that say how times are written, and not where they stand."""
    for name, feed in config.feed.items():
        given = sorted(feed.time.model_fields_set)
        if given and feed.time.path is None:
            keys = " and ".join(given)
            yield (
                f"feed.{name}.time: without path readings get the time at which they arrive, and "
                f"{keys} {'have' if len(given) > 1 else 'has'} no effect; give path, or leave "
                "time out"
            )
