"""Gathering the events that Faust brings."""

from __future__ import annotations

import asyncio
from typing import Any

from headgate.testing.virtual_time import VirtualLoop, run
from streams.process.take import Take


def _played(
    brought: list[tuple[float, int]], *, most: int = 100, within_s: float = 0.01, work_s: float = 0
) -> list[tuple[float, list[int]]]:
    """When which events are handed over, of numbers that are brought after so many seconds."""

    async def play() -> list[tuple[float, list[int]]]:
        take, taken = Take(most, within_s), []
        loop = asyncio.get_running_loop()

        async def work() -> None:
            while True:
                events: list[Any] = await take.next()
                taken.append((round(loop.time() - 1, 3), events))
                await asyncio.sleep(work_s)

        working = asyncio.create_task(work())
        for pause_s, number in brought:
            await asyncio.sleep(pause_s)
            event: Any = number
            await take.put(event)
        await asyncio.sleep(10)
        working.cancel()
        return taken

    return run(play(), VirtualLoop())


def test_the_first_waits_for_others_and_no_longer() -> None:
    taken = _played([(1, 0), (0.004, 1), (0.004, 2), (0.004, 3)])
    assert taken == [(1.01, [0, 1, 2]), (1.022, [3])]


def test_nobody_waits_where_nothing_is_to_be_waited_for() -> None:
    assert _played([(1, 0), (1, 1)], within_s=0) == [(1, [0]), (2, [1])]


def test_no_more_than_so_many_are_taken_and_none_is_lost_or_out_of_order() -> None:
    taken = _played([(0, number) for number in range(10)], most=3, work_s=1)
    assert [events for _, events in taken] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_what_comes_while_others_are_worked_on_waits_for_them() -> None:
    taken = _played([(0, 0), (0.5, 1), (0.1, 2)], work_s=2)
    assert taken == [(0.01, [0]), (2.01, [1, 2])]
