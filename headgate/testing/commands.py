"""Commands that come of what is played: as the gateway's own, and sent nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from connectors.actions.asking import asked_for
from connectors.actions.memory import CommandMemory
from connectors.sinks.notifications.notification import iso, notification
from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused
from headgate.config.action import ACTIONS
from headgate.config.schema import Config
from headgate.core.clock import Clock
from headgate.core.commands import Command

#: What a row of them may name. ``reason`` says why one is passed over; empty where it is sent.
COMMAND_COLUMNS: Final = (
    "time", "action", "event", "feed", "device", "tags", "rule", "model", "channel", "severity",
    "topic", "payload", "reason", "detail",
)  # fmt: skip


class PlayedActions:
    """The actions of a configuration, as a sink of the forward lane.

    Whether one is a dry run makes no difference: it is said what it would send.

    Args:
        config: The whole configuration.
        clock: Says how old things are.
    """

    name = ACTIONS
    kinds: tuple[Kind, ...] = ("anomalies",)
    max_points = 500
    max_wait_s = 0.0

    def __init__(self, config: Config, clock: Clock) -> None:
        meant = {
            name: action.model_copy(update={"dry_run": False})
            for name, action in config.action.items()
        }
        self._config = config.model_copy(update={"action": meant})
        self._clock = clock
        # Nothing of it is written.
        self._memory = CommandMemory(Path("none"))
        for name in meant:
            self._memory.since_ns(name, 0)
        self._commands: list[Command] = []

    async def start(self) -> None:
        """Nothing to get ready."""

    async def stop(self) -> None:
        """Nothing to release."""

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        """Note what comes of these."""
        now_ns = self._clock.wall_ns()
        for point in points:
            if point.measurement not in ("alarms", "anomalies"):
                continue
            told = notification(point)
            for name, action in self._config.action.items():
                if told.kind in action.of and action.chooses(told):
                    command = asked_for(name, self._config, self._memory, told, now_ns)
                    self._commands += [command] if command is not None else []
        return []

    def rows(self) -> list[dict[str, Any]]:
        """The commands, in the order of time, action, device and id."""
        found = sorted(
            self._commands, key=lambda each: (each.time_ns, each.action, each.device, each.id)
        )
        return [_row(each) for each in found]


def _row(command: Command) -> dict[str, Any]:
    row = {
        "time": iso(command.time_ns),
        "event": "open" if command.is_open else "over",
        "tags": dict(command.tags),
        **{
            name: getattr(command, name)
            for name in COMMAND_COLUMNS
            if name not in ("time", "event", "tags")
        },
    }
    return {name: row[name] for name in COMMAND_COLUMNS if row[name] or name == "reason"}
