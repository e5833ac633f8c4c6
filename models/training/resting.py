"""What a threshold rests on: the spans without which it would be another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.training.data import time_text
from models.training.scoring import Fitted

#: A threshold rests on spans without which it would be a third or less. What healthy data has of
#: higher scores moves it by less.
_TIMES = 3.0

#: So many spans are looked at, the highest first; of more it can't be said that they are the fault.
_MOST_SPANS = 3

#: High scores of a device are one span where they lie closer together than this, windows.
_APART = 24

#: Windows that must be left to choose a threshold by, and their part of all.
_FEWEST_LEFT, _LEAST_PART = 20, 0.5


def resting_on(
    fitted: Fitted, choose: Callable[[NDArray[np.float32], NDArray[np.int32]], float]
) -> list[str]:
    """A line about the spans that set a threshold so high that hardly anything would pass it.

    A fault in the training data scores far above all else, and a threshold that is to let the
    training data pass lets such faults pass.

    Args:
        fitted: With the scores that the threshold is chosen by.
        choose: Gives a threshold, of scores and their devices.

    Returns:
        Nothing where the threshold does not rest on a few spans.
    """
    score, device, end_ns = fitted.held_out, fitted.device, fitted.end_ns
    known = score[score > 0]
    if not len(known):
        return []
    threshold, usual = choose(score, device), float(np.median(known))
    is_left = np.ones(len(score), np.bool_)
    spans: list[tuple[int, int]] = []
    while len(spans) < _MOST_SPANS:
        first, last = _highest_span(np.where(is_left, score, 0), device, usual)
        spans.append((first, last))
        is_left[first : last + 1] = False
        if is_left.sum() < max(_FEWEST_LEFT, _LEAST_PART * len(score)):
            return []
        without = choose(score[is_left], device[is_left])
        if 0 < without <= threshold / _TIMES:
            where = ", and ".join(
                f"between {time_text(end_ns[first])} and {time_text(end_ns[last])}"
                for first, last in sorted(spans)
            )
            count = int((~is_left).sum())
            line = (
                f"the threshold {threshold:.4g} rests on {count:,} of {len(score):,} windows, "
                f"{where}; without them it would be {without:.4g}: was something wrong then? Leave "
                "it out with --from and --to or --labels, or hardly anything will pass the "
                "threshold"
            )
            return [line]
    return []


def _highest_span(
    score: NDArray[np.float32], device: NDArray[np.int32], usual: float
) -> tuple[int, int]:
    """First and last window of the span in which the highest score lies."""
    top = int(score.argmax())
    # Between what is usual and the highest, as scores go: by how many times.
    high = float(np.sqrt(usual * float(score[top])))
    rows = np.flatnonzero((score >= min(high, float(score[top]))) & (device == device[top]))
    at = int(np.searchsorted(rows, top))
    breaks = np.flatnonzero(np.diff(rows) > _APART)
    begin = breaks[breaks < at]
    end = breaks[breaks >= at]
    first = int(rows[begin[-1] + 1]) if len(begin) else int(rows[0])
    last = int(rows[end[0]]) if len(end) else int(rows[-1])
    return first, last
