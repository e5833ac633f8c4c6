"""The actions that the configuration asks for."""

from __future__ import annotations

from connectors.sinks.notifications.notification import notification
from connectors.sinks.points import Point
from connectors.sinks.sink import Sink
from headgate.config.schema import Config
from headgate.core.clock import Clock
from headgate.core.log import Log
from headgate.core.telemetry import Telemetry


def open_actions(config: Config, log: Log, clock: Clock, telemetry: Telemetry) -> list[Sink]:
    """What carries them out, not started yet; nothing where there are none."""
    if not config.action:
        return []
    # A client that nobody asks for is not loaded.
    from connectors.actions.sink import ActionsSink  # noqa: PLC0415

    return [ActionsSink(config, log, clock, telemetry)]


def asks_for_nothing(config: Config, point: Point) -> bool:
    """Whether no action is for what this point tells."""
    if point.measurement not in ("alarms", "anomalies"):
        return True
    told = notification(point)
    return not any(
        told.kind in action.of and action.chooses(told) for action in config.action.values()
    )
