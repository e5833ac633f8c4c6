"""The console's HTTP pages: ``/healthz``, ``/readyz``, ``/metrics`` and ``/status``.

Read only. It listens on loopback unless the configuration says otherwise; who may read is decided
in ``access.py``, and what a peer may cost in ``server.py``.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog
from prometheus_client.core import Metric

from headgate.config.schema import Config
from headgate.console.access import CLOSED, Access
from headgate.console.details import Details, actions, feeds, refused, warnings
from headgate.console.metrics import (
    LaneStatus,
    Samples,
    lane_families,
    merged,
    render,
    status,
    total_in,
)
from headgate.console.server import Reply, Request, Server
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

    @property
    def restarts(self) -> int:
        """How often it was started anew."""
        ...

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

    @property
    def details(self) -> Details:
        """What it tells besides, by subject."""
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
        self._access = Access(config.console)
        self._history: deque[tuple[int, dict[str, float]]] = deque(maxlen=_RATE_SPAN_S + 1)
        self._sampling: asyncio.Task[None] | None = None
        self._server = Server(self._answer)
        self._pages_by_path: dict[str, Callable[[], Reply]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/status": self._status,
        }
        # What was warned of, by what it was about.
        self._said: dict[str, str] = {}
        # Reading the lanes' pages is most of the work of an answer, so it is done once a report,
        # however often somebody asks.
        self._merged: tuple[dict[str, str], list[Metric]] = ({}, [])

    async def start(self) -> str:
        """Begin to listen; the console's URL, with the port that was chosen for port 0.

        Raises:
            ConfigError: The address can't be listened on.
        """
        try:
            host, port = await self._server.start(self._host, self._port)
        except OSError as error:
            raise ConfigError(
                f"console: expected an address to listen on, got {self._host}:{self._port}: "
                f"{error.strerror}; choose another console.port or console.host"
            ) from error
        url = f"http://{_in_url(host)}:{port}"
        _logger.info("The console listens.", url=url)
        if self._access.is_closed:
            _logger.warning("The console answers /healthz only.", cause=CLOSED)
        self._sampling = asyncio.create_task(self._sample(), name="rates")
        return url

    async def stop(self) -> None:
        """Stop listening."""
        if self._sampling is not None:
            self._sampling.cancel()
        await self._server.stop()

    def _answer(self, request: Request) -> Reply:
        misdirected = self._access.misdirected(request)
        if misdirected is not None:
            return misdirected
        refusal = self._access.refusal(request)
        if refusal is not None:
            # Whoever restarts gateways that are not well needs no token for it: all it tells is
            # whether this one is.
            if request.path == "/healthz" and "authorization" not in request.headers:
                status = self._healthz().status
                return Reply.text(status, "healthy" if status == 200 else "not healthy")
            return refusal
        page = self._pages_by_path.get(request.path)
        if page is None:
            return Reply.text(404, f"expected one of {' '.join(self._pages_by_path)}")
        if request.method not in ("GET", "HEAD"):
            return Reply.text(405, "expected GET or HEAD", Allow="GET, HEAD")
        return page()

    def _healthz(self) -> Reply:
        """200 while every lane runs and reports, whether or not its peers are there."""
        return self._verdict(is_good=all(lane.is_alive for lane in self._lanes.values()))

    def _readyz(self) -> Reply:
        """200 while every lane does its work."""
        return self._verdict(is_good=all(lane.health[0] for lane in self._lanes.values()))

    def _verdict(self, *, is_good: bool) -> Reply:
        states: dict[str, Any] = dict(self._lane_states())
        # A silent plant is no fault of the gateway's, and starting it anew would not mend it.
        if found := self._warnings():
            states["warnings"] = list(found.values())
        return _json(states, 200 if is_good else 503)

    def _metrics(self) -> Reply:
        return Reply(
            200,
            render([*self._families(), *lane_families(self._lane_states())]),
            "text/plain; version=0.0.4; charset=utf-8",
        )

    def _status(self) -> Reply:
        lanes = self._lane_states()
        samples = Samples([*self._families(), *lane_families(lanes)])
        answer = status(samples, lanes, self._rates())
        answer["feeds"] = feeds(self._details())
        answer["refused"] = refused(self._details())
        answer["actions"] = actions(self._details())
        answer["warnings"] = list(self._warnings().values())
        return _json(answer)

    def _families(self) -> list[Metric]:
        pages = self._pages()
        if pages != self._merged[0]:
            self._merged = (pages, merged(pages))
        return self._merged[1]

    def _details(self) -> list[Details]:
        return [lane.details for lane in self._lanes.values()]

    def _warnings(self) -> dict[str, str]:
        return warnings(self._details())

    def _say_warnings(self) -> None:
        """Log what there is to warn of, once, and its end."""
        if not all(lane.is_alive for lane in self._lanes.values()):
            return  # a lane that has just been started anew knows of nothing yet
        found = self._warnings()
        for about in found.keys() - self._said.keys():
            _logger.warning("The gateway works, and something is not well.", what=found[about])
        for about in self._said.keys() - found.keys():
            _logger.info("What was warned of is over.", what=self._said[about])
        self._said = found

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
            self._say_warnings()
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


def _json(answer: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(answer).encode(), "application/json; charset=utf-8")
