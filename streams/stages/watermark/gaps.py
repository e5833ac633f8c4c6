"""Gaps that a device's clock left when it jumped, and what is closed although it lies ahead."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.stage import StateBlock
from streams.stages.arrays import NO_TIME_NS
from streams.stages.columns import StateColumns

_TIMES = ("gap_from_ns", "gap_to_ns", "island_from_ns", "island_to_ns")


class Gaps:
    """By device row, a gap, its island, and how often the device has gone back.

    No window of a *gap* was ever closed, though it lies behind the watermark. All windows of an
    *island* are closed, though it may lie ahead: nothing may come for them any more. An island
    inside of the gap is no part of it. Both are half-open, and empty where they end at
    ``NO_TIME_NS``.
    """

    def __init__(self) -> None:
        times = dict.fromkeys(_TIMES, np.int64(NO_TIME_NS))
        self._state = StateColumns(**times, backs=np.int64(0))
        # What most devices never have must cost nothing.
        self._has_any = False

    def grow(self, rows: int) -> None:
        """Make room for so many devices."""
        self._state.grow(rows)

    def backs(self, device: int) -> int:
        """How often this device has gone back."""
        return int(self._state["backs"][device])

    def concern(self, device: NDArray[np.int32], time_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[n]: which times of these devices may lie in their gaps or on their islands."""
        if not self._has_any:
            return np.zeros(len(device), np.bool_)
        ends_ns = [self._state[name][device] for name in ("gap_to_ns", "island_to_ns")]
        is_concerned: NDArray[np.bool_] = time_ns < np.maximum(*ends_ns)
        rows = np.flatnonzero(is_concerned)
        if len(rows):
            at_ns, of = time_ns[rows], device[rows]
            is_concerned[rows] = (
                (at_ns >= self._state["gap_from_ns"][of]) & (at_ns < ends_ns[0][rows])
            ) | ((at_ns >= self._state["island_from_ns"][of]) & (at_ns < ends_ns[1][rows]))
        return is_concerned

    def is_closed(self, device: int, time_ns: int) -> bool:
        """Whether this time lies on the device's island."""
        _, _, island_ns, end_ns = self._of(device)
        return island_ns <= time_ns < end_ns

    def floor_ns(self, device: int, time_ns: int) -> int | None:
        """The end of what is closed before this time, where it is in the gap; None elsewhere."""
        from_ns, to_ns, island_ns, end_ns = self._of(device)
        if not from_ns <= time_ns < to_ns or island_ns <= time_ns < end_ns:
            return None
        return end_ns if from_ns < end_ns <= time_ns else from_ns

    def jump(
        self, device: int, newest_ns: int, floor_ns: int, first_ns: int, feed: FeedConfig
    ) -> int:
        """Note that the device's clock jumps.

        Args:
            device: Row.
            newest_ns: Its newest event time.
            floor_ns: Older readings are late for it, whatever its newest is.
            first_ns: Earliest event time behind the jump.
            feed: The device's feed.

        Returns:
            Up to where all is closed before the jump.
        """
        from_ns, to_ns, island_ns, end_ns = self._of(device)
        closed_ns = max(floor_ns, last_end_ns(feed, newest_ns))
        lands_ns = min(
            (first_ns // each.window * each.window for each in feed.aggregates), default=first_ns
        )
        if end_ns > closed_ns:
            # Its island is ahead, or reached: what lies before it, or else behind it.
            gap = (closed_ns, min(lands_ns, island_ns))
            self._set(device, *(gap if island_ns > closed_ns else (end_ns, lands_ns)))
        elif from_ns < to_ns:
            # It jumps on: where it was becomes an island in one larger gap.
            begin_ns = island_ns if from_ns < island_ns < end_ns else to_ns
            self._set(device, from_ns, lands_ns, begin_ns, closed_ns)
        else:
            self._set(device, closed_ns, lands_ns)
        return closed_ns

    def go_back(
        self, device: int, time_ns: int, newest_ns: int, floor_ns: int, feed: FeedConfig
    ) -> int:
        """Note that the device goes back into its gap.

        Args:
            device: Row.
            time_ns: A time in its gap.
            newest_ns: Its newest event time.
            floor_ns: Older readings are late for it, whatever its newest is.
            feed: The device's feed.

        Returns:
            Older readings are late from now on.
        """
        from_ns, to_ns, island_ns, end_ns = self._of(device)
        closed_ns = max(floor_ns, last_end_ns(feed, newest_ns))
        self._state["backs"][device] += 1
        is_island_inside = from_ns < end_ns and island_ns < to_ns
        if is_island_inside and time_ns >= end_ns:
            self._set(device, from_ns, island_ns, to_ns, closed_ns)
            return end_ns
        if is_island_inside:
            to_ns = min(to_ns, island_ns)
        self._set(device, NO_TIME_NS, NO_TIME_NS, to_ns, max(end_ns, closed_ns))
        return from_ns

    def fill(self, devices: NDArray[np.int32]) -> None:
        """Have these devices have no gap any more."""
        self._state["gap_to_ns"][devices] = NO_TIME_NS

    def snapshot(self, devices: NDArray[np.int32]) -> StateBlock:
        """Copy out what is known of these devices."""
        return self._state.snapshot(devices)

    def restore(self, devices: NDArray[np.int32], block: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a snapshot; an older version's devices have no gaps."""
        self._state.restore(devices, block, may_lack=True)
        self._look(devices)

    def forget(self, devices: NDArray[np.int32]) -> None:
        """Drop what is known of these devices."""
        self._state.forget(devices)

    def _of(self, device: int) -> tuple[int, int, int, int]:
        from_ns, to_ns, island_ns, end_ns = (int(self._state[name][device]) for name in _TIMES)
        return from_ns, to_ns, island_ns, end_ns

    def _set(self, device: int, from_ns: int, to_ns: int, *island_ns: int) -> None:
        gap = (from_ns, to_ns) if from_ns < to_ns else (NO_TIME_NS, NO_TIME_NS)
        for name, time_ns in zip(_TIMES, (*gap, *island_ns), strict=False):
            self._state[name][device] = time_ns
        self._look(np.array([device], np.int32))

    def _look(self, devices: NDArray[np.int32]) -> None:
        ends_ns = (self._state["gap_to_ns"][devices], self._state["island_to_ns"][devices])
        self._has_any |= any(bool((end_ns > NO_TIME_NS).any()) for end_ns in ends_ns)


def last_end_ns(feed: FeedConfig, newest_ns: int) -> int:
    """The end of the last window that holds this time; far past for none."""
    if newest_ns <= NO_TIME_NS:
        return NO_TIME_NS
    ends_ns = [(newest_ns // each.window + 1) * each.window for each in feed.aggregates]
    return max(ends_ns, default=newest_ns + 1)
