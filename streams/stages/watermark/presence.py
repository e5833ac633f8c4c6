"""Which devices are silent, and for how long, by feed: what people are told, never a result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import Device
from headgate.core.clock import NS_PER_S
from headgate.core.telemetry import Telemetry

#: Devices of a feed that are named, those that have been silent for the longest.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Presence:
    """How present a feed's devices are.

    Attributes:
        devices: Those that are known: they have sent a reading that counts, ever.
        silent: How many of them are silent.
        longest_s: For how long the one that has been silent for the longest has been, s; 0 where
            none is. Since the lane was started, where that is shorter.
        heard_s: How long ago any of them was heard, s.
        names: Some that are silent, the longest first, and for how long, s.
    """

    devices: int
    silent: int
    longest_s: float
    heard_s: float
    names: tuple[tuple[str, float], ...]


_NOBODY = Presence(0, 0, 0.0, 0.0, ())


def presence(
    devices: Sequence[Device],
    feed: NDArray[np.int32],
    feed_names: Sequence[str],
    elapsed_ns: NDArray[np.int64],
    is_silent: NDArray[np.bool_],
    is_known: NDArray[np.bool_],
) -> Mapping[str, Presence]:
    """By feed, how present its devices are; feeds without any are left out.

    Args:
        devices: d of them.
        feed: int32[d], numbers in ``feed_names``; others are no feed's.
        feed_names: The feeds.
        elapsed_ns: int64[d], how long ago each was heard.
        is_silent: bool[d].
        is_known: bool[d], whether it has been heard at all.
    """
    found = {}
    for number, name in enumerate(feed_names):
        rows = np.flatnonzero((feed == number) & is_known)
        if not len(rows):
            continue
        silent = rows[is_silent[rows]]
        first = silent[np.argsort(-elapsed_ns[silent], kind="stable")[:_NAMED]]
        found[name] = Presence(
            devices=len(rows),
            silent=len(silent),
            longest_s=float(elapsed_ns[silent].max(initial=0)) / NS_PER_S,
            heard_s=float(elapsed_ns[rows].min()) / NS_PER_S,
            names=tuple((devices[row].label, float(elapsed_ns[row]) / NS_PER_S) for row in first),
        )
    return found


class PresenceReport:
    """Tells how present the devices are, once a second: that is as often as anybody asks.

    Args:
        feeds: The feeds' names.
        telemetry: Where it is told.
    """

    def __init__(self, feeds: Iterable[str], telemetry: Telemetry) -> None:
        self._feeds = tuple(feeds)
        self._telemetry = telemetry
        self._told_ns: int | None = None

    def tell(self, now_ns: int, look: Callable[[int], Mapping[str, Presence]]) -> bool:
        """Look and tell, if it is time to; whether it was.

        Args:
            now_ns: Monotonic time.
            look: Gives what is known at that time.
        """
        if self._told_ns is not None and now_ns - self._told_ns < NS_PER_S:
            return False
        self._told_ns = now_ns
        found = look(now_ns)
        telemetry = self._telemetry
        for feed in self._feeds:
            of_feed = found.get(feed, _NOBODY)
            telemetry.devices.labels(feed).set(of_feed.devices)
            telemetry.silent_devices.labels(feed).set(of_feed.silent)
            telemetry.longest_silence.labels(feed).set(of_feed.longest_s)
            telemetry.feed_silence.labels(feed).set(of_feed.heard_s)
        telemetry.details["presence"] = {feed: asdict(each) for feed, each in found.items()}
        return True
