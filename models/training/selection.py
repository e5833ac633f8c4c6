"""Which kind of model suits the data, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from models.training.windows import Windows

#: Channels are coupled where the others explain so much of the median channel's variance.
_COUPLED = 0.5

#: Rows for each number that a channel's regression has.
_ROWS_PER_NUMBER = 20


class Choice(NamedTuple):
    """A kind, and why it was taken."""

    kind: str
    why: str


def choose_kind(cut: Callable[[int], Windows]) -> Choice:
    """Choose by the data.

    Args:
        cut: Gives the training data's windows of so many steps.
    """
    now = cut(1).values[:, 0].astype(np.float64)
    rows, channels = now.shape
    if channels == 1:
        return Choice("novelty", "a single series can only be held against its own past")
    needed = _ROWS_PER_NUMBER * 2 * channels
    if rows < needed:
        return Choice(
            "mewma",
            f"{rows} rows are too few to learn how {channels} channels depend on each other",
        )
    explained = _explained(now)
    if explained >= _COUPLED:
        return Choice(
            "ridge",
            f"channels explain each other: of the median one's variance {100 * explained:.0f} %",
        )
    if explained < 0:
        return Choice(
            "mewma",
            "channels hardly explain each other: what couples them in the first half of the rows "
            "makes the second half worse",
        )
    return Choice(
        "mewma",
        f"channels hardly explain each other: of the median one's variance {100 * explained:.0f} %",
    )


def _explained(now: np.typing.NDArray[np.float64]) -> float:
    """Part of the median channel's variance that the others explain, on the half not fitted on.

    Below 0 where a guess by the others is worse than none.
    """
    half = len(now) // 2
    fit, rest = now[:half], now[half:]
    moment = fit.T @ fit / half + 0.01 * np.eye(now.shape[1])
    inverse = np.linalg.inv(moment)
    residual = rest @ (inverse / np.diag(inverse))
    spread = rest.var(axis=0)
    moves = spread > 0
    if not moves.any():
        return 0.0
    return float(np.median(1 - residual[:, moves].var(axis=0) / spread[moves]))
