"""The demo's script of faults."""

from __future__ import annotations

import pytest

from connectors.simulator.faults import demo_faults
from connectors.simulator.fleet import CHANNELS
from headgate.core.clock import NS_PER_S

_START_NS = 1_800_000_000 * NS_PER_S


@pytest.mark.parametrize("devices", [1, 2, 3, 5, 7, 8, 9, 20, 1000])
@pytest.mark.parametrize("seconds", [20.0, 60.0, 600.0])
def test_every_fleet_gets_at_most_one_fault_a_device_inside_the_run(
    devices: int, seconds: float
) -> None:
    """Truth stays unambiguous however small the fleet is."""
    faults = demo_faults(devices, _START_NS, seconds)
    assert len(faults) == min(devices, 8)
    places = [fault.device for fault in faults]
    assert len(set(places)) == len(places)
    assert all(0 <= place < devices for place in places)
    for fault in faults:
        assert _START_NS < fault.start_ns < fault.end_ns < _START_NS + seconds * NS_PER_S
        assert (fault.channel in CHANNELS) != fault.is_process


def test_a_fleet_of_demo_size_has_every_kind() -> None:
    """All five kinds are injected, the three of the process among them."""
    faults = demo_faults(20, _START_NS, 60)
    assert {fault.kind for fault in faults if fault.is_process} == {
        "bearing_wear",
        "cavitation",
        "blocked_inlet",
    }
    assert {fault.kind for fault in faults if not fault.is_process} == {
        "sensor_stuck",
        "sensor_dropout",
    }
