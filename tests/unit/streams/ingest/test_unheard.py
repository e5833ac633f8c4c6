"""Feeds of which nothing comes are told after a sensible time."""

from __future__ import annotations

from headgate.config.feed import FeedConfig
from headgate.core.clock import NS_PER_S
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from streams.ingest.unheard import UnheardFeeds


def _feed(period: str) -> FeedConfig:
    return FeedConfig.model_validate(
        {"topic": "{device}", "period": period, "channels": {"flow": {}}}
    )


def _told(telemetry: Telemetry) -> dict[str, float]:
    found: dict[str, float] = telemetry.details["unheard"]
    return found


def test_a_feed_is_told_once_it_should_have_been_heard() -> None:
    """After a minute, or five of its periods, whichever is longer."""
    telemetry = Telemetry(ManualClock())
    unheard = UnheardFeeds(
        {"fast": _feed("1s"), "slow": _feed("20s"), "heard": _feed("1s")}, telemetry
    )
    unheard.look(0, {"fast", "slow", "heard"})
    unheard.heard("heard")

    unheard.look(59 * NS_PER_S, {"fast", "slow", "heard"})
    assert _told(telemetry) == {}
    unheard.look(60 * NS_PER_S, {"fast", "slow", "heard"})
    assert _told(telemetry) == {"fast": 60.0}
    unheard.look(100 * NS_PER_S, {"fast", "slow", "heard"})
    assert _told(telemetry) == {"fast": 100.0, "slow": 100.0}

    unheard.heard("fast")
    unheard.look(101 * NS_PER_S, {"fast", "slow", "heard"})
    assert _told(telemetry) == {"slow": 101.0}


def test_time_without_a_connection_does_not_count() -> None:
    """Nothing can be heard then."""
    telemetry = Telemetry(ManualClock())
    unheard = UnheardFeeds({"pump": _feed("1s")}, telemetry)

    for second in range(0, 1000, 10):
        unheard.look(second * NS_PER_S, {"pump"} if second >= 950 else ())

    assert _told(telemetry) == {}


def test_a_feed_that_was_never_heard_has_its_counter() -> None:
    """What is not there can't be alarmed upon."""
    telemetry = Telemetry(ManualClock())
    UnheardFeeds({"pump": _feed("1s")}, telemetry)

    assert telemetry.registry.get_sample_value("headgate_messages_total", {"feed": "pump"}) == 0
