"""A lane in a restart loop is not well at the moments at which it works."""

from __future__ import annotations

from headgate.gateway.restarts import Restarts

_S = 10**9


def _restarted(*seconds: float) -> Restarts:
    restarts = Restarts()
    for second in seconds:
        restarts.note(round(second * _S), "killed: Segmentation fault")
    return restarts


def test_a_few_restarts_are_no_loop() -> None:
    """A process that was killed, and even a poison record, passes."""
    assert _restarted(1, 2, 3).loop(worked_s=0.0) == ""
    assert _restarted().loop(worked_s=0.0) == ""


def test_a_loop_says_how_often_and_after_what() -> None:
    """The lane may be working at this very moment."""
    said = _restarted(1, 3, 6, 12).loop(worked_s=2.0)

    assert said == (
        "started anew 4 times within 10 minutes, at last after: killed: Segmentation fault"
    )


def test_a_loop_ends_when_the_lane_has_worked_for_a_while() -> None:
    """Then it starts counting anew."""
    restarts = _restarted(1, 3, 6, 12)

    assert restarts.loop(worked_s=59.0)
    assert not restarts.loop(worked_s=60.0)
    restarts.note(80 * _S, "exit code 1")
    assert not restarts.loop(worked_s=0.0)
    assert restarts.count == 5


def test_a_slow_loop_is_a_loop_all_the_same() -> None:
    """A lane that hangs after two minutes each time looks well for two minutes each time."""
    restarts = _restarted(0, 130, 260, 390)

    assert restarts.loop(worked_s=129.0)
    assert restarts.loop(worked_s=259.0)
    assert not restarts.loop(worked_s=260.0)


def test_restarts_long_ago_do_not_count() -> None:
    """One in a while, for weeks, is no loop."""
    assert _restarted(*(400 * number for number in range(50))).loop(worked_s=0.0) == ""
