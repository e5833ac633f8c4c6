"""One lane in its own process: what every lane needs around it.

A lane is started by the supervisor, tells it once a second how it is doing, and ends when it is
asked to, when it fails, or when the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Protocol

import structlog
from prometheus_client import disable_created_metrics

from connectors.logs.configured import open_log, topic_specs
from headgate.config.load import located
from headgate.config.schema import Config
from headgate.core.backoff import Backoff
from headgate.core.beat import until_beat
from headgate.core.clock import NS_PER_S, Clock, SystemClock
from headgate.core.errors import ConfigError, PermanentError, TransientError
from headgate.core.exposition import Page
from headgate.core.log import Log, Share
from headgate.core.logging import configure_logging
from headgate.core.telemetry import Telemetry
from headgate.core.text import printable
from headgate.core.watchdog import Watchdog
from headgate.gateway.lock import FileLock
from headgate.gateway.process import die_with_parent, exit_now
from headgate.gateway.report import REPORT_INTERVAL_S, Report, status_pipe, write_all, write_some

_logger = structlog.get_logger()

#: A lane that was asked to stop has this long, s; then it just ends. Nothing is lost by that: what
#: was not acknowledged comes again. Leaves the supervisor a second of its own five.
_STOP_DEADLINE_S = 4.0

#: Closing the log's connections may take this long, s: a Kafka that is away answers nothing.
_CLOSE_DEADLINE_S = 1.0

#: A predecessor that is being killed lets go of its lock within this long, s.
_LOCK_DEADLINE_S = 10.0

_RETRY_CEILING_S = 5.0

#: Between two looks at whether the lane hangs, s.
_WATCH_INTERVAL_S = 1.0


class Lane(Protocol):
    """What a lane offers."""

    @property
    def watchdog(self) -> Watchdog:
        """Knows the operations that must end, and by when."""
        ...

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then finish what is in hand and return."""
        ...

    def health(self) -> tuple[bool, str]:
        """Whether it is working; when not, why."""
        ...


def run_lane(name: str, config: Config, config_file: Path, workers: int) -> NoReturn:
    """Run a lane until it is asked to stop, and end this process with the lane's exit code.

    The lane's name is one of ``lane_names(workers)``.

    The code is 0 after an orderly stop, 2 when the configuration does not fit the world (such as
    a log with another number of partitions), and 1 when the lane failed.
    """
    if status_pipe() is not None:
        die_with_parent()
    configure_logging(config.logging.level, config.logging.format, lane=name)
    # A time of creation beside each counter would double the page, and nobody reads it.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    asyncio.run(_Host(name, config, config_file, workers).run())


class _Host:
    def __init__(self, name: str, config: Config, config_file: Path, workers: int) -> None:
        self._name = name
        kind, _, number = name.partition("-")
        self._factory = _FACTORIES[kind]
        self._share = Share(int(number or 1), workers if kind == "streams" else 1)
        self._config = config
        self._config_file = config_file
        self._clock: Clock = SystemClock()
        self._telemetry = Telemetry(self._clock)
        self._page = Page(self._telemetry.registry)
        self._stop = asyncio.Event()
        self._lane: Lane | None = None
        self._waiting_for = "starting"
        # A full pipe blocks; the lane must not.
        self._reporter = ThreadPoolExecutor(1, "report")

    async def run(self) -> NoReturn:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask_to_stop)
        reporting = asyncio.create_task(self._report(), name="report")
        watching = asyncio.create_task(self._watch(), name="watch")
        try:
            await self._work()
        except ConfigError as error:
            for problem in located(self._config_file, error.problems):
                print(printable(problem), file=sys.stderr)  # noqa: T201  (the answer to the user)
            exit_now(2)
        except Exception as error:
            _logger.exception(
                "The lane failed and ends; it will be started anew.", error=str(error)
            )
            exit_now(1)
        reporting.cancel()
        watching.cancel()
        # Not by returning: asyncio would wait for the threads of client libraries.
        exit_now(0)

    async def _work(self) -> None:
        lock = FileLock(self._config.gateway.data_dir / f"{self._name}.lock")
        await self._take(lock)
        log = open_log(self._config, self._clock)
        try:
            await self._reach(log)
            if not self._stop.is_set():
                self._lane = self._factory(
                    self._config, log, self._clock, self._telemetry, self._share
                )
                await self._lane.run(self._stop)
        finally:
            with suppress(TimeoutError):
                await asyncio.wait_for(log.stop(), _CLOSE_DEADLINE_S)

    def _ask_to_stop(self) -> None:
        # May be asked twice: by the supervisor, and by a service manager that tells everybody.
        if not self._stop.is_set():
            self._stop.set()
            asyncio.get_running_loop().call_later(_STOP_DEADLINE_S, self._give_up)

    def _give_up(self) -> NoReturn:
        _logger.warning(
            "The lane could not finish in time; what it had not finished will be replayed.",
            deadline_s=_STOP_DEADLINE_S,
        )
        exit_now(0)

    async def _take(self, lock: FileLock) -> None:
        """Become the only lane of this name on this data."""
        deadline_ns = self._clock.monotonic_ns() + round(_LOCK_DEADLINE_S * NS_PER_S)
        while not lock.try_take():
            if self._clock.monotonic_ns() > deadline_ns:
                raise TransientError(f"process {lock.owner()} runs this lane on the same data")
            await asyncio.sleep(0.1)

    async def _reach(self, log: Log) -> None:
        """Start the log and make its topics, for as long as it takes."""
        backoff = Backoff(0.2, _RETRY_CEILING_S)
        while not self._stop.is_set():
            try:
                await log.start()
                await log.ensure_topics(topic_specs(self._config))
            except TransientError as error:
                reason = f"the log can't be reached: {error}"
                if reason != self._waiting_for:
                    _logger.warning(
                        "The log can't be reached; will keep trying.",
                        url=self._config.log.url,
                        error=str(error),
                    )
                self._waiting_for = reason
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), backoff.pause_s())
            except PermanentError as error:
                raise ConfigError(f"log.url: {error}") from error
            else:
                _logger.info("Reached the log.", url=self._config.log.url)
                return

    async def _watch(self) -> None:
        """End the process when the lane hangs; what it had not finished is replayed."""
        while True:
            await until_beat(_WATCH_INTERVAL_S)
            overdue = "" if self._lane is None else self._lane.watchdog.overdue()
            if overdue:
                _logger.error("The lane hangs and ends; it will be started anew.", cause=overdue)
                exit_now(1)

    async def _report(self) -> None:
        """Tell the supervisor how it goes; end when it is gone."""
        pipe = status_pipe()
        if pipe is None:
            return
        loop = asyncio.get_running_loop()
        while True:
            try:
                line = self._current_report().to_line()
                rest = write_some(pipe, line)
                if rest:
                    await loop.run_in_executor(self._reporter, write_all, pipe, rest)
            except BrokenPipeError:
                _logger.warning("The supervisor is gone; the lane ends.")
                self._ask_to_stop()
                return
            await until_beat(REPORT_INTERVAL_S)

    def _current_report(self) -> Report:
        is_ready, reason = (False, self._waiting_for) if self._lane is None else self._lane.health()
        slow = "" if self._lane is None else self._lane.watchdog.slow()
        if slow:
            is_ready, reason = False, slow
        if self._stop.is_set():
            is_ready, reason = False, "stopping"
        metrics, details = self._page.text(), self._telemetry.told()
        return Report(self._name, os.getpid(), is_ready, reason, metrics, details)


def _ingest(config: Config, log: Log, clock: Clock, telemetry: Telemetry, _share: Share) -> Lane:
    from streams.ingest.lane import IngestLane  # noqa: PLC0415  (a lane loads its own parts)

    return IngestLane(config, log, clock, telemetry)


def _streams(config: Config, log: Log, clock: Clock, telemetry: Telemetry, share: Share) -> Lane:
    from streams.process.lane import StreamsLane  # noqa: PLC0415

    return StreamsLane(config, log, clock, telemetry, share)


def _forward(config: Config, log: Log, clock: Clock, telemetry: Telemetry, _share: Share) -> Lane:
    from connectors.actions.configured import open_actions  # noqa: PLC0415
    from connectors.sinks.configured import open_sinks  # noqa: PLC0415
    from streams.forward.lane import ForwardLane  # noqa: PLC0415

    sinks = [
        *open_sinks(config, clock, telemetry),
        *open_actions(config, log, clock, telemetry),
    ]
    return ForwardLane(config, log, clock, telemetry, sinks)


_FACTORIES: dict[str, Callable[[Config, Log, Clock, Telemetry, Share], Lane]] = {
    "ingest": _ingest,
    "streams": _streams,
    "forward": _forward,
}
