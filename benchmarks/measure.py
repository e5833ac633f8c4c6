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


def cpu_by_name(pid: int) -> dict[str, float]:
    """CPU seconds of each process of a gateway: ``supervisor`` and its lanes."""
    found = {}
    for process in family(pid):
        line = process.cmdline()
        name = line[line.index("lane") + 1] if "lane" in line else "supervisor"
        times = process.cpu_times()
        found[name] = times.user + times.system
    return found


def pss_mb(pid: int) -> dict[str, float]:
    """Proportional set size of each process of a gateway, MB: shared pages are split evenly."""
    found = {}
    for process in family(pid):
        line = process.cmdline()
        name = line[line.index("lane") + 1] if "lane" in line else "supervisor"
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        pss = next(row for row in text.splitlines() if row.startswith("Pss:"))
        found[name] = int(pss.split()[1]) / 1000
    return found


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
