"""Which sinks the configuration asks for."""

from __future__ import annotations

from pathlib import Path

from connectors.sinks.points import Kind
from connectors.sinks.sink import Sink, SinkComponent, SinkContext
from headgate.config.chosen import Chosen
from headgate.config.problems import shown_key
from headgate.config.schema import Config
from headgate.core.clock import Clock
from headgate.core.components import component
from headgate.core.errors import ConfigError
from headgate.core.telemetry import Telemetry


def configured_sinks(config: Config) -> dict[str, tuple[Kind, ...]]:
    """By name of each configured sink, the kinds of points that it takes; none is made.

    Raises:
        ConfigError: What is installed as a sink is none.
    """
    return {name: sink_component(chosen).kinds for name, chosen in config.sink.items()}


def open_sinks(config: Config, clock: Clock, telemetry: Telemetry) -> list[Sink]:
    """The configured sinks, not started yet."""
    return [
        sink_component(chosen).make(chosen.table, sink_context(config, name, clock, telemetry))
        for name, chosen in config.sink.items()
    ]


def sink_component(chosen: Chosen) -> SinkComponent:
    """The component of a sink.

    Raises:
        ConfigError: What is installed under its name is no sink.
    """
    found = component("sinks", chosen.name)
    if not isinstance(found, SinkComponent):
        raise ConfigError(f"headgate.sinks: {chosen.name}: expected a SinkComponent, got {found!r}")
    return found


def sink_context(config: Config, name: str, clock: Clock, telemetry: Telemetry) -> SinkContext:
    """What the configured sink of this name is made with."""
    key = config.sink[name].key
    return SinkContext(name, shown_key(key or ("sink", name)), config, clock, telemetry)


def points_file(config: Config) -> Path | None:
    """The file of the first sink that keeps points on this machine, if there is one."""
    for chosen in config.sink.values():
        where = sink_component(chosen).points_file
        if where is not None:
            return where(chosen.table, config)
    return None
