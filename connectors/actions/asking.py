"""Whether an alarm or an anomaly asks for a command, and which one that is.

All of it follows from the data, the configuration and the time of the clock: the same alarm makes
the same command, with the same id, however often it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from connectors.actions.memory import CommandMemory
from connectors.sinks.notifications.notification import Notification, digest, iso
from headgate.config.action import ActionConfig, ActionsConfig
from headgate.config.schema import Config
from headgate.core.commands import (
    AHEAD,
    ASKED,
    DRY_RUN,
    NOT_ALLOWED,
    OLD,
    PASSED_OVER,
    RATE,
    Command,
)
from headgate.core.units import format_duration

#: Topics that MQTT can carry, bytes.
_MAX_TOPIC_BYTES = 65535


def asked_for(
    name: str, config: Config, memory: CommandMemory, told: Notification, now_ns: int
) -> Command | None:
    """The command that comes of an alarm or an anomaly that an action is for, if any does.

    It is asked for, or passed over; and it is remembered.

    Args:
        name: The action's.
        config: The whole configuration.
        memory: What is remembered of commands.
        told: What it is about.
        now_ns: The time, ns since 1970 UTC.
    """
    action, command_id = config.action[name], command_id_of(name, told)
    if memory.is_known(command_id):
        return None
    if memory.says_nothing_new(name, told):
        memory.note(name, command_id, told)
        return None
    began_ns = told.changed_ns if told.opened_ns is None else told.opened_ns
    if began_ns < memory.since_ns(name, now_ns):
        return None  # nobody was there to ask for anything
    command = command_of(name, action, config.actions, told, now_ns)
    if command.state == ASKED:
        window, limit = memory.window(name), action.at_most
        is_one_more = window.take(limit, now_ns)
        reason, detail = why_not_meant(action, is_one_more=is_one_more)
        if is_one_more:
            window.note(limit, now_ns)
        if reason:
            command = replace(command, state=PASSED_OVER, reason=reason, detail=detail)
    memory.note(name, command_id, told)
    return command


def command_of(
    name: str, action: ActionConfig, allowed: ActionsConfig, told: Notification, now_ns: int
) -> Command:
    """The command that an action gives by this, asked for or passed over.

    Of whether there are too many, and of whether it is meant, nothing is said.

    Args:
        name: The action's.
        action: Its table.
        allowed: Where commands may go to.
        told: What it is about.
        now_ns: The time, ns since 1970 UTC.
    """
    command_id = command_id_of(name, told)
    values = _values(name, action, told, command_id)
    reason, detail = _age(action, told, now_ns)
    topic = payload = ""
    try:
        if action.payload is None:
            payload = _all_that_is_known(name, action, told, command_id)
        else:
            payload = action.filled_payload(values)
        topic = _topic(action.filled_topic(action.topic, values), allowed)
    except ValueError as error:
        reason, detail = reason or NOT_ALLOWED, detail or str(error)
    return Command(
        action=name,
        id=command_id,
        feed=told.feed,
        device=told.device,
        rule=told.rule,
        model=told.model,
        channel=told.channel,
        severity=told.severity,
        start_ns=told.changed_ns if told.start_ns is None else told.start_ns,
        time_ns=told.changed_ns,
        is_open=told.state == "open",
        state=PASSED_OVER if reason else ASKED,
        reason=reason,
        detail=detail,
        topic=topic,
        payload=payload,
        asked_ns=now_ns,
        tags=told.tags,
    )


def command_id_of(name: str, told: Notification) -> str:
    """The id of the command that this action gives by this."""
    return digest("command", name, told.id)


def answer_topic(action: ActionConfig, command: Command, gateway: str) -> str:
    """Where the answer to this command comes; empty where none is expected, or none can."""
    if action.answer is None:
        return ""
    values = {
        **dict.fromkeys(action.topic_names, ""),
        **dict(command.tags),
        **{name: getattr(command, name) for name in _OF_COMMANDS},
        "gateway": gateway,
        "state": "open" if command.is_open else "over",
    }
    try:
        return action.filled_topic(action.answer, values)
    except ValueError:
        return ""


_OF_COMMANDS = ("action", "id", "feed", "device", "rule", "model", "channel", "severity")


def why_not_meant(action: ActionConfig, *, is_one_more: bool) -> tuple[str, str]:
    """Why a command is not sent though nothing is wrong with it; empty where it is."""
    if not is_one_more:
        limit = action.at_most
        span = format_duration(limit.span)
        return RATE, f"there were {limit.count} within {span} before it, as many as at_most allows"
    return (DRY_RUN, "dry_run = false sends it") if action.dry_run else ("", "")


def _age(action: ActionConfig, told: Notification, now_ns: int) -> tuple[str, str]:
    """Why nothing is to be commanded any more, or not yet; empty where something is."""
    limit = format_duration(action.max_age)
    age_ns = now_ns - told.changed_ns
    if age_ns > action.max_age:
        return OLD, f"it was {_seconds(age_ns)} old when its turn came; max_age is {limit}"
    if -age_ns > action.max_age:
        return AHEAD, (
            f"its time is {_seconds(-age_ns)} ahead of the gateway's clock, so nobody knows how "
            f"old it is; max_age is {limit}"
        )
    return "", ""


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:,.1f} s"


def _topic(topic: str, allowed: ActionsConfig) -> str:
    """The topic, if a command may go there; raises ValueError where it may not."""
    if topic.startswith("$") or len(topic.encode()) > _MAX_TOPIC_BYTES:
        raise ValueError("no device may have such a topic")
    if not allowed.allows(topic):
        raise ValueError(f'[actions] topics don\'t allow "{topic}"')
    return topic


def _values(
    name: str, action: ActionConfig, told: Notification, command_id: str
) -> Mapping[str, str]:
    """What texts may name, and what stands there; nothing for a tag that it has not."""
    return {
        **dict.fromkeys(action.topic_names | action.payload_names, ""),
        **dict(told.tags),
        **{each: getattr(told, each) for each in ("feed", "device", "rule", "model", "channel")},
        "action": name,
        "id": command_id,
        "gateway": told.gateway,
        "severity": told.severity,
        "state": told.state,
        "text": told.text,
        "start": iso(told.changed_ns if told.start_ns is None else told.start_ns),
        "time": iso(told.changed_ns),
        "expires": iso(told.changed_ns + action.max_age),
    }


def _all_that_is_known(name: str, action: ActionConfig, told: Notification, command_id: str) -> str:
    values = _values(name, action, told, command_id)
    first = ("id", "action", "gateway", "feed", "device")
    return json.dumps(
        {
            **{each: values[each] for each in first},
            "tags": dict(told.tags),
            **{each: values[each] or None for each in ("rule", "model", "channel", "severity")},
            **{each: values[each] for each in ("state", "text", "start", "time", "expires")},
        },
        ensure_ascii=False,
    )
