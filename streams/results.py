"""What comes out of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.core.results import Aggregates, Alarm, Anomaly, DeviceState, SensorHealth, StateChange
from headgate.core.stage import Rejected
from streams.stages.aggregate.joined import concat_aggregates


@dataclass(frozen=True, slots=True)
class Results:
    """What came of a batch, or of time passing.

    Attributes:
        aggregates: Windows that closed.
        anomalies: Anomalies that opened, changed or closed, in order.
        health: Sensors whose health has changed, in order.
        states: Devices that are there again, or not any more, in order.
        rejected: Readings that went no further, by reason.
        moved: int32[d], rows of the devices whose state has changed.
        settled: int32[s], rows of those of which no more has changed than that readings of theirs
            are settled, of which nothing came.
        changes: What text channels say anew, in order.
        derived: int32[c], rows of the derived channels that have been worked out, each once.
        alarms: Those of rules that have opened, or are over, in order.
    """

    aggregates: Aggregates
    anomalies: list[Anomaly]
    health: list[SensorHealth]
    states: list[DeviceState]
    rejected: tuple[Rejected, ...]
    moved: NDArray[np.int32]
    changes: list[StateChange] = field(default_factory=list)
    derived: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    alarms: list[Alarm] = field(default_factory=list)
    settled: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))


def joined(parts: Sequence[Results]) -> Results:
    """One after the other; of none nothing."""
    if len(parts) == 1:
        return parts[0]
    return Results(
        concat_aggregates([part.aggregates for part in parts]),
        [anomaly for part in parts for anomaly in part.anomalies],
        [each for part in parts for each in part.health],
        [each for part in parts for each in part.states],
        tuple(rejected for part in parts for rejected in part.rejected),
        _united([part.moved for part in parts]),
        [each for part in parts for each in part.changes],
        _united([part.derived for part in parts]),
        [each for part in parts for each in part.alarms],
        _united([part.settled for part in parts]),
    )


def _united(rows: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Rows that are in any of these, each once, rising."""
    return np.unique(np.concatenate([np.empty(0, np.int32), *rows]))
