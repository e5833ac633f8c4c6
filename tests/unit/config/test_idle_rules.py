"""Rules that never open an alarm are warned of."""

from __future__ import annotations

import pytest

from headgate.config.idle_rules import idle_rules
from headgate.config.schema import Config


def _warnings(when: str, **rule: object) -> list[str]:
    feed = {"topic": "{device}", "period": "10s", "channels": {"x": {}, "y": {}}}
    rules = {"r": {"feed": "f", "when": when, **rule}}
    return list(
        idle_rules(Config.model_validate({"local_store": {}, "feed": {"f": feed}, "rule": rules}))
    )


def test_one_that_asks_of_a_channel_whether_it_is_missing_when_it_comes() -> None:
    """It would have to look when something else comes."""
    (warning,) = _warnings("isnan(x)")
    assert warning.startswith("rule.r.when: it is looked at when x has a reading")
    assert _warnings("isnan(x) and not isnan(x + y)") != []
    assert _warnings("isnan(x) and y > 0") == []
    assert _warnings("isnan(x)", enabled=False) == []


@pytest.mark.parametrize("key", ["for", "clear_for"])
def test_one_whose_values_are_too_old_before_the_next_ones_come(key: str) -> None:
    """Nothing ever holds for so long then."""
    (warning,) = _warnings("x > 1", max_age="1s", **{key: "1h"})
    assert warning == (
        "rule.r.max_age: a value counts for 1s, and feed.f has a reading every 10s, so nothing "
        "ever holds for 1h; make it longer, or leave it out"
    )
    assert _warnings("x > 1", max_age="1s") == []
    assert _warnings("x > 1", max_age="10s", **{key: "1h"}) == []
    assert _warnings("x > 1", **{key: "1h"}) == []


def test_one_whose_schedules_leave_no_time() -> None:
    """What is left of a Monday without Mondays."""
    feed = {"topic": "{device}", "channels": {"x": {}}}
    rule = {"feed": "f", "when": "x > 1", "during": "mondays"}
    tables = {
        "local_store": {},
        "feed": {"f": feed},
        "schedule": {"mondays": {"days": "mon"}, "week": {"days": "mon-sun"}},
        "rule": {
            "r": {**rule, "except": ["week"]},
            "off": {**rule, "except": ["week"], "enabled": False},
            "good": rule,
        },
    }

    assert list(idle_rules(Config.model_validate(tables))) == [
        "rule.r.during: its schedules leave no time at which it is looked at; leave one of them out"
    ]


def test_one_whose_condition_says_nothing() -> None:
    """It never holds, or always does, or is never over."""
    (never,) = _warnings("between(x, 80, 20)")
    assert never.startswith("rule.r.when: no values make it hold, so it never opens")
    (always,) = _warnings("x > 1 or x < 2")
    assert always.startswith("rule.r.when: all values make it hold")
    (not_over,) = _warnings("x > 80", clear="x > 85")
    assert not_over.startswith("rule.r.clear: no values make it hold where when does not")
    assert _warnings("between(x, 20, 80)") == []
    assert _warnings("x > 80", clear="x < 85") == []


@pytest.mark.parametrize(
    ("other", "own", "why"),
    [
        ({"enabled": False}, {}, "is switched off"),
        ({"devices": "a*"}, {"devices": "b*"}, "is for other devices"),
        ({"during": "nights"}, {"during": "days"}, "is looked at when this rule is not"),
    ],
)
def test_one_that_is_suppressed_by_what_never_can(
    other: dict[str, object], own: dict[str, object], why: str
) -> None:
    """It is told."""
    feed = {"topic": "{device}", "channels": {"x": {}}}
    rule = {"feed": "f", "when": "x > 1", "suppressed_by": ["s"]}
    tables = {
        "local_store": {},
        "feed": {"f": feed},
        "schedule": {"days": {"times": "06:00-18:00"}, "nights": {"times": "18:00-06:00"}},
        "rule": {"s": {"feed": "f", "when": "x > 0", **other}, "r": {**rule, **own}},
    }

    (warning,) = idle_rules(Config.model_validate(tables))
    assert warning.startswith(f'rule.r.suppressed_by: rule "s" {why}, so it suppresses nothing')
    tables["rule"] = {"s": {"feed": "f", "when": "x > 0"}, "r": rule}
    assert list(idle_rules(Config.model_validate(tables))) == []


def test_one_that_must_hold_for_longer_than_it_is_looked_at() -> None:
    """Each time it begins anew."""
    feed = {"topic": "{device}", "channels": {"x": {}}}
    rule = {"feed": "f", "when": "x > 1", "during": "days", "devices": ["a, b"]}
    tables: dict[str, object] = {
        "local_store": {},
        "feed": {"f": feed},
        "schedule": {"days": {"times": "06:00-14:00"}},
        "rule": {"r": {**rule, "for": "8h"}, "good": {**rule, "for": "7h", "devices": ["a"]}},
    }

    too_long, odd = idle_rules(Config.model_validate(tables))
    assert too_long == (
        "rule.r.for: its schedules have 8h without a break at most, and it begins anew with each, "
        "so nothing ever holds for 8h; make it shorter"
    )
    assert odd.startswith('rule.r.devices: "a, b" is one name with a comma in it')


def test_schedules_without_any_time() -> None:
    """Whether anything names them or not."""
    feed = {"topic": "{device}", "channels": {"x": {}}}
    tables = {
        "local_store": {},
        "feed": {"f": feed},
        "schedule": {
            "saturday": {"days": "mon", "dates": "2026-05-02"},
            "left_out": {"days": "mon", "except": ["week"]},
            "week": {"days": "mon-sun"},
        },
    }

    no_day, left_out = idle_rules(Config.model_validate(tables))
    assert no_day == (
        "schedule.saturday.dates: no date of these is on such a day, so this schedule has no "
        "time; correct dates or days"
    )
    assert left_out == (
        "schedule.left_out.except: it leaves no time of this schedule; leave one out"
    )
