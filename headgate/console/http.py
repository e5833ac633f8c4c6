"""The console's HTTP pages: ``/healthz``, ``/readyz``, ``/metrics`` and ``/status``.

Read only. It listens on loopback unless the configuration says otherwise.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Protocol

import structlog
from aiohttp import web

from headgate.config.schema import Config
from headgate.console.metrics import (
    LaneStatus,
    Samples,
    lane_families,
    merged,
    render,
    status,
    total_in,
)
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import ConfigError

#: Rates are taken over this long, s: long enough to be steady, short enough to follow.
_RATE_SPAN_S = 5

_logger = structlog.get_logger()

_RATES = {
    "messages_per_s": "headgate_messages_total",
    "rows_per_s": "headgate_rows_total",
    "bytes_per_s": "headgate_received_bytes_total",
}


class WatchedLane(Protocol):
    """What the console needs to know of a lane."""

    restarts: int

    @property
    def pid(self) -> int | None:
        """Process id, None while it does not run."""
        ...

    @property
    def is_alive(self) -> bool:
        """Whether it runs and reports."""
        ...

    @property
    def health(self) -> tuple[bool, str]:
        """Whether it does its work; when not, why."""
        ...

    @property
    def metrics(self) -> str:
        """Its metrics in Prometheus' text format; empty while there are none."""
        ...


class Console:
    """Serves the pages from the lanes' last reports.

    Args:
        config: Where to listen.
        lanes: The supervisor's view of its lanes, by name; read at each request.
        clock: Source of time, for rates.
    """

    def __init__(self, config: Config, lanes: Mapping[str, WatchedLane], clock: Clock) -> None:
        self._host = config.console.host
        self._port = config.console.port
        self._lanes = lanes
        self._clock = clock
        self._history: deque[tuple[int, dict[str, float]]] = deque(maxlen=_RATE_SPAN_S + 1)
        self._sampling: asyncio.Task[None] | None = None
        app = web.Application(client_max_size=1024)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/status", self._status)
        # Nobody who is being answered may hold up the end of the gateway.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self) -> str:
        """Begin to listen; the console's URL, with the port that was chosen for port 0.

        Raises:
            ConfigError: The address can't be listened on.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"console: expected an address to listen on, got {self._host}:{self._port}: "
                f"{error.strerror}; choose another console.port or console.host"
            ) from error
        host, port = self._runner.addresses[0][:2]
        url = f"http://{_in_url(host)}:{port}"
        _logger.info("The console listens.", url=url)
        self._sampling = asyncio.create_task(self._sample(), name="rates")
        return url

    async def stop(self) -> None:
        """Stop listening."""
        if self._sampling is not None:
            self._sampling.cancel()
        await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        """200 while every lane runs and reports, whether or not its peers are there."""
        return self._verdict(is_good=all(lane.is_alive for lane in self._lanes.values()))

    async def _readyz(self, _request: web.Request) -> web.Response:
        """200 while every lane does its work."""
        return self._verdict(is_good=all(lane.health[0] for lane in self._lanes.values()))

    def _verdict(self, *, is_good: bool) -> web.Response:
        return web.json_response(self._lane_states(), status=200 if is_good else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=render([*merged(self._pages()), *lane_families(self._lane_states())]),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _status(self, _request: web.Request) -> web.Response:
        lanes = self._lane_states()
        samples = Samples([*merged(self._pages()), *lane_families(lanes)])
        return web.json_response(status(samples, lanes, self._rates()))

    def _pages(self) -> dict[str, str]:
        return {name: lane.metrics for name, lane in self._lanes.items()}

    def _lane_states(self) -> dict[str, LaneStatus]:
        states: dict[str, LaneStatus] = {}
        for name, lane in self._lanes.items():
            is_ready, reason = lane.health
            states[name] = {
                "ready": is_ready,
                "reason": reason,
                "pid": lane.pid,
                "restarts": lane.restarts,
            }
        return states

    async def _sample(self) -> None:
        while True:
            pages = self._pages().values()
            totals = {
                name: sum(total_in(page, metric) for page in pages)
                for name, metric in _RATES.items()
            }
            self._history.append((self._clock.monotonic_ns(), totals))
            await asyncio.sleep(1)

    def _rates(self) -> dict[str, float]:
        if len(self._history) < 2:
            return dict.fromkeys(_RATES, 0.0)
        (first_ns, first), (last_ns, last) = self._history[0], self._history[-1]
        elapsed_s = (last_ns - first_ns) / NS_PER_S
        # A lane that was started anew counts from 0 again; that is no negative rate.
        return {name: max(0.0, (last[name] - first[name]) / elapsed_s) for name in _RATES}


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
