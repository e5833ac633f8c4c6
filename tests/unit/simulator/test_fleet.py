"""The fleet: pumps that behave like pumps, the same ones every time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from connectors.simulator.faults import Fault, FaultKind
from connectors.simulator.fleet import CHANNELS, Fleet
from headgate.core.clock import NS_PER_S

_START_NS = 1_800_000_000 * NS_PER_S
_COLUMN = {name: place for place, name in enumerate(CHANNELS)}


def _run(fleet: Fleet, steps: int) -> NDArray[np.float64]:
    return np.stack([fleet.step().values for _ in range(steps)])


def _with_fault(kind: FaultKind, channel: str = "") -> tuple[NDArray[np.float64], ...]:
    """The first device's readings with a fault from 10 s to 40 s, and the same without it."""
    fault = Fault(kind, 0, _START_NS + 10 * NS_PER_S, _START_NS + 40 * NS_PER_S, channel)
    broken = Fleet(3, 10, 5, start_ns=_START_NS, faults=[fault])
    healthy = Fleet(3, 10, 5, start_ns=_START_NS)
    with_fault, without = _run(broken, 500), _run(healthy, 500)
    others = with_fault[:, 1:], without[:, 1:]
    np.testing.assert_array_equal(*others)
    np.testing.assert_array_equal(with_fault[:100], without[:100])
    return with_fault[:, 0], without[:, 0]


def test_the_same_seed_gives_the_same_readings() -> None:
    """A run can be repeated to the last bit."""
    first = _run(Fleet(7, 10, 3, start_ns=_START_NS), 200)
    again = _run(Fleet(7, 10, 3, start_ns=_START_NS), 200)
    other = _run(Fleet(7, 10, 4, start_ns=_START_NS), 200)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_event_times_are_whole_milliseconds_and_never_drift() -> None:
    """Thirty samples a second do not divide a second evenly, and still do not run away."""
    fleet = Fleet(1, 30, 1, start_ns=_START_NS + 123)
    times = np.array([fleet.step().time_ns for _ in range(301)])
    assert (times % 1_000_000 == 0).all()
    assert times[0] == _START_NS
    assert times[300] == _START_NS + 10 * NS_PER_S
    assert set(np.diff(times)) == {33_000_000, 34_000_000}


def test_signals_follow_the_speed_as_a_pumps_do() -> None:
    """Flow rises with the speed, head with its square, power with its cube."""
    values = np.concatenate(
        [
            _run(Fleet(40, 2, 9, start_ns=_START_NS + hours * 3600 * NS_PER_S), 20)
            for hours in (0, 9)
        ]
    ).reshape(-1, len(CHANNELS))
    speed = values[:, _COLUMN["load"]] / 100
    for name, power in (("flow", 1), ("pressure", 2), ("current", 3)):
        assert np.corrcoef(speed**power, values[:, _COLUMN[name]])[0, 1] > 0.98
    assert 50 < 100 * speed.min() < 100 * speed.max() < 100
    assert np.isfinite(values).all()


def test_the_day_shows_in_the_load() -> None:
    """Six hours later the plant asks for another speed."""
    morning = _run(Fleet(20, 1, 2, start_ns=_START_NS), 1)[0]
    noon = _run(Fleet(20, 1, 2, start_ns=_START_NS + 6 * 3600 * NS_PER_S), 1)[0]
    assert np.abs(noon - morning)[:, _COLUMN["load"]].max() > 5


def test_bearing_wear_shakes_warms_and_brakes() -> None:
    """Vibration and temperature rise; the motor draws a little more."""
    broken, healthy = (series[350:400].mean(0) for series in _with_fault("bearing_wear"))
    assert broken[_COLUMN["vibration"]] > 2.5 * healthy[_COLUMN["vibration"]]
    assert broken[_COLUMN["temperature"]] > healthy[_COLUMN["temperature"]] + 10
    assert 1.01 < broken[_COLUMN["current"]] / healthy[_COLUMN["current"]] < 1.1


def test_cavitation_makes_flow_and_pressure_drop_and_flutter() -> None:
    """Flow and pressure are lower and rougher; the casing shakes."""
    broken, healthy = (series[150:400] for series in _with_fault("cavitation"))
    for name in ("flow", "pressure"):
        column = _COLUMN[name]
        assert broken[:, column].mean() < 0.95 * healthy[:, column].mean()
        assert np.diff(broken[:, column]).std() > 3 * np.diff(healthy[:, column]).std()
    assert broken[:, -1].mean() > 1.7 * healthy[:, -1].mean()


def test_a_blocked_inlet_starves_the_pump() -> None:
    """Flow, pressure and current fall while the speed stays."""
    broken, healthy = (series[350:400].mean(0) for series in _with_fault("blocked_inlet"))
    assert broken[_COLUMN["flow"]] < 0.65 * healthy[_COLUMN["flow"]]
    assert broken[_COLUMN["pressure"]] < 0.9 * healthy[_COLUMN["pressure"]]
    assert broken[_COLUMN["current"]] < 0.95 * healthy[_COLUMN["current"]]
    assert broken[_COLUMN["load"]] == healthy[_COLUMN["load"]]


@pytest.mark.parametrize("kind", ["sensor_stuck", "sensor_dropout"])
def test_a_broken_sensor_touches_its_channel_only(kind: FaultKind) -> None:
    """One signal stands still or is gone while the fault lasts, and comes back after it."""
    broken, healthy = _with_fault(kind, "pressure")
    column = _COLUMN["pressure"]
    during = broken[100:400, column]
    if kind == "sensor_stuck":
        assert (during == healthy[100, column]).all()
    else:
        assert np.isnan(during).all()
    np.testing.assert_array_equal(
        np.delete(broken, column, axis=1), np.delete(healthy, column, axis=1)
    )
    np.testing.assert_array_equal(broken[400:], healthy[400:])


def test_repeated_faults_come_back_with_each_round() -> None:
    """A sensor that sticks each round sticks at that round's value."""
    fault = Fault("sensor_stuck", 0, _START_NS + 2 * NS_PER_S, _START_NS + 4 * NS_PER_S, "flow")
    fleet = Fleet(1, 10, 1, start_ns=_START_NS, faults=[fault], repeat_faults_s=10)
    flow = _run(fleet, 200)[:, 0, _COLUMN["flow"]]
    assert len(set(flow[20:40])) == len(set(flow[120:140])) == 1
    assert flow[20] != flow[120]
    assert len(set(flow[40:120])) > 50
