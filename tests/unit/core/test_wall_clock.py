"""When clocks show a time, on days on which they are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from headgate.config.event_time import zone_of
from headgate.core.clock import NS_PER_S
from headgate.core.wall_clock import wall_clock

_MINUTE = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (as clocks show it)


def _ns(local: datetime) -> int:
    return (local - _EPOCH) // timedelta(seconds=1) * NS_PER_S


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Berlin", "2026-03-29"),
        ("Europe/Berlin", "2026-10-25"),
        # At midnight, and back into the day before.
        ("America/Havana", "2026-11-01"),
        ("America/Sao_Paulo", "2018-11-04"),
        # By half an hour.
        ("Australia/Lord_Howe", "2026-04-05"),
        # A day that there never was.
        ("Pacific/Apia", "2011-12-30"),
        # Twice in five weeks.
        ("Africa/Casablanca", "2026-02-15"),
        ("Africa/Casablanca", "2026-03-22"),
        ("Asia/Kolkata", "2026-06-01"),
        ("UTC", "2024-02-29"),
    ],
)
def test_a_time_is_reached_when_clocks_first_show_it_or_a_later_one(zone: str, day: str) -> None:
    """Minute by minute, as somebody does who looks at one from the evening before."""
    local = datetime.fromisoformat(day)
    at = local.replace(tzinfo=UTC) - timedelta(hours=36)
    asked, found = local - timedelta(hours=6), list[int]()
    minutes = 36 * 60
    while len(found) < minutes:
        shown = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        while shown >= asked and len(found) < minutes:
            found.append(int(at.timestamp()) * NS_PER_S)
            asked += _MINUTE
        at += _MINUTE
    first = local - timedelta(hours=6)
    every = np.array([_ns(first + number * _MINUTE) for number in range(minutes)], np.int64)

    # Those before are reached before anybody looks.
    assert wall_clock(ZoneInfo(zone)).reached_ns(every)[1:].tolist() == found[1:]


def test_an_offset_is_a_zone() -> None:
    """One that is the same all the year."""
    at = datetime(2026, 6, 1, 12, tzinfo=UTC)
    local = np.array([_ns(datetime(2026, 6, 1, 17, 30))], np.int64)  # noqa: DTZ001

    assert wall_clock(zone_of("+05:30")).reached_ns(local).tolist() == [
        int(at.timestamp()) * NS_PER_S
    ]
