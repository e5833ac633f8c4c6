"""``kill -9`` of the gateway's processes under load: nothing is lost, nothing comes twice."""

from __future__ import annotations

import time

import pytest

from tests.faults.rig import LANES, Rig
from tests.victoria import Victoria

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.store,
    pytest.mark.kafka,
    pytest.mark.timeout(400),
]

#: Random kills of each run.
_KILLS = 16


def test_kills_at_random_moments_lose_and_double_nothing(rig: Rig, victoria: Victoria) -> None:
    """One lane at a time, then all at once; every point is as in an undisturbed run."""
    rig.start()
    rig.plant.start()
    while rig.kills < _KILLS:
        time.sleep(rig.random.uniform(0.2, 2.0))
        if rig.kills == _KILLS // 2:
            rig.kill_all()
        else:
            rig.kill(rig.random.choice(LANES))
        rig.recover()
    account = rig.settle()
    stored = sum(
        sum(series["values"]) for series in victoria.series('{__name__=~"pump_1s_.*_(n|flagged)"}')
    )

    assert account.is_settled, str(account)
    assert account.anomalies > 0
    assert stored == account.aggregated


_MOMENTS = ("ingest.appended", "streams.outputs", "streams.snapshot", "forward.written")


def test_kills_at_the_worst_moments_lose_and_double_nothing(rig: Rig) -> None:
    """Between append and PUBACK, results and snapshot, snapshot and commit, sink and commit."""
    for moment in _MOMENTS:
        for count in (1, 5):
            (rig.faults / f"{moment}.{count}").touch()
    rig.start()
    rig.plant.start()
    deadline = time.perf_counter() + 150
    while any(rig.faults.iterdir()):
        assert time.perf_counter() < deadline, list(rig.faults.iterdir())
        time.sleep(0.2)
    # Each moment has killed its process itself.
    rig.kills += 2 * len(_MOMENTS)
    rig.recover()
    account = rig.settle()

    assert account.is_settled, str(account)
    assert account.anomalies > 0
