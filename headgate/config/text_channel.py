"""What a feed with text channels must have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.core.units import format_duration

if TYPE_CHECKING:
    from headgate.config.feed import FeedConfig

#: Windows that are made at once where a text has counted for as long as it may.
_MOST_WINDOWS = 20_000


def texts_problem(feed: FeedConfig) -> str:
    """Why a feed's text channels don't go with the rest of it; empty when they do."""
    shortest_ns = min((each.window for each in feed.aggregates), default=None)
    for name, channel in feed.channels.items():
        if not channel.is_text:
            continue
        taken = [other for other in feed.channels if other.startswith(f"{name}_seconds_")]
        if taken:
            return (
                f"channels.{taken[0]}: fields that begin so are for how long {name} is in a state; "
                "choose another name"
            )
        if shortest_ns is not None and channel.valid_for > _MOST_WINDOWS * shortest_ns:
            most = format_duration(_MOST_WINDOWS * shortest_ns)
            return (
                f"channels.{name}.valid_for: expected at most {_MOST_WINDOWS} of the shortest "
                f"windows, {most}: so many may be made at once"
            )
    return ""
