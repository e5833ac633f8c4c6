"""Recorded faults of a real testbed go the whole way, on both logs, and are found.

The data is SKAB's (a water-circulation testbed, 1 Hz, labelled); it is read where it stands and
the test is skipped where it does not. Each file is one device with a model of its own, fitted on
the file's first 400 rows, as the benchmark's protocol has it.
"""

from __future__ import annotations

import csv
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.cli import main
from tests.data import data_dir
from tests.e2e.gateway import Gateway
from tests.mosquitto import MakeMosquitto, Mosquitto

_FIT_ROWS = 400
_CHANNELS = {
    "Accelerometer1RMS": "g",
    "Accelerometer2RMS": "g",
    "Current": "A",
    "Pressure": "bar",
    "Temperature": "C",
    "Thermocouple": "C",
    "Voltage": "V",
    "Volume Flow RateRMS": "l/min",
}
#: Each file's anomalies as (start, end) in ns, and each file's scored rows with their labels.
Found = dict[str, list[tuple[int, int]]]


@dataclass(frozen=True)
class Recording:
    """One SKAB file."""

    name: str
    path: Path
    time_ns: NDArray[np.int64]
    is_anomalous: NDArray[np.bool_]


def _read(path: Path) -> Recording:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    times = [
        int(datetime.fromisoformat(row["datetime"]).replace(tzinfo=UTC).timestamp()) * 10**9
        for row in rows
    ]
    labels = [float(row["anomaly"]) > 0 for row in rows]
    name = f"{path.parent.name}-{path.stem}"
    return Recording(name, path, np.array(times, np.int64), np.array(labels))


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    folder = data_dir("skab")
    parts = ("valve1", "valve2", "other")
    return [_read(path) for part in parts for path in sorted((folder / part).glob("*.csv"))]


@pytest.fixture(scope="module")
def packages(recordings: list[Recording], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    for recording in recordings:
        code = main(
            [
                "model", "train", "--feed", recording.name, "--data", str(recording.path),
                "--time", "datetime", "--channels", ",".join(_CHANNELS),
                "--kind", "pca", "--rows", str(_FIT_ROWS), "--out", str(folder / recording.name),
            ]
        )  # fmt: skip
        assert code == 0
    return folder


def _config(
    recordings: list[Recording], packages: Path, broker_port: int, log_url: str, prefix: str
) -> str:
    channels = "\n".join(
        f'"{name.replace(" ", "_")}" = {{ path = "{name}", unit = "{unit}" }}'
        for name, unit in _CHANNELS.items()
    )
    feeds = "\n".join(
        f'[feed.{each.name}]\ntopic = "skab/{each.name}/{{device}}"\n'
        f'period = "1s"\nmodels = ["{each.name}"]\n'
        f'time = {{ path = "time", unit = "ms" }}\n'
        f"[feed.{each.name}.channels]\n{channels}\n"
        f'[model.{each.name}]\npackage = "{packages / each.name}"\n'
        for each in recordings
    )
    return (
        # One session for both gateways, one after the other: for the first one, too, the broker
        # would keep all that the second one is sent, and save it anew with each message.
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker_port}\nclient_id = "skab"\n'
        f"publish_anomalies = false\n"
        f'[log]\nurl = "{log_url}"\npartitions = 2\ntopic_prefix = "{prefix}"\n'
        f'[streams]\nsilent_after = "2s"\n[local_store]\n{feeds}'
    )


def _found(store: Path) -> Found:
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT device, start_ns, end_ns FROM anomalies").fetchall()
    found: Found = {}
    for device, start_ns, end_ns in rows:
        found.setdefault(device, []).append((start_ns, end_ns))
    return found


def _f1(predicted: NDArray[np.bool_], actual: NDArray[np.bool_]) -> float:
    true_positive = int((predicted & actual).sum())
    wrong = int((predicted != actual).sum())
    return true_positive / (true_positive + wrong / 2)


def _wait_until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    deadline = time.perf_counter() + within_s
    while not condition():
        assert time.perf_counter() < deadline, f"{what}: not within {within_s} s"
        time.sleep(0.25)


def _run(
    folder: Path, recordings: list[Recording], packages: Path, broker: Mosquitto, log_url: str
) -> Found:
    """Replay every file through one gateway; the anomalies its store holds afterwards."""
    config = _config(recordings, packages, broker.port, log_url, f"{folder.name}.")
    rows = sum(len(each.time_ns) for each in recordings) * len(_CHANNELS)
    with Gateway(folder, config) as gateway:
        gateway.start()
        for each in recordings:
            code = main(
                [
                    "replay", str(each.path), "--topic", f"skab/{each.name}/{each.name}",
                    "--time", "datetime", "--speed", "max", "--keep-time",
                    "--host", "127.0.0.1", "--port", str(broker.port),
                    "--columns", ",".join(_CHANNELS),
                ]
            )  # fmt: skip
            assert code == 0
        audit = ["audit", "-c", str(gateway.config_file)]
        _wait_until(lambda: _is_settled(gateway, rows), 60, "all readings aggregated and forwarded")
        assert main(audit) == 0
        assert gateway.stop() == 0
    return _found(folder / "data" / "points.db")


def _is_settled(gateway: Gateway, rows: int) -> bool:
    status = gateway.status()
    return bool(
        status["totals"]["processed_rows"] >= rows
        and status["totals"]["open_rows"] == 0
        and not any(sink["backlog_records"] for sink in status["sinks"].values())
    )


def _scored(found: Found, recordings: list[Recording]) -> tuple[float, float, float]:
    """F1 of what was found, of calling every row anomalous, and of chance at the same rate."""
    predicted = []
    for each in recordings:
        rows = np.zeros(len(each.time_ns), np.bool_)
        for start_ns, end_ns in found.get(each.name, []):
            rows |= (each.time_ns >= start_ns) & (each.time_ns <= end_ns)
        predicted.append(rows[_FIT_ROWS:])
    alarm = np.concatenate(predicted)
    actual = np.concatenate([each.is_anomalous[_FIT_ROWS:] for each in recordings])
    rng = np.random.default_rng(0)
    chance = float(np.mean([_f1(rng.permutation(alarm), actual) for _ in range(20)]))
    return _f1(alarm, actual), _f1(np.ones_like(actual), actual), chance


@pytest.mark.thorough
@pytest.mark.mosquitto
@pytest.mark.kafka
@pytest.mark.timeout(400)
def test_the_same_faults_are_found_on_both_logs(
    recordings: list[Recording],
    packages: Path,
    make_mosquitto: MakeMosquitto,
    kafka: str,
    tmp_path: Path,
) -> None:
    """Kafka and the embedded log give the same anomalies, better than chance and all-ones."""
    # Writing its queues down at each of 37,000 messages would be the slowest of all.
    mosquitto = make_mosquitto(lines="autosave_on_changes false")
    embedded = _run(tmp_path / "embedded", recordings, packages, mosquitto, "sqlite:///log.db")
    on_kafka = _run(tmp_path / "kafka", recordings, packages, mosquitto, f"kafka://{kafka}")
    ours, all_ones, chance = _scored(embedded, recordings)

    assert {name: sorted(spans) for name, spans in on_kafka.items()} == {
        name: sorted(spans) for name, spans in embedded.items()
    }
    assert ours > all_ones
    assert ours > chance
