"""Answers to commands: where they are listened for, and whose one a message is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from connectors.actions.memory import Entry
from headgate.config.action import ActionConfig, topic_filter_of
from headgate.config.overlap import covers, united
from headgate.config.topics import filter_levels


def answer_filters(actions: Iterable[ActionConfig]) -> list[str]:
    """Topic filters of which no two overlap, of all answers to these actions."""
    filters = [topic_filter_of(each.answer) for each in actions if each.answer is not None]
    return list(united(dict.fromkeys(filters)))


def why_unheard(action: ActionConfig, refused: Mapping[str, str]) -> str:
    """Why no answers to an action are heard though there is a connection; empty where they are.

    Args:
        action: Its table.
        refused: By topic filter that is not subscribed to, the broker's words.
    """
    if action.answer is None:
        return ""
    own = filter_levels(topic_filter_of(action.answer))
    for each, reason in refused.items():
        if covers(filter_levels(each), own):
            return f"the broker refused the subscription to {each} ({reason})"
    return ""


def asked_by(
    entries: Iterable[Entry], topic: str, payload: bytes, correlation: bytes
) -> Entry | None:
    """The command that a message answers; None where it is none that is known.

    Args:
        entries: Commands, in the order in which they were asked for.
        topic: The message's topic.
        payload: Its payload, or the beginning of it.
        correlation: Its correlation data.
    """
    for entry in entries:
        command = entry.command
        if topic != entry.answer_topic or command.answered_ns or not entry.is_handed_over:
            continue
        name = command.id.encode()
        if name == correlation or (entry.needs_id and name in payload):
            return entry
        # Without an id nobody can tell whose answer it is: it is that of the oldest.
        if not entry.needs_id and not correlation and not entry.is_done:
            return entry
    return None
