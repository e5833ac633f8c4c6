"""The same plant before a gateway as tutorials build it: it must lose, and the rig must see it.

A rig that does not see the losses of one that is known to lose would prove nothing of ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.replay.publisher import Publisher
from headgate.core.clock import SystemClock
from tests.faults.plant import Plant
from tests.faults.store import Store
from tests.mosquitto import Mosquitto
from tests.processes import until

pytestmark = [pytest.mark.mosquitto, pytest.mark.kafka, pytest.mark.timeout(150)]


@contextmanager
def _naive(
    folder: Path, kafka: str, broker: Mosquitto, store: Store, fault: str
) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "ready").unlink(missing_ok=True)
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.naive"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={
                **os.environ,
                "NAIVE_NAME": f"naive-{folder.parent.name}-{fault}",
                "NAIVE_FOLDER": str(folder),
                "NAIVE_KAFKA": kafka,
                "NAIVE_MQTT": str(broker.port),
                "NAIVE_STORE": store.url,
                "NAIVE_FAULT": fault,
            },
        )
    try:
        until((folder / "ready").exists, "the naive gateway subscribes")
        yield process
    finally:
        process.kill()
        process.wait()


def _stored_when_quiet(store: Store) -> int:
    """Points at the store once none has come for a while."""
    seen, since = len(store.lines), time.perf_counter()
    while time.perf_counter() - since < 9:
        time.sleep(0.2)
        if len(store.lines) != seen:
            seen, since = len(store.lines), time.perf_counter()
    return seen


@pytest.mark.parametrize(
    "fault",
    [
        "none",
        "kill",
        *(
            pytest.param(word, marks=pytest.mark.thorough)
            for word in ("raise", "malformed", "term")
        ),
    ],
)
def test_the_tutorials_way_loses_and_the_rig_sees_it(
    broker: Mosquitto, kafka: str, tmp_path: Path, fault: str
) -> None:
    """Undisturbed it loses nothing; with a kill, a stop, an exception, a bad message it does."""
    with Store() as store:
        plant = Plant(broker.port, 4, steps_per_s=20)
        with _naive(tmp_path, kafka, broker, store, fault) as first:
            plant.start()
            until(lambda: len(store.lines) > 200, "points at the store")
            if fault == "malformed":
                with Publisher("127.0.0.1", broker.port, SystemClock()) as publisher:
                    publisher.publish("plant/line-1/pump-77/telemetry", b'{"time": 1, "load')
                    publisher.flush()
            elif fault == "kill":
                first.kill()
            elif fault == "term":
                first.terminate()
            if fault in ("kill", "term"):
                first.wait(60)
                with _naive(tmp_path, kafka, broker, store, fault):
                    time.sleep(2)
                    ledger = plant.finish()
                    stored = _stored_when_quiet(store)
            else:
                time.sleep(2)
                ledger = plant.finish()
                stored = _stored_when_quiet(store)
    lost = len(ledger) - stored

    assert (lost == 0) == (fault == "none"), f"{lost} of {len(ledger)} lost"
