"""Arrival times on a machine whose clock is wrong."""

from __future__ import annotations

import numpy as np

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


def test_times_under_a_clock_that_is_not_set_are_estimates_until_it_is() -> None:
    """What has not been used yet can be corrected: by how much they were wrong is known then."""
    clock = ManualClock(0)
    arrival = ArrivalClock(clock, 900 * NS_PER_S)
    times_ns = []
    for _ in range(3):
        clock.advance(10)
        times_ns.append(arrival.now_ns())
    assert arrival.is_estimating
    assert arrival.corrected(times_ns) == times_ns == [each * NS_PER_S for each in (910, 920, 930)]
    is_estimated = arrival.estimated(np.array([*times_ns, 899 * NS_PER_S]))
    assert is_estimated is not None
    assert is_estimated.tolist() == [True, True, True, False]

    clock.advance(10)
    clock.step_wall(5000 - 40)
    times_ns.append(arrival.now_ns())

    assert arrival.correction_ns == 4060 * NS_PER_S
    right_ns = [each * NS_PER_S for each in (4970, 4980, 4990, 5000)]
    assert arrival.corrected(times_ns) == right_ns
    is_estimated = arrival.estimated(np.array(right_ns))
    assert is_estimated is not None
    assert not is_estimated.any()


def test_a_clock_that_is_right_estimates_nothing() -> None:
    """Nor does one that is set back by less than a second; time does not go back then either."""
    clock = ManualClock(1000 * NS_PER_S)
    arrival = ArrivalClock(clock, 900 * NS_PER_S)
    times_ns = []
    for _ in range(5):
        times_ns.append(arrival.now_ns())
        clock.advance(1)
        clock.step_wall(-0.01)

    assert not arrival.is_estimating
    assert times_ns == sorted(times_ns)
    assert arrival.corrected(times_ns) == times_ns
    assert arrival.estimated(np.array(times_ns)) is None
