"""How long messages wait for others: by how they come."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from headgate.testing.virtual_time import VirtualLoop, run
from streams.ingest.gathering import Gathering

_WAIT_NS = 120_000_000


class Source:
    """Messages that come at given times, and a writer that takes what has come."""

    def __init__(self) -> None:
        self.waiting = 0
        self.has_some = asyncio.Event()
        #: Moment, s, and messages of each write.
        self.writes: list[tuple[float, int]] = []

    def come(self, count: int = 1) -> None:
        self.waiting += count
        self.has_some.set()

    async def write(self, gathering: Gathering, on_written: object = None) -> None:
        while True:
            await self.has_some.wait()
            await gathering.wait(lambda: self.waiting)
            self.writes.append((asyncio.get_running_loop().time(), self.waiting))
            self.waiting = 0
            self.has_some.clear()
            if callable(on_written):
                on_written()


def _written(
    every_s: float,
    *,
    seconds: float = 3.0,
    wait_ns: int = _WAIT_NS,
    most: int = 5000,
    size: int = 1,
) -> list[tuple[float, int]]:
    """What is written of messages that come evenly."""

    async def play() -> list[tuple[float, int]]:
        source = Source()
        writing = asyncio.create_task(source.write(Gathering(wait_ns, most)))
        for _ in range(round(seconds / every_s)):
            source.come(size)
            await asyncio.sleep(every_s)
        writing.cancel()
        return source.writes

    return run(play(), VirtualLoop())


@pytest.mark.parametrize("every_s", [0.001, 0.01, 0.02])
def test_what_comes_slowly_is_written_together_as_often_as_the_wait_allows(every_s: float) -> None:
    moments = [at for at, _ in _written(every_s)]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert min(gaps) > 0.119
    assert max(gaps) < 0.12 + every_s + 0.001


def test_what_comes_alone_waits_until_that_is_seen_and_then_no_more() -> None:
    assert [round(at % 0.5, 3) for at, _ in _written(0.5)] == [0.03, 0.03, 0, 0, 0, 0]


@pytest.mark.parametrize("every_s", [0.01, 0.1, 0.2])
def test_who_may_wait_for_long_is_not_hurried_by_messages_that_come_slowly(every_s: float) -> None:
    moments = [at for at, _ in _written(every_s, seconds=10, wait_ns=1_000_000_000)]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert min(gaps) > 0.99
    assert max(gaps) < 1 + every_s + 0.01


def test_what_comes_fast_is_written_as_soon_as_there_is_enough() -> None:
    counts = [count for _, count in _written(0.001, size=100)]
    assert set(counts[:-1]) <= {3000, 3100}


def test_no_more_is_waited_for_than_is_written_at_once() -> None:
    assert {count for _, count in _written(0.001, most=1)} <= {1}


def test_the_configured_wait_is_the_longest() -> None:
    moments = [at for at, _ in _written(0.0005, wait_ns=2_000_000)]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert max(gaps) < 0.0031


def test_a_broker_that_waits_for_answers_is_not_waited_for() -> None:
    async def play() -> list[tuple[float, int]]:
        source = Source()
        loop = asyncio.get_running_loop()

        def answer() -> None:
            # It has 20 messages under way at most, and more to send.
            loop.call_later(0.001, source.come, 20)

        writing = asyncio.create_task(source.write(Gathering(_WAIT_NS, 5000), answer))
        source.come(20)
        await asyncio.sleep(2)
        writing.cancel()
        return source.writes

    writes = run(play(), VirtualLoop())
    assert {count for _, count in writes} == {20}
    # After the first two it is known.
    assert len(writes) > 1500


def test_who_was_taken_for_such_a_broker_is_gathered_from_again_when_more_comes() -> None:
    async def play() -> list[tuple[float, int]]:
        source = Source()
        writing = asyncio.create_task(source.write(Gathering(_WAIT_NS, 5000)))
        for _ in range(3):
            source.come(20)
            await asyncio.sleep(1)
        for _ in range(100):
            source.come(21)
            await asyncio.sleep(0.01)
        writing.cancel()
        return source.writes

    writes = run(play(), VirtualLoop())
    assert [count for _, count in writes[:3]] == [20, 20, 20]
    assert len(writes) - 3 <= 9


@pytest.mark.parametrize(
    ("every_s", "wait_ns", "gap_s"),
    [
        (0.02, _WAIT_NS, 0.119),
        (0.1, 1_000_000_000, 0.99),
        (0.26, 1_000_000_000, 0.99),
    ],
)
def test_messages_that_come_more_often_than_before_share_their_writes(
    every_s: float, wait_ns: int, gap_s: float
) -> None:
    """Those before came so seldom that each was written as it came."""

    async def play() -> list[tuple[float, int]]:
        source = Source()
        writing = asyncio.create_task(source.write(Gathering(wait_ns, 5000)))
        for _ in range(5):
            source.come()
            await asyncio.sleep(2)
        source.writes.clear()
        for _ in range(round(10 / every_s)):
            source.come()
            await asyncio.sleep(every_s)
        writing.cancel()
        return source.writes

    moments = [at for at, _ in run(play(), VirtualLoop())][2:]
    assert min(later - earlier for earlier, later in pairwise(moments)) > gap_s
