"""What hangs is noticed by its own limit, and a machine that slept is not."""

from __future__ import annotations

from headgate.core.watchdog import Watchdog
from headgate.testing import ManualClock


def test_an_operation_is_slow_at_half_its_time_and_overdue_at_all_of_it() -> None:
    """And neither once it has ended."""
    clock = ManualClock()
    watchdog = Watchdog(clock)
    with watchdog.limit("the pipeline", 30), watchdog.limit("the log", 120):
        for _ in range(14):
            clock.advance(1)
            assert (watchdog.slow(), watchdog.overdue()) == ("", "")
        clock.advance(2)
        assert watchdog.slow() == "the pipeline has made no progress for 16 s"
        assert watchdog.overdue() == ""
        for _ in range(15):
            clock.advance(1)
            overdue = watchdog.overdue()
        assert overdue == "the pipeline has made no progress for 31 s"

    assert (watchdog.slow(), watchdog.overdue()) == ("", "")


def test_a_process_that_stood_still_is_not_to_blame() -> None:
    """Nobody looked for a minute, so nothing could run either."""
    clock = ManualClock()
    watchdog = Watchdog(clock)
    with watchdog.limit("the log", 30):
        watchdog.overdue()
        clock.advance(60)
        assert watchdog.overdue() == ""
        for _ in range(31):
            clock.advance(1)
            overdue = watchdog.overdue()

    assert overdue.startswith("the log has made no progress")
