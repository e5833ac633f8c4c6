"""Starts the lanes, keeps them alive, and ends them in time.

A lane that ends is started anew after a pause that doubles with each early end; a lane that has
not reported for a while is stuck, and is killed so that it can start anew. Both are safe at any
moment, because everything a lane has not finished is still in the log or at the broker.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from headgate.config.schema import Config
from headgate.console.http import Console
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import ConfigError
from headgate.gateway.lane import LANES, STATUS_FD

_logger = structlog.get_logger()

_FIRST_PAUSE_S = 0.5
_PAUSE_CEILING_S = 30.0

#: A lane that has run this long has started well: its next restart is quick again.
_STABLE_S = 60.0

#: A lane reports every second. One that has not for this long hangs, and is killed.
_SILENCE_LIMIT_S = 30.0

#: Lanes that were asked to stop and are still there after this long are killed.
_STOP_DEADLINE_S = 5.0

#: A lane's exit code for a mistake in the configuration.
_CONFIG_ERROR = 2

#: A report is a page of metrics; this bounds a pipe that has gone mad.
_REPORT_LIMIT_BYTES = 16 << 20


@dataclass
class LaneState:
    """What the supervisor knows of one lane.

    Attributes:
        report: Its last report, empty before the first.
        reported_ns: Monotonic time of that report, or of its start.
        restarts: How often it has been started anew.
        process: The running process, None between two.
    """

    name: str
    report: dict[str, Any] = field(default_factory=dict)
    reported_ns: int = 0
    restarts: int = 0
    process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self.process is None else self.process.pid

    @property
    def health(self) -> tuple[bool, str]:
        """Whether it works; when not, why."""
        if self.process is None:
            return False, "not running; will be started anew"
        if not self.report:
            return False, "starting"
        return bool(self.report["ready"]), str(self.report["reason"])


class Supervisor:
    """Runs a gateway.

    Args:
        config: The checked configuration.
        config_file: The file it came from; each lane reads it again.
        clock: Source of time.
    """

    def __init__(self, config: Config, config_file: Path, clock: Clock) -> None:
        self._config = config
        self._config_file = config_file
        self._clock = clock
        self._stop = asyncio.Event()
        self._exit_code = 0
        self.lanes = {name: LaneState(name) for name in LANES}

    async def run(self) -> int:
        """Run until a signal ends it; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        console = Console(self._config, self.lanes, self._clock)
        await console.start()
        try:
            await asyncio.gather(*(self._keep_alive(lane) for lane in self.lanes.values()))
        finally:
            await console.stop()
        return self._exit_code

    def _on_signal(self, number: int) -> None:
        if self._stop.is_set():
            for lane in self.lanes.values():
                _send(lane, signal.SIGKILL)
            os._exit(128 + number)
        _logger.info("Stopping.", signal=signal.Signals(number).name)
        self._stop.set()

    async def _keep_alive(self, lane: LaneState) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            started_ns = self._clock.monotonic_ns()
            code = await self._run_once(lane)
            if self._stop.is_set():
                return
            if code == _CONFIG_ERROR:
                # The lane has printed what is wrong; starting it again would not mend it.
                self._exit_code = _CONFIG_ERROR
                self._stop.set()
                return
            if self._clock.monotonic_ns() - started_ns >= _STABLE_S * NS_PER_S:
                pause_s = _FIRST_PAUSE_S
            _logger.error(
                "A lane ended; it will be started anew.", lane=lane.name, code=code, in_s=pause_s
            )
            lane.restarts += 1
            try:
                await asyncio.wait_for(self._stop.wait(), pause_s)
            except TimeoutError:
                pause_s = min(2 * pause_s, _PAUSE_CEILING_S)

    async def _run_once(self, lane: LaneState) -> int:
        read_end, write_end = os.pipe()
        lane.report = {}
        lane.reported_ns = self._clock.monotonic_ns()
        try:
            lane.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "headgate.cli",
                "lane",
                lane.name,
                "-c",
                str(self._config_file),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(write_end,),
                # A terminal's ^C goes to the whole process group; the lanes are told by us.
                start_new_session=True,
                env={**os.environ, STATUS_FD: str(write_end), "PYTHONSAFEPATH": "1"},
            )
        finally:
            os.close(write_end)
        process = lane.process
        tasks = [
            asyncio.create_task(self._read_reports(lane, read_end), name=f"{lane.name}-reports"),
            asyncio.create_task(self._kill_when_stuck(lane), name=f"{lane.name}-watch"),
            asyncio.create_task(self._end_when_asked(lane), name=f"{lane.name}-end"),
        ]
        try:
            return await process.wait()
        finally:
            for task in tasks:
                task.cancel()
            lane.process = None

    async def _read_reports(self, lane: LaneState, read_end: int) -> None:
        reader = asyncio.StreamReader(_REPORT_LIMIT_BYTES)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
        )
        try:
            while line := await reader.readline():
                lane.report = json.loads(line)
                lane.reported_ns = self._clock.monotonic_ns()
        finally:
            transport.close()

    async def _kill_when_stuck(self, lane: LaneState) -> None:
        while True:
            await asyncio.sleep(1)
            silent_s = (self._clock.monotonic_ns() - lane.reported_ns) / NS_PER_S
            if silent_s > _SILENCE_LIMIT_S:
                _logger.error("A lane is stuck and is killed.", lane=lane.name, silent_s=silent_s)
                _send(lane, signal.SIGKILL)
                return

    async def _end_when_asked(self, lane: LaneState) -> None:
        await self._stop.wait()
        _send(lane, signal.SIGTERM)
        await asyncio.sleep(_STOP_DEADLINE_S)
        _logger.warning("A lane did not end in time and is killed.", lane=lane.name)
        _send(lane, signal.SIGKILL)


def _send(lane: LaneState, number: signal.Signals) -> None:
    if lane.process is not None and lane.process.returncode is None:
        lane.process.send_signal(number)


def run_gateway(config: Config, config_file: Path, clock: Clock) -> int:
    """Make the data directory and run the gateway in the foreground; the exit code."""
    try:
        config.gateway.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"gateway.data_dir: expected a directory that can be made, got "
            f"{config.gateway.data_dir}: {error.strerror}"
        ) from error
    return asyncio.run(_run(config, config_file, clock))


async def _run(config: Config, config_file: Path, clock: Clock) -> int:
    return await Supervisor(config, config_file, clock).run()
