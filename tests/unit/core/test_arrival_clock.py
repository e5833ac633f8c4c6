"""Arrival times on a machine whose clock is wrong."""

from __future__ import annotations

from headgate.core.clock import NS_PER_S, ArrivalClock
from headgate.testing import ManualClock


def test_a_clock_that_is_set_back_is_not_believed() -> None:
    """Time goes on at its own pace, until the wall clock has caught up."""
    clock = ManualClock(1000 * NS_PER_S)
    arrival = ArrivalClock(clock)
    assert arrival.now_ns() == 1000 * NS_PER_S

    clock.step_wall(-500)
    clock.advance(7)
    assert arrival.now_ns() == 1007 * NS_PER_S
    clock.advance(3)
    assert arrival.now_ns() == 1010 * NS_PER_S

    clock.step_wall(+600)
    assert arrival.now_ns() == clock.wall_ns() == 1110 * NS_PER_S


def test_a_box_that_begins_in_1970_goes_on_where_it_has_been() -> None:
    """From what its log says, or its own files."""
    clock = ManualClock(0)
    arrival = ArrivalClock(clock, 900 * NS_PER_S)
    clock.advance(1)
    assert arrival.now_ns() == 901 * NS_PER_S

    arrival.has_been(950 * NS_PER_S)
    arrival.has_been(100 * NS_PER_S)
    clock.advance(1)
    assert arrival.now_ns() == 951 * NS_PER_S
