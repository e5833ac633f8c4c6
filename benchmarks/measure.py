"""Reading what processes use, and what the gateway has counted."""

from __future__ import annotations

import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import psutil


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def cpu_s(pid: int) -> float:
    """User and system CPU seconds of a process and all below it, so far."""
    total = 0.0
    for process in family(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def _by_name(pid: int) -> dict[str, psutil.Process]:
    """The processes of a gateway: ``supervisor``, its lanes, and what they are forked from."""
    found = {}
    for process in family(pid):
        line = process.cmdline()
        if "lane" in line:
            found[line[line.index("lane") + 1]] = process
        else:
            found["fork server" if "fork-server" in line else "supervisor"] = process
    return found


def cpu_by_name(pid: int) -> dict[str, float]:
    """CPU seconds of each process of a gateway."""
    every = {name: process.cpu_times() for name, process in _by_name(pid).items()}
    return {name: times.user + times.system for name, times in every.items()}


def pss_mb(pid: int) -> dict[str, float]:
    """Proportional set size of each process of a gateway, MB: shared pages are split evenly."""
    return {
        name: _number_of(Path(f"/proc/{process.pid}/smaps_rollup"), "Pss:") / 1000
        for name, process in _by_name(pid).items()
    }


def wakeups_by_name(pid: int) -> dict[str, int]:
    """How often the threads of each process of a gateway have gone to sleep by themselves."""
    return {
        name: sum(
            _number_of(status, "voluntary_ctxt_switches:")
            for status in Path(f"/proc/{process.pid}/task").glob("*/status")
        )
        for name, process in _by_name(pid).items()
    }


def written_bytes(pid: int) -> int:
    """Bytes that the processes of a gateway have had written to disks."""
    return sum(
        _number_of(Path(f"/proc/{process.pid}/io"), "write_bytes:")
        for process in _by_name(pid).values()
    )


def _number_of(path: Path, key: str) -> int:
    """The number behind a key of a file that the kernel writes."""
    found = next(row for row in path.read_text().splitlines() if row.startswith(key))
    return int(found.split()[1])


@dataclass(frozen=True, slots=True)
class Counters:
    """The gateway's counters at one moment, by name, summed over labels."""

    at_s: float
    values: dict[str, float]

    def __getitem__(self, name: str) -> float:
        return self.values.get(name, 0.0)


def counters(url: str) -> Counters:
    """What ``/metrics`` says now."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    values: dict[str, float] = {}
    for row in text.splitlines():
        if row.startswith("headgate_"):
            key, _, value = row.rpartition(" ")
            name = key.partition("{")[0]
            if name == "headgate_stage_seconds_sum":
                stage, lane = (
                    key.partition(f'{label}="')[2].partition('"')[0] for label in ("stage", "lane")
                )
                values[f"stage.{lane}.{stage}"] = float(value)
            values[name] = values.get(name, 0.0) + float(value)
    return Counters(time.perf_counter(), values)


def counters_fresh(url: str, name: str) -> Counters:
    """Counters just after the lane that keeps ``name`` has reported it.

    Lanes report once a second, so without this a rate over some seconds would be off by as much.
    """
    before = counters(url)
    deadline = before.at_s + 1.5
    while True:
        time.sleep(0.04)
        now = counters(url)
        if now[name] != before[name] or now.at_s > deadline:
            return now
