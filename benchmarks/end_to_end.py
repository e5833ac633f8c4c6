"""The gateway as in production, from the broker to the acknowledged write."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import services
from benchmarks.load import shares
from benchmarks.measure import Counters, counters, counters_fresh, cpu_by_name, cpu_s, pss_mb
from benchmarks.plant import Plant, configuration, train_model
from headgate.core.errors import PermanentError
from headgate.demo.processes import free_port

#: Event time of the first message where real time is not what matters, ms since 1970.
_START_MS = 1_700_000_000_000

#: Load before the measurement begins, and after it has ended, s.
_WARM_UP_S, _TAIL_S = 3.0, 1.5

#: Longest that plain Faust may take to start and be measured, s.
_STARTING_S = 120.0

#: Connections of the load generator when every millisecond counts: each sends its devices' messages
#: in one go, so more of them spread a round more evenly.
_SMOOTH_CONNECTIONS = 20

#: The configuration's, of the log.
_PARTITIONS = 4

_PROCESSED = "headgate_processed_rows_total"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway and what stands around it."""

    url: str
    process: services.Process
    broker: services.Broker
    store: services.Process
    folder: Path

    @property
    def pid(self) -> int:
        """Of its supervisor."""
        return self.process.pid


@contextmanager
def gateway(
    plant: Plant,
    log: str,
    kafka_address: str | None,
    *,
    qos: int = 0,
    latency: str = "normal",
    models: int = 1,
    window: int = 64,
    extra: str = "",
    arguments: tuple[str, ...] = (),
) -> Iterator[Gateway]:
    """A gateway with a broker, a store and files of its own, ready.

    Args:
        plant: What it is configured for.
        log: ``"sqlite"`` or ``"kafka"``.
        kafka_address: Of a running Kafka, for the latter.
        qos: Of its subscription.
        latency: ``gateway.latency``.
        models: How many models score every window.
        window: Steps in a window.
        extra: Further tables of the configuration.
        arguments: For ``headgate run``.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(services.folder())
        broker = stack.enter_context(services.mosquitto(folder))
        sink_url, store = stack.enter_context(services.store(folder))
        (folder / "token").write_text("benchmark")
        package = train_model(plant, folder / "model", window=window)
        log_url, port = "sqlite:///log.db", free_port()
        if log == "kafka":
            log_url = f'kafka://{kafka_address}"\ntopic_prefix = "bench{time.time_ns()}.'  # noqa: TID251
        config = configuration(
            plant,
            mqtt_port=broker.port,
            log_url=log_url,
            sink_url=sink_url,
            token_file=folder / "token",
            packages=[package] * models,
            qos=qos,
            extra=extra,
        )
        file = folder / "headgate.toml"
        file.write_text(
            f'[gateway]\nname = "bench"\ndata_dir = "{folder / "data"}"\nlatency = "{latency}"\n'
            f"[console]\nport = {port}\n{config}"
        )
        process = stack.enter_context(_started(folder, arguments))
        url = f"http://127.0.0.1:{port}"
        _wait_ready(url, process)
        yield Gateway(url, process, broker, store, folder)


def _started(folder: Path, arguments: tuple[str, ...] = ()) -> services.Process:
    file, output = folder / "headgate.toml", folder / f"gateway-{time.perf_counter_ns()}.out"
    command = [sys.executable, "-m", "headgate.cli", "run", "-c", str(file), *arguments]
    return services.Process("gateway", command, output)


def restart(plant: Plant, log: str, kafka_address: str | None) -> dict[str, float]:
    """Stop a gateway that has many devices' state, start it, and wait until it works again.

    Returns:
        ``seconds`` from reaching the log to having taken up every partition, with all state
        restored; ``process_seconds`` from starting the process.
    """
    with gateway(plant, log, kafka_address) as at:
        with services.load(at.folder, at.broker.port, plant, seconds=6, start_ms=_START_MS) as load:
            load.result()
        _wait_until_idle(at)
        at.process.stop()
        started_s = time.time()  # noqa: TID251  (compared with a log's time stamps)
        with (
            _started(at.folder) as process,
            services.load(at.folder, at.broker.port, plant, seconds=60, paced=True),
        ):
            taken_up = _wait_for_events(process, "Took up a partition.", _PARTITIONS)
            reached = _wait_for_events(process, "Reached the log.", 1)
    return {
        "seconds": max(_at_s(each) for each in taken_up) - min(_at_s(each) for each in reached),
        "process_seconds": max(_at_s(each) for each in taken_up) - started_s,
        "devices_restored": sum(each["devices_restored"] for each in taken_up),
    }


def _wait_until_idle(at: Gateway) -> None:
    """Wait until everything that was received has been worked on."""
    deadline = time.perf_counter() + 60
    before = -1.0
    while time.perf_counter() < deadline:
        now = counters(at.url)[_PROCESSED]
        if now == before:
            return
        before = now
        time.sleep(2.5)


def _wait_for_events(
    process: services.Process, event: str, count: int, within_s: float = 60
) -> list[dict[str, Any]]:
    """Entries of the streams lane's log with this event, once there are so many."""
    deadline = time.perf_counter() + within_s
    while True:
        found = [
            entry
            for entry in map(_entry, process.lines())
            if entry.get("event") == event and entry.get("lane") == "streams"
        ]
        if len(found) >= count:
            return found
        if not process.is_running or time.perf_counter() > deadline:
            raise PermanentError(f"the gateway does not work again:\n{process.quoted()}")
        time.sleep(0.1)


def _entry(line: str) -> dict[str, Any]:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return entry


def _at_s(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(entry["timestamp"]).timestamp()


def full_load(at: Gateway, plant: Plant, *, seconds: float, qos: int = 0) -> dict[str, Any]:
    """Publish as fast as the broker takes it, and measure the middle of it."""
    options = {"seconds": _WARM_UP_S + seconds + _TAIL_S, "qos": qos, "start_ms": _START_MS}
    with services.load(at.folder, at.broker.port, plant, **options) as load:
        time.sleep(_WARM_UP_S - 1)
        first, cpu_first = counters_fresh(at.url, _PROCESSED), cpu_by_name(at.pid)
        broker_first = cpu_s(at.broker.pid)
        memory = []
        while time.perf_counter() < first.at_s + seconds - 1:
            memory.append(pss_mb(at.pid))
            time.sleep(min(2.0, seconds / 4))
        last, cpu_last = counters_fresh(at.url, _PROCESSED), cpu_by_name(at.pid)
        broker_cpu_s = cpu_s(at.broker.pid) - broker_first
        sent = load.result()
    elapsed_s = last.at_s - first.at_s
    received = _grown(first, last, "headgate_messages_total")
    processed = _grown(first, last, _PROCESSED) / plant.channels
    cpu_us = {name: 1e6 * (cpu_last[name] - cpu_first[name]) / processed for name in cpu_last}
    largest = max(memory, key=lambda each: sum(each.values()))
    return {
        # What is taken in faster than it is worked on is a backlog that grows.
        "messages_per_s": min(received, processed) / elapsed_s,
        "received_per_s": received / elapsed_s,
        "sent_per_s": sent["messages"] / sent["seconds"],
        "cpu_us_per_message": sum(cpu_us.values()),
        "cpu_us_by_process": cpu_us,
        "pss_mb": sum(largest.values()),
        "pss_mb_by_process": largest,
        "mean_inference_batch": _grown(first, last, "headgate_windows_total")
        / max(1.0, _grown(first, last, "headgate_inference_batch_windows_count")),
        "broker_cores": broker_cpu_s / elapsed_s,
        "quarantined": last["headgate_quarantined_total"],
    }


def latency(at: Gateway, plant: Plant, *, seconds: float) -> dict[str, float]:
    """Publish in real time, with faults; how long until the store has acknowledged anomalies, ms.

    From when the message was sent that the anomaly was opened by, to the store's answer.
    """
    times = at.folder / "times.npz"
    with services.load(
        at.folder,
        at.broker.port,
        plant,
        seconds=seconds,
        paced=True,
        connections=_SMOOTH_CONNECTIONS,
        faults=True,
        times=times,
    ) as load:
        load.result(seconds + 60)
    time.sleep(1.5)
    return delays_ms(at.store.result()["anomalies"], times, plant)


def flooded(at: Gateway, plant: Plant, *, seconds: float, times: int) -> dict[str, float]:
    """As ``latency``, while the first device sends ``times`` its share; only the others count."""
    published = at.folder / "times.npz"
    flood = Plant(1, plant.channels, max(1, plant.period_ms // times))
    with (
        services.load(at.folder, at.broker.port, flood, seconds=seconds, paced=True) as flooding,
        services.load(
            at.folder,
            at.broker.port,
            plant,
            seconds=seconds,
            paced=True,
            connections=_SMOOTH_CONNECTIONS,
            faults=True,
            times=published,
        ) as load,
    ):
        load.result(seconds + 60)
        sent = flooding.result(60)["messages"]
    time.sleep(1.5)
    others = [each for each in at.store.result()["anomalies"] if each[0] > 0]
    return {**delays_ms(others, published, plant), "flood_messages_per_s": sent / seconds}


def overload(at: Gateway, plant: Plant, *, seconds: float) -> dict[str, float]:
    """Publish far more than can be worked on; the memory of all processes over time.

    Returns:
        ``received_per_s`` and ``messages_per_s`` (worked on), and ``pss_mb_early`` and
        ``pss_mb_late``: the most of the second and of the last tenth of the time.
    """
    memory: list[tuple[float, float]] = []
    options = {"seconds": _WARM_UP_S + seconds + _TAIL_S, "start_ms": _START_MS}
    with services.load(at.folder, at.broker.port, plant, **options) as load:
        time.sleep(_WARM_UP_S)
        first = counters_fresh(at.url, _PROCESSED)
        while (passed_s := time.perf_counter() - first.at_s) < seconds:
            memory.append((passed_s, sum(pss_mb(at.pid).values())))
            time.sleep(min(2.0, seconds / 50))
        last = counters_fresh(at.url, _PROCESSED)
        load.result(seconds)
    elapsed_s = last.at_s - first.at_s
    received = _grown(first, last, "headgate_messages_total") / elapsed_s
    processed = _grown(first, last, _PROCESSED) / plant.channels / elapsed_s
    early = [mb for at_s, mb in memory if 0.1 <= at_s / seconds < 0.2]
    late = [mb for at_s, mb in memory if at_s / seconds >= 0.9]
    return {
        "received_per_s": received,
        "messages_per_s": processed,
        "times_sustainable": received / processed,
        "pss_mb_early": max(early),
        "pss_mb_late": max(late),
        "minutes": elapsed_s / 60,
    }


def delays_ms(anomalies: list[tuple[int, int, int]], times: Path, plant: Plant) -> dict[str, float]:
    """Delays of anomalies, given when each device's messages were published.

    Args:
        anomalies: Device, end and acknowledgement of each, the latter two in ns.
        times: File with the publish times of every connection.
        plant: Whose devices.
    """
    with np.load(times) as saved:
        published_ms, first_step = saved["published_ms"], int(saved["first_step"])
    firsts = np.array([first for first, _ in shares(plant.devices, len(published_ms))])
    delays = []
    for device, end_ns, acknowledged_ns in anomalies:
        line = int(np.searchsorted(firsts, device, side="right")) - 1
        # An anomaly's end is the beginning of the step whose message it was opened by.
        step = end_ns // (plant.period_ms * 1_000_000) - first_step
        delays.append(acknowledged_ns / 1e6 - float(published_ms[line, step]))
    if not delays:
        raise PermanentError("no anomaly arrived: the gateway does not work, or is far behind")
    return {
        "p50": float(np.percentile(delays, 50)),
        "p99": float(np.percentile(delays, 99)),
        "max": float(np.max(delays)),
        "anomalies": len(delays),
    }


def idle(at: Gateway, plant: Plant, *, seconds: float) -> dict[str, float]:
    """CPU of a gateway whose devices are connected and silent, in percent of a core."""
    with services.load(at.folder, at.broker.port, plant, seconds=seconds + 3, silent=True) as load:
        time.sleep(2)
        first = cpu_by_name(at.pid)
        time.sleep(seconds)
        last = cpu_by_name(at.pid)
        load.result()
    used = {name: 100 * (last[name] - first[name]) / seconds for name in last}
    return {"percent_of_a_core": sum(used.values()), **used}


def mosquitto_sub(plant: Plant, *, seconds: float, qos: int = 0) -> dict[str, float]:
    """What the broker delivers to a C client that does nothing with it."""
    with ExitStack() as stack:
        folder = stack.enter_context(services.folder())
        broker = stack.enter_context(services.mosquitto(folder))
        output = folder / "mosquitto_sub.out"
        # The shortest line there is for each message: a file's size is then a count.
        command = ["mosquitto_sub", "-p", str(broker.port), "-t", "plant/+/+/telemetry"]
        command += ["-q", str(qos), "-F", "x"]
        client = stack.enter_context(services.Process("mosquitto_sub", command, output))
        time.sleep(0.5)
        options = {"seconds": _WARM_UP_S + seconds + _TAIL_S, "qos": qos, "start_ms": _START_MS}
        with services.load(folder, broker.port, plant, **options) as load:
            time.sleep(_WARM_UP_S)
            start_s, size, cpu = time.perf_counter(), output.stat().st_size, cpu_s(client.pid)
            time.sleep(seconds)
            elapsed_s = time.perf_counter() - start_s
            count = (output.stat().st_size - size) / 2
            used_s = cpu_s(client.pid) - cpu
            sent = load.result()
    return {
        "messages_per_s": count / elapsed_s,
        "cpu_us_per_message": 1e6 * used_s / count,
        "sent_per_s": sent["messages"] / sent["seconds"],
    }


def _grown(first: Counters, last: Counters, name: str) -> float:
    return last[name] - first[name]


def _wait_ready(url: str, process: services.Process) -> None:
    deadline = time.perf_counter() + 60
    while True:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except OSError:
            if not process.is_running or time.perf_counter() > deadline:
                raise PermanentError(f"the gateway is not ready:\n{process.quoted()}") from None
        time.sleep(0.1)


def plain_faust(plant: Plant, kafka_address: str, *, rate: int, seconds: float) -> dict[str, float]:
    """``benchmarks.plain_faust`` on the same feed, given a little more than it can do.

    Args:
        plant: Whose messages.
        kafka_address: Of a running Kafka.
        rate: Messages/s that it is offered.
        seconds: How long it is measured.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(services.folder())
        broker = stack.enter_context(services.mosquitto(folder))
        sink_url, _ = stack.enter_context(services.store(folder))
        package = train_model(plant, folder / "model")
        reports = folder / "reports"
        reports.touch()
        environment = {
            "BENCH_PACKAGE": str(package),
            "BENCH_SINK": sink_url,
            "BENCH_GROUP": f"plain{time.time_ns()}",  # noqa: TID251  (a name of its own)
            "BENCH_KAFKA": kafka_address,
            "BENCH_MQTT": str(broker.port),
            "BENCH_REPORT": str(reports),
            "BENCH_FOLDER": str(folder / "faust"),
        }
        command = [sys.executable, "-m", "benchmarks.plain_faust"]
        output = folder / "plain_faust.out"
        worker = stack.enter_context(
            services.Process("plain Faust", command, output, environment=environment)
        )
        # As many devices as give the rate at the plant's period.
        few = Plant(rate * plant.period_ms // 1000, plant.channels, plant.period_ms)
        with services.load(folder, broker.port, few, seconds=_STARTING_S, paced=True):
            # Its tables are recovered first, empty as they are.
            _wait_until_working(worker, reports)
            time.sleep(_WARM_UP_S)
            first, cpu_first = _last_report(reports), cpu_s(worker.pid)
            time.sleep(seconds)
            last, cpu_last = _last_report(reports), cpu_s(worker.pid)
    count = last["finished"] - first["finished"]
    return {
        "messages_per_s": count / (last["at_s"] - first["at_s"]),
        "cpu_us_per_message": 1e6 * (cpu_last - cpu_first) / count,
        "offered_per_s": float(rate),
    }


def _wait_until_working(worker: services.Process, reports: Path) -> None:
    deadline = time.perf_counter() + _STARTING_S / 2
    while not reports.read_text() or not _last_report(reports)["finished"]:
        if not worker.is_running or time.perf_counter() > deadline:
            raise PermanentError(f"plain Faust does not start:\n{worker.quoted()}")
        time.sleep(0.2)


def _last_report(reports: Path) -> dict[str, float]:
    report: dict[str, float] = json.loads(reports.read_text().splitlines()[-1])
    return report
