"""What the gateway costs, and how late its results are, at the loads that plants have.

A thousand devices with three channels each send in real time, or as many as send once a second,
each connection one device's messages or a few, so that they come one by one as from a plant.
``mosquitto_sub`` takes the same feed from the same broker at the same time: how busy the machine is
with other things makes both dearer.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import ExitStack
from typing import Any, Self

import numpy as np
from rich.table import Table

from benchmarks import end_to_end, services
from benchmarks.load import shares
from benchmarks.measure import (
    counters,
    counters_fresh,
    cpu_by_name,
    cpu_s,
    family,
    pss_mb,
    wakeups_by_name,
    written_bytes,
)
from benchmarks.plant import Plant

#: Messages/s, and the largest part of a core that each may take with a model, %.
LOADS = {2: 1.0, 100: 1.5, 1000: 6.0, 5000: 20.0, 20_000: 45.0}
QUICK_LOADS = (100, 5000)

_DEVICES = 1000

#: Steps that are sent before real time begins: more than a window holds.
_PREFILL = 66

#: Most sends/s of the load generator, which is to be no more than a bystander.
_SENDS_PER_S = 500

#: Steps in a turn of faults: where there are few devices, so few that there are some at all.
_FAULT_STEPS, _SLOW_FAULT_STEPS, _SLOW_PER_S = 30, 4, 100

#: The plant's aggregates: length of a window, and how long late readings are waited for, ns.
_WINDOW_NS, _GRACE_NS = 10_000_000_000, 1_000_000_000

#: How long all that was sent at first may take to be worked on and forwarded, s.
_SETTLE_S, _SETTLED_S = 90.0, 3.0

_SYNCS = ("syscalls:sys_enter_fsync", "syscalls:sys_enter_fdatasync")

#: Limits of delays, ms, and of memory, MB.
_ANOMALY_MS, _AGGREGATE_MS, _PSS_MB = 250, 300, 150


def plant_at(rate: int) -> Plant:
    """A thousand devices, or fewer, that together send so many messages a second."""
    devices = min(_DEVICES, rate)
    return Plant(devices=devices, period_ms=1000 * devices // rate)


def measure(
    rate: int, *, has_model: bool, seconds: float, latency: str = "normal"
) -> dict[str, Any]:
    """Cost and delays at one load.

    Args:
        rate: Messages/s of all devices.
        has_model: Whether a model scores every window.
        seconds: How long it is measured.
        latency: ``gateway.latency``.

    Returns:
        In percent of a core, ``cpu``, by process, and of ``mosquitto_sub``; wake-ups and syncs a
        second; bytes written a reading; PSS in MB; delays in ms, where there were any.
    """
    plant = plant_at(rate)
    with ExitStack() as stack:
        at = stack.enter_context(
            end_to_end.gateway(
                plant, "sqlite", None, qos=1, latency=latency, models=1 if has_model else 0
            )
        )
        client = stack.enter_context(_subscriber(at))
        times = at.folder / "times.npz"
        load = stack.enter_context(
            services.load(
                at.folder, at.broker.port, plant, qos=1, paced=True, prefill=_PREFILL, times=times,
                seconds=_SETTLE_S + seconds, faults=has_model,
                connections=max(1, min(plant.devices, plant.devices * _SENDS_PER_S // rate)),
                fault_steps=_FAULT_STEPS if rate >= _SLOW_PER_S else _SLOW_FAULT_STEPS,
            )
        )  # fmt: skip
        _wait_until_level(at, plant, rate)
        begun_ns = time.time_ns()  # noqa: TID251  (compared with publish times)
        found = _over(at, client, plant, seconds)
        load.stop()
        time.sleep(2)
        stored = at.store.result()
        with np.load(times) as saved:
            published = _Published(saved["published_ms"], int(saved["first_step"]), plant)
    found["anomaly_ms"] = _percentiles(
        [
            acknowledged_ns / 1e6 - sent_ms
            for device, end_ns, acknowledged_ns in stored["anomalies"]
            if (sent_ms := published.at_ms(device, published.step_of(end_ns))) > begun_ns / 1e6
        ]
    )
    found["aggregate_ms"] = _percentiles(
        [
            acknowledged_ns / 1e6 - sent_ms
            for device, start_ns, acknowledged_ns in stored["windows"]
            if (sent_ms := published.closing_ms(device, start_ns)) > begun_ns / 1e6
        ]
    )
    return found


def _subscriber(at: end_to_end.Gateway) -> services.Process:
    command = ["mosquitto_sub", "-p", str(at.broker.port), "-t", "plant/+/+/telemetry"]
    return services.Process(
        "mosquitto_sub", [*command, "-q", "1", "-F", "x"], at.folder / "mosquitto_sub.out"
    )


def _over(
    at: end_to_end.Gateway, client: services.Process, plant: Plant, seconds: float
) -> dict[str, Any]:
    """What is used while time passes."""
    with _SyncCounter(at, seconds) as syncs:
        first, started_s = counters(at.url), time.perf_counter()
        cpu, client_s = cpu_by_name(at.pid), cpu_s(client.pid)
        woken, written = wakeups_by_name(at.pid), written_bytes(at.pid)
        time.sleep(seconds)
        cpu_last, client_last_s = cpu_by_name(at.pid), cpu_s(client.pid)
        woken_last, written_last = wakeups_by_name(at.pid), written_bytes(at.pid)
        elapsed_s, last = time.perf_counter() - started_s, counters(at.url)
    rows = last["headgate_rows_total"] - first["headgate_rows_total"]
    percent = {name: 100 * (cpu_last[name] - cpu[name]) / elapsed_s for name in cpu}
    return {
        "messages_per_s": rows / plant.channels / elapsed_s,
        "cpu": sum(percent.values()),
        "mosquitto_sub": 100 * (client_last_s - client_s) / elapsed_s,
        "wakeups_per_s": sum(woken_last[name] - woken[name] for name in woken) / elapsed_s,
        "syncs_per_s": syncs.count / seconds,
        "bytes_per_reading": (written_last - written) / max(1.0, rows),
        "pss_mb": sum(pss_mb(at.pid).values()),
        "cpu_by_process": percent,
    }


class _SyncCounter:
    """Counts how often the gateway waits for the disk, where ``perf`` may; else NaN."""

    def __init__(self, at: end_to_end.Gateway, seconds: float) -> None:
        self.count = float("nan")
        self._process: subprocess.Popen[str] | None = None
        if shutil.which("perf"):
            pids = ",".join(str(each.pid) for each in family(at.pid))
            command = ["perf", "stat", "-x,", "-e", ",".join(_SYNCS), "-p", pids]
            self._process = subprocess.Popen(
                [*command, "sleep", str(seconds)], stderr=subprocess.PIPE, text=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            said = self._process.communicate()[1]
            counts = [row.split(",")[0] for row in said.splitlines() if "sys_enter" in row]
            if counts and all(count.isdecimal() for count in counts):
                self.count = float(sum(map(int, counts)))


def _wait_until_level(at: end_to_end.Gateway, plant: Plant, rate: int) -> None:
    """Wait until what was sent before real time is worked on and forwarded."""
    deadline = time.perf_counter() + _SETTLE_S - _SETTLED_S
    before = counters_fresh(at.url, "headgate_processed_rows_total")
    while time.perf_counter() < deadline:
        time.sleep(_SETTLED_S)
        now = counters(at.url)
        elapsed_s = now.at_s - before.at_s
        rows = now["headgate_processed_rows_total"] - before["headgate_processed_rows_total"]
        expected = rate * plant.channels * elapsed_s
        filled = _PREFILL * plant.devices * plant.channels
        is_filled = now["headgate_processed_rows_total"] >= filled
        is_sent = now["headgate_backlog_records"] < 10 + rate
        if is_filled and is_sent and rows <= 1.5 * expected + 100:
            time.sleep(_SETTLED_S)
            return
        before = now


class _Published:
    """When which message was sent.

    Args:
        published_ms: float64[lines, steps], ms since 1970; NaN for those that were not.
        first_step: Number of the first step since 1970.
        plant: Whose messages.
    """

    def __init__(self, published_ms: Any, first_step: int, plant: Plant) -> None:  # noqa: ANN401
        self._published_ms, self._first_step = published_ms, first_step
        self._period_ns = plant.period_ms * 1_000_000
        self._firsts = np.array([first for first, _ in shares(plant.devices, len(published_ms))])

    def step_of(self, time_ns: int) -> int:
        """The step that an event time lies in."""
        return time_ns // self._period_ns

    def at_ms(self, device: int, step: int) -> float:
        """When a device's message of a step was sent."""
        at = step - self._first_step
        is_known = 0 <= at < self._published_ms.shape[1]
        return float(self._published_ms[self._line(device), at]) if is_known else float("nan")

    def closing_ms(self, device: int, start_ns: int) -> float:
        """When the first message was sent that a device's window may close by."""
        lines = len(self._published_ms)
        shift_ns = self._period_ns * self._line(device) // lines
        step = -((shift_ns - start_ns - _WINDOW_NS - _GRACE_NS) // self._period_ns)
        return self.at_ms(device, step)

    def _line(self, device: int) -> int:
        return int(np.searchsorted(self._firsts, device, side="right")) - 1


def _percentiles(delays: list[float]) -> dict[str, float]:
    """Median and 99th percentile, and how many there were; NaN without any."""
    p50, p99 = np.percentile(delays, (50, 99)) if delays else (np.nan, np.nan)
    return {"p50": float(p50), "p99": float(p99), "count": len(delays)}


def goals(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Each goal of the loads that were measured, and whether it is met."""
    rows: list[dict[str, Any]] = []

    def add(goal: str, value: float, limit: float) -> None:
        if not np.isnan(value):
            rows.append(
                {"goal": goal, "measured": value, "limit": limit, "met": bool(value <= limit)}
            )

    for name, found in result.items():
        rate = int(found["rate"])
        add(f"{name}: % of a core", found["cpu"], LOADS[rate])
        add(f"{name}: anomaly, p99 ms", found["anomaly_ms"]["p99"], _ANOMALY_MS)
        add(f"{name}: aggregate, p99 ms", found["aggregate_ms"]["p99"], _AGGREGATE_MS)
        add(f"{name}: PSS MB", found["pss_mb"], _PSS_MB)
    return rows


def table(result: dict[str, Any]) -> Table:
    """The figures as a table."""
    shown = Table(
        "at", "% of a core", "mosquitto_sub", "PSS MB", "wake-ups/s", "syncs/s", "bytes/reading",
        "anomaly p50, p99 ms", "aggregate p50, p99 ms", title="Loads", title_justify="left",
    )  # fmt: skip
    for name, found in result.items():
        spread = found.get("spread", {})
        least, most = spread.get("cpu", (found["cpu"], found["cpu"]))
        delays = (found["anomaly_ms"], found["aggregate_ms"])
        shown.add_row(
            name,
            f"{found['cpu']:.1f} ({least:.1f} to {most:.1f})",
            f"{found['mosquitto_sub']:.1f}",
            f"{found['pss_mb']:.0f}",
            f"{found['wakeups_per_s']:.0f}",
            f"{found['syncs_per_s']:.1f}",
            f"{found['bytes_per_reading']:.0f}",
            *(f"{each['p50']:.0f}, {each['p99']:.0f}" if each["count"] else "" for each in delays),
        )
    return shown
