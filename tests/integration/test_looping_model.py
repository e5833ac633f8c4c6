"""A gateway with a model that never answers says which one, and keeps everything meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from connectors.replay.publisher import Publisher
from headgate.core.clock import SystemClock
from tests.e2e.gateway import Gateway
from tests.looping_model import write_looping_package
from tests.mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(240)]


def test_the_log_names_the_model_and_the_other_lanes_go_on(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """The lane that can't start ends by itself, with a word, and is started anew."""
    write_looping_package(tmp_path / "endless", feed="pump", channel="flow")
    config = (
        f"[mqtt]\nport = {mosquitto.port}\n[log]\npartitions = 2\n[local_store]\n"
        '[feed.pump]\ntopic = "pumps/{device}"\nchannels.flow = {}\nmodels = ["loop"]\n'
        f'[model.loop]\npackage = "{tmp_path}/endless"\n'
    )
    with Gateway(tmp_path / "gateway", config) as gateway:
        gateway.start_without_waiting()
        said = "endless: expected golden outputs, got none within"
        deadline = time.perf_counter() + 150
        while said not in gateway.output():
            assert time.perf_counter() < deadline, gateway.output()[-2000:]
            time.sleep(0.2)
        assert "model.loop: " in gateway.output()
        assert gateway.get("/readyz")[0] == 503
        with Publisher("127.0.0.1", mosquitto.port, SystemClock()) as publisher:
            publisher.publish("pumps/p1", b'{"flow": 1}')
        while gateway.status()["totals"]["rows"] < 1:
            assert time.perf_counter() < deadline
            time.sleep(0.2)
