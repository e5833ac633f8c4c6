"""Which messages may have waited at the broker."""

from __future__ import annotations

from headgate.core.clock import NS_PER_S
from streams.ingest.kept import KeptMessages

_S = NS_PER_S


def test_what_comes_at_once_after_connecting_may_have_waited() -> None:
    """Since the gateway listened last, be it this process or one before; until there is a lull."""
    kept = KeptMessages()
    kept.listened(100 * _S)
    kept.connected(1, 500 * _S, has_session=True)

    assert kept.read(1, 500 * _S + 1, has_session=True) == 100 * _S
    assert kept.read(1, 501 * _S, has_session=True) == 100 * _S
    assert kept.read(1, 503 * _S, has_session=True) == 0
    assert kept.read(1, 503 * _S, has_session=True) == 0
    assert kept.read(2, 700 * _S, has_session=True) == 503 * _S


def test_what_comes_long_after_connecting_has_not_waited() -> None:
    """It would have come before."""
    kept = KeptMessages()
    kept.listened(100 * _S)
    kept.connected(1, 500 * _S, has_session=True)

    assert kept.read(1, 502 * _S, has_session=True) == 0


def test_without_a_session_nothing_has_waited() -> None:
    """The first connection ever, and one after the broker has lost it."""
    kept = KeptMessages()
    kept.listened(100 * _S)

    assert kept.read(1, 500 * _S, has_session=False) == 0


def test_a_pause_in_the_middle_of_catching_up_does_not_make_it_shorter() -> None:
    """What waits since long waits since then, however often reading stops and goes on."""
    kept = KeptMessages()
    kept.listened(100 * _S)
    kept.read(1, 500 * _S, has_session=True)
    kept.resumed(501 * _S)

    assert kept.read(1, 501 * _S, has_session=True) == 100 * _S
    kept.caught_up()
    assert kept.read(1, 501 * _S, has_session=True) == 0
    kept.resumed(510 * _S)
    assert kept.read(1, 510 * _S, has_session=True) == 501 * _S


def test_what_waited_is_from_after_a_silence_that_was_listened_to() -> None:
    """Nothing that comes after a break was published while nothing came before it."""
    kept = KeptMessages()
    kept.read(1, 100 * _S, has_session=True)
    kept.listened(160 * _S)
    assert kept.read(1, 161 * _S, has_session=True) == 0
    kept.listened(200 * _S)
    kept.connected(2, 260 * _S, has_session=True)
    kept.listened(260 * _S)

    assert kept.read(2, 260 * _S, has_session=True) == 200 * _S
    assert kept.read(2, 262 * _S, has_session=True) == 0
