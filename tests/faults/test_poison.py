"""A record that ends every process that works on it."""

from __future__ import annotations

import json
import time

import pytest

from connectors.replay.publisher import Publisher
from headgate.cli import main
from headgate.core.clock import SystemClock
from tests.faults.conftest import MakeRig
from tests.faults.plant import START_NS

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.store,
    pytest.mark.kafka,
    pytest.mark.timeout(240),
]


@pytest.mark.parametrize(
    "word", [pytest.param("raise", marks=pytest.mark.thorough), "hang", "crash"]
)
def test_a_poison_record_goes_to_quarantine_and_the_rest_goes_on(
    make_rig: MakeRig, fault_log_url: str, word: str
) -> None:
    """A stage raises, hangs, or takes the process with it; tried again, then put aside whole."""
    rig = make_rig(fault_log_url, stage_timeout="2s", steps_per_s=20)
    (rig.faults / "poison").write_text(word)
    rig.start()
    rig.plant.start()
    time.sleep(2)
    with Publisher("127.0.0.1", rig.broker.port, SystemClock()) as publisher:
        poison = {"time": START_NS // 1_000_000 + 5, "load": 13.5, "flow": 1.0}
        publisher.publish("plant/line-1/pump-99/telemetry", json.dumps(poison).encode())
        publisher.flush()
    time.sleep(8)
    account = rig.settle(within_s=60, exact=False, extra=len(poison) - 1)
    lanes = rig.gateway.status()["lanes"]

    assert rig.quarantined()[0]["poison"] >= 2
    assert account.is_settled, str(account)
    assert lanes["streams"]["restarts"] <= 5
    assert main(["audit", "-c", str(rig.gateway.config_file)]) == 0
