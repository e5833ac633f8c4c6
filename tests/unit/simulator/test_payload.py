"""What the simulated pumps send, and what they leave in a file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from connectors.simulator.faults import Fault
from connectors.simulator.fleet import CHANNELS, Fleet
from connectors.simulator.payload import PayloadWriter
from connectors.simulator.recording import write_csv
from headgate.core.clock import NS_PER_S
from headgate.core.errors import ConfigError

_START_NS = 1_800_000_000 * NS_PER_S


def _fleet(devices: int) -> Fleet:
    dropout = Fault("sensor_dropout", 0, _START_NS, _START_NS + NS_PER_S, "flow")
    return Fleet(devices, 10, 1, start_ns=_START_NS, faults=[dropout])


def test_a_step_is_one_json_object_a_pump() -> None:
    """Time in ms, a number a channel, null for a sensor that sent nothing."""
    fleet = _fleet(2)
    writer = PayloadWriter(fleet)
    messages = list(writer.messages(fleet.step()))
    assert [topic for topic, _ in messages] == [
        "plant/line-1/pump-01/telemetry",
        "plant/line-1/pump-02/telemetry",
    ]
    first, second = (json.loads(payload) for _, payload in messages)
    assert list(first) == ["time", *CHANNELS]
    assert first["time"] == 1_800_000_000_000
    assert first["flow"] is None
    assert isinstance(second["flow"], float)


def test_ten_pumps_share_a_line() -> None:
    """The eleventh pump stands in the second line."""
    assert PayloadWriter(_fleet(11)).topics[9:] == (
        "plant/line-1/pump-10/telemetry",
        "plant/line-2/pump-11/telemetry",
    )


@pytest.mark.parametrize("topic", ["plant/telemetry", "plant/+/{device}", "{device}/#"])
def test_a_topic_that_cannot_be_published_to_is_refused(topic: str) -> None:
    """The message says what to give instead."""
    with pytest.raises(ConfigError, match=r"--topic: expected .*; give one like"):
        PayloadWriter(_fleet(1), topic)


def test_a_recording_holds_every_step_and_repeats_to_the_byte(tmp_path: Path) -> None:
    """Training data can be made again from its command."""
    first, again = tmp_path / "first.csv", tmp_path / "again.csv"
    assert write_csv(_fleet(3), first, 20) == 60
    write_csv(_fleet(3), again, 20)
    assert first.read_bytes() == again.read_bytes()
    with first.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert rows[0]["device"] == "pump-01"
    assert rows[0]["flow"] == ""
    assert float(rows[1]["flow"]) > 10
    assert rows[0]["time"] == "2027-01-15T08:00:00.000Z"
    assert rows[-1]["time"] == "2027-01-15T08:00:01.900Z"
