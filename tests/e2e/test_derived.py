"""Derived channels and rules in a running gateway: the same over kills of the lane."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest

from headgate.cli.main import main
from headgate.config.load import load_config
from headgate.testing.playing import Message, play
from tests.e2e.gateway import Gateway
from tests.e2e.test_gateway import _points
from tests.mosquitto import Mosquitto
from tests.processes import until

_START_S = 1_767_225_600
_METERS = 3

_FEED = """
[streams]
snapshot_interval = "200ms"

[feed.meter]
topic = "hall/{device}/+"
grace = "25s"
time = { path = "t", unit = "s" }
aggregates = [{ window = "10s" }]
channels.voltage = { unit = "V" }
channels.current = { unit = "A" }
channels.energy = { unit = "kWh", counter = true }
derived.power = { value = "voltage * current", unit = "W", to = "kW" }
derived.demand = { value = "rate(energy)", unit = "kWh/s", to = "kW" }
derived.usual = 'mean(power, "30s")'
derived.running = "since(current > 2)"
derived.work = { value = "integral(power) / 3600", unit = "kWh" }

[rule.loaded]
feed = "meter"
when = "power > 0.6"
for = "1s"
clear = "power < 0.3"
text = "{device}: {power:.3f} kW, {energy}"

[rule.more]
feed = "meter"
when = "current > previous(current)"
devices = ["m[01]"]
"""

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(180)]


def _messages(seconds: range) -> list[tuple[str, bytes]]:
    """Of meters whose energy comes in messages of its own, and begins anew at times."""
    messages = []
    for second in seconds:
        chance = random.Random(second)
        for meter in range(_METERS):
            measured = {"t": _START_S + second, "voltage": 228 + chance.randrange(5)}
            measured["current"] = chance.randrange(5)
            counted = {"t": _START_S + second, "energy": (second % 40) * (meter + 1) / 10}
            for what, payload in (("power", measured), ("energy", counted)):
                messages.append((f"hall/m{meter}/{what}", json.dumps(payload).encode()))
    return messages


def test_kill_9_of_the_streams_lane_changes_nothing_that_is_derived(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Rates, spans and sums go on where they were; each point is what one run makes of it all.

    So are alarms: none opens twice, and none is forgotten.
    """
    config = f'[mqtt]\nport = {mosquitto.port}\n[sink.store]\ntype = "local_store"\n{_FEED}'
    with Gateway(tmp_path / "gateway", config) as gateway:
        gateway.start()
        for first in range(0, 80, 20):
            _publish(mosquitto, _messages(range(first, first + 20)))
            if first % 40 == 0:
                until(partial(_has_come_to, gateway, first - 30), "windows come")
                os.kill(gateway.status()["lanes"]["streams"]["pid"], signal.SIGKILL)
        own = load_config(gateway.config_file)
        sent = [
            Message(topic.encode(), payload, (_START_S + 1000) * 10**9)
            for topic, payload in _messages(range(80))
        ]
        points = play(own, sent).points
        alarms = {
            (dict(each.tags)["device"], dict(each.tags)["rule"], each.time_ns): dict(each.fields)
            for each in points
            if each.measurement == "alarms"
        }
        assert len(alarms) > 30
        wanted = {
            (each.measurement, dict(each.tags)["device"], each.time_ns): dict(each.fields)
            for each in points
            if each.measurement == "meter_10s"
        }
        assert len(wanted) == 8 * _METERS

        until(lambda: len(_windows(gateway)) == len(wanted), "every window", 60)

        assert _windows(gateway) == wanted
        until(lambda: len(_alarms(gateway)) == len(alarms), "every alarm", 30)
        assert _alarms(gateway) == alarms
        assert main(["audit", "-c", str(gateway.config_file)]) == 0
        # What is in the log says by itself what has been derived.
        before = gateway.config_file.read_text()
        gateway.config_file.write_text(re.sub(r"(?ms)^derived\.[^\n]*\n|^\[rule\..*", "", before))
        assert not load_config(gateway.config_file).feed["meter"].derived
        assert main(["audit", "-c", str(gateway.config_file)]) == 0
        gateway.config_file.write_text(before)
        assert gateway.stop() == 0


def _windows(gateway: Gateway) -> dict[tuple[str, str, int], dict[str, object]]:
    return {
        (name, json.loads(tags)["device"], time_ns): json.loads(fields)
        for name, tags, time_ns, fields in _points(gateway)
        if name == "meter_10s"
    }


def _alarms(gateway: Gateway) -> dict[tuple[str, str, int], dict[str, object]]:
    return {
        (json.loads(tags)["device"], json.loads(tags)["rule"], time_ns): json.loads(fields)
        for name, tags, time_ns, fields in _points(gateway)
        if name == "alarms"
    }


def _has_come_to(gateway: Gateway, second: int) -> bool:
    """Whether a window has come that begins then, or later."""
    begun_s = [time_ns // 10**9 - _START_S for *_, time_ns in _windows(gateway)]
    return max(begun_s, default=0) >= second


def _publish(mosquitto: Mosquitto, messages: list[tuple[str, bytes]]) -> None:
    """One ``mosquitto_pub`` for each topic, which keeps their order there."""
    for topic in sorted({topic for topic, _ in messages}):
        lines = b"\n".join(payload for each, payload in messages if each == topic)
        command = ["mosquitto_pub", "-p", str(mosquitto.port), "-q", "1", "-t", topic, "-l"]
        subprocess.run(command, input=lines, check=True, timeout=10)
