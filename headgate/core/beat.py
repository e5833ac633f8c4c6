"""Timers that fire together: a process that wakes once for several of them sleeps longer."""

from __future__ import annotations

import asyncio

#: Part of an interval that is too short to be waited for alone.
_TOO_SHORT = 0.1


async def until_beat(interval_s: float) -> float:
    """Sleep until the next whole multiple of an interval, of the loop's time.

    All that do so at intervals of which one is a multiple of the other wake at the same moments,
    those of other processes of the machine too.

    Returns:
        How long it was to sleep, s: less than the interval mostly, the first time.
    """
    passed_s = asyncio.get_running_loop().time() % interval_s
    pause_s = interval_s - passed_s
    if pause_s < _TOO_SHORT * interval_s:
        # A timer may fire a little early.
        pause_s += interval_s
    await asyncio.sleep(pause_s)
    return pause_s
