"""Sinks and actions that are for what never comes are warned of."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.config.idle_choices import idle_choices
from headgate.config.idle_rules import bygone
from headgate.config.reach import may_meet
from headgate.config.schema import Config

_FEEDS: dict[str, Any] = {
    "pump": {"topic": "pump/{device}", "channels": {"x": {}}, "grace": "5s"},
    "fan": {"topic": "fan/{device}", "channels": {"y": {}}, "device_state": False},
}
_RULES: dict[str, Any] = {
    "hot": {"feed": "pump", "when": "x > 1", "devices": ["a*"]},
    "off": {"feed": "pump", "when": "x > 2", "enabled": False},
}
_SCHEDULES: dict[str, Any] = {
    "days": {"times": "06:00-18:00"},
    "nights": {"times": "18:00-06:00"},
    "week": {"days": "mon-sun"},
    "none": {"days": "mon", "except": ["week"]},
    "past": {"spans": [{"from": "2020-01-01 00:00", "to": "2020-01-02 00:00"}]},
}


def _config(ruled: dict[str, Any], **table: Any) -> Config:  # noqa: ANN401
    return Config.model_validate(
        {
            "feed": _FEEDS,
            "rule": ruled,
            "schedule": _SCHEDULES,
            "sink": {"s": {"type": "webhook", "url": "http://127.0.0.1:9/", **table}},
        }
    )


def _warnings(**table: Any) -> list[str]:  # noqa: ANN401
    return list(idle_choices(_config(_RULES, **table)))


@pytest.mark.parametrize(
    ("table", "warning", "good"),
    [
        (
            {"rules": ["off"]},
            (
                "sink.s.rules: its rule (off) is switched off, so no alarm of it ever comes; take "
                "enabled = false out of it, or name others"
            ),
            {"rules": ["*"]},
        ),
        ({"feeds": ["fan"]}, "sink.s.feeds: none of its rules (hot, off) is", {"feeds": ["p*"]}),
        ({"feeds": ["pump", "fan"]}, 'sink.s.feeds: "fan": nothing', {"feeds": ["pump", "*"]}),
        ({"devices": ["b1"]}, "sink.s.devices: none of its rules", {"devices": ["a1"]}),
        ({"devices": ["a1 "]}, 'sink.s.devices: "a1 " has a blank', {"devices": ["a 1"]}),
        (
            {"devices": ["a1, a2"]},
            (
                'sink.s.devices: "a1, a2" is one name with a comma in it; write several as a list: '
                '["a1", "a2"]'
            ),
            {"devices": ["a1", "a2"]},
        ),
        (
            {"severity": "critical", "rules": ["hot"]},
            'sink.s.severity: its rule (hot) is not as severe as "critical", so no alarm',
            {"severity": "major"},
        ),
        ({"of": ["anomalies"]}, "sink.s.of: no feed that it is for has models", {}),
        (
            {"of": ["channel_state"]},
            "sink.s.of: no feed that it is for has channels that say texts",
            {},
        ),
        (
            {"of": ["device_state"], "feeds": ["fan"]},
            "sink.s.of: no feed that it is for has it looked at whether",
            {"of": ["device_state"]},
        ),
        (
            {"of": ["device_state"], "rules": ["hot"]},
            "sink.s.rules: only alarms are of rules",
            {"of": ["device_state", "alarms"], "rules": ["hot"]},
        ),
        (
            {"of": ["sensor_health"], "severity": "major"},
            'sink.s.severity: it is for "sensor_health", which have no severity',
            {"of": ["sensor_health", "alarms"], "severity": "major"},
        ),
        ({"during": "days", "except": "week"}, "sink.s.during: its schedules leave", {}),
        ({"except": "week"}, "sink.s.except: its schedules leave no time", {"except": "days"}),
        (
            {"quiet": {"during": "none"}},
            "sink.s.quiet: its schedules leave no time",
            {"quiet": {"during": "nights"}},
        ),
        ({"quiet": {"during": ["days", "nights"]}}, "sink.s.quiet: its schedules leave out", {}),
        (
            {"quiet": {"during": "nights", "but": "minor"}},
            "sink.s.quiet: all that it tells is as severe as but",
            {"quiet": {"during": "nights", "but": "minor"}, "of": ["alarms", "device_state"]},
        ),
        ({"max_age": "5s"}, "sink.s.max_age: readings of feed.pump", {"max_age": "6s"}),
    ],
)
def test_what_never_comes_is_warned_of(
    table: dict[str, Any], warning: str, good: dict[str, Any]
) -> None:
    """And nothing that may."""
    (found,) = _warnings(**table)

    assert found.startswith(warning)
    assert _warnings(**good) == []


def test_alarms_where_there_is_no_rule() -> None:
    """Said at the key that is there."""
    what = "this file has no rule, so no alarm ever comes; add a [rule.NAME]"

    assert list(idle_choices(_config({}, rules="*"))) == [f"sink.s.rules: {what}"]
    assert list(idle_choices(_config({}))) == [f"sink.s.of: {what}"]
    assert list(idle_choices(_config({}, of="sensor_health"))) == []


def test_commands_that_never_fail() -> None:
    """Since none are ever sent."""
    action = {"rules": ["hot"], "topic": "cmd/{device}"}
    tables = {
        "feed": _FEEDS,
        "rule": _RULES,
        "sink": {
            "s": {
                "type": "webhook",
                "url": "http://127.0.0.1:9/",
                "of": "commands",
                "rules": ["hot"],
                "severity": "major",
                "feeds": ["pump"],
            }
        },
        "actions": {"topics": ["cmd/#"]},
        "action": {"a": {**action, "dry_run": False}},
    }

    assert list(idle_choices(Config.model_validate(tables))) == []
    tables["action"] = {"a": action}
    (warning,) = idle_choices(Config.model_validate(tables))
    assert warning.startswith("sink.s.of: all actions of this file are dry runs, so no command")
    tables["action"] = {}
    warning = next(iter(idle_choices(Config.model_validate(tables))))
    assert warning.startswith("sink.s.of: this file has no action, so no command ever fails")


def test_severity_of_a_model_may_be_any() -> None:
    """It is the anomaly's."""
    rule = {"feed": "pump", "model": "m"}
    feeds = {"pump": {**_FEEDS["pump"], "models": ["m"]}}
    tables = {
        "feed": feeds,
        "model": {"m": {"package": "m"}},
        "rule": {"r": rule},
        "sink": {"s": {"type": "webhook", "url": "http://127.0.0.1:9/", "severity": "critical"}},
    }

    assert list(idle_choices(Config.model_validate(tables))) == []
    tables["rule"] = {"r": {**rule, "severity": "minor"}}
    assert len(list(idle_choices(Config.model_validate(tables)))) == 1


def test_an_action_says_so_as_well() -> None:
    """Of the same keys."""
    action = {"rules": ["off"], "topic": "cmd/{device}"}
    tables = {
        "feed": _FEEDS,
        "rule": _RULES,
        "local_store": {},
        "actions": {"topics": ["cmd/#"]},
        "action": {"a": action},
    }

    (warning,) = idle_choices(Config.model_validate(tables))
    assert warning.startswith("action.a.rules: its rule (off) is switched off")
    tables["action"] = {"a": {**action, "rules": ["off", "hot"]}}
    (warning,) = idle_choices(Config.model_validate(tables))
    assert warning.startswith("action.a.rules: its rule (off)")


def test_what_is_over_for_good() -> None:
    """A year that was written wrong."""
    config = _config(_RULES, during="past")
    last_ns = 1577923200 * 10**9

    assert list(bygone(config, last_ns - 1)) == []
    assert list(bygone(config, last_ns)) == [
        (
            "sink.s.during: the last time of its schedules was over at "
            "2020-01-02T00:00:00.000000000Z; give them a later one, or leave it out"
        )
    ]
    assert list(bygone(_config(_RULES, **{"except": "past"}), last_ns)) == []
    assert list(bygone(_config(_RULES, quiet={"during": "past"}), last_ns)) == []
    rules = {"hot": {**_RULES["hot"], "during": ["past"]}}
    (warning,) = bygone(_config(rules), last_ns)
    assert warning.startswith("rule.hot.during: the last time")


@pytest.mark.parametrize(
    ("one", "other", "may"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a*", "ab", True),
        ("ab", "b*", False),
        ("a*", "b*", False),
        ("a*", "ab*", True),
        ("*a", "*b", False),
        ("*a", "b*", True),
        ("[ab]c", "bc", True),
        ("?", "*", True),
    ],
)
def test_patterns_that_may_be_of_one_name(one: str, other: str, *, may: bool) -> None:
    """By what they begin and end with."""
    assert may_meet([one], [other]) is may
    assert may_meet([other], ["-", one]) is may
