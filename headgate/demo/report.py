"""What a run of the demo came to: the numbers, and what they are checked against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from connectors.simulator.faults import Fault
from headgate.demo.truth import Verdict


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one run.

    Attributes:
        messages: Messages that the broker has confirmed.
        rows: Readings in them.
        quarantined: Readings and messages in quarantine.
        late: Those of them that came too late.
        aggregates: Points with aggregates in the store.
        anomalies: Anomalies in the store.
        alarms: By rule, alarms in the store.
        verdict: The anomalies held against the injected faults.
        sensor_faults: Injected faults of sensors.
        sensor_faults_flagged: Those that cleaning has flagged.
        flagged: Readings by quality flag.
        bytes_in: Bytes of all payloads.
        bytes_uplink: Bytes forwarded, compressed as on the wire.
        seconds: Length of the simulated time.
        balanced: Every published reading is accounted for, and nothing is left open.
    """

    messages: int
    rows: int
    quarantined: int
    late: int
    aggregates: int
    anomalies: int
    alarms: dict[str, int]
    verdict: Verdict
    sensor_faults: tuple[Fault, ...]
    sensor_faults_flagged: int
    flagged: dict[str, int]
    bytes_in: int
    bytes_uplink: int
    seconds: float
    balanced: bool

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON object; delays are None when nothing was found."""
        delays_s = self.verdict.delays_s()
        return {
            "messages": self.messages,
            "rows": self.rows,
            "quarantined": self.quarantined,
            "late": self.late,
            "aggregates": self.aggregates,
            "anomalies": self.anomalies,
            "alarms": self.alarms,
            "faults_injected": len(self.verdict.found),
            "faults_detected": self.verdict.detected,
            "sensor_faults_injected": len(self.sensor_faults),
            "sensor_faults_flagged": self.sensor_faults_flagged,
            "false_alarms": len(self.verdict.false_alarms),
            "detection_delay_s": {
                "p50": round(float(np.median(delays_s)), 3) if delays_s else None,
                "max": round(delays_s[-1], 3) if delays_s else None,
            },
            "flagged": self.flagged,
            "bytes_in": self.bytes_in,
            "bytes_uplink": self.bytes_uplink,
            "seconds": self.seconds,
            "balanced": self.balanced,
        }
