"""What alarms and scores are worth against labels: of one recording, and of several together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S
from headgate.evaluation.metrics import Confusion, delays, events, false_alarms, vus_pr
from headgate.evaluation.result import Evaluated

_DAY_S = 86_400

#: The field's usual widest buffer around events, rows (TSB-AD: Liu and Paparrizos, NeurIPS 2024).
_USUAL_BUFFER = 100

#: An alarm that goes on for so many times the labelled event it met, behind its end, never ends.
_ENDLESS = 1.0

#: Draws of recordings, with replacement, that an interval is taken of, and the part it holds.
_DRAWS, _HELD = 1000, 0.95


@dataclass(frozen=True, slots=True)
class Judged:
    """What a detector has said to the scored rows of one recording.

    Attributes:
        counts: Of rows.
        before: Of the rows up to the end of the first labelled event: false alarms there can't be
            what a fault has left behind.
        late_s: From the beginning of each event that it found to its alarm.
        events: How many there were.
        false_alarms: Alarms that touch none of them.
        endless: Alarms that began in an event and went on behind it for longer than it was, or to
            the end.
        span_s: From the first row to the last.
        volume: VUS-PR with buffers of half an event at most; None without events.
        usual_volume: With the field's usual ones.
    """

    counts: Confusion
    before: Confusion
    late_s: list[float]
    events: int
    false_alarms: int
    endless: int
    span_s: float
    volume: float | None
    usual_volume: float | None

    @classmethod
    def of(
        cls, recording: Evaluated, is_alarmed: NDArray[np.bool_], score: NDArray[np.float64]
    ) -> Judged:
        """Of bool[n] alarms and float64[n] scores of all rows."""
        first = recording.first_scored
        alarm, label, time_ns = (
            is_alarmed[first:],
            recording.label[first:],
            recording.time_ns[first:],
        )
        spans = events(label)
        late_s = [
            float(time_ns[begin + late] - time_ns[begin]) / NS_PER_S
            for (begin, _), late in zip(spans, delays(alarm, label), strict=True)
            if late is not None
        ]
        until = spans[0][1] + 1 if spans else len(label)
        # Rows without a score say nothing: they rank last.
        ranked = np.nan_to_num(score[first:], nan=-np.inf)
        return cls(
            Confusion.of(alarm, label),
            Confusion.of(alarm[:until], label[:until]),
            late_s,
            len(spans),
            false_alarms(alarm, label),
            _endless(alarm, spans),
            float(time_ns[-1] - time_ns[0]) / NS_PER_S,
            vus_pr(ranked, label) if spans else None,
            vus_pr(ranked, label, _USUAL_BUFFER) if spans else None,
        )


#: Names of ``figures``.
COLUMNS = (
    "precision",
    "recall",
    "f1",
    "mcc",
    "far",
    "mar",
    "far_before",
    "far_after",
    "events",
    "detected",
    "delay_s",
    "false_alarms_per_day",
    "false_alarm_hours_per_day",
    "endless",
    "vus_pr",
    "vus_pr_100",
)


def figures(recordings: Sequence[Judged]) -> dict[str, float]:
    """Of all recordings together; what has no value, such as a delay of nothing found, is NaN.

    Returns:
        By name of ``COLUMNS``: rates of rows from 0 to 1 but for rates of false and missed alarms
        (FAR and MAR), which are in percent; FAR also of the healthy rows before the end of the
        first event and of those after it; the median
        delay of what was found; false alarms a day, by alarm and by the time they last; alarms that
        did not end with their event; and the mean VUS-PR of the recordings that have events.
    """
    counts, before = Confusion(), Confusion()
    for each in recordings:
        counts += each.counts
        before += each.before
    after = Confusion(fp=counts.fp - before.fp, tn=counts.tn - before.tn)
    late_s = [late for each in recordings for late in each.late_s]
    days = max(sum(each.span_s for each in recordings) / _DAY_S, 1e-9)
    return {
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "mcc": counts.mcc,
        "far": counts.far,
        "mar": counts.mar,
        "far_before": before.far,
        "far_after": after.far if after.fp + after.tn else math.nan,
        "events": float(sum(each.events for each in recordings)),
        "detected": float(len(late_s)),
        "delay_s": float(np.median(late_s)) if late_s else math.nan,
        "false_alarms_per_day": sum(each.false_alarms for each in recordings) / days,
        # Of the whole time, the part that false alarms take of healthy rows, in hours a day.
        "false_alarm_hours_per_day": 24 * counts.fp / max(counts.fp + counts.tn, 1),
        "endless": float(sum(each.endless for each in recordings)),
        "vus_pr": _mean([each.volume for each in recordings]),
        "vus_pr_100": _mean([each.usual_volume for each in recordings]),
    }


def intervals(
    recordings: Sequence[Judged],
    of: Callable[[Sequence[Judged]], dict[str, float]] = figures,
) -> dict[str, tuple[float, float]]:
    """By figure, what 95 % of draws of as many recordings lie between.

    Bootstrap over recordings (Efron, "Bootstrap Methods", Annals of Statistics 7, 1979): rows of
    one recording are no independent witnesses. Empty with fewer than three recordings.
    """
    if len(recordings) < 3:
        return {}
    rng = np.random.default_rng(0)
    draws = [
        of([recordings[at] for at in rng.integers(0, len(recordings), len(recordings))])
        for _ in range(_DRAWS)
    ]
    found = {}
    for name in draws[0]:
        values = np.array([draw[name] for draw in draws])
        values = values[np.isfinite(values)]
        if len(values):
            low, high = np.quantile(values, ((1 - _HELD) / 2, (1 + _HELD) / 2))
            found[name] = (float(low), float(high))
    return found


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else math.nan


def _endless(alarm: NDArray[np.bool_], spans: Sequence[tuple[int, int]]) -> int:
    count = 0
    alarms = events(alarm)
    for first, last in spans:
        for begin, end in alarms:
            # The alarm that is on when the event ends.
            if begin <= last <= end and end - last > _ENDLESS * (last - first + 1):
                count += 1
    return count
