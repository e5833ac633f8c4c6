"""Schedules: the times that they have, on odd days too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from headgate.config.schedule import (
    MAX_SCHEDULES,
    ScheduleConfig,
    looked_at,
    schedule_problems,
    stretches_of,
)
from headgate.core.clock import NS_PER_S

_BERLIN = ZoneInfo("Europe/Berlin")


def _stretches(
    first: str, last: str, others: dict[str, object] | None = None, **keys: object
) -> list[str]:
    """The stretches of a schedule in some time, as clocks in Berlin show them."""
    tables = {"it": {"zone": "Europe/Berlin", **keys}, **(others or {})}
    schedules = {name: ScheduleConfig.model_validate(table) for name, table in tables.items()}
    begin, end = (
        int(datetime.fromisoformat(text).replace(tzinfo=_BERLIN).timestamp()) * NS_PER_S
        for text in (first, last)
    )
    parts = zip(*stretches_of("it", schedules).parts, strict=True)
    return [f"{_shown(each[0])}/{_shown(each[1])}" for each in parts if begin <= each[0] < end]


def _shown(time_ns: np.int64) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(time_ns) // NS_PER_S)
    return at.astimezone(_BERLIN).strftime("%m-%dT%H:%M%z").removesuffix("00")


def test_times_of_days_of_the_week() -> None:
    """From Friday to Monday; what begins on a day goes on over its midnight."""
    assert _stretches("2026-01-02", "2026-01-06", days="mon-fri", times="22:00-06:00") == [
        "01-02T22:00+01/01-03T06:00+01",
        "01-05T22:00+01/01-06T06:00+01",
    ]
    assert _stretches("2026-01-02", "2026-01-12", days=["Sat-Mon"]) == [
        "01-03T00:00+01/01-06T00:00+01",
        "01-10T00:00+01/01-13T00:00+01",
    ]


def test_shifts_that_touch_are_one_stretch() -> None:
    """Nobody leaves between them."""
    times = ["06:00-14:00", "14:00-22:00"]

    assert _stretches("2026-01-05", "2026-01-06", times=times) == ["01-05T06:00+01/01-05T22:00+01"]
    assert len(_stretches("1970-01-02", "2100-12-31", times=["06:00-14:00", "14:00-06:00"])) == 0


def test_clocks_that_are_put_forward() -> None:
    """What would be in the hour that is left out is when it is over."""
    day = ("2026-03-29", "2026-03-30")

    assert _stretches(*day, times="02:30-05:00") == ["03-29T03:00+02/03-29T05:00+02"]
    assert _stretches(*day, times="01:00-02:15") == ["03-29T01:00+01/03-29T03:00+02"]
    assert _stretches(*day, times="02:10-02:50") == []


def test_clocks_that_are_put_back() -> None:
    """What is in the hour that comes twice is where clocks first show it: there is no gap."""
    day = ("2026-10-25", "2026-10-26")

    assert _stretches(*day, times="00:00-02:30") == ["10-25T00:00+02/10-25T02:30+02"]
    assert _stretches(*day, times="02:30-05:00") == ["10-25T02:30+02/10-25T05:00+01"]
    assert _stretches(*day, times="02:00-03:00") == ["10-25T02:00+02/10-25T03:00+01"]


def test_dates_of_a_year_and_of_every_year() -> None:
    """Over the new year, and 29 February, which most years have not."""
    assert _stretches("2027-01-01", "2029-01-10", dates=["12-24/01-01", "2028-05-01"]) == [
        "12-24T00:00+01/01-02T00:00+01",
        "05-01T00:00+02/05-02T00:00+02",
        "12-24T00:00+01/01-02T00:00+01",
    ]
    assert _stretches("2026-01-01", "2029-01-01", dates="02-29") == [
        "02-29T00:00+01/03-01T00:00+01"
    ]
    assert _stretches("2027-01-01", "2029-01-01", dates=["02-27/02-29", "02-29/03-02"]) == [
        "02-27T00:00+01/03-03T00:00+01",
        "02-27T00:00+01/03-03T00:00+01",
    ]
    assert _stretches("2026-03-01", "2026-04-01", dates="2026-03-01/2026-03-07", days="sun") == [
        "03-01T00:00+01/03-02T00:00+01"
    ]


def test_spans_are_once() -> None:
    """As texts, or as TOML writes times; to the second."""
    spans = [
        {"from": "2026-08-03T06:00", "to": datetime(2026, 8, 14, 18)},  # noqa: DTZ001
        {"from": "2026-08-10 00:00", "to": "2026-08-20T00:00:30"},
    ]

    assert _stretches("2026-01-01", "2027-01-01", spans=spans) == ["08-03T06:00+02/08-20T00:00+02"]


def test_others_are_left_out() -> None:
    """By name, and what these leave out is not."""
    others: dict[str, object] = {
        "holidays": {"dates": "2026-01-05/2026-01-07", "zone": "Europe/Berlin", "except": "open"},
        "open": {"dates": "2026-01-06", "zone": "Europe/Berlin"},
    }

    assert _stretches(
        "2026-01-05", "2026-01-09", others, times="06:00-14:00", **{"except": ["holidays"]}
    ) == ["01-06T06:00+01/01-06T14:00+01", "01-08T06:00+01/01-08T14:00+01"]


@pytest.mark.timeout(60)
def test_however_many_leave_one_another_out_each_is_worked_out_once() -> None:
    """Two to the number of them otherwise."""
    names = [f"s{number:02}" for number in range(40)]
    others: dict[str, object] = {
        name: {"dates": "2026-01-06", "except": names[at + 1 :]} for at, name in enumerate(names)
    }

    # Each but the last leaves out that, which has the same day.
    assert _stretches("2026-01-06", "2026-01-07", others, days="mon-sun", **{"except": names}) == []


def test_what_names_no_schedule_is_always() -> None:
    """And what only leaves some out is all the rest."""
    schedules = {"odd": ScheduleConfig.model_validate({"days": "mon"})}

    assert looked_at([], [], schedules) is None
    found = looked_at([], ["odd"], schedules)
    assert found is not None
    assert len(found) == len(schedules["odd"].own) + 1


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Apia", "America/Havana"])
def test_every_day_is_all_time(zone: str) -> None:
    """Whatever clocks do at midnight."""
    schedule = ScheduleConfig.model_validate({"zone": zone, "days": "mon-sun"})

    assert len(schedule.own) == 1


def test_none_leaves_itself_out() -> None:
    """Nor by way of others, of which one is told."""
    tables = {
        "a": {"days": "mon", "except": ["c"]},
        "b": {"days": "mon", "except": "c"},
        "c": {"days": "mon", "except": ["b"]},
    }
    (problem,) = schedule_problems(tables, {})
    assert problem.key == ("schedule", "b", "except")
    assert problem.what.startswith("leaves itself out")
    assert [*schedule_problems({"a": tables["a"], "c": {"days": "mon"}}, {})] == []


def test_there_are_not_too_many() -> None:
    """Each is remembered day by day."""
    tables = {f"s{number}": {"days": "mon"} for number in range(MAX_SCHEDULES + 1)}

    (problem,) = schedule_problems(tables, {})
    assert problem.key == ("schedule", f"s{MAX_SCHEDULES}")
    with pytest.raises(ValueError, match="at most 24"):
        ScheduleConfig.model_validate({"times": ["06:00-07:00"] * 25})
    with pytest.raises(ValueError, match="at most 400"):
        ScheduleConfig.model_validate({"dates": ["05-01"] * 401})
