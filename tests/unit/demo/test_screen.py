"""What the demo shows, on a terminal and elsewhere."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from connectors.simulator.faults import Fault
from headgate.core.clock import NS_PER_S
from headgate.demo.gateway import GatewayStatus
from headgate.demo.report import Report
from headgate.demo.screen import (
    LineScreen,
    LiveScreen,
    Snapshot,
    make_screen,
    size_text,
    summary_table,
)
from headgate.demo.truth import SeenAnomaly, judge

_NAMES = ("pump-01", "pump-02", "pump-03")
_FAULTS = (
    Fault("cavitation", 0, 110 * NS_PER_S, 120 * NS_PER_S),
    Fault("sensor_stuck", 1, 111 * NS_PER_S, 120 * NS_PER_S, "pressure"),
    Fault("blocked_inlet", 2, 150 * NS_PER_S, 155 * NS_PER_S),
)


def _anomaly(device: str, start_s: int) -> SeenAnomaly:
    return SeenAnomaly(
        device=device,
        start_ns=start_s * NS_PER_S,
        end_ns=(start_s + 1) * NS_PER_S,
        seen_ns=round((start_s + 1.5) * NS_PER_S),
        is_open=True,
        severity="major",
        peak_score=3.25,
        channel="flow",
    )


def _snapshot(now_s: float, *anomalies: SeenAnomaly) -> Snapshot:
    return Snapshot(
        now_ns=round(now_s * NS_PER_S),
        start_ns=100 * NS_PER_S,
        seconds=60.0,
        messages=1000,
        payload_bytes=120_000,
        status=GatewayStatus(
            messages_per_s=50.0,
            mean_batch=7.5,
            mean_inference_s=0.0004,
            uplink_bytes=1200,
            flagged={"stuck": 3.0},
        ),
        names=_NAMES,
        faults=_FAULTS,
        anomalies=anomalies,
        verdict=judge(_FAULTS, _NAMES, anomalies),
    )


def _shown(*snapshots: Snapshot, is_terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=120, color_system=None)
    screen = make_screen(console)
    assert isinstance(screen, LiveScreen if is_terminal else LineScreen)
    with screen:
        for snapshot in snapshots:
            screen.show(snapshot)
    return out.getvalue()


def test_without_a_terminal_there_is_a_line_every_few_seconds() -> None:
    """Plain text, one line, no more often than that; at the end the faults and what was found."""
    text = _shown(_snapshot(100), _snapshot(102), _snapshot(105), is_terminal=False)
    rest = (
        "of 60 s: 50 messages/s, 7.5 windows a run, 0.40 ms each, 0 of 2 faults found, "
        "0 false alarms, 120.0 kB in, 1.2 kB forwarded"
    )
    lines, table = text.splitlines()[:2], text.splitlines()[2:]
    assert lines == [f"0 {rest}", f"5 {rest}"]
    assert "Faults injected, and anomalies found" in table[0]


def test_without_a_terminal_the_last_that_was_seen_is_told() -> None:
    """However soon after the line before it came; nothing where the demo was broken off."""
    found = _snapshot(115, _anomaly("pump-01", 112))
    text = _shown(_snapshot(114), found, is_terminal=False)
    row = next(line for line in text.splitlines() if "cavitation" in line)
    assert "major, flow, score 3.2" in row

    out = io.StringIO()
    screen = make_screen(Console(file=out, width=120))
    screen.show(found)
    screen.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "cavitation" not in out.getvalue()


def test_the_live_screen_shows_faults_once_they_have_begun_and_what_was_found() -> None:
    """The truth beside what came out of the gateway."""
    text = _shown(_snapshot(115, _anomaly("pump-01", 112)), is_terminal=True)
    row = next(line for line in text.splitlines() if "cavitation" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "10 s",
        "pump-01",
        "cavitation",
        "major, flow, score 3.2",
        "3.5 s",
        "open",
    ]
    row = next(line for line in text.splitlines() if "sensor stuck (pressure)" in line)
    assert "flagged" in row
    assert "blocked inlet" not in text
    assert "1.2 kB forwarded (1.0%)" in text


def test_the_live_screen_owns_up_to_misses_and_false_alarms() -> None:
    """A fault that is over and was not found, an alarm without a fault."""
    text = _shown(_snapshot(158, _anomaly("pump-02", 105)), is_terminal=True)
    rows = [line for line in text.splitlines() if "│" in line]
    assert any("cavitation" in row and "none" in row for row in rows)
    assert any("pump-02" in row and "a false alarm" in row for row in rows)


def _report(anomaly: SeenAnomaly | None) -> Report:
    anomalies = [] if anomaly is None else [anomaly]
    return Report(
        messages=1000,
        rows=6000,
        quarantined=3,
        late=2,
        aggregates=12,
        anomalies=len(anomalies),
        alarms={"model": len(anomalies), "vibrates": 2},
        verdict=judge(_FAULTS, _NAMES, anomalies),
        sensor_faults=_FAULTS[1:2],
        sensor_faults_flagged=1,
        flagged={"stuck": 40},
        bytes_in=120_000,
        bytes_uplink=1_200,
        seconds=60.0,
        balanced=True,
    )


def test_the_report_is_json_with_every_promised_field() -> None:
    """Programs read it."""
    numbers = json.loads(json.dumps(_report(_anomaly("pump-01", 112)).as_json()))
    assert numbers == {
        "messages": 1000,
        "rows": 6000,
        "quarantined": 3,
        "late": 2,
        "aggregates": 12,
        "anomalies": 1,
        "alarms": {"model": 1, "vibrates": 2},
        "faults_injected": 2,
        "faults_detected": 1,
        "sensor_faults_injected": 1,
        "sensor_faults_flagged": 1,
        "false_alarms": 0,
        "detection_delay_s": {"p50": 3.5, "max": 3.5},
        "flagged": {"stuck": 40},
        "bytes_in": 120_000,
        "bytes_uplink": 1_200,
        "seconds": 60.0,
        "balanced": True,
    }
    assert _report(None).as_json()["detection_delay_s"] == {"p50": None, "max": None}


def test_the_summary_says_what_was_found_and_what_it_cost() -> None:
    """A number a row, for people."""
    out = io.StringIO()
    Console(file=out, width=100).print(summary_table(_report(_anomaly("pump-01", 112))))
    text = out.getvalue()
    for part in (
        "alarms, vibrates",
        "1 of 2",
        "3.5 s / 3.5 s",
        "1.2 kB (1.0%)",
        "3 (late: 2)",
        "yes",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1200, "1.2 kB"), (2_500_000, "2.5 MB")]
)
def test_sizes_are_readable(size_bytes: int, text: str) -> None:
    """Powers of 1000, one digit."""
    assert size_text(size_bytes) == text
