"""Feeds of which nothing has come since the start: a topic mistyped, or devices that are not there.

A subscription that matches nothing is no error to the broker, and a gateway that gets nothing looks
just as one with nothing to do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from headgate.config.feed import FeedConfig
from headgate.core.clock import NS_PER_S
from headgate.core.telemetry import Telemetry

#: A feed is waited for this many of its periods, and for this long at least, ns.
_PERIODS: Final = 5
_LEAST_NS: Final = 60 * NS_PER_S


class UnheardFeeds:
    """Notes when a feed is heard for the first time, and tells of those that are not.

    Args:
        feeds: ``config.feed``.
        telemetry: Where it is told: ``unheard`` in the details, seconds by feed.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], telemetry: Telemetry) -> None:
        self._waiting = dict(feeds)
        self._telemetry = telemetry
        self._listened_ns = dict.fromkeys(feeds, 0)
        self._looked_ns: int | None = None
        for name in feeds:
            # A counter that is not there can't be alarmed upon.
            telemetry.messages.labels(name)

    def heard(self, name: str) -> None:
        """Note that a message of this feed has come, whatever it holds."""
        self._waiting.pop(name, None)

    def look(self, now_ns: int, heard: Collection[str]) -> None:
        """See for how long which feeds have been waited for; call it often.

        Args:
            now_ns: Monotonic time.
            heard: The feeds of which messages would be heard, since the last call.
        """
        if self._looked_ns is not None:
            for name in self._waiting:
                if name in heard:
                    self._listened_ns[name] += now_ns - self._looked_ns
        self._looked_ns = now_ns
        self._telemetry.details["unheard"] = {
            name: self._listened_ns[name] / NS_PER_S
            for name, feed in self._waiting.items()
            if self._listened_ns[name] >= max(_PERIODS * feed.period, _LEAST_NS)
        }
