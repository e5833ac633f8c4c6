"""Starts the lanes, keeps them alive, and ends them in time.

A lane that ends is started anew after a pause that doubles with each early end; a lane that has
not reported for a while is stuck, and is killed so that it can start anew. Both are safe at any
moment, because everything a lane has not finished is still in the log or at the broker.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import ExitStack, suppress
from pathlib import Path

import structlog

from headgate.config.former import renamed
from headgate.config.load import located
from headgate.config.schema import Config
from headgate.console.http import Console
from headgate.core.backoff import Backoff
from headgate.core.clock import Clock
from headgate.core.errors import ConfigError
from headgate.gateway.fork_server import ForkServer, end_orphans, start_fork_server
from headgate.gateway.gauges import Gauges, gauges_period_ns
from headgate.gateway.lane_process import LaneProcess
from headgate.gateway.lock import FileLock
from headgate.gateway.report import lane_names

_logger = structlog.get_logger()

_FIRST_PAUSE_S = 0.2
_PAUSE_CEILING_S = 30.0

#: A lane that has done its work for so long has started well: its next restart is quick again.
_STABLE_S = 1.0

#: How often it is looked for children that have ended and nobody waits for, s.
_LOOK_INTERVAL_S = 5.0

#: A lane's exit code for a mistake in the configuration.
_CONFIG_ERROR = 2


class Supervisor:
    """Runs a gateway.

    Args:
        config: The checked configuration.
        config_file: The file it came from; a lane that is not forked reads it again.
        clock: Source of time.
        workers: How many streams lanes to run.
        fork_server: What forks them; without, each is an interpreter of its own.
    """

    def __init__(
        self,
        config: Config,
        config_file: Path,
        clock: Clock,
        workers: int,
        fork_server: ForkServer | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._stop = asyncio.Event()
        self._exit_code = 0
        self._was_ready = False
        self._fork_server = fork_server
        self.lanes = {
            name: LaneProcess(
                name,
                config_file,
                clock,
                self._note_readiness,
                fork_server=fork_server,
                workers=workers,
            )
            for name in lane_names(workers)
        }

    async def run(self) -> int:
        """Run until a signal ends it; the exit code.

        Raises:
            ConfigError: The console's address can't be listened on.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        console = Console(self._config, self.lanes, self._clock)
        await console.start()
        try:
            async with asyncio.TaskGroup() as group:
                if self._fork_server is not None:
                    group.create_task(self._look_after_children(self._fork_server))
                period_ns = gauges_period_ns(self._config)
                if period_ns is not None:
                    gauges = Gauges(self._config, self.lanes, self._clock)
                    group.create_task(gauges.run(period_ns, self._stop), name="gauges")
                for lane in self.lanes.values():
                    group.create_task(self._keep_alive(lane), name=lane.name)
        finally:
            await console.stop()
        return self._exit_code

    async def _look_after_children(self, fork_server: ForkServer) -> None:
        while not self._stop.is_set():
            fork_server.look()
            end_orphans(lane.pid for lane in self.lanes.values())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _LOOK_INTERVAL_S)

    def _on_signal(self, number: int) -> None:
        if self._stop.is_set():
            for lane in self.lanes.values():
                lane.send(signal.SIGKILL)
            os._exit(128 + number)
        _logger.info("Stopping.", signal=signal.Signals(number).name)
        self._stop.set()

    def _note_readiness(self) -> None:
        if not self._was_ready and all(lane.health[0] for lane in self.lanes.values()):
            self._was_ready = True
            _logger.info("The gateway is ready.")

    async def _keep_alive(self, lane: LaneProcess) -> None:
        backoff = Backoff(_FIRST_PAUSE_S, _PAUSE_CEILING_S)
        while not self._stop.is_set():
            ending = await self._run_once(lane)
            if self._stop.is_set():
                return
            if lane.worked_s >= _STABLE_S:
                backoff.reset()
            pause_s = backoff.pause_s()
            _logger.error(
                "A lane ended; it will be started anew.",
                lane=lane.name,
                ended=ending,
                in_s=round(pause_s, 1),
            )
            lane.note_restart(ending)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause_s)

    async def _run_once(self, lane: LaneProcess) -> str:
        """Run a lane until it ends; how it did."""
        try:
            code = await lane.run(self._stop)
        except OSError as error:
            # No memory or no processes left: that passes, and the other lanes go on meanwhile.
            return f"could not be started: {error}"
        if code == _CONFIG_ERROR and not self._stop.is_set():
            # The lane has printed what is wrong; starting it again would not mend it.
            self._exit_code = _CONFIG_ERROR
            self._stop.set()
        return f"killed: {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"


def run_gateway(config: Config, config_file: Path, clock: Clock, workers: int) -> int:
    """Make the data directory and run the gateway in the foreground; the exit code.

    Args:
        config: The checked configuration.
        config_file: The file it came from.
        clock: Source of time.
        workers: How many streams lanes to run; at most the log's partitions.

    Raises:
        ConfigError: The directory can't be made, or the console's address is taken.
        PermanentError: Another gateway runs on the same data.
    """
    folder = config.gateway.data_dir
    with ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(FileLock(folder / "gateway.lock"))
        except OSError as error:
            raise ConfigError(
                f"gateway.data_dir: expected a directory that can be written to, got "
                f"{folder}: {error.strerror}"
            ) from error
        # Not before: whoever is not let in is told why, and nothing else.
        for line in located(config_file, renamed(config)):
            _logger.info("Something is called otherwise now.", where=line)
        fork_server = start_fork_server(config, config_file, workers)
        if fork_server is not None:
            stack.callback(fork_server.close)
        return asyncio.run(_run(config, config_file, clock, workers, fork_server))


async def _run(
    config: Config, config_file: Path, clock: Clock, workers: int, fork_server: ForkServer | None
) -> int:
    return await Supervisor(config, config_file, clock, workers, fork_server).run()
