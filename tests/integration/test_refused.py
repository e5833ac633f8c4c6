"""What is refused is seen in the running gateway's status: why, whose, from where, and what."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from connectors.replay.publisher import Publisher
from headgate.cli import main
from headgate.core.clock import SystemClock
from tests.e2e.gateway import Gateway
from tests.mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(120)]


def _config(broker: Mosquitto) -> str:
    feed = 'time = {{ path = "ts", unit = "s" }}\nchannels.{channel} = {{}}\n'
    return (
        f"[mqtt]\nport = {broker.port}\n[log]\npartitions = 2\n[local_store]\n"
        f'[feed.pump]\ntopic = "pumps/{{device}}"\n{feed.format(channel="flow")}'
        f'[feed.tank]\ntopic = "tanks/{{device}}"\n{feed.format(channel="level")}'
    )


def test_refusals_are_told_by_reason_feed_topic_and_example(
    mosquitto: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of messages and of readings, and what a device sends does not paint the terminal."""
    now_s = SystemClock().wall_ns() // 10**9
    with (
        Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway,
        Publisher("127.0.0.1", mosquitto.port, SystemClock()) as publisher,
    ):
        gateway.start()
        publisher.publish("pumps/p1", b'{"ts": %d, "flow": 1}' % now_s)
        for number in range(3):
            publisher.publish("pumps/p1", b"not \x1b[2J json %d" % number)
        publisher.publish("pumps/p2", b"neither")
        publisher.publish("tanks/t1", b'{"level": 2}')
        publisher.publish("pumps/p1", b'{"ts": %d, "flow": 1}' % (now_s - 3600))

        def kinds() -> dict[tuple[str, str], dict[str, Any]]:
            told = gateway.status()["refused"]
            return {(kind["reason"], kind["feed"]): kind for kind in told}

        deadline = time.perf_counter() + 30
        while len(kinds()) < 3 and time.perf_counter() < deadline:
            time.sleep(0.1)
        found = kinds()
        assert set(found) == {("not_json", "pump"), ("bad_time", "tank"), ("late", "pump")}
        assert found["not_json", "pump"]["count"] == 4
        assert found["not_json", "pump"]["sources"] == [["pumps/p1", 3], ["pumps/p2", 1]]
        assert found["bad_time", "tank"]["example"] == '{"level": 2}'
        assert found["bad_time", "tank"]["sources"] == [["tanks/t1", 1]]
        assert found["late", "pump"]["sources"] == [["p1", 1]]
        assert found["late", "pump"]["example"].startswith("flow=1 at ")

        publisher.publish("pumps/p1", b"not \x1b[2J json")
        while kinds()["not_json", "pump"]["count"] < 5 and time.perf_counter() < deadline:
            time.sleep(0.1)
        assert main(["status", "-c", str(gateway.config_file)]) == 0
        screen = capsys.readouterr().out
        assert all(line.isprintable() for line in screen.split("\n"))
        assert "not_json" in screen
        assert "pumps/p1" in screen
        assert r"\x1b[2J" in screen
