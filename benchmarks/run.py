"""``headgate bench``: everything in order, medians, and how they stand against the goals."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import end_to_end, formats, hostile, in_process, inference, loads, services
from benchmarks.plant import Plant
from headgate import __version__
from tests.kafka.jars import CannotFetchError

#: In the order in which they are run; what is to be compared stands side by side.
PARTS = (
    "mosquitto_sub",
    "end_to_end",
    "latency",
    "quiet",
    "loads",
    "plain_faust",
    "workers",
    "memory",
    "overload",
    "flooded",
    "idle",
    "restart",
    "inference",
    "stages",
    "formats",
    "growth",
    "hostile",
)

_LOGS = ("sqlite", "kafka")

#: What plain Faust is offered, messages/s: some times what it can do.
_PLAIN_RATE = 6000

#: Models, and steps in their windows, that make several times the work that can be done of what
#: comes in; and how long that lasts, s.
_OVERLOAD_MODELS, _OVERLOAD_WINDOW, _OVERLOAD_S, _QUICK_OVERLOAD_S = 12, 256, 600.0, 30.0

#: One device sends so many times its share, for so long, s.
_FLOOD_TIMES, _FLOOD_S = 1000, 160.0

#: Period at which a thousand devices make about half of the full load, ms.
_HALF_LOAD_PERIOD_MS = 16


class Bench:
    """One run of the benchmark.

    Args:
        runs: Repetitions of what is measured end to end.
        seconds: Length of each.
        is_quick: Fewer sizes.
        say: Takes a line about what is being done.
    """

    def __init__(
        self, *, runs: int, seconds: float, is_quick: bool, say: Callable[[str], None]
    ) -> None:
        self._runs = runs
        self._seconds = seconds
        self._is_quick = is_quick
        self._say = say
        self._kafka: str | None = None
        self._logs: tuple[str, ...] = _LOGS
        self.result: dict[str, Any] = {}

    def run(self, parts: Iterable[str]) -> dict[str, Any]:
        """Measure these parts; the figures by part."""
        started = time.perf_counter()
        self.result = {"version": __version__, "machine": machine(), "runs": self._runs}
        with ExitStack() as stack:
            folder = stack.enter_context(services.folder())
            try:
                self._kafka = stack.enter_context(services.kafka(folder / "kafka")).address
            except (CannotFetchError, OSError) as error:
                self._say(f"Kafka can't be had, and is left out: {error}")
                self._logs = ("sqlite",)
            for part in parts:
                self._say(f"{part} ...")
                getattr(self, f"_{part}")()
        self.result["seconds"] = time.perf_counter() - started
        self.result["goals"] = goals(self.result)
        return self.result

    def _mosquitto_sub(self) -> None:
        plant = Plant()
        self.result["mosquitto_sub"] = {
            **self._medians(lambda: end_to_end.mosquitto_sub(plant, seconds=self._seconds)),
            "qos1": self._medians(
                lambda: end_to_end.mosquitto_sub(plant, seconds=self._seconds, qos=1), runs=1
            ),
        }

    def _end_to_end(self) -> None:
        plant = Plant()
        for log in self._logs:
            figures = self.result.setdefault("end_to_end", {}).setdefault(log, {})
            figures.update(self._medians(partial(self._load, plant, log, 0)))
            figures["qos1"] = self._medians(partial(self._load, plant, log, 1))

    def _latency(self) -> None:
        plant = Plant(period_ms=_HALF_LOAD_PERIOD_MS)
        for log in self._logs:
            figures = self.result.setdefault("end_to_end", {}).setdefault(log, {})
            for name in ("normal", "low"):

                def measure(log: str = log, name: str = name) -> dict[str, Any]:
                    with end_to_end.gateway(plant, log, self._kafka, latency=name) as at:
                        return end_to_end.latency(at, plant, seconds=self._seconds + 4)

                key = "latency_ms" if name == "normal" else "latency_low_ms"
                figures[key] = {
                    **self._medians(measure),
                    "messages_per_s": 1000 * plant.devices / plant.period_ms,
                }

    def _quiet(self) -> None:
        """Delays with little to do: what is waited for company must be no more than it says."""
        plant = Plant(devices=100, period_ms=20)
        for log, name in product(self._logs, ("normal", "low")):
            with end_to_end.gateway(plant, log, self._kafka, latency=name) as at:
                found = end_to_end.latency(at, plant, seconds=self._seconds + 4)
            self._say(f"  {log}, {name}: {_short(found)}")
            self.result.setdefault("quiet", {})[f"{log}, {name}"] = found

    def _loads(self) -> None:
        """What it costs at the loads that plants have."""
        rates = loads.QUICK_LOADS if self._is_quick else tuple(loads.LOADS)
        for rate, has_model in product(rates, (True,) if self._is_quick else (True, False)):
            name = f"{rate:,}/s, {'model' if has_model else 'no model'}"
            measure = partial(loads.measure, rate, has_model=has_model, seconds=2 * self._seconds)
            found = {**self._medians(measure), "rate": rate}
            self.result.setdefault("loads", {})[name] = found

    def _inference(self) -> None:
        seconds = self._seconds / 2
        self.result["inference"] = inference.without_state(Plant(), seconds=seconds)
        self.result["inference with state"] = inference.with_state(seconds=seconds / 2)

    def _plain_faust(self) -> None:
        if self._kafka is None:
            return
        kafka = self._kafka
        plant = Plant()
        self.result["plain_faust"] = self._medians(
            lambda: end_to_end.plain_faust(plant, kafka, rate=_PLAIN_RATE, seconds=self._seconds)
        )

    def _workers(self) -> None:
        """One and two workers, on one core and on two; for the gateway's processes only."""
        plant = Plant()
        cores = sorted(os.sched_getaffinity(0))[:2]
        for log, workers, count in product(self._logs, (1, 2), range(1, len(cores) + 1)):
            arguments = ("--workers", str(workers))
            with end_to_end.gateway(plant, log, self._kafka, arguments=arguments) as at:
                pin(at.pid, cores[:count])
                found = end_to_end.full_load(at, plant, seconds=self._seconds)
            self._say(f"  {log}, {workers} workers, {count} cores: {_short(found)}")
            figures = self.result.setdefault("workers", {}).setdefault(log, {})
            figures[f"{workers} workers, {count} cores"] = found

    def _memory(self) -> None:
        plant = Plant(channels=8)
        self.result["memory"] = {
            log: self._medians(partial(self._load, plant, log, 0), runs=1) for log in self._logs
        }

    def _overload(self) -> None:
        """Three times and more what can be worked on: memory must not grow."""
        plant = Plant()
        seconds = _QUICK_OVERLOAD_S if self._is_quick else _OVERLOAD_S
        for log in self._logs:
            with end_to_end.gateway(
                plant, log, self._kafka, models=_OVERLOAD_MODELS, window=_OVERLOAD_WINDOW
            ) as at:
                found = end_to_end.overload(at, plant, seconds=seconds)
            self._say(f"  {log}: {_short(found)}")
            self.result.setdefault("overload", {})[log] = found

    def _flooded(self) -> None:
        """Delays of a thousand devices, without and with one that sends far too much."""
        if self._is_quick:
            return
        plant = Plant(period_ms=1000)
        for log in self._logs:
            with end_to_end.gateway(plant, log, self._kafka, qos=1) as at:
                alone = end_to_end.latency(at, plant, seconds=_FLOOD_S)
            with end_to_end.gateway(plant, log, self._kafka, qos=1) as at:
                beside = end_to_end.flooded(at, plant, seconds=_FLOOD_S, times=_FLOOD_TIMES)
            self._say(f"  {log}, alone: {_short(alone)}")
            self._say(f"  {log}, beside a flood: {_short(beside)}")
            self.result.setdefault("flooded", {})[log] = {"alone": alone, "beside": beside}

    def _idle(self) -> None:
        plant = Plant()
        self.result["idle"] = {}
        for log in self._logs:
            with end_to_end.gateway(plant, log, self._kafka) as at:
                self.result["idle"][log] = end_to_end.idle(at, plant, seconds=self._seconds)

    def _restart(self) -> None:
        plant = Plant(devices=2000 if self._is_quick else 10_000)
        self.result["restart"] = {
            log: end_to_end.restart(plant, log, self._kafka) for log in self._logs
        }

    def _stages(self) -> None:
        sizes = [100, 1000, 4000] if self._is_quick else [100, 1000, 4000, 16_000]
        seconds = 0.5 if self._is_quick else 2.0
        self.result["stages"] = in_process.stages(Plant(), sizes, seconds=seconds)

    def _formats(self) -> None:
        self.result["formats"] = formats.rates(seconds=self._seconds)

    def _growth(self) -> None:
        self.result["growth"] = in_process.growth(is_quick=self._is_quick)

    def _hostile(self) -> None:
        """One message at its worst, refused beside good ones, honest devices beside attacks."""
        seconds = self._seconds
        self.result["hostile"] = {
            "messages": {
                attack.name: self._medians(partial(hostile.message, attack, version))
                for attack, version in hostile.MESSAGES
            },
            "decoding": self._medians(hostile.decoding),
            "refused": self._medians(hostile.refused),
            "delays": self._medians(lambda: hostile.delays(seconds, self._say)),
        }

    def _load(self, plant: Plant, log: str, qos: int) -> dict[str, Any]:
        with end_to_end.gateway(plant, log, self._kafka, qos=qos) as at:
            return end_to_end.full_load(at, plant, seconds=self._seconds, qos=qos)

    def _medians(self, measure: Callable[[], Any], runs: int | None = None) -> dict[str, Any]:
        """Medians of all figures, and under ``spread`` the least and the largest of each."""
        found = []
        for number in range(runs or self._runs):
            found.append(measure())
            self._say(f"  {number + 1}: {_short(found[-1])}")
        medians: dict[str, Any] = {}
        spread: dict[str, Any] = {}
        for name, first in found[0].items():
            if isinstance(first, dict):
                medians[name] = {
                    key: float(np.median([each[name].get(key, 0.0) for each in found]))
                    for key in first
                }
                spread[name] = {
                    key: [min(values), max(values)]
                    for key in first
                    for values in ([each[name].get(key, 0.0) for each in found],)
                }
            else:
                values = [each[name] for each in found]
                medians[name] = float(np.median(values))
                spread[name] = [float(min(values)), float(max(values))]
        return {**medians, "spread": spread}


def pin(pid: int, cores: Sequence[int]) -> None:
    """Have a process and all below it run on these cores only."""
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        for thread in process.threads():
            os.sched_setaffinity(thread.id, cores)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "libraries": {
            name: version(name)
            for name in (
                "numpy",
                "pyarrow",
                "onnxruntime",
                "msgspec",
                "faust-streaming",
                "aiokafka",
            )
        },
    }


def goals(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Each goal, what was measured, and whether it is met; only what was measured."""
    rows: list[dict[str, Any]] = []

    def add(goal: str, value: float, limit: float, *, is_least: bool = False) -> None:
        is_met = value >= limit if is_least else value <= limit
        rows.append({"goal": goal, "measured": value, "limit": limit, "met": bool(is_met)})

    client = result.get("mosquitto_sub", {}).get("messages_per_s")
    plain = result.get("plain_faust", {}).get("messages_per_s")
    for log, figures in result.get("end_to_end", {}).items():
        if "messages_per_s" in figures:
            _add_load_goals(add, log, figures, {"mosquitto_sub": client, "plain Faust": plain})
        if "latency_ms" in figures:
            add(f"{log}: p99 ms at half load", figures["latency_ms"]["p99"], 250)
            add(f"{log}: p99 ms, low latency", figures["latency_low_ms"]["p99"], 50)
    _add_other_goals(add, result)
    if "inference" in result:
        add("inference, x bare onnxruntime", result["inference"]["ratio"], 1.3)
    for case, figures in result.get("inference with state", {}).items():
        add(f"inference of {case} devices, x bare", figures["ratio"], 1.3)
    _add_growth_goals(add, result.get("growth", {}))
    for name, figures in result.get("formats", {}).items():
        if name in formats.LEAST:
            add(
                f"{name}: readings/s, x JSON", figures["x_json"], formats.LEAST[name], is_least=True
            )
    rows += hostile.goals(result.get("hostile", {}))
    rows += loads.goals(result.get("loads", {}))
    return rows


def _add_load_goals(
    add: Callable[..., None], log: str, figures: dict[str, Any], beside: dict[str, float | None]
) -> None:
    least = {"mosquitto_sub": 0.9, "plain Faust": 20}
    for name, rate in beside.items():
        if rate:
            share = figures["messages_per_s"] / rate
            add(f"{log}: throughput, x {name}", share, least[name], is_least=True)
    add(f"{log}: CPU us/message, QoS 0", figures["cpu_us_per_message"], 6)
    add(f"{log}: CPU us/message, QoS 1", figures["qos1"]["cpu_us_per_message"], 9)
    add(f"{log}: mean inference batch", figures["mean_inference_batch"], 64, is_least=True)


def _add_other_goals(add: Callable[..., None], result: dict[str, Any]) -> None:
    for log, figures in result.get("memory", {}).items():
        add(f"{log}: PSS MB, 1,000 devices x 8 channels", figures["pss_mb"], 250)
    for log, figures in result.get("overload", {}).items():
        growth = figures["pss_mb_late"] / figures["pss_mb_early"]
        add(f"{log}: memory under overload, late / early", growth, 1.1)
    for log, figures in result.get("flooded", {}).items():
        ratio = figures["beside"]["p99"] / figures["alone"]["p99"]
        add(f"{log}: p99 beside a flood, x without", ratio, 2)
    for log, figures in result.get("idle", {}).items():
        add(f"{log}: idle, % of a core", figures["percent_of_a_core"], 3)
    for log, figures in result.get("restart", {}).items():
        add(f"{log}: working again after a restart, s", figures["seconds"], 3)


def _add_growth_goals(add: Callable[..., None], growth: dict[str, dict[str, float]]) -> None:
    for name in ("devices", "partitions"):
        costs = list(growth.get(name, {}).values())
        if costs:
            add(f"cost over {name}, largest / smallest", max(costs) / min(costs), 1.5)
    channels = list(growth.get("channels", {}).values())
    if channels:
        add("cost of 64 channels, x that of 4, / 16", channels[3] / channels[1] / 16, 1)


def print_tables(result: dict[str, Any], console: Console) -> None:
    """The figures as tables."""
    described = result["machine"]
    console.print(
        f"Headgate {result['version']} on {described['cores']} cores of {described['processor']}, "
        f"{described['memory_gb']} GB, {described['system']}, Python {described['python']}; "
        f"medians of {result['runs']} runs, {result['seconds']:.0f} s in all"
    )
    console.print(_end_to_end_table(result))
    for name in ("stages", "growth"):
        for table in _part_tables(name, result.get(name, {})):
            console.print(table)
    if "formats" in result:
        table = Table("format", "readings/s", "x JSON", title_justify="left")
        for name, figures in result["formats"].items():
            table.add_row(name, f"{figures['readings_per_s']:,.0f}", f"{figures['x_json']:.2f}")
        console.print(table)
    if "loads" in result:
        console.print(loads.table(result["loads"]))
    for table in hostile.tables(result.get("hostile", {})):
        console.print(table)
    table = Table("goal", "measured", "limit", "", title="Goals", title_justify="left")
    for row in result["goals"]:
        measured, limit = f"{row['measured']:,.2f}", f"{row['limit']:g}"
        table.add_row(row["goal"], measured, limit, "met" if row["met"] else "missed")
    console.print(table)


def _end_to_end_table(result: dict[str, Any]) -> Table:
    table = Table(
        "", "messages/s", "CPU us/message", "PSS MB", "p50 ms", "p99 ms", title="End to end",
        title_justify="left",
    )  # fmt: skip

    def row(name: str, figures: dict[str, Any], delays: dict[str, Any] | None = None) -> None:
        if "messages_per_s" not in figures:
            return
        spread = figures.get("spread", {})
        cells = [name, _with_spread(figures, spread, "messages_per_s", 0)]
        cells.append(_with_spread(figures, spread, "cpu_us_per_message", 2))
        cells.append(f"{figures['pss_mb']:.0f}" if "pss_mb" in figures else "")
        cells += [f"{delays[key]:.0f}" for key in ("p50", "p99")] if delays else ["", ""]
        table.add_row(*cells)

    row("mosquitto_sub, QoS 0", result.get("mosquitto_sub", {}))
    row("mosquitto_sub, QoS 1", result.get("mosquitto_sub", {}).get("qos1", {}))
    row("plain Faust", result.get("plain_faust", {}))
    for log, figures in result.get("end_to_end", {}).items():
        row(f"Headgate, {log}, QoS 0", figures, figures.get("latency_ms"))
        row(f"Headgate, {log}, QoS 1", figures.get("qos1", {}))
    for log, by_workers in result.get("workers", {}).items():
        for name, figures in by_workers.items():
            row(f"Headgate, {log}, {name}", figures)
    for log, figures in result.get("memory", {}).items():
        row(f"Headgate, {log}, 8 channels", figures)
    return table


def _part_tables(name: str, part: dict[str, dict[str, float]]) -> list[Table]:
    if not part:
        return []
    if name == "stages":
        table = Table("us/reading by messages in a batch", *part, title_justify="left")
        for stage in next(iter(part.values())):
            cells = [f"{part[size].get(stage, 0.0):.3f}" for size in part]
            table.add_row(stage, *cells)
        table.add_row("all", *(f"{sum(stages.values()):.3f}" for stages in part.values()))
        return [table]
    tables = []
    for sizes in part.values():
        table = Table(*sizes, title="us/message", title_justify="left")
        table.add_row(*(f"{cost:.2f}" for cost in sizes.values()))
        tables.append(table)
    return tables


def _with_spread(
    figures: dict[str, Any], spread: dict[str, list[float]], name: str, digits: int
) -> str:
    least, largest = spread.get(name, (figures[name], figures[name]))
    return f"{figures[name]:,.{digits}f} ({least:,.{digits}f} to {largest:,.{digits}f})"


def _short(figures: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:,.1f}" for name, value in figures.items() if isinstance(value, float | int)
    )


def say(line: str) -> None:
    """Tell about progress, away from the result."""
    print(line, file=sys.stderr, flush=True)
