"""A whole gateway in virtual time: what comes out of messages, with no network, file or clock.

What is real here is all that decides: the ingest lane with sources' memory of what is retained, the
formats and the refusals; the worker with the whole pipeline and its models; the forward lane; and
every record that they write. What is not: the broker, the log, which stands in memory, and the
stores behind the sinks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar, cast

import numpy as np

from connectors.logs.configured import consumer_group, topic, topic_specs
from connectors.mqtt.config import MqttConfig
from connectors.mqtt.connection import Connection
from connectors.sinks.configured import configured_sinks
from connectors.sinks.points import Point
from connectors.sinks.sink import Sink
from connectors.sources.configured import source_by_topic
from connectors.sources.mqtt.source import MqttSource
from connectors.sources.source import Source, SourceContext
from headgate.config.chosen import Chosen
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.errors import Bug
from headgate.core.heartbeat import HEARTBEAT_INTERVAL_S
from headgate.core.in_flight import RecordsInFlight
from headgate.core.log import QUARANTINE, READINGS, STREAMS
from headgate.core.properties import NOTHING, Properties
from headgate.core.stage import Selection
from headgate.core.telemetry import Telemetry
from headgate.inspect.log_contents import Filter, exported
from headgate.testing.commands import PlayedActions
from headgate.testing.memory_log import MemoryLog, MemoryStore
from headgate.testing.memory_reader import MemoryReader
from headgate.testing.scripted import MemorySink, ScriptedConnection, ScriptedSource
from headgate.testing.virtual_time import VirtualClock, VirtualLoop, run
from streams.build import build_pipeline
from streams.forward.lane import ForwardLane
from streams.ingest.lane import IngestLane
from streams.process.passing import SilentDevicesInFlight
from streams.process.worker import Worker

_T = TypeVar("_T")

#: The lanes are there for so long before the first message comes, s.
_BEFORE_S: Final = 10.0

#: So long after a message all is settled that came of it, besides what the lanes may gather for, s.
_LULL_S: Final = 2.0

#: How often the worker looks after what no reading sets off, s.
_LOOK_INTERVAL_S: Final = 0.5

_MOMENT_S: Final = 1e-6

#: Records in a take.
_TAKE: Final = 100

#: Between two snapshots: nothing is restored here, ns.
_NEVER: Final = 10**6 * 3600 * NS_PER_S

#: Windows that have not closed so long after the last message never do, s.
_LONGEST_S: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Message:
    """A message that arrives.

    Attributes:
        topic: Its topic.
        payload: Its payload.
        arrived_ns: When, ns since 1970 UTC.
        is_retained: Whether the broker had kept it for new subscribers.
        source: The source that it comes from; empty for the first that has a feed for its topic.
        properties: What is said beside it.
    """

    topic: bytes
    payload: bytes
    arrived_ns: int
    is_retained: bool = False
    source: str = ""
    properties: Properties = NOTHING


@dataclass(frozen=True, slots=True)
class Played:
    """What came out.

    Attributes:
        points: What stands in the sinks, in the order of time, measurement and tags.
        quarantined: What stands in quarantine, as ``headgate log export`` writes it, in the order
            of time, source, reason, detail and payload.
        commands: Commands that actions give, or pass over, an object each; sent nowhere.
    """

    points: list[Point]
    quarantined: list[dict[str, Any]]
    commands: list[dict[str, Any]]


def play(config: Config, messages: Sequence[Message]) -> Played:
    """Play messages, in the order of their arrival, and then let time pass until all is closed.

    After the last message nothing comes any more: every device falls silent, every window closes,
    and every anomaly ends.

    Args:
        config: The whole configuration. Nothing that it names is written to, or connected to; its
            models run on the CPU.
        messages: One at least; none arrives before the one before it.

    Raises:
        ConfigError: A model package is damaged, or does not fit its feed; one line a problem.
    """
    with TemporaryDirectory(prefix="headgate-") as folder:
        loop = VirtualLoop()
        return run(_play(_apart(config, Path(folder)), messages, loop), loop)


def _apart(config: Config, folder: Path) -> Config:
    """The configuration of a gateway that keeps its files in a folder of its own."""
    return config.model_copy(
        update={
            "gateway": config.gateway.model_copy(update={"data_dir": folder}),
            "streams": config.streams.model_copy(update={"snapshot_interval": _NEVER}),
            "model": {
                name: model.model_copy(update={"provider": "cpu"})
                for name, model in config.model.items()
            },
        }
    )


async def _play(config: Config, messages: Sequence[Message], loop: VirtualLoop) -> Played:
    gateway = _Gateway(config, loop, messages[0].arrived_ns)
    try:
        await gateway.let_pass(_BEFORE_S)
        for message in messages:
            await gateway.wait_until(message.arrived_ns)
            gateway.publish(message)
        await gateway.close_all()
        return Played(gateway.points(), await gateway.quarantined(), gateway.commands())
    finally:
        await gateway.stop()


class _Gateway:
    """Its three lanes, on a log in memory.

    Args:
        config: The whole configuration, with a data folder of this gateway's own.
        loop: The loop that it runs in.
        first_ns: When the first message comes, ns since 1970 UTC.
    """

    def __init__(self, config: Config, loop: VirtualLoop, first_ns: int) -> None:
        self._config = config
        self._loop = loop
        self._clock = VirtualClock(loop)
        self._clock.set_wall(first_ns - round(_BEFORE_S * NS_PER_S))
        self._lull_s = _LULL_S + (config.ingest_wait + config.streams_wait) / NS_PER_S
        self._store = MemoryStore()
        for spec in topic_specs(config):
            # All of it is looked at in the end.
            kept = replace(spec, retention_s=None, retention_bytes=None)
            self._store.specs[spec.name] = kept
        self._log = MemoryLog(self._store, self._clock)
        self._log.open()
        self._sources: dict[str, Callable[..., None]] = {}
        self._source_of = source_by_topic(config)
        self._sinks = [MemorySink(name, kinds) for name, kinds in configured_sinks(config).items()]
        self._actions = PlayedActions(config, self._clock) if config.action else None
        self._pipeline = build_pipeline(config, ChannelTable(identities=config.identities))
        self._worker = self._make_worker()
        #: While time is set forward nobody can say which devices are heard.
        self._may_look = True
        self._stop = asyncio.Event()
        clock = self._clock
        self._ingest = IngestLane(
            config,
            self._log,
            clock,
            Telemetry(clock),
            make_source=self._make_source,
            not_before_ns=0,
        )
        sinks: list[Sink] = [*self._sinks, *([] if self._actions is None else [self._actions])]
        forward = ForwardLane(config, self._log, clock, Telemetry(clock), sinks)
        self._tasks = [
            asyncio.create_task(self._ingest.run(self._stop), name="ingest"),
            asyncio.create_task(self._work(), name="streams"),
            asyncio.create_task(forward.run(self._stop), name="forward"),
        ]

    def publish(self, message: Message) -> None:
        """Have a message arrive now."""
        source = message.source or self._source_of(message.topic)
        self._sources[source](
            message.topic,
            message.payload,
            is_retained=message.is_retained,
            properties=message.properties,
        )

    async def let_pass(self, seconds: float) -> None:
        """Let some time pass, in which the lanes do what they do."""
        await asyncio.sleep(seconds)
        for task in self._tasks:
            if task.done():
                # None of them ends by itself.
                await task

    async def wait_until(self, wall_ns: int) -> None:
        """Let time pass until the wall clock shows this."""
        left_s = (wall_ns - self._clock.wall_ns()) / NS_PER_S
        if left_s > 4 * self._lull_s:
            await self.let_pass(self._lull_s)
            await self._set_forward(left_s - 3 * self._lull_s)
            left_s = (wall_ns - self._clock.wall_ns()) / NS_PER_S
        if left_s > 0:
            await self.let_pass(left_s)
        # A sum of floats is not exact.
        self._clock.set_wall(wall_ns)

    async def close_all(self) -> None:
        """Let time pass until nothing is open."""
        step_s = 1
        await self.let_pass(self._lull_s)
        while not self._is_closed():
            if step_s > _LONGEST_S:
                raise Bug("windows are open that never close")
            await self._set_forward(step_s)
            await self.let_pass(self._lull_s)
            step_s *= 2
        await self.let_pass(self._lull_s)

    async def stop(self) -> None:
        """End the lanes, in order where they still run."""
        self._stop.set()
        for task in self._tasks:
            if task.get_name() == "streams":
                task.cancel()
        await asyncio.wait(self._tasks)

    def points(self) -> list[Point]:
        """What stands in the sinks, each point once."""
        points = {key: point for sink in self._sinks for key, point in sink.points.items()}
        return sorted(points.values(), key=lambda each: (each.time_ns, each.measurement, each.tags))

    async def quarantined(self) -> list[dict[str, Any]]:
        """What stands in quarantine."""
        rows: list[dict[str, Any]] = []
        async for some in exported(self._config, self._log, QUARANTINE, Filter()):
            rows += some
        names = ("time", "source", "reason", "detail", "payload")
        return sorted(rows, key=lambda row: [row[name] for name in names])

    def commands(self) -> list[dict[str, Any]]:
        """What actions command, or pass over."""
        return [] if self._actions is None else self._actions.rows()

    def _is_closed(self) -> bool:
        channels = self._pipeline.channels
        every = Selection(
            np.arange(len(channels.devices), dtype=np.int32),
            np.arange(len(channels), dtype=np.int32),
        )
        return not self._pipeline.awaits_silence() and not self._pipeline.busy(every).any()

    async def _set_forward(self, seconds: float) -> None:
        """Have so much time pass at once, where nothing happens in it."""
        self._may_look = False
        self._clock.skip(seconds)
        # The ingest lane says anew that devices are heard.
        await self.let_pass(2 * HEARTBEAT_INTERVAL_S)
        self._may_look = True

    def _make_source(self, chosen: Chosen, context: SourceContext) -> Source:
        if not isinstance(chosen.table, MqttConfig):
            source = ScriptedSource(context)
            self._sources[context.name] = source.publish
            return source

        def connect(**settings: Any) -> Connection:  # noqa: ANN401  (what it takes is its own)
            connection = ScriptedConnection(**settings)
            self._sources[context.name] = connection.publish
            return cast("Connection", connection)

        return MqttSource(chosen.table, context, connect=connect)

    def _make_worker(self) -> Worker:
        config, folder = self._config, self._config.gateway.data_dir
        in_flight, silent = (
            RecordsInFlight(folder / "in-flight"),
            SilentDevicesInFlight(folder / "silent"),
        )
        in_flight.open()
        silent.open()
        return Worker(
            config,
            self._log,
            self._clock,
            Telemetry(self._clock),
            self._pipeline,
            in_flight,
            silent,
            in_thread=_at_once,
        )

    async def _work(self) -> None:
        config = self._config
        name, group = topic(config, READINGS), consumer_group(config, STREAMS)
        reader = MemoryReader(self._store, name, group, config.log.partitions)
        self._worker.assign(reader.numbers, reader.generation)
        look_s = self._loop.time()
        while True:
            events = reader.take(_TAKE)
            if events:
                await self._worker.work_on(events)
            elif self._loop.time() < look_s:
                await self._appended(look_s - self._loop.time())
            else:
                look_s = self._loop.time() + _LOOK_INTERVAL_S
                if self._may_look:
                    await self._worker.tick()

    async def _appended(self, most_s: float) -> None:
        """Wait for something to be appended to the log, but no longer than so."""
        self._store.appended.clear()
        waiting = asyncio.ensure_future(self._store.appended.wait())
        # Less than this would be no time at all.
        await asyncio.wait({waiting}, timeout=max(most_s, _MOMENT_S))
        waiting.cancel()


async def _at_once(call: Callable[..., _T], *arguments: object) -> _T:
    return call(*arguments)
