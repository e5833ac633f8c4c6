"""The lanes' metrics as one page, and the status that people read out of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class LaneStatus(TypedDict):
    """What the supervisor knows of a lane."""

    ready: bool
    reason: str
    pid: int | None
    restarts: int


def merged(pages: Mapping[str, str]) -> list[Metric]:
    """The families of all lanes, each sample labelled with its lane.

    Args:
        pages: Prometheus text by lane.
    """
    families: dict[str, Metric] = {}
    for lane, page in pages.items():
        for family in text_string_to_metric_families(page):
            into = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            for sample in family.samples:
                into.add_sample(sample.name, {**sample.labels, "lane": lane}, sample.value)
    return list(families.values())


def total_in(page: str, name: str) -> float:
    """Sum of a counter's samples on one page, without parsing the rest of it.

    Rates need this every second; parsing whole pages for it would be most of what an idle
    gateway does.
    """
    return sum(
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith((f"{name}{{", f"{name} "))
    )


def lane_families(lanes: Mapping[str, LaneStatus]) -> list[Metric]:
    """What is known of the lanes from outside: by the supervisor, and by the operating system."""
    ready = GaugeMetricFamily("headgate_lane_ready", "1 while it does its work.", labels=["lane"])
    restarts = CounterMetricFamily(
        "headgate_lane_restarts", "How often it was started anew.", labels=["lane"]
    )
    cpu = CounterMetricFamily(
        "headgate_lane_cpu_seconds", "User and system CPU time of the process.", labels=["lane"]
    )
    memory = GaugeMetricFamily(
        "headgate_lane_resident_bytes", "Resident memory of the process.", labels=["lane"]
    )
    for name, lane in lanes.items():
        ready.add_metric([name], float(lane["ready"]))
        restarts.add_metric([name], lane["restarts"])
        used = usage(lane["pid"])
        if used is not None:
            cpu.add_metric([name], used[0])
            memory.add_metric([name], used[1])
    return [ready, restarts, cpu, memory]


def render(families: Iterable[Metric]) -> bytes:
    """The families in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fixed(list(families)))
    return generate_latest(registry)


class Samples:
    """Sums over samples, by name and labels; what ``/status`` is computed from."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._samples = [sample for family in families for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """Sum of all samples of this name that carry these labels."""
        return sum(self._matching(name, labels))

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Sums by the values of one label."""
        sums: Counter[str] = Counter()
        for sample in self._samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                sums[sample.labels.get(label, "")] += sample.value  # type: ignore[assignment]
        return dict(sums)

    def mean(self, name: str, **labels: str) -> float | None:
        """Mean of a histogram's observations; None before the first."""
        count = self.total(f"{name}_count", **labels)
        return self.total(f"{name}_sum", **labels) / count if count else None

    def _matching(self, name: str, labels: Mapping[str, str]) -> Iterable[float]:
        return (
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


class _Fixed(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def usage(pid: int | None) -> tuple[float, float] | None:
    """CPU seconds and resident bytes of a process; None when it is gone."""
    try:
        # The name, in parentheses, may hold spaces; what follows it does not.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S, int(fields[21]) * _PAGE_BYTES


def status(
    samples: Samples, lanes: Mapping[str, LaneStatus], rates: Mapping[str, float]
) -> dict[str, Any]:
    """``/status``: what the gateway is doing, as JSON.

    Args:
        samples: The lanes' metrics.
        lanes: By lane, ``ready``, ``reason``, ``pid`` and ``restarts``.
        rates: Messages, rows and bytes a second over the last reports.
    """
    # Lanes may have stages of one name: each decodes what it gets, and appends what it made.
    busy_s = {
        f"{stage} ({lane})": seconds
        for lane in samples.by("headgate_stage_seconds_sum", "lane")
        for stage, seconds in samples.by("headgate_stage_seconds_sum", "stage", lane=lane).items()
    }
    busiest = max(busy_s, key=lambda stage: busy_s[stage]) if busy_s else None
    sinks = sorted(
        {
            *samples.by("headgate_points_total", "sink"),
            *samples.by("headgate_backlog_records", "consumer"),
        }
    )
    return {
        "lanes": lanes,
        "rates": rates,
        "totals": {
            "messages": samples.total("headgate_messages_total"),
            "received_bytes": samples.total("headgate_received_bytes_total"),
            "rows": samples.total("headgate_rows_total"),
            "processed_rows": samples.total("headgate_processed_rows_total"),
            "open_rows": samples.total("headgate_open_rows"),
            "aggregates": samples.total("headgate_aggregates_total"),
            "anomalies": samples.total("headgate_anomalies_total"),
            "open_anomalies": samples.total("headgate_open_anomalies"),
            "alarms": samples.total("headgate_alarms_total"),
            "open_alarms": samples.total("headgate_open_alarms"),
            "windows": samples.total("headgate_windows_total"),
        },
        "quarantined": samples.by("headgate_quarantined_total", "reason"),
        "flagged": samples.by("headgate_flagged_rows_total", "flag"),
        "inference": {
            "mean_batch": samples.mean("headgate_inference_batch_windows"),
            "mean_s": samples.mean("headgate_stage_seconds", stage="infer"),
        },
        "session": {
            "lost": samples.total("headgate_sessions_lost_total"),
            "lost_at_s": max(
                samples.by("headgate_session_lost_seconds", "source").values(), default=0.0
            ),
        },
        "certificate_days": samples.by("headgate_certificate_expires_days", "certificate"),
        "connected": samples.by("headgate_connected", "peer"),
        "sinks": {
            sink: {
                "points": samples.total("headgate_points_total", sink=sink),
                "bytes": samples.total("headgate_uplink_bytes_total", sink=sink),
                "retries": samples.total("headgate_sink_retries_total", sink=sink),
                "backlog_records": samples.total("headgate_backlog_records", consumer=sink),
                "backlog_points": samples.total("headgate_backlog_points", consumer=sink),
                "backlog_bytes": samples.total("headgate_backlog_bytes", consumer=sink),
                "backlog_age_s": samples.total("headgate_backlog_age_seconds", consumer=sink),
                "thinned_windows": samples.total("headgate_thinned_windows_total", sink=sink),
                "given_up_points": samples.total("headgate_given_up_points_total", sink=sink),
            }
            for sink in sinks
        },
        "stage_seconds": busy_s,
        "busiest_stage": busiest,
        "cpu_seconds": samples.by("headgate_lane_cpu_seconds_total", "lane"),
        "resident_bytes": samples.by("headgate_lane_resident_bytes", "lane"),
    }
