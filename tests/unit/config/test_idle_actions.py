"""Actions that command nothing, or too much, are warned of."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.config.idle_actions import idle_actions, summaries
from headgate.config.schema import Config


def _config(topics: str = "cmd/+", mqtt: dict[str, Any] | None = None, **action: Any) -> Config:  # noqa: ANN401
    return Config.model_validate(
        {
            "local_store": {},
            "mqtt": mqtt or {},
            "feed": {"f": {"topic": "hall/{device}", "channels": {"x": {}}, "grace": "5s"}},
            "rule": {
                "hot": {"feed": "f", "when": "x > 1"},
                "off": {"feed": "f", "when": "x > 2", "enabled": False},
                "away": {"feed": "f", "offline": True},
            },
            "actions": {"topics": [topics]},
            "action": {"a": {"rules": ["hot"], "topic": "cmd/{device}", **action}},
        }
    )


def _warnings(**config: Any) -> list[str]:  # noqa: ANN401
    return list(idle_actions(_config(**config)))


def test_one_that_does_what_it_says_is_warned_of_nowhere() -> None:
    """It is said what that is."""
    assert _warnings() == []
    assert list(summaries(_config())) == ["action.a: dry run, nothing is sent; to cmd/{device}"]
    assert list(summaries(_config(dry_run=False))) == ["action.a: sends commands; to cmd/{device}"]


@pytest.mark.parametrize(
    ("config", "begin", "good"),
    [
        ({"topics": "#"}, 'actions.topics: "#" lets commands go to any topic', {"topics": "cmd/#"}),
        (
            {"topic": "cmd/{{device}}"},
            'action.a.topic: "{{device}}" is sent as it stands; to put the name in, write',
            {"topic": "cmd/{device}"},
        ),
        (
            {"payload": {"of": "<device>"}},
            'action.a.payload: "<device>" is sent as it stands',
            {"payload": {"of": "<pump>"}},
        ),
        ({"payload": "%severity%"}, 'action.a.payload: "%severity%" is', {"payload": "5 %s%"}),
        ({"answer": "said/${device}"}, 'action.a.answer: "${"', {"answer": "said/$x"}),
        ({"topic": "cmd/{device} "}, "action.a.topic", {"topic": "cmd/{device}"}),
        (
            {"max_age": "5s"},
            "action.a.max_age: readings of feed.f",
            {"max_age": "6s"},
        ),
        (
            {"rules": ["away"], "max_age": "10s"},
            "action.a.max_age: devices of feed.f are taken for away after 10s",
            {"rules": ["away"], "max_age": "11s"},
        ),
        ({"retain": True}, "action.a.retain: a command that is kept", {"retain": False}),
        (
            {"mqtt": {"version": "3.1.1"}, "payload": "stop"},
            "action.a.payload: over MQTT 3.1.1 nothing expires",
            {"mqtt": {"version": "3.1.1"}, "payload": {"until": "{expires}"}},
        ),
        (
            {"answer": "hall/{device}"},
            "action.a.answer: feed.f reads it, too",
            {"answer": "hall/{device}", "mqtt": {"ignore": ["hall/#"]}},
        ),
    ],
)
def test_what_does_not_do_what_it_says_is_warned_of(
    config: dict[str, Any], begin: str, good: dict[str, Any]
) -> None:
    """And not where it does."""
    (warning,) = _warnings(**config)

    assert warning.startswith(begin)
    assert _warnings(**good) == []
