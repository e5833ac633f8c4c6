"""The sink of actions at work by itself, with a log, a broker, and what has been written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from connectors.actions.memory import CommandMemory, Entry
from connectors.actions.sink import ActionsSink
from connectors.logs.configured import open_log, topic, topic_specs
from connectors.sinks.points import alarm_points, anomaly_points
from headgate.config.load import load_config
from headgate.config.schema import Config
from headgate.core.clock import SystemClock
from headgate.core.commands import Command
from headgate.core.log import ANOMALIES, TopicPartition
from headgate.core.records import decode_commands
from headgate.core.results import Alarm, Anomaly
from headgate.core.telemetry import Telemetry
from tests.commanded import Taken

_S = 10**9

_FILE = """
[mqtt]
port = {port}
publish_anomalies = false
{mqtt}
[log]
partitions = 2
[feed.pump]
topic = "hall/{{line}}/{{device}}"
channels.temperature = {{ unit = "°C" }}
[rule]
hot = {{ feed = "pump", when = "temperature > 80" }}
cold = {{ feed = "pump", when = "temperature < 10" }}
[sink.here]
type = "local_store"
[actions]
topics = ["cmd/+/+"]
[action.stop]
rules = ["hot"]
topic = "cmd/{{line}}/{{device}}"
dry_run = false
{action}
"""

#: That it answers.
ANSWER = 'answer = "said/{device}"\n'


def config_of(
    folder: Path, port: int, action: str = "", mqtt: str = "", old: str = "", new: str = ""
) -> Config:
    """The configuration of one action, with more lines of it and of its source."""
    file = folder / "headgate.toml"
    text = _FILE.format(port=port, action=action, mqtt=mqtt)
    file.write_text(f'[gateway]\ndata_dir = "{folder / "data"}"\n' + text.replace(old, new))
    return load_config(file)


class Acting:
    """The sink of a configuration with its log, and what was written of its commands."""

    def __init__(self, config: Config) -> None:
        clock = SystemClock()
        self.config = config
        self.telemetry = Telemetry(clock)
        self.log = open_log(config, clock)
        self.sink = ActionsSink(config, self.log, clock, self.telemetry)

    @property
    def memory(self) -> CommandMemory:
        """What is remembered."""
        return self.sink._memory

    @property
    def entries(self) -> list[Entry]:
        """Commands that are."""
        return list(self.memory.entries.values())

    async def take(self, *told: Alarm | Anomaly) -> None:
        """Have it see these."""
        for each in told:
            points = alarm_points([each], "gw") if isinstance(each, Alarm) else []
            points = points or anomaly_points([each], "gw")  # type: ignore[list-item]
            assert await self.sink.write(points) == []

    async def written(self) -> list[Command]:
        """What the log has of commands, in its order."""
        found: list[Command] = []
        for number in range(self.config.log.partitions):
            at = TopicPartition(topic(self.config, ANOMALIES), number)
            for record in await self.log.read(at, 0):
                found += decode_commands(record.value)
        return found

    async def until(self, *states: str) -> list[Command]:
        """Wait until it has been written that commands were in these states, in this order."""
        written: list[Command] = []
        async with asyncio.timeout(30):
            while [_state(each) for each in written] != list(states):
                written = await self.written()
                await asyncio.sleep(0.02)
        return written

    async def until_states(self, states: Mapping[str, str]) -> dict[str, Command]:
        """Wait until the devices' last commands are so."""
        last: dict[str, Command] = {}
        async with asyncio.timeout(30):
            while {device: _state(each) for device, each in last.items()} != states:
                last = {each.device: each for each in await self.written()}
                await asyncio.sleep(0.02)
        return last


@asynccontextmanager
async def at_work(config: Config, *, is_new: bool = False) -> AsyncIterator[Acting]:
    """Its action is as old as the world, unless it is new."""
    memory = config.gateway.data_dir / "forward-actions.commands"
    if not is_new and not memory.exists():
        await has_long_been_there(config)
    acting = Acting(config)
    await acting.log.start()
    await acting.log.ensure_topics(topic_specs(config))
    await acting.sink.start()
    try:
        yield acting
    finally:
        await acting.sink.stop()
        await acting.log.stop()


async def has_long_been_there(config: Config) -> None:
    """Its action has."""
    memory = CommandMemory(config.gateway.data_dir / "forward-actions.commands")
    memory.since_ns("stop", 1)
    await memory.save()


def _state(command: Command) -> str:
    return f"{command.state} {command.reason}".strip()


def alarm_of(device: str = "p1", *, ago_s: float = 0, **other: object) -> Alarm:
    """It opened so long ago."""
    opened_ns = SystemClock().wall_ns() - round(ago_s * _S)
    opened = Alarm(
        "pump", device, "hot", opened_ns - 10 * _S, opened_ns, opened_ns,
        is_open=True, severity="major", text=f"{device}: 81.4 °C", tags=(("line", "a"),),
    )  # fmt: skip
    return replace(opened, **other)  # type: ignore[arg-type]


def over(alarm: Alarm) -> Alarm:
    """The same alarm once it is over."""
    return replace(alarm, is_open=False, time_ns=SystemClock().wall_ns())


def echo(taken: Taken) -> list[tuple[str, bytes, bytes]]:
    """Answers with what it was told."""
    return [(f"said/{taken.topic.rpartition('/')[2]}", taken.payload, b"")]
