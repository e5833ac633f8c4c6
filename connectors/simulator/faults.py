"""Faults with known times: what is injected, where, from when to when.

A fault that belongs to the process (``is_process``) shows in several signals at once and must be
found by a model. A fault of a sensor shows in one signal and must be flagged by cleaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headgate.core.clock import NS_PER_S

FaultKind = Literal["bearing_wear", "cavitation", "blocked_inlet", "sensor_stuck", "sensor_dropout"]

#: Faults that a model has to find; the others are for the cleaning stage.
PROCESS_FAULTS: frozenset[FaultKind] = frozenset(("bearing_wear", "cavitation", "blocked_inlet"))


@dataclass(frozen=True, slots=True)
class Fault:
    """One injected fault: the truth that detection is measured against.

    Attributes:
        kind: What breaks.
        device: Position of the device in its fleet, counted from 0.
        start_ns: Event time of the first touched reading, ns since 1970 UTC.
        end_ns: Event time of the first reading that is well again.
        channel: The one channel a sensor's fault is about; empty for a process fault.
    """

    kind: FaultKind
    device: int
    start_ns: int
    end_ns: int
    channel: str = ""

    @property
    def is_process(self) -> bool:
        """True for a fault of the pump itself, False for one of a sensor."""
        return self.kind in PROCESS_FAULTS


#: The demo's script: kind, channel, start and end as parts of the run. It leaves the first eighth
#: healthy, so that windows fill, and the last sixth, so that anomalies are seen to close. Wear
#: gets the longest time because it grows slowly. The order is by worth: a fleet smaller than the
#: script gets its first faults only, one a device.
_SCRIPT: Sequence[tuple[FaultKind, str, float, float]] = (
    ("bearing_wear", "", 0.15, 0.65),
    ("cavitation", "", 0.25, 0.50),
    ("blocked_inlet", "", 0.40, 0.72),
    ("sensor_dropout", "flow", 0.45, 0.65),
    ("sensor_stuck", "pressure", 0.30, 0.80),
    ("cavitation", "", 0.55, 0.80),
    ("blocked_inlet", "", 0.20, 0.52),
    ("bearing_wear", "", 0.33, 0.83),
)


def demo_faults(devices: int, start_ns: int, seconds: float) -> tuple[Fault, ...]:
    """The demo's faults for a fleet and a run of this length, in order of their start.

    Args:
        devices: Size of the fleet; each device gets one fault at most.
        start_ns: Event time of the run's first reading, ns since 1970 UTC.
        seconds: Length of the run; the faults' times scale with it.
    """
    count = min(devices, len(_SCRIPT))
    faults = [
        Fault(
            kind,
            # Spread over the fleet; distinct because count never exceeds devices.
            place * devices // count,
            start_ns + round(begin * seconds * NS_PER_S),
            start_ns + round(end * seconds * NS_PER_S),
            channel,
        )
        for place, (kind, channel, begin, end) in enumerate(_SCRIPT[:count])
    ]
    return tuple(sorted(faults, key=lambda fault: (fault.start_ns, fault.device)))
