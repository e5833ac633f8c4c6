"""What an evaluation gives: figures, a table with trivial detectors beside it, and recordings."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.evaluation.drive import Trace
from headgate.evaluation.metrics import Confusion
from models.package import ModelPackage
from models.training.data import TrainingData


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One recording, as it was scored.

    Attributes:
        name: For people: the file's name.
        kind: Kind of the model.
        why: It was chosen because of this.
        notes: What training had to say, a line each.
        time_ns: int64[n].
        names: The channels.
        values: float64[n, channel], as recorded.
        score: float64[n], NaN where there is none.
        threshold: float64[n], of the score.
        is_alarmed: bool[n].
        label: bool[n].
        first_scored: Row at which scoring begins; those before it were trained on.
    """

    name: str
    kind: str
    time_ns: NDArray[np.int64]
    names: tuple[str, ...]
    values: NDArray[np.float64]
    score: NDArray[np.float64]
    threshold: NDArray[np.float64]
    is_alarmed: NDArray[np.bool_]
    label: NDArray[np.bool_]
    first_scored: int
    why: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        package: ModelPackage,
        data: TrainingData,
        label: NDArray[np.bool_],
        trace: Trace,
        first_scored: int = 0,
    ) -> Evaluated:
        """A recording, and what the pipeline said to it with this model."""
        return cls(
            name=name,
            kind=package.manifest.training.kind,
            time_ns=data.time_ns,
            names=data.names,
            values=data.values,
            score=trace.score,
            threshold=trace.threshold,
            is_alarmed=trace.is_alarmed,
            label=label,
            first_scored=first_scored,
            why=package.manifest.training.chosen_because,
            notes=package.manifest.training.notes,
        )

    @property
    def confusion(self) -> Confusion:
        """Of the rows that are scored."""
        rows = slice(self.first_scored, None)
        return Confusion.of(self.is_alarmed[rows], self.label[rows])


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything an evaluation has to say.

    Attributes:
        title: What was evaluated.
        figures: The official figures and others, by name.
        columns: Names of the figures in the table's columns.
        rows: By detector, ours first and trivial ones after it, a figure for each column.
        spread: By figure, the least, median and largest over files.
        recordings: As they were scored.
        notes: What a person should know beside the figures, a line each.
        failed: What could not be scored, a line each.
        intervals: By figure of ours, what 95 % of draws of as many recordings lie between.
    """

    title: str
    figures: dict[str, float]
    columns: tuple[str, ...]
    rows: dict[str, dict[str, float]]
    spread: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    recordings: tuple[Evaluated, ...] = ()
    notes: tuple[str, ...] = ()
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    failed: tuple[str, ...] = ()


def spread_of(values: list[float]) -> tuple[float, float, float]:
    """Least, median and largest."""
    return min(values), float(np.median(values)), max(values)
