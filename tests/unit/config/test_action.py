"""What an action sends: names in keys of a table are put in as those in its values are."""

from __future__ import annotations

import json

import pytest

from connectors.actions.asking import command_of
from connectors.sinks.notifications.notification import notification
from connectors.sinks.points import alarm_points
from headgate.config.action import ActionConfig, ActionsConfig
from headgate.core.commands import Command
from tests.acting import alarm_of


def _command(payload: object, device: str) -> Command:
    action = ActionConfig.model_validate({"rules": ["hot"], "topic": "cmd/all", "payload": payload})
    told = notification(alarm_points([alarm_of(device)], "gw")[0])
    return command_of("a", action, ActionsConfig(topics=("cmd/#",)), told, told.changed_ns)


def test_names_in_keys_are_put_in() -> None:
    """A key stays a key, whatever a device is called; braces that are meant are written twice."""
    payload = {"{device}": {"{line}-{{x}}": ["{state}"]}}

    for device in ("p1", 'p"}'):
        command = _command(payload, device)
        assert command.state == "asked"
        assert json.loads(command.payload) == {device: {"a-{x}": ["open"]}}


@pytest.mark.parametrize("device", ["p1", "stop"])
def test_two_keys_that_become_one_are_not_sent(device: str) -> None:
    """One of them would be lost."""
    command = _command({"stop": True, "{device}": 1}, device)

    if device == "p1":
        assert json.loads(command.payload) == {"stop": True, "p1": 1}
    else:
        assert (command.state, command.reason) == ("passed_over", "not_allowed")
        assert command.detail == (
            "two keys of a table in its payload are the same with names put in"
        )
