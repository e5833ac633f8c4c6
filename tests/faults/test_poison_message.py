"""A message that ends every process that decodes it."""

from __future__ import annotations

import time

import pytest

from connectors.replay.publisher import Publisher
from headgate.cli import main
from headgate.core.clock import SystemClock
from tests.faults.conftest import MakeRig
from tests.faults.rig import Rig
from tests.processes import until

pytestmark = [pytest.mark.mosquitto, pytest.mark.store, pytest.mark.timeout(240)]


@pytest.mark.parametrize("word", [pytest.param("raise", marks=pytest.mark.thorough), "crash"])
def test_a_poison_message_goes_to_quarantine_and_the_rest_goes_on(
    make_rig: MakeRig, word: str
) -> None:
    """The decoder runs out of memory, or takes the process with it; none of the rest is lost."""
    rig = make_rig("sqlite:///log.db", steps_per_s=20)
    (rig.faults / "poison-message").write_text(word)
    rig.start()
    rig.plant.start()
    time.sleep(2)
    with Publisher("127.0.0.1", rig.broker.port, SystemClock()) as publisher:
        publisher.publish("plant/line-1/pump-99/telemetry", b'{"time": 1, "poison": 1}')
        publisher.flush()
    until(lambda: _is_put_aside(rig), "the message is put aside", within_s=90)
    account = rig.settle(within_s=60)
    lanes = rig.gateway.status()["lanes"]

    assert account.is_settled, str(account)
    assert lanes["ingest"]["restarts"] == 4
    assert main(["audit", "-c", str(rig.gateway.config_file)]) == 0


def _is_put_aside(rig: Rig) -> bool:
    _, metrics = rig.gateway.get("/metrics")
    return any(
        line.startswith(b"headgate_quarantined_total") and b'reason="poison"' in line
        for line in metrics.splitlines()
    )
