"""The streams lane: the Faust agent that brings readings to the worker, and what keeps it safe.

Faust is used so that it holds: raw bytes, one agent that only gathers, acknowledged in order and by
hand, no tables, no web server.

Anything unexpected stops the process: it restarts and replays from the committed offset.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import faust
import structlog

from connectors.logs.configured import broker_url, consumer_group, faust_settings, topic
from headgate.config.apart import split_devices
from headgate.config.schema import Config
from headgate.core.beat import until_beat
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import TransientError
from headgate.core.in_flight import RecordsInFlight
from headgate.core.log import READINGS, STREAMS, Log, Share
from headgate.core.telemetry import Telemetry
from headgate.core.watchdog import Watchdog
from streams.build import build_pipeline
from streams.process.passing import SilentDevicesInFlight
from streams.process.take import Take
from streams.process.worker import Worker

_logger = structlog.get_logger()
_T = TypeVar("_T")

#: A member that died is noticed after this long; below 6 s a Kafka broker refuses by default.
_SESSION_TIMEOUT_S = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsTimings:
    """What nobody configures, and tests make smaller.

    Attributes:
        look_s: How often silent devices are looked for. A silent device's window closes this much
            later than ``streams.silent_after`` at most.
        rest_s: The same while time has nothing to say of any device.
        crash_check_s: Between two looks whether Faust still runs.
        stall_s: Readings that wait in the log for so long without any being brought mean that
            Faust does not read any more. Longer than a group of several workers takes to settle.
        check_s: How often that is looked at.
        assignment_limit_s: Being assigned partitions takes this long at most, while the log
            answers.
    """

    look_s: float = 0.25
    rest_s: float = 2.0
    crash_check_s: float = 1.0
    stall_s: float = 20.0
    check_s: float = 5.0
    assignment_limit_s: float = 60.0


class StreamsLane:
    """Has the worker work on ``readings``, as Faust brings them.

    Args:
        config: The whole configuration.
        log: A started log, for everything but the readings, which come through Faust.
        clock: Source of time; wall time is never used for deciding about data.
        telemetry: Metrics of this lane.
        share: Which of several such lanes this is.
        timings: How it spends its time.
    """

    def __init__(
        self,
        config: Config,
        log: Log,
        clock: Clock,
        telemetry: Telemetry,
        share: Share = Share(),  # noqa: B008  (frozen)
        timings: StreamsTimings = StreamsTimings(),
    ) -> None:
        self._config = config
        self._timings = timings
        self._share = share
        self._clock = clock
        # One thread: the stages are not re-entrant, and two cores are all there is.
        self._thread = ThreadPoolExecutor(1, "pipeline")
        in_flight = RecordsInFlight(config.gateway.data_dir / f"streams-{share.number}.in-flight")
        in_flight.open()
        silent = SilentDevicesInFlight(config.gateway.data_dir / f"streams-{share.number}.silent")
        silent.open()
        self._worker = Worker(
            config,
            log,
            clock,
            telemetry,
            build_pipeline(config, ChannelTable(identities=config.identities), telemetry),
            in_flight,
            silent,
            in_thread=self._in_thread,
        )
        # The agent and the look-round take turns on the worker.
        self._turn = asyncio.Lock()
        # When the last readings were worked on.
        self._worked_ns = clock.monotonic_ns()
        # Set when some have been since the last look-round.
        self._has_worked = asyncio.Event()
        streams = config.streams
        self._take = Take(streams.max_records, config.streams_wait / NS_PER_S)
        for line in split_devices(config):
            # Nobody would miss the alarms of a model that gets no windows.
            telemetry.warn(line.partition(":")[0], line)
        self._trouble = "starting"

    @property
    def watchdog(self) -> Watchdog:
        """Knows what the lane is at."""
        return self._worker.watchdog

    def health(self) -> tuple[bool, str]:
        """Whether readings are being worked on; when not, why."""
        trouble = self._trouble or self._worker.trouble
        if not trouble and not self._worker.has_all:
            trouble = "taking up its partitions"
        return not trouble, trouble

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then snapshot and commit what is done.

        Raises:
            Exception: Whatever went wrong inside; the process must end and start anew.
        """
        app = self._build_app()
        stopping = asyncio.create_task(stop.wait(), name="stop")
        # Starting ends when partitions are assigned, and a stop may come before that.
        starting = asyncio.create_task(app.start(), name="faust")
        progress = asyncio.create_task(self._watch_progress(), name="progress")
        working = asyncio.create_task(self._work(), name="work")
        tasks = [stopping, starting, progress, working]
        try:
            await _first_of(stopping, starting, progress, working)
            if not stop.is_set():
                self._trouble = ""
                looking = asyncio.create_task(self._tick(), name="tick")
                watch = asyncio.create_task(self._watch_app(app), name="faust-watch")
                tasks += [looking, watch]
                await _first_of(stopping, looking, watch, progress, working)
            async with self._turn:
                await self._worker.finish()
                # Still inside the turn: the agent can't begin another take while Faust stops.
                await app.stop()
        finally:
            for task in tasks:
                task.cancel()
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _build_app(self) -> faust.App:
        streams = self._config.streams
        app = faust.App(
            consumer_group(self._config, STREAMS),
            broker=broker_url(self._config, self._share),
            key_serializer="raw",
            value_serializer="raw",
            topic_partitions=self._config.log.partitions,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            datadir=str(self._config.gateway.data_dir / f"faust-{self._share.number}"),
            stream_wait_empty=False,
            stream_buffer_maxsize=2 * streams.max_records,
            broker_session_timeout=_SESSION_TIMEOUT_S,
            broker_heartbeat_interval=_SESSION_TIMEOUT_S / 4,
            broker_commit_interval=1.0,
            consumer_auto_offset_reset="earliest",
            worker_redirect_stdouts=False,
            **faust_settings(self._config),
        )
        readings = app.topic(
            topic(self._config, READINGS), value_type=bytes, key_type=bytes, internal=False
        )
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_partitions_assigned.connect(self._on_assigned)

        async def gather(stream: faust.StreamT[bytes]) -> None:
            # Nothing here can fail: Faust would take the events that are gathered for done.
            async for event in stream.noack().events():
                await self._take.put(event)

        app.agent(readings, concurrency=1, name="readings")(gather)
        return app

    async def _on_revoked(self, app: faust.App, revoked: Iterable[Any], **_kwargs: object) -> None:
        self._worker.revoke((at.partition for at in revoked), app.consumer_generation_id)

    async def _on_assigned(self, app: faust.App, assigned: Iterable[Any], **_kw: object) -> None:
        self._worker.assign((at.partition for at in assigned), app.consumer_generation_id)

    async def _work(self) -> None:
        """Have the worker work on what the agent has gathered."""
        while True:
            events = await self._take.next()
            async with self._turn:
                await self._worker.work_on(events)
            self._worked_ns = self._clock.monotonic_ns()
            self._has_worked.set()

    async def _tick(self) -> None:
        """Have the worker look after what no reading sets off."""
        while True:
            if self._worker.is_at_rest:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._has_worked.wait(), self._timings.rest_s)
            await until_beat(self._timings.look_s)
            self._has_worked.clear()
            async with self._turn:
                await self._worker.tick()

    async def _watch_app(self, app: faust.App) -> None:
        """Turn a crash inside Faust, which it would only log, into the end of this process."""
        while not app.should_stop and not app.crashed:
            await until_beat(self._timings.crash_check_s)
        raise RuntimeError("Faust stopped by itself") from app.crash_reason

    async def _watch_progress(self) -> None:
        """End the process when Faust does not do its part although the log answers.

        After Kafka had been away for longer than the session lasts it has been seen to stop
        reading without a word, and a group may never settle who reads what. A process that starts
        anew goes on at the committed offset.
        """
        waits: dict[str, int] = {}
        while True:
            worked_ns = self._worked_ns
            await asyncio.sleep(self._timings.check_s)
            now_ns = self._clock.monotonic_ns()
            if self._worked_ns != worked_ns or self._turn.locked():
                waits = {}
                continue
            try:
                troubles = await self._troubles()
            except TransientError:
                # The log is away, and with it the readings and whoever assigns partitions.
                troubles = {}
            waits = {trouble: waits.get(trouble, now_ns) for trouble in troubles}
            for trouble, since_ns in waits.items():
                waited_s = (now_ns - since_ns) / NS_PER_S
                if waited_s >= troubles[trouble]:
                    raise RuntimeError(f"{trouble}, for {waited_s:.0f} s now")

    async def _troubles(self) -> dict[str, float]:
        """What Faust is to blame for at this moment, and how long it may last, s."""
        waiting = await self._worker.waiting_records()
        if waiting:
            return {"records wait in the log, and none is brought": self._timings.stall_s}
        if not self._worker.next_offsets:
            return {"no partition has been assigned": self._timings.assignment_limit_s}
        return {}

    async def _in_thread(self, call: Callable[..., _T], *args: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)


async def _first_of(*tasks: asyncio.Task[Any]) -> None:
    """Wait until one of these ends; raises what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
