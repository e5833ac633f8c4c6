"""One lane as the supervisor sees it: its process, its reports, and when it is stuck."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from headgate.core.beat import until_beat
from headgate.core.clock import NS_PER_S, Clock
from headgate.gateway.fork_server import ForkedProcess, ForkServer, ForkServerGoneError
from headgate.gateway.report import STATUS_FD, Report
from headgate.gateway.restarts import Restarts

_logger = structlog.get_logger()

#: A lane reports every second. After this long without, it does not count as working, s …
_STALE_S = 10.0

#: … and after this long it hangs, and is killed, s. Loading a large model on a small box, with the
#: event loop standing still, stays well below.
_SILENCE_LIMIT_S = 30.0

#: A lane that was asked to stop and is still there after this long is killed, s.
STOP_DEADLINE_S = 5.0

_Process = ForkedProcess | asyncio.subprocess.Process

#: A report is a page of metrics; this bounds a pipe that has gone mad.
_REPORT_LIMIT_BYTES = 16 << 20


class LaneProcess:
    """A lane that can be run again and again.

    Args:
        name: Which lane.
        config_file: Its configuration; the lane reads it itself.
        clock: Source of time.
        on_report: Called after each report.
        fork_server: What forks its processes; without, each is an interpreter of its own.
        workers: How many streams lanes there are.
        silence_limit_s: A lane that has not reported for so long is killed.
    """

    def __init__(
        self,
        name: str,
        config_file: Path,
        clock: Clock,
        on_report: Callable[[], None],
        *,
        fork_server: ForkServer | None = None,
        workers: int = 1,
        silence_limit_s: float = _SILENCE_LIMIT_S,
    ) -> None:
        self.name = name
        self._restarts = Restarts()
        self.report: Report | None = None
        self._config_file = config_file
        self._clock = clock
        self._on_report = on_report
        self._fork_server = fork_server
        self._workers = workers
        self._silence_limit_s = silence_limit_s
        self._heard_ns = 0
        # When the present or last process first did its work.
        self._ready_ns: int | None = None
        self._process: _Process | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def restarts(self) -> int:
        """How often it was started anew."""
        return self._restarts.count

    def note_restart(self, ending: str) -> None:
        """Note that it is started anew, and how it ended."""
        self._restarts.note(self._clock.monotonic_ns(), ending)

    @property
    def health(self) -> tuple[bool, str]:
        """Whether it does its work and can be expected to go on so; when not, why."""
        is_ready, reason = self._present_health()
        loop = self._restarts.loop(self.worked_s)
        if not loop:
            return is_ready, reason
        return False, f"{'works, but was' if is_ready else f'{reason};'} {loop}"

    def _present_health(self) -> tuple[bool, str]:
        if self._process is None:
            return False, "not running; will be started anew"
        if self.report is None:
            return False, "starting"
        if self._silent_s() > _STALE_S:
            return False, f"has not reported for {self._silent_s():.0f} s"
        return self.report.ready, self.report.reason

    @property
    def worked_s(self) -> float:
        """For how long the last process ran after it had begun to do its work, s."""
        return 0.0 if self._ready_ns is None else (self._heard_ns - self._ready_ns) / NS_PER_S

    @property
    def is_alive(self) -> bool:
        """Whether it runs and reports, with or without success at its work."""
        return self.report is not None and self.pid is not None and self._silent_s() <= _STALE_S

    @property
    def metrics(self) -> str:
        """Its last page of metrics; empty while there is none."""
        return "" if self.report is None else self.report.metrics

    @property
    def details(self) -> Mapping[str, Any]:
        """What it last told besides, by subject."""
        return {} if self.report is None else self.report.details

    async def run(self, stop: asyncio.Event) -> int:
        """Run the process until it ends by itself or because of ``stop``; its exit code.

        Raises:
            OSError: The process could not be started.
        """
        self._heard_ns = self._clock.monotonic_ns()
        self._ready_ns = None
        process, read_end = await self._start()
        self._process = process
        tasks = [
            asyncio.create_task(self._listen(read_end), name=f"{self.name}-reports"),
            asyncio.create_task(self._kill_when_stuck(), name=f"{self.name}-watch"),
            asyncio.create_task(self._end_when_asked(stop), name=f"{self.name}-end"),
        ]
        try:
            return await process.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._process = self.report = None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _start(self) -> tuple[_Process, int]:
        """A new process, and what its reports are read from."""
        if self._fork_server is not None:
            server = self._fork_server
            try:
                return await _with_pipe(lambda write_end: server.start(self.name, write_end))
            except ForkServerGoneError as error:
                _logger.warning(
                    "A lane can't be forked; it is started by itself and takes more memory.",
                    lane=self.name,
                    cause=str(error),
                )
        return await _with_pipe(self._start_interpreter)

    async def _start_interpreter(self, write_end: int) -> asyncio.subprocess.Process:
        command = [sys.executable, "-P", "-m", "headgate.cli", "lane", self.name]
        command += ["-c", str(self._config_file), "--workers", str(self._workers)]
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(write_end,),
            # A terminal's ^C goes to the whole process group; the lanes are told by us.
            start_new_session=True,
            env={**os.environ, STATUS_FD: str(write_end), "PYTHONSAFEPATH": "1"},
        )

    async def _listen(self, read_end: int) -> None:
        reader = asyncio.StreamReader(_REPORT_LIMIT_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
        )
        try:
            while line := await reader.readline():
                self._take(line)
        finally:
            transport.close()

    def _take(self, line: bytes) -> None:
        try:
            self.report = Report.from_line(line)
        except ValueError as error:
            # Half a line is what a killed lane leaves; anything else ends in the watchdog.
            _logger.debug("A report can't be read.", lane=self.name, error=str(error))
            return
        self._heard_ns = self._clock.monotonic_ns()
        if self.report.ready and self._ready_ns is None:
            self._ready_ns = self._heard_ns
        self._on_report()

    async def _kill_when_stuck(self) -> None:
        pause_s = min(1.0, self._silence_limit_s / 4)
        while True:
            before_ns = self._clock.monotonic_ns()
            meant_s = await until_beat(pause_s)
            stood_s = (self._clock.monotonic_ns() - before_ns) / NS_PER_S - meant_s
            if stood_s > self._silence_limit_s / 4:
                # The whole gateway stood still, and the lane could not report to anybody.
                self._heard_ns += round(stood_s * NS_PER_S)
            silent_s = self._silent_s()
            if silent_s > self._silence_limit_s:
                _logger.error("A lane is stuck and is killed.", lane=self.name, silent_s=silent_s)
                self.send(signal.SIGKILL)
                return

    async def _end_when_asked(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.send(signal.SIGTERM)
        await asyncio.sleep(STOP_DEADLINE_S)
        _logger.warning("A lane did not end in time and is killed.", lane=self.name)
        self.send(signal.SIGKILL)

    def _silent_s(self) -> float:
        return (self._clock.monotonic_ns() - self._heard_ns) / NS_PER_S


async def _with_pipe(
    start: Callable[[int], Awaitable[_Process]],
) -> tuple[_Process, int]:
    """Start a process with the end of a pipe to report on; it, and the other end."""
    read_end, write_end = os.pipe()
    try:
        return await start(write_end), read_end
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
