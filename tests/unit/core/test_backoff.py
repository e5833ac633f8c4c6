"""Pauses between tries."""

from __future__ import annotations

from headgate.core.backoff import Backoff


def test_pauses_double_up_to_the_ceiling_and_begin_anew() -> None:
    """Each lies in the upper half of what it may be."""
    backoff = Backoff(0.2, 1.0)

    for longest_s in (0.2, 0.4, 0.8, 1.0, 1.0):
        assert longest_s / 2 <= backoff.pause_s() <= longest_s

    backoff.reset()
    assert backoff.pause_s() <= 0.2


def test_two_that_failed_together_do_not_try_again_together() -> None:
    """Their pauses differ."""
    first, second = Backoff(1.0, 64.0), Backoff(1.0, 64.0)

    assert [first.pause_s() for _ in range(6)] != [second.pause_s() for _ in range(6)]
