"""The actions that the configuration asks for."""

from __future__ import annotations

from typing import Final

from connectors.sinks.notifications.notification import notification
from connectors.sinks.points import Point
from connectors.sinks.sink import Sink
from headgate.config.action import ACTIONS
from headgate.config.schema import Config
from headgate.core.clock import Clock
from headgate.core.log import Log
from headgate.core.telemetry import Telemetry

#: Where commands are remembered, in ``gateway.data_dir``.
MEMORY_FILE: Final = f"forward-{ACTIONS}.commands"


def open_actions(config: Config, log: Log, clock: Clock, telemetry: Telemetry) -> list[Sink]:
    """What carries them out, not started yet; nothing where there are none, and none has left
    anything to be settled.
    """
    if not config.action and not _has_left_something(config):
        return []
    # A client that nobody asks for is not loaded.
    from connectors.actions.sink import ActionsSink  # noqa: PLC0415

    return [ActionsSink(config, log, clock, telemetry)]


def _has_left_something(config: Config) -> bool:
    """Whether of actions that are not there any more commands are under way."""
    file = config.gateway.data_dir / MEMORY_FILE
    if not file.exists():
        return False
    from connectors.actions.memory import CommandMemory  # noqa: PLC0415  (as above)

    memory = CommandMemory(file)
    memory.load()
    return memory.is_under_way()


def asks_for_nothing(config: Config, point: Point) -> bool:
    """Whether no action is for what this point tells."""
    if point.measurement not in ("alarms", "anomalies"):
        return True
    told = notification(point)
    return not any(
        told.kind in action.of and action.chooses(told) for action in config.action.values()
    )
