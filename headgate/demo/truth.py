"""The judge: which injected faults were found, how soon, and which alarms were false."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connectors.simulator.faults import Fault
from headgate.core.clock import NS_PER_S

#: How long after a fault's end an alarm of its device is still owed to it, ns: a worn bearing is
#: hot for a while, and a window that reaches back into the fault is rightly abnormal.
RECOVERY_NS = 20 * NS_PER_S

#: The quality flag by which cleaning shows that it has noticed a sensor's fault.
FLAG_OF: Mapping[str, str] = {"sensor_stuck": "stuck", "sensor_dropout": "missing"}


@dataclass(frozen=True, slots=True)
class SeenAnomaly:
    """An anomaly as it stands in the store, and when it was first seen there.

    Attributes:
        device: The device's name.
        start_ns: Event time of its start, ns since 1970 UTC.
        end_ns: Event time of its end so far.
        seen_ns: Wall time at which it had come out at the far end of the gateway.
        is_open: Whether it still lasts.
        severity: ``"minor"``, ``"major"`` or ``"critical"``.
        peak_score: Its highest score.
        channel: The channel with the largest share.
    """

    device: str
    start_ns: int
    end_ns: int
    seen_ns: int
    is_open: bool
    severity: str
    peak_score: float
    channel: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the faults and the anomalies.

    Attributes:
        found: For each process fault, the anomaly that found it first, or None.
        false_alarms: Anomalies that no fault of their device explains.
    """

    found: dict[Fault, SeenAnomaly | None]
    false_alarms: tuple[SeenAnomaly, ...]

    @property
    def detected(self) -> int:
        """Process faults found."""
        return sum(anomaly is not None for anomaly in self.found.values())

    def delays_s(self) -> list[float]:
        """For each fault found, s from its begin to the anomaly's arrival in the store; sorted."""
        return sorted(
            max(0, anomaly.seen_ns - fault.start_ns) / NS_PER_S
            for fault, anomaly in self.found.items()
            if anomaly is not None
        )


def judge(
    faults: Sequence[Fault], names: Sequence[str], anomalies: Sequence[SeenAnomaly]
) -> Verdict:
    """Hold the anomalies against the truth.

    A process fault is found when an anomaly of its device begins while the fault lasts. An anomaly
    that begins earlier than every fault of its device, or later than ``RECOVERY_NS`` after them,
    is a false alarm. A sensor's fault excuses an anomaly but is never found by one.

    Args:
        faults: What was injected.
        names: The devices' names by position.
        anomalies: What came out.
    """
    found: dict[Fault, SeenAnomaly | None] = {}
    for fault in faults:
        if fault.is_process:
            hits = [
                anomaly
                for anomaly in anomalies
                if anomaly.device == names[fault.device]
                and fault.start_ns <= anomaly.start_ns < fault.end_ns
            ]
            found[fault] = min(hits, key=lambda anomaly: anomaly.seen_ns, default=None)
    false_alarms = tuple(
        anomaly
        for anomaly in anomalies
        if not any(
            anomaly.device == names[fault.device]
            and fault.start_ns <= anomaly.start_ns < fault.end_ns + RECOVERY_NS
            for fault in faults
        )
    )
    return Verdict(found, false_alarms)
