"""The time that ages are measured in: it counts, whatever the wall clock says."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from connectors.counted_time import CountedTime
from headgate.core.clock import NS_PER_S, built_ns
from headgate.testing import ManualClock

_DAY_S = 86_400.0


class _Box:
    """A computer with a store; its wall clock survives a power cut only where it is told so."""

    def __init__(self, database: sqlite3.Connection, wall_ns: int) -> None:
        self.database = database
        self.boot(wall_ns)

    def boot(self, wall_ns: int) -> None:
        """Start the computer."""
        self.clock = ManualClock(wall_ns)
        self.open()

    def open(self, newest_ns: int = 0) -> None:
        """Start the program."""
        self.time = CountedTime(self.clock)
        self.time.begin(self.database, lambda: newest_ns)

    def passed_s(self, since_ns: int) -> float:
        """Time that has passed."""
        return (self.time.now_ns() - since_ns) / NS_PER_S


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """An empty store."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


@pytest.mark.parametrize("step_s", [56 * 365 * _DAY_S, 5 * _DAY_S, -5 * _DAY_S])
def test_setting_the_wall_clock_changes_no_age(database: sqlite3.Connection, step_s: float) -> None:
    """Not while the program runs, and not while it is started again."""
    box = _Box(database, built_ns())
    then_ns = box.time.now_ns()
    box.clock.advance(10)
    box.clock.step_wall(step_s)
    assert box.passed_s(then_ns) == 10

    box.open()
    assert box.passed_s(then_ns) == 10
    box.clock.advance(5)
    assert box.passed_s(then_ns) == 15


def test_all_programs_of_a_boot_have_the_same_time(database: sqlite3.Connection) -> None:
    """Whenever they begin, and whatever the wall clock says then."""
    box = _Box(database, 0)
    first = box.time
    box.clock.advance(7)
    box.clock.step_wall(10 * _DAY_S)
    box.open()

    assert box.time.now_ns() == first.now_ns()


@pytest.mark.parametrize(
    ("wall_s", "passed_s"),
    [(3600, 3600), (40 * _DAY_S, _DAY_S), (-3600, 0), (-56 * 365 * _DAY_S, 0)],
    ids=["an hour", "over the ceiling", "set back", "1970"],
)
def test_a_boot_adds_what_a_believable_clock_says(
    database: sqlite3.Connection, wall_s: float, passed_s: float
) -> None:
    """A day at most, and never less than nothing."""
    built = built_ns()
    box = _Box(database, built)
    then_ns = box.time.now_ns()

    box.boot(built + round(wall_s * NS_PER_S))

    assert box.passed_s(then_ns) == passed_s


def test_a_boot_with_a_right_clock_ages_nothing_that_came_before_the_clock_was_right(
    database: sqlite3.Connection,
) -> None:
    """The first boot was in 1970: what the second one's clock is ahead is no time that passed."""
    box = _Box(database, 0)
    then_ns = box.time.now_ns()
    box.clock.advance(100)
    box.time.note(database)

    box.boot(built_ns())

    assert box.passed_s(then_ns) == 100


def test_what_the_wall_clock_would_have_said_is_known_once_it_is_right(
    database: sqlite3.Connection,
) -> None:
    """Also of what came before, and after the next boot in 1970."""
    box = _Box(database, 0)
    then_ns = box.time.now_ns()
    box.clock.advance(100)
    box.clock.step_wall(built_ns() / NS_PER_S)
    box.time.note(database)
    right_ns = box.clock.wall_ns() - 100 * NS_PER_S
    assert abs(box.time.wall_ns(then_ns) - right_ns) < NS_PER_S

    box.boot(0)
    box.time.note(database)
    assert abs(box.time.wall_ns(then_ns) - right_ns) < NS_PER_S


def test_an_older_store_goes_on_from_its_newest_record(database: sqlite3.Connection) -> None:
    """Where that is ahead of the wall clock; no record is from the future then."""
    newest_ns = built_ns() + 5 * 86_400 * NS_PER_S
    box = _Box.__new__(_Box)
    box.database, box.clock = database, ManualClock(built_ns())

    box.open(newest_ns)

    assert box.time.now_ns() == newest_ns
