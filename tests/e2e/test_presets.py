"""Presets in one running gateway, a line each, sent to by mosquitto's own client."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headgate.cli import main
from headgate.config.preset import presets
from tests.e2e.examples import publish_examples
from tests.e2e.gateway import Gateway
from tests.e2e.test_gateway import _points, _readings
from tests.mosquitto import Mosquitto
from tests.processes import until
from tests.unit.formats.test_presets import CASES

#: Those that need a topic of their own beside others, one that no text can be sent to, and what no
#: broker has.
_OTHERWISE = {"esphome", "telegraf_json", "sparkplug", "gateway"}

_CONFIG = """
[mqtt]
port = {port}
publish_anomalies = false

[streams]
silent_after = "2s"

[sink.store]
type = "local_store"

{feeds}
[feed.esphome]
preset = "esphome"
topic = "esphome/{{device}}/{{component}}/{{channel}}/state"
period = "1s"
aggregates = [{{ window = "1s" }}]
"""

pytestmark = [pytest.mark.mosquitto, pytest.mark.slow, pytest.mark.timeout(240)]


def test_many_products_on_one_broker_need_a_line_each(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Each reading is in a point, none in quarantine, and the account is settled."""
    names = sorted(presets().keys() - _OTHERWISE)
    # So short that windows close while the test waits.
    pace = 'period = "1s"\naggregates = [{ window = "1s" }]'
    feeds = "".join(f'[feed.{name}]\npreset = "{name}"\n{pace}\n' for name in names)
    lines = [line for name in names for line in (CASES / f"{name}.txt").read_text().splitlines()]
    lines += [
        line if line.startswith("→ ") else f"esphome/{line}"
        for line in (CASES / "esphome.txt").read_text().splitlines()
    ]
    with Gateway(tmp_path, _CONFIG.format(port=mosquitto.port, feeds=feeds)) as gateway:
        gateway.start()
        sent = publish_examples(mosquitto, lines)
        told = [line for line in lines if re.fullmatch(r"→ \S+ is (online|offline)", line)]
        wanted = len(lines) - sent - len(told)
        until(lambda: _readings(_points(gateway)) >= wanted, "every reading in a point")

        assert _readings(_points(gateway)) == wanted
        away = {line.split()[1] for line in told if line.endswith("offline")}
        until(lambda: away <= _said_away(gateway), "every device that says so is away")
        status = gateway.status()
        assert gateway.stop() == 0
    assert not status["quarantined"], status["quarantined"]
    assert main(["audit", "-c", str(gateway.config_file)]) == 0


def _said_away(gateway: Gateway) -> set[str]:
    """Devices of which points say that they are away by their own word."""
    states = [each for each in _points(gateway) if each[0] == "device_state"]
    return {
        found[1]
        for _, tags, _, fields in states
        if "availability" in fields and "offline" in fields
        for found in re.finditer(r"device\W+([\w-]+)", tags)
    }
