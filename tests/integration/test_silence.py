"""A plant that goes silent is told of by the running gateway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connectors.replay.publisher import Publisher
from headgate.cli import main
from headgate.core.clock import SystemClock
from tests.e2e.gateway import Gateway
from tests.mosquitto import Mosquitto
from tests.processes import until

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(120)]

_DEVICES = ("p1", "p2", "p3")


def _config(broker: Mosquitto) -> str:
    return (
        f"[mqtt]\nport = {broker.port}\n[log]\npartitions = 2\n[local_store]\n"
        '[streams]\nsilent_after = "1s"\n'
        '[feed.press]\ntopic = "hall/{device}"\nchannels.force = {}\nperiod = "100ms"\n'
        'grace = "0s"\naggregates = [{ window = "1s" }]\n'
    )


def test_a_plant_that_goes_silent_is_told_of(
    mosquitto: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By pages, metrics, the command and, once, the log; nothing is red, and it ends by itself."""
    with (
        Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway,
        Publisher("127.0.0.1", mosquitto.port, SystemClock()) as publisher,
    ):
        gateway.start()

        def send(*devices: str) -> bool:
            for device in devices:
                publisher.publish(f"hall/{device}", b'{"force": 1}')
            return True

        def feed() -> dict[str, float]:
            found: dict[str, float] = gateway.status()["feeds"].get("press", {})
            return found

        send(*_DEVICES)
        until(lambda: feed().get("devices") == 3, "devices being known")
        until(lambda: send("p3") and feed()["silent"] == 2, "two being silent")
        assert gateway.status()["warnings"] == []
        assert {name for name, _ in feed()["names"]} == {"p1", "p2"}  # type: ignore[attr-defined]

        until(lambda: feed()["silent"] == 3, "all being silent")
        (line,) = gateway.status()["warnings"]
        assert line.startswith("feed.press: all 3 devices are silent; nothing has come for ")
        code, body = gateway.get("/readyz")
        assert code == 200
        assert json.loads(body)["warnings"][0].startswith("feed.press: all 3 devices are silent")
        assert (
            b'headgate_silent_devices{feed="press",lane="streams"} 3.0'
            in gateway.get("/metrics")[1]
        )
        assert main(["status", "-c", str(gateway.config_file)]) == 0
        screen = capsys.readouterr().out
        assert "warning: feed.press: all 3 devices are silent" in screen
        assert "p1" in screen

        until(lambda: "something is not well" in gateway.output(), "the log saying so")
        send(*_DEVICES)
        until(lambda: gateway.status()["warnings"] == [], "the end of it")
        until(lambda: "What was warned of is over" in gateway.output(), "the log saying that")
        assert gateway.output().count("something is not well") == 1
