"""Stopping in the middle of things: in time, and without losing anything."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.faults.conftest import MakeRig
from tests.faults.rig import Rig
from tests.kafka.server import KafkaServer
from tests.processes import until

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.store,
    pytest.mark.kafka,
    pytest.mark.timeout(240),
]


def test_a_stop_under_full_load_drains_and_loses_nothing(rig: Rig) -> None:
    """SIGTERM ends the gateway with 0 within 5 s, again and again, and nothing is missing."""
    rig.start()
    rig.plant.start()
    for _ in range(2):
        time.sleep(1.5)
        assert rig.gateway.stop(within_s=6) == 0
        rig.start()
    account = rig.settle()

    assert account.is_settled, str(account)


def test_a_stop_while_the_store_hangs_loses_nothing(rig: Rig) -> None:
    """The sink answers nothing; the gateway does not wait for it."""
    rig.start()
    rig.plant.start()
    time.sleep(1.5)
    rig.store.mode = "silent"
    time.sleep(2)
    assert rig.gateway.stop(within_s=6) == 0
    rig.store.mode = "ok"
    rig.start()
    account = rig.settle()

    assert account.is_settled, str(account)


def test_a_stop_while_kafka_hangs_loses_nothing(
    make_rig: MakeRig, kafka_server: KafkaServer
) -> None:
    """The log answers nothing; what was not finished is done again."""
    rig = make_rig(f"kafka://{kafka_server.address}")
    rig.start()
    rig.plant.start()
    time.sleep(2)
    kafka_server.pause()
    try:
        time.sleep(2)
        assert rig.gateway.stop(within_s=6) == 0
    finally:
        kafka_server.resume()
    rig.start()
    account = rig.settle()

    assert account.is_settled, str(account)


def test_a_second_sigterm_ends_it_at_once(rig: Rig) -> None:
    """Whoever asks twice does not want to wait; that costs nothing either."""
    rig.start()
    rig.plant.start()
    time.sleep(1.5)
    # A lane that can't answer, or the first would be enough.
    rig.signal("forward", signal.SIGSTOP)
    started = time.perf_counter()
    os.kill(rig.gateway.pid, signal.SIGTERM)
    time.sleep(0.2)
    os.kill(rig.gateway.pid, signal.SIGTERM)
    assert rig.gateway.wait(within_s=5) == 128 + signal.SIGTERM
    assert time.perf_counter() - started < 2
    rig.start()
    account = rig.settle()

    assert account.is_settled, str(account)


def test_workers_that_are_started_anew_in_turn_lose_nothing(
    make_rig: MakeRig, fault_log_url: str
) -> None:
    """A rolling restart of two workers under load, in the middle of windows."""
    rig = make_rig(fault_log_url, workers=2)
    rig.start()
    rig.plant.start()
    for lane in ("streams-1", "streams-2"):
        time.sleep(2)
        before = rig.pid(lane)
        rig.signal(lane, signal.SIGTERM)
        until(lambda lane=lane, before=before: rig.pid(lane) not in (None, before), lane)  # type: ignore[misc]
        rig.recover()
    account = rig.settle()

    assert account.is_settled, str(account)
