"""The account itself: what one sink has lost is found, and named by that sink."""

from __future__ import annotations

import json
import sqlite3
import time
import urllib.parse
import urllib.request
from contextlib import closing
from dataclasses import replace

import pytest

from connectors.sinks.points import Point
from tests.accounts import Tally
from tests.faults.conftest import MakeRig
from tests.faults.rig import Rig
from tests.processes import until
from tests.victoria import Victoria

pytestmark = [pytest.mark.mosquitto, pytest.mark.store, pytest.mark.timeout(180)]


def _lost_at(rig: Rig) -> dict[str, int]:
    return {sink: tally.lost for sink, tally in rig.settle_sinks().items()}


def test_a_loss_at_one_sink_is_found_and_named(make_rig: MakeRig, victoria: Victoria) -> None:
    """A row deleted, a value altered, a series deleted, a message not heard."""
    rig = make_rig("sqlite:///log.db", steps_per_s=80)
    rig.start()
    rig.plant.start()
    time.sleep(5)
    account = rig.settle()
    assert account.is_settled, str(account)
    assert all(tally.there for tally in account.sinks.values()), account
    assert rig.tally.lost_at == {"influxdb": 0, "local_store": 0, "mqtt": 0}

    with closing(sqlite3.connect(rig.local_store, timeout=10)) as database, database:
        measurement, tags, time_ns, fields = database.execute(
            "SELECT measurement, tags, time_ns, fields FROM points WHERE kind = 'anomalies'"
        ).fetchone()
        database.execute(
            "DELETE FROM points WHERE (measurement, tags, time_ns) = (?, ?, ?)",
            (measurement, tags, time_ns),
        )
        database.execute(
            "UPDATE points SET fields = json_set(fields, '$.flow_mean', 1e9) WHERE (measurement, "
            "tags, time_ns) IN (SELECT measurement, tags, time_ns FROM points "
            "WHERE kind = 'aggregates' LIMIT 2)"
        )
    assert _lost_at(rig) == {"influxdb": 0, "local_store": 3, "mqtt": 0}
    (missing,) = (
        problem
        for problem in rig.settle_sinks()["local_store"].problems
        if problem.startswith("not in local_store: ")
    )
    assert measurement in missing
    assert str(time_ns) in missing

    point = Point("anomalies", measurement, tuple(json.loads(tags).items()), fields, time_ns)
    rig.listener.forget(point)
    assert _lost_at(rig) == {"influxdb": 0, "local_store": 3, "mqtt": 1}

    match = urllib.parse.quote('{__name__=~"pump_1s_flow_.*",device="pump-01"}')
    url = f"{victoria.url}/api/v1/admin/tsdb/delete_series?match[]={match}"
    urllib.request.urlopen(url, timeout=10).close()
    tallies = rig.settle_sinks()
    assert tallies["influxdb"].lost > 1
    assert all("device=pump-01," in problem for problem in tallies["influxdb"].problems)
    account = replace(account, sinks=tallies)
    assert not account.is_settled
    assert "not as in the log in influxdb" in str(account)


def test_what_waits_for_one_sink_is_no_loss_and_not_settled(make_rig: MakeRig) -> None:
    """The others have it; it is counted as waiting, and comes when the sink is back."""
    rig = make_rig("sqlite:///log.db")
    rig.store.mode = "503"
    rig.start()
    rig.plant.start()
    until(lambda: rig.settle_sinks()["local_store"].there > 20, "points in the local store")
    tallies = rig.settle_sinks()
    rig.store.mode = "ok"
    account = rig.settle()

    assert tallies["influxdb"].waiting > 20
    assert tallies["influxdb"].there == 0
    assert not any(tally.lost for tally in tallies.values()), tallies
    assert not replace(account, sinks=tallies).is_settled
    assert account.is_settled, str(account)


def test_a_tally_is_read_back_and_added_up_by_sink() -> None:
    """The line of each run, and the last line of all."""
    one = Tally(1, 2, 3, 4, 5, {"mqtt": 1})
    both = one + Tally.parse(str(Tally(lost_at={"local_store": 7, "mqtt": 1})))

    assert Tally.parse(str(one)) == one
    assert str(both) == (
        "kills=1 seeds=2 messages=3 lost=4 duplicated=5 lost_at_local_store=7 lost_at_mqtt=2"
    )
