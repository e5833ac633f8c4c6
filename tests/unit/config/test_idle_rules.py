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
