"""A gateway whose Kafka goes away and comes back says so in a line each, and loses nothing."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway import Gateway
from tests.kafka.jars import fetch
from tests.kafka.server import start
from tests.mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.kafka, pytest.mark.timeout(240)]

#: Longer than any of a client's timeouts for a request, s.
_AWAY_S = 25.0


def _publish(broker: Mosquitto, first: int, last: int) -> None:
    lines = "\n".join(
        json.dumps({"t": 1_700_000_000_000 + 100 * number, "x": number})
        for number in range(first, last)
    )
    command = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", "in/d", "-l"]
    subprocess.run(command, input=lines.encode(), check=True)


def _rows_reach(gateway: Gateway, name: str, count: int) -> None:
    deadline = time.perf_counter() + 60
    while gateway.status()["totals"][name] < count:
        assert time.perf_counter() < deadline, gateway.status()["totals"]
        time.sleep(0.1)


def _is(line: dict[str, Any], event: str) -> bool:
    return str(line["event"]).startswith(event)


def _is_a_librarys(line: dict[str, Any]) -> bool:
    return str(line["logger"]).partition(".")[0] in ("aiokafka", "asyncio", "faust", "mode")


@pytest.mark.thorough
def test_kafka_away_is_a_line_and_back_is_one(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """From each lane, without asyncio's traces; what was published meanwhile arrives."""
    (tmp_path / "kafka").mkdir()
    server = start(fetch(), tmp_path / "kafka")
    config = (
        f"[mqtt]\nport = {mosquitto.port}\n"
        f'[log]\nurl = "kafka://{server.address}"\npartitions = 1\n'
        '[local_store]\n[logging]\nformat = "json"\n'
        '[feed.f]\ntopic = "in/{device}"\ntime = { path = "t" }\nperiod = "100ms"\n'
        "[feed.f.channels.x]\n"
    )
    try:
        with Gateway(tmp_path / "gateway", config) as gateway:
            gateway.start(ready_within_s=90)
            _publish(mosquitto, 0, 100)
            _rows_reach(gateway, "processed_rows", 100)
            before = len(gateway.output())
            server.kill()
            _publish(mosquitto, 100, 200)
            time.sleep(_AWAY_S)
            away = gateway.output()[before:]
            server.launch()
            _rows_reach(gateway, "processed_rows", 200)
            gateway.wait_for("/readyz", 60)
            # What comes now is answered when nothing of Kafka has been missed for a while.
            time.sleep(8)
            _publish(mosquitto, 200, 300)
            _rows_reach(gateway, "processed_rows", 300)
            time.sleep(10)
            output = gateway.output()[before:]
    finally:
        server.stop()

    for said, in_all in (("Kafka does not answer", away), ("Kafka answers again", output)):
        lanes = [line["lane"] for line in map(json.loads, in_all.splitlines()) if _is(line, said)]
        assert sorted(lanes) == ["forward", "ingest", "streams"], output
    libraries = [line for line in map(json.loads, output.splitlines()) if _is_a_librarys(line)]
    assert libraries == []
    assert "Traceback" not in output
