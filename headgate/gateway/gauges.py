"""What the supervisor sees of the gateway, for the feed that a source of the gateway itself has.

It sees all lanes, and what they report comes to it once a second anyway: nothing is asked of
anybody. One look a period, at three pages of metrics and some files of the kernel, is all it costs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeAlias

import structlog
from prometheus_client.parser import text_string_to_metric_families

from connectors.sources.gateway.config import GatewaySourceConfig
from connectors.sources.gateway.file import GaugesFile, Seen
from headgate.config.schema import Config
from headgate.console.metrics import Samples, usage
from headgate.core.clock import NS_PER_S, Clock

_logger = structlog.get_logger()

#: Lanes report once a second: a look that comes sooner sees nothing new, ns.
_SHORTEST_NS = NS_PER_S

_READ = (
    "headgate_messages_total",
    "headgate_rows_total",
    "headgate_quarantined_total",
    "headgate_connected",
    "headgate_backlog_records",
    "headgate_backlog_age_seconds",
)

#: A value by the channel's name; one that is not known is left out.
Gauged: TypeAlias = dict[str, float]


class SeenLane(Protocol):
    """What is looked at of a lane."""

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        ...

    @property
    def restarts(self) -> int:
        """How often it was started anew."""
        ...

    @property
    def health(self) -> tuple[bool, str]:
        """Whether it does its work; when not, why."""
        ...

    @property
    def metrics(self) -> str:
        """Its last page of metrics; empty while there is none."""
        ...

    @property
    def details(self) -> Mapping[str, object]:
        """What it last told besides, by subject."""
        ...


def gauges_period_ns(config: Config) -> int | None:
    """How often the gateway is to be looked at; None where no feed asks for it."""
    own = {name for name, table in config.sources.items() if isinstance(table, GatewaySourceConfig)}
    periods = [feed.period for source in own for feed in config.feeds_of(source).values()]
    return max(min(periods), _SHORTEST_NS) if periods else None


class Gauges:
    """Looks at the gateway.

    Args:
        config: The whole configuration.
        lanes: All lanes, by name.
        clock: Source of time.
    """

    def __init__(self, config: Config, lanes: Mapping[str, SeenLane], clock: Clock) -> None:
        self._name = config.gateway.name
        self._folder = config.gateway.data_dir
        self._lanes = lanes
        self._clock = clock
        self._sources = set(config.bringing)
        self._own = {
            name for name in config.feed if self._sources.isdisjoint(config.sources_of(name))
        }
        self._looked_ns: int | None = None
        # By what is counted, and the lane that counts: its process, and how far that was.
        self._counted: dict[tuple[str, str], tuple[int | None, float]] = {}

    async def run(self, period_ns: int, stop: asyncio.Event) -> None:
        """Look once a period, until ``stop`` is set."""
        file = GaugesFile(self._folder)
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), period_ns / NS_PER_S)
                return
            try:
                payload = json.dumps(self.look(), allow_nan=False).encode()
            except Exception as error:  # noqa: BLE001  (it must not end those it looks at)
                _logger.debug("What a lane reports can't be read.", error=str(error))
                continue
            file.write(Seen(self._clock.monotonic_ns(), payload))

    def look(self) -> dict[str, object]:
        """What a message says: the gateway's name, its channels, and its sources and sinks."""
        pages = {
            name: _samples(page) for name, lane in self._lanes.items() if (page := lane.metrics)
        }
        gauged: Gauged = {
            **self._rates(pages),
            **_disk(self._folder),
            **_machine(),
            "lanes_not_ready": sum(not lane.health[0] for lane in self._lanes.values()),
            "restarts": sum(lane.restarts for lane in self._lanes.values()),
        }
        memory = [_memory_bytes(lane.pid) for lane in self._lanes.values() if lane.pid is not None]
        if None not in memory:
            gauged["memory"] = sum(each for each in memory if each is not None)
        sources, sinks = self._of_sources(pages), _of_sinks(pages)
        if sources:
            gauged["sources_away"] = sum(not each["connected"] for each in sources.values())
        for channel in ("oldest_waiting", "waiting"):
            if sinks:
                gauged[channel] = max(each.get(channel, 0.0) for each in sinks.values())
        clock = self._lanes["ingest"].details.get("clock")
        if isinstance(clock, Mapping):
            gauged["clock_set"] = float(bool(clock.get("is_set")))
        return {"gateway": self._name, **gauged, "sources": sources, "sinks": sinks}

    def _of_sources(self, pages: Mapping[str, Samples]) -> dict[str, Gauged]:
        if "ingest" not in pages:
            return {}
        connected = pages["ingest"].by("headgate_connected", "peer")
        return {name: {"connected": connected[name]} for name in self._sources if name in connected}

    def _rates(self, pages: Mapping[str, Samples]) -> Gauged:
        now_ns = self._clock.monotonic_ns()
        messages = rows = refused = refused_first = 0.0
        for name, page in pages.items():
            messages += self._grown(name, "messages", self._of_devices(page, "messages"))
            rows += self._grown(name, "rows", self._of_devices(page, "rows"))
            if name != "forward":  # where points of results are refused by sinks
                total = page.total("headgate_quarantined_total")
                grown = self._grown(name, "quarantined", total)
                refused += grown
                refused_first += grown if name == "ingest" else 0.0
        cpu_s = 0.0
        for name, lane in self._lanes.items():
            used = usage(lane.pid)
            cpu_s += self._grown(name, "cpu", used[0]) if used is not None else 0.0
        before_ns, self._looked_ns = self._looked_ns, now_ns
        if before_ns is None or now_ns <= before_ns:
            return {}  # nobody knows since when that is
        passed_s = (now_ns - before_ns) / NS_PER_S
        # What ingest refuses is not among what it has written.
        sent = rows + refused_first
        return {
            "messages_rate": messages / passed_s,
            "readings_rate": rows / passed_s,
            "quarantine_share": min(100.0, 100 * refused / sent) if sent else 0.0,
            "cpu": 100 * cpu_s / passed_s,
        }

    def _of_devices(self, page: Samples, what: str) -> float:
        by_feed = page.by(f"headgate_{what}_total", "feed")
        return sum(count for feed, count in by_feed.items() if feed not in self._own)

    def _grown(self, lane: str, what: str, count: float) -> float:
        """By how much a lane's count has grown; another process counts from 0 anew."""
        pid = self._lanes[lane].pid
        before_pid, before = self._counted.get((lane, what), (pid, count))
        self._counted[lane, what] = (pid, count)
        return count - before if before_pid == pid and count >= before else count


def _samples(page: str) -> Samples:
    """What is read of a page; most of it is not, and parsing is what costs."""
    lines = [line for line in page.splitlines() if line.startswith(_READ)]
    return Samples(text_string_to_metric_families("".join(f"{line}\n" for line in lines)))


def _of_sinks(pages: Mapping[str, Samples]) -> dict[str, Gauged]:
    if "forward" not in pages:
        return {}
    records = pages["forward"].by("headgate_backlog_records", "consumer")
    age_s = pages["forward"].by("headgate_backlog_age_seconds", "consumer")
    return {
        name: {"waiting": waiting, "oldest_waiting": age_s.get(name, 0.0)}
        for name, waiting in records.items()
    }


def _disk(folder: Path) -> Gauged:
    """What is free where a folder is."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return {}
    # What only the administrator may fill is none of ours, as `df` has it.
    ours = found.f_blocks - found.f_bfree + found.f_bavail
    return {
        "disk_free": 100 * found.f_bavail / ours if ours else 0.0,
        "disk_free_bytes": found.f_bavail * found.f_frsize,
    }


def _machine() -> Gauged:
    """Load and memory of the machine, as far as it tells."""
    gauged: Gauged = {}
    with suppress(OSError):
        gauged["load"] = os.getloadavg()[0]
    kilobytes = _kilobytes(Path("/proc/meminfo"), ("MemTotal", "MemAvailable"))
    if kilobytes.get("MemTotal") and "MemAvailable" in kilobytes:
        gauged["memory_available"] = 100 * kilobytes["MemAvailable"] / kilobytes["MemTotal"]
    return gauged


def _memory_bytes(pid: int | None) -> float | None:
    """A process's memory, with its part of what it shares with others; None where nobody tells."""
    found = _kilobytes(Path(f"/proc/{pid}/smaps_rollup"), ("Pss",)).get("Pss")
    return None if found is None else 1024 * found


def _kilobytes(path: Path, names: Iterable[str]) -> dict[str, int]:
    """Lines ``NAME:  12345 kB`` of a file of the kernel; empty where it can't be read."""
    try:
        text = path.read_text()
    except OSError:
        return {}
    wanted = "|".join(names)
    return {name: int(value) for name, value in re.findall(rf"(?m)^({wanted}): +(\d+) kB$", text)}
