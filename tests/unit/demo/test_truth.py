"""The judge of the demo: what counts as found, and what as a false alarm."""

from __future__ import annotations

from connectors.simulator.faults import Fault, FaultKind
from headgate.core.clock import NS_PER_S
from headgate.demo.truth import RECOVERY_NS, SeenAnomaly, judge

_NAMES = ("pump-01", "pump-02")


def _fault(kind: FaultKind = "cavitation", device: int = 0) -> Fault:
    return Fault(kind, device, 100 * NS_PER_S, 120 * NS_PER_S)


def _anomaly(start_s: float, *, device: str = "pump-01", seen_s: float = 110.0) -> SeenAnomaly:
    start_ns = round(start_s * NS_PER_S)
    return SeenAnomaly(
        device=device,
        start_ns=start_ns,
        end_ns=start_ns + NS_PER_S,
        seen_ns=round(seen_s * NS_PER_S),
        is_open=False,
        severity="minor",
        peak_score=1.5,
        channel="flow",
    )


def test_an_anomaly_that_begins_during_the_fault_finds_it() -> None:
    """The delay runs from the fault's begin to the anomaly's arrival."""
    anomaly = _anomaly(104, seen_s=106.5)
    verdict = judge([_fault()], _NAMES, [anomaly])
    assert verdict.found == {_fault(): anomaly}
    assert verdict.detected == 1
    assert verdict.delays_s() == [6.5]
    assert verdict.false_alarms == ()


def test_the_first_to_arrive_counts() -> None:
    """A second anomaly of the same fault changes nothing."""
    first, second = _anomaly(104, seen_s=106), _anomaly(112, seen_s=114)
    assert judge([_fault()], _NAMES, [second, first]).found == {_fault(): first}


def test_an_alarm_before_the_fault_is_false() -> None:
    """Luck is not detection."""
    early = _anomaly(99)
    verdict = judge([_fault()], _NAMES, [early])
    assert verdict.detected == 0
    assert verdict.false_alarms == (early,)


def test_an_alarm_of_another_device_is_false() -> None:
    """The fault of one pump excuses no other."""
    other = _anomaly(104, device="pump-02")
    verdict = judge([_fault()], _NAMES, [other])
    assert verdict.detected == 0
    assert verdict.false_alarms == (other,)


def test_an_alarm_soon_after_the_fault_is_excused_and_finds_nothing() -> None:
    """A pump takes a while to recover; an alarm after that is false."""
    soon = _anomaly(121)
    late = _anomaly(120 + RECOVERY_NS / NS_PER_S)
    verdict = judge([_fault()], _NAMES, [soon, late])
    assert verdict.detected == 0
    assert verdict.false_alarms == (late,)


def test_a_sensors_fault_excuses_an_alarm_but_is_not_for_models_to_find() -> None:
    """It counts neither as injected nor as detected here."""
    verdict = judge([_fault("sensor_stuck")], _NAMES, [_anomaly(104)])
    assert verdict.found == {}
    assert verdict.false_alarms == ()
    assert verdict.delays_s() == []


def test_without_faults_every_alarm_is_false() -> None:
    """The healthy run's measure."""
    assert len(judge([], _NAMES, [_anomaly(104), _anomaly(5)]).false_alarms) == 2
