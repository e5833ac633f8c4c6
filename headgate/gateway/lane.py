"""One lane in its own process: what every lane needs around it.

A lane is started by the supervisor, tells it once a second how it is doing, and ends when it is
asked to, when it fails, or when the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from typing import Any, Protocol

import structlog
from prometheus_client import generate_latest

from connectors.logs import open_log, topic_specs
from headgate.config.schema import Config
from headgate.core.clock import Clock, SystemClock
from headgate.core.errors import ConfigError, PermanentError, TransientError
from headgate.core.log import Log
from headgate.core.logging import configure_logging
from headgate.core.telemetry import Telemetry

_logger = structlog.get_logger()

#: Environment variable that names the file descriptor to report on.
STATUS_FD = "HEADGATE_STATUS_FD"

#: In the order in which they are started. Forwarding comes first so that it is ready for what
#: the others produce; ingest last, so that nothing is taken in before it can be worked on.
LANES = ("forward", "streams", "ingest")

#: Seconds between two reports to the supervisor.
REPORT_INTERVAL_S = 1.0

#: A lane that was asked to stop has this long, s; then it just ends. Nothing is lost by that: what
#: was not acknowledged comes again. Leaves the supervisor a second of its own five.
_STOP_DEADLINE_S = 4.0

_RETRY_CEILING_S = 5.0


class Lane(Protocol):
    """What a lane offers."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then finish what is in hand and return."""
        ...

    def health(self) -> tuple[bool, str]:
        """Whether it is working; when not, why."""
        ...


def run_lane(name: str, config: Config) -> int:
    """Run a lane until it is asked to stop; its exit code."""
    configure_logging(config.logging.level, config.logging.format, lane=name)
    try:
        asyncio.run(_Host(name, config).run())
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)  # noqa: T201  (it is the answer to the user)
        return 2
    except Exception as error:
        _logger.exception("The lane failed and ends; it will be started anew.", error=str(error))
        # Not by returning: threads of libraries may hold the process open for as long as a peer
        # is down, and the log replays what was not finished.
        sys.stderr.flush()
        os._exit(1)
    sys.stderr.flush()
    os._exit(0)


class _Host:
    def __init__(self, name: str, config: Config) -> None:
        self._name = name
        self._config = config
        self._clock: Clock = SystemClock()
        self._telemetry = Telemetry(self._clock)
        self._lane: Lane | None = None
        self._waiting_for = "starting"

    async def run(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, stop)
        reporting = asyncio.create_task(self._report(stop), name="report")
        log = open_log(self._config, self._clock)
        try:
            await self._reach(log, stop)
            if not stop.is_set():
                self._lane = _FACTORIES[self._name](self._config, log, self._clock, self._telemetry)
                await self._lane.run(stop)
        finally:
            reporting.cancel()
            await log.stop()

    def _on_signal(self, stop: asyncio.Event) -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()
        asyncio.get_running_loop().call_later(_STOP_DEADLINE_S, self._give_up)

    def _give_up(self) -> None:
        _logger.warning(
            "The lane could not finish in time; what it had not finished will be replayed.",
            deadline_s=_STOP_DEADLINE_S,
        )
        sys.stderr.flush()
        os._exit(0)

    async def _reach(self, log: Log, stop: asyncio.Event) -> None:
        """Start the log and make its topics, for as long as it takes."""
        pause_s = 0.2
        while not stop.is_set():
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
                await asyncio.sleep(random.uniform(0.5, 1) * pause_s)  # noqa: S311  (jitter)
                pause_s = min(2 * pause_s, _RETRY_CEILING_S)
            except PermanentError as error:
                raise ConfigError(f"log.url: {error}") from error
            else:
                return

    async def _report(self, stop: asyncio.Event) -> None:
        """Tell the supervisor how it goes; end when it is gone."""
        if STATUS_FD not in os.environ:
            return
        pipe = int(os.environ[STATUS_FD])
        while True:
            is_ready, reason = (
                (False, self._waiting_for) if self._lane is None else self._lane.health()
            )
            report: dict[str, Any] = {
                "lane": self._name,
                "pid": os.getpid(),
                "ready": is_ready and not stop.is_set(),
                "reason": "stopping" if stop.is_set() else reason,
                "metrics": generate_latest(self._telemetry.registry).decode(),
            }
            try:
                os.write(pipe, json.dumps(report).encode() + b"\n")
            except BrokenPipeError:
                _logger.warning("The supervisor is gone; the lane ends.")
                stop.set()
                asyncio.get_running_loop().call_later(_STOP_DEADLINE_S, self._give_up)
                return
            await asyncio.sleep(REPORT_INTERVAL_S)


def _ingest(config: Config, log: Log, clock: Clock, telemetry: Telemetry) -> Lane:
    from connectors.mqtt.ingest import IngestLane  # noqa: PLC0415  (a lane loads its own parts)

    return IngestLane(config, log, clock, telemetry)


def _streams(config: Config, log: Log, clock: Clock, telemetry: Telemetry) -> Lane:
    from streams.app import StreamsLane  # noqa: PLC0415

    return StreamsLane(config, log, clock, telemetry)


def _forward(config: Config, log: Log, clock: Clock, telemetry: Telemetry) -> Lane:
    from connectors.forward import ForwardLane  # noqa: PLC0415
    from connectors.sinks import open_sinks  # noqa: PLC0415

    sinks = open_sinks(config, clock, telemetry)
    return ForwardLane(config, log, clock, telemetry, sinks)


_FACTORIES: dict[str, Callable[[Config, Log, Clock, Telemetry], Lane]] = {
    "ingest": _ingest,
    "streams": _streams,
    "forward": _forward,
}
