"""The gateway in the simulation: its own lanes, each a process that can be killed.

What is real here: ``IngestLane`` with its decoders, ``Worker`` with the whole pipeline, its
snapshots and its note of what is in hand, ``ForwardLane``, and every record they write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from connectors.logs.configured import consumer_group, topic, topic_specs
from connectors.mqtt.config import MqttConfig
from connectors.mqtt.connection import Connection
from connectors.sources.mqtt.source import MqttSource
from connectors.sources.source import Source, SourceContext
from headgate.config.chosen import Chosen
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.in_flight import RecordsInFlight
from headgate.core.log import READINGS, STREAMS
from headgate.core.telemetry import Telemetry
from streams.forward.lane import ForwardLane
from streams.ingest.lane import IngestLane
from streams.pipeline import Pipeline
from streams.process.passing import SilentDevicesInFlight
from streams.process.worker import Worker
from tests.simulation.broker import SimulatedConnection
from tests.simulation.world import (
    RETENTION_S,
    Process,
    SimulatedLog,
    SimulatedReader,
    SimulatedSink,
    World,
)

MakePipeline = Callable[[ChannelTable], Pipeline]

_LOOK_INTERVAL_S = 0.5
_RESTART_S = 0.2


class Gateway:
    """Three lanes, each started anew when it ends.

    Args:
        world: What surrounds them.
        config: The whole configuration.
        folder: For the note of what is in hand.
        make_pipeline: Builds the stages.
    """

    def __init__(
        self, world: World, config: Config, folder: Path, make_pipeline: MakePipeline
    ) -> None:
        self._world = world
        self._config = config
        self._folder = folder
        self._make_pipeline = make_pipeline
        self._processes: dict[str, tuple[Process, asyncio.Task[None]]] = {}
        self.reader: SimulatedReader | None = None
        self.worker: Worker | None = None
        #: What ended a process that nobody had killed.
        self.failures: list[BaseException] = []

    def start(self) -> None:
        """Start every lane."""
        for spec in topic_specs(self._config):
            kept_s = RETENTION_S if spec.readers else None
            self._world.log.specs[spec.name] = replace(spec, retention_s=kept_s)
        for name in ("ingest", "streams", "forward"):
            self._start(name)

    def kill(self, name: str) -> None:
        """``kill -9``: whatever it had asked for may have happened, and it does nothing more."""
        process, task = self._processes[name]
        process.is_alive = False
        task.cancel()

    async def stop(self, name: str) -> None:
        """An orderly stop."""
        process, task = self._processes[name]
        process.stop.set()
        await asyncio.wait({task}, timeout=4)
        self.kill(name)

    def _start(self, name: str) -> None:
        process = Process(self._world)
        lane = {"ingest": self._ingest, "streams": self._streams, "forward": self._forward}[name]
        task = asyncio.create_task(lane(process), name=name)
        self._processes[name] = process, task
        task.add_done_callback(lambda _: self._ended(name, process, task))

    def _ended(self, name: str, process: Process, task: asyncio.Task[None]) -> None:
        process.is_alive = False
        if name == "ingest":
            self._world.broker.died()
        if not task.cancelled() and task.exception() is not None:
            self.failures.append(cast("BaseException", task.exception()))
        loop = asyncio.get_running_loop()
        if loop.is_running():
            loop.call_later(
                self._world.random.uniform(_RESTART_S, 4 * _RESTART_S), self._start, name
            )

    async def _ingest(self, process: Process) -> None:
        def connect(**settings: Any) -> Connection:  # noqa: ANN401
            return cast("Connection", SimulatedConnection(process, **settings))

        def make_source(chosen: Chosen, context: SourceContext) -> Source:
            return MqttSource(cast("MqttConfig", chosen.table), context, connect=connect)

        clock = self._world.clock
        lane = IngestLane(
            self._config, SimulatedLog(process), clock, Telemetry(clock), make_source=make_source
        )
        await lane.run(process.stop)

    async def _forward(self, process: Process) -> None:
        clock = self._world.clock
        sinks = [SimulatedSink(process)]
        if self._world.later is not None:
            sinks.append(SimulatedSink(process, "influxdb"))
        lane = ForwardLane(self._config, SimulatedLog(process), clock, Telemetry(clock), sinks)
        await lane.run(process.stop)

    async def _streams(self, process: Process) -> None:
        clock, config = self._world.clock, self._config

        async def in_thread(call: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
            await process.takes(0.02)
            answer = call(*arguments)
            await process.takes(0.01)
            return answer

        in_flight = RecordsInFlight(self._folder / "in-flight")
        in_flight.open()
        silent = SilentDevicesInFlight(self._folder / "silent")
        silent.open()
        worker = self.worker = Worker(
            config,
            SimulatedLog(process),
            clock,
            Telemetry(clock),
            self._make_pipeline(ChannelTable(identities=config.identities)),
            in_flight,
            silent,
            in_thread=in_thread,
        )
        reader = self.reader = SimulatedReader(
            process, topic(config, READINGS), consumer_group(config, STREAMS), config.log.partitions
        )
        worker.assign(reader.numbers, reader.generation)
        loop = asyncio.get_running_loop()
        looked_s = committed_s = loop.time()
        while not process.stop.is_set():
            events = await reader.next_take(self._world.random.randint(1, 30))
            if events:
                await worker.work_on(events)
            if loop.time() - looked_s > _LOOK_INTERVAL_S:
                looked_s = loop.time()
                await worker.tick()
            if loop.time() - committed_s > _LOOK_INTERVAL_S:
                committed_s = loop.time()
                await process.takes(0.01)
                reader.commit()
        await worker.finish()
        reader.commit()

    def rebalance(self) -> None:
        """The group settles anew who reads what; this member gets everything again."""
        process, _ = self._processes["streams"]
        if self.reader is None or self.worker is None or not process.is_alive:
            return
        self.worker.revoke(self.reader.numbers, self.reader.generation)
        self.reader.rebalance()
        self.worker.assign(self.reader.numbers, self.reader.generation)
