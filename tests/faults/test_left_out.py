"""Records that Faust fetches and drops, which it takes for acknowledged."""

from __future__ import annotations

import time

import pytest

from tests.faults.conftest import MakeRig
from tests.processes import until

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.store,
    pytest.mark.kafka,
    pytest.mark.timeout(240),
]

_RECORDS = 60


def test_what_faust_drops_is_read_from_the_log(make_rig: MakeRig, fault_log_url: str) -> None:
    """By Faust's own code, over kills too, and each record counts once."""
    rig = make_rig(fault_log_url)
    left = rig.faults / "left-out"
    left.write_text(str(_RECORDS))
    rig.start()
    rig.plant.start()
    for _ in range(2):
        time.sleep(2)
        rig.kill("streams")
        rig.recover()
    until(lambda: left.read_text() == "0", "all that is to be dropped", 60)
    time.sleep(2)
    account = rig.settle()

    assert account.is_settled, str(account)
