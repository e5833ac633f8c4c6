"""Timers that fire together."""

from __future__ import annotations

import asyncio

import pytest

from headgate.core.beat import until_beat
from headgate.testing.virtual_time import VirtualLoop, run


def _beats(interval_s: float, begin_s: float, count: int = 4) -> list[float]:
    """When somebody wakes who begins at some time."""

    async def play() -> list[float]:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(begin_s)
        beats = []
        for _ in range(count):
            before_s = loop.time()
            meant_s = await until_beat(interval_s)
            assert loop.time() - before_s == pytest.approx(meant_s)
            beats.append(round(loop.time() - 1, 6))
        return beats

    return run(play(), VirtualLoop())


def test_whoever_begins_whenever_wakes_at_whole_multiples() -> None:
    assert _beats(1, 0.3) == [1, 2, 3, 4]
    assert _beats(1, 0.8) == [1, 2, 3, 4]
    assert _beats(0.5, 0.8) == [1, 1.5, 2, 2.5]
    assert _beats(0.25, 0.1) == [0.25, 0.5, 0.75, 1]


def test_a_timer_that_fired_a_little_early_is_not_waited_for_twice() -> None:
    assert _beats(1, 0.95) == [2, 3, 4, 5]
    assert _beats(1, 0.999999) == [2, 3, 4, 5]
