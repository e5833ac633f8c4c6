"""The demo finds what was broken, cries no wolf, and accounts for every reading."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest


def _demo(*options: str) -> dict[str, Any]:
    """Run the demo as a user would; its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "headgate.cli", "demo", "--json", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    numbers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return numbers


@pytest.mark.thorough
@pytest.mark.timeout(200)
def test_the_faults_are_found_and_every_reading_is_accounted_for(tmp_path: Path) -> None:
    """All process faults found, both sensors' faults flagged, nothing lost, little forwarded."""
    folder = tmp_path / "kept"
    numbers = _demo("--seconds", "30", "--devices", "12", "--keep", str(folder))
    assert numbers["balanced"]
    assert numbers["messages"] == 12 * 50 * 30
    assert numbers["rows"] == 6 * numbers["messages"]
    assert numbers["quarantined"] == numbers["late"] == 0
    assert numbers["faults_injected"] == numbers["faults_detected"] == 6
    assert numbers["sensor_faults_injected"] == numbers["sensor_faults_flagged"] == 2
    assert numbers["false_alarms"] == 0
    # Wear shakes more than the rule bears; each anomaly is an alarm, and the stuck sensor one.
    assert numbers["alarms"] == {"model": 6, "sensor": 1, "vibrates": 2}
    assert 0 < numbers["detection_delay_s"]["p50"] <= numbers["detection_delay_s"]["max"] < 15
    assert 0 < numbers["bytes_uplink"] < 0.02 * numbers["bytes_in"]
    assert (folder / "headgate.toml").is_file()
    with closing(sqlite3.connect(folder / "data" / "points.db")) as store:
        told = store.execute("SELECT channel, state FROM sensor_health ORDER BY time_ns").fetchall()
        verdicts = store.execute("SELECT DISTINCT verdict FROM anomalies").fetchall()
    # The dropout is over before three windows have told of it.
    assert told[0] == ("pressure", "stuck")
    assert {channel for channel, _ in told} == {"pressure"}
    assert verdicts == [("process",)]


@pytest.mark.thorough
@pytest.mark.timeout(200)
def test_a_healthy_plant_raises_no_alarm_on_the_embedded_broker_either() -> None:
    """No fault, no anomaly, no flag; and no mosquitto is needed."""
    pytest.importorskip("amqtt", reason="install the extra embedded")
    numbers = _demo("--seconds", "15", "--devices", "8", "--faults", "none", "--broker", "embedded")
    assert numbers["balanced"]
    assert numbers["faults_injected"] == numbers["anomalies"] == numbers["false_alarms"] == 0
    assert numbers["alarms"] == {}
    assert sum(numbers["flagged"].values()) == 0
    assert numbers["detection_delay_s"] == {"p50": None, "max": None}


def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path) -> None:
    """Ctrl-C stops the broker and the gateway's processes too."""
    folder = tmp_path / "kept"
    command = [sys.executable, "-m", "headgate.cli", "demo", "--keep", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # The second line is the first of the run itself: everything has been started by then.
        assert "Starting" in process.stdout.readline()
        assert "of 60 s" in process.stdout.readline()
        parts = psutil.Process(process.pid).children(recursive=True)
        assert len(parts) >= 5
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(30) == 130
    assert not [part for part in parts if part.is_running()]
