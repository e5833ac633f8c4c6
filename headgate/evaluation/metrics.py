"""Figures of merit for alarms, row by row and event by event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Mask = NDArray[np.bool_]

#: Widest buffer around labelled events for the volume under the surface, in rows: half of the
#: usual event, and no more than this.
_WIDEST_BUFFER = 100


@dataclass(frozen=True, slots=True)
class Confusion:
    """Rows by alarm and label. Counts of several recordings may be added."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    @classmethod
    def of(cls, alarm: _Mask, label: _Mask) -> Confusion:
        """Count bool[n] alarms against bool[n] labels."""
        return cls(
            int((alarm & label).sum()),
            int((alarm & ~label).sum()),
            int((~alarm & label).sum()),
            int((~alarm & ~label).sum()),
        )

    def __add__(self, other: Confusion) -> Confusion:
        """Both together."""
        return Confusion(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn
        )

    @property
    def precision(self) -> float:
        """Part of the alarmed rows that are labelled; 0 without alarms."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Part of the labelled rows that are alarmed (TPR)."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """Part of the other rows that are not alarmed (TNR)."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def far(self) -> float:
        """False alarm rate FP / (FP + TN), percent."""
        return 100 * _ratio(self.fp, self.fp + self.tn)

    @property
    def mar(self) -> float:
        """Missed alarm rate FN / (FN + TP), percent."""
        return 100 * _ratio(self.fn, self.fn + self.tp)

    @property
    def mcc(self) -> float:
        """Matthews's correlation coefficient; 0 when a row or column of the table is empty."""
        sides = (self.tp + self.fp, self.tp + self.fn, self.tn + self.fp, self.tn + self.fn)
        product = float(np.prod([float(side) for side in sides]))
        return (self.tp * self.tn - self.fp * self.fn) / product**0.5 if product else 0.0


def events(label: _Mask) -> list[tuple[int, int]]:
    """First and last row of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], label.astype(np.int8), [0]])))
    return [(int(first), int(end) - 1) for first, end in edges.reshape(-1, 2)]


def delays(alarm: _Mask, label: _Mask) -> list[int | None]:
    """Rows from the beginning of each labelled event to its first alarm; None: missed."""
    found: list[int | None] = []
    for first, last in events(label):
        hits = np.flatnonzero(alarm[first : last + 1])
        found.append(int(hits[0]) if len(hits) else None)
    return found


def false_alarms(alarm: _Mask, label: _Mask) -> int:
    """Alarms, each a run of rows, that touch no labelled row."""
    return sum(not label[first : last + 1].any() for first, last in events(alarm))


def vus_pr(score: NDArray[np.float64], label: _Mask, widest: int | None = None) -> float:
    """Volume under the surface of precision and recall, over buffers around the events.

    Paparrizos et al., "Volume Under the Surface", PVLDB 15 (2022): each event is widened on both
    sides by a slope ``sqrt(1 - distance / buffer)`` of partial labels; recall is weighted by the
    part of the events that were met at all. The area under the curve is averaged over all buffers
    from none to the widest.

    Args:
        score: float64[n], higher is more abnormal.
        label: bool[n].
        widest: Widest buffer, rows; None is half of the median event, at most 100.
    """
    found = events(label)
    if not found or not len(score):
        return 0.0
    if widest is None:
        median = float(np.median([last - first + 1 for first, last in found]))
        widest = min(int(median / 2), _WIDEST_BUFFER)
    order = np.argsort(-score, kind="stable")
    # Equal scores alarm together.
    ranked = score[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return float(np.mean([_area(order, ends, label, found, size) for size in range(widest + 1)]))


def _area(
    order: NDArray[np.intp],
    ends: NDArray[np.intp],
    label: _Mask,
    found: Sequence[tuple[int, int]],
    buffer: int,
) -> float:
    """Area under the curve with events widened by so many rows."""
    soft = _softened(label, found, buffer)
    weight = np.cumsum(soft[order])[ends]
    alarmed = (ends + 1).astype(np.float64)
    # What counts as positive lies between the events and the events with their slopes.
    positive = (label.sum() + soft.sum()) / 2
    first_met = np.sort([_first_met(order, span, buffer) for span in found])
    met = np.searchsorted(first_met, ends, side="right") / len(found)
    recall = np.minimum(weight / positive, 1) * met
    precision = weight / alarmed
    # Average precision: no interpolation between points.
    return float(np.sum(np.diff(np.append(0.0, recall)) * precision))


def _softened(label: _Mask, found: Sequence[tuple[int, int]], buffer: int) -> NDArray[np.float64]:
    soft = label.astype(np.float64)
    slope = np.sqrt(1 - np.arange(1, buffer // 2 + 1) / max(buffer, 1))
    for first, last in found:
        before, after = soft[max(0, first - len(slope)) : first], soft[last + 1 :][: len(slope)]
        np.maximum(before, slope[: len(before)][::-1], out=before)
        np.maximum(after, slope[: len(after)], out=after)
    return soft


def _first_met(order: NDArray[np.intp], span: tuple[int, int], buffer: int) -> int:
    """Position in the falling order of the highest score in an event and its slopes."""
    first, last = max(0, span[0] - buffer // 2), span[1] + buffer // 2
    return int(np.flatnonzero((order >= first) & (order <= last))[0])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
