"""Scores of windows as the running gateway gives them: a device's windows one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.package import Golden
from models.runtime import BareModel
from models.training.progress import Progress, silent
from models.training.windows import Windows

#: Windows in one run of a model without state, and between two words of progress.
_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Graph:
    """A model as ONNX.

    Attributes:
        content: The file's bytes.
        initial_state: float32[s], what it knows of a new device; s is 0 for one without state.
    """

    content: bytes
    initial_state: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model, and scores to choose its threshold by.

    Attributes:
        graph: The model.
        held_out: float32[n], scores of training windows; where the kind can, by a model that was
            fitted without them.
        device: int32[n], their devices.
        end_ns: int64[n], their ends; each device's rise.
    """

    graph: Graph
    held_out: NDArray[np.float32]
    device: NDArray[np.int32]
    end_ns: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model says to w windows.

    Attributes:
        score: float32[w].
        share: float32[w, channel].
        golden: Some of the windows with everything that went in and came out.
    """

    score: NDArray[np.float32]
    share: NDArray[np.float32]
    golden: Golden


def score_windows(
    graph: Graph,
    windows: Windows,
    picked: NDArray[np.intp],
    progress: Progress = silent,
    what: str = "calibrating",
) -> Scored:
    """Score windows.

    Args:
        graph: The model.
        windows: Of one or several devices.
        picked: intp[n], rising: the windows to keep as golden ones.
        progress: Is told how many windows have been scored.
        what: What it is told that this is.
    """
    size = len(graph.initial_state)
    model = BareModel(graph.content, is_stateful=size > 0)
    count, _, channels = windows.values.shape
    score = np.empty(count, np.float32)
    share = np.empty((count, channels), np.float32)
    before = np.empty((len(picked), size), np.float32)
    after = np.empty((len(picked), size), np.float32)
    _, starts, lengths = np.unique(windows.device, return_index=True, return_counts=True)
    state = np.tile(graph.initial_state, (len(starts), 1))
    place = np.full(count, -1)
    place[picked] = np.arange(len(picked))
    # Without state all windows may go at once, else the k-th of each device.
    rounds = (
        [(starts[lengths > k] + k, lengths > k) for k in range(int(lengths.max()))]
        if size
        else [
            (np.arange(first, min(first + _BATCH, count)), slice(0, 0))
            for first in range(0, count, _BATCH)
        ]
    )
    done = told = 0
    for rows, devices in rounds:
        known = state[devices] if size else np.empty((len(rows), 0), np.float32)
        score[rows], share[rows], following, _ = model.run(windows.values[rows], known)
        kept = place[rows]
        before[kept[kept >= 0]], after[kept[kept >= 0]] = known[kept >= 0], following[kept >= 0]
        if size:
            state[devices] = following
        done += len(rows)
        if done - told >= _BATCH or done == count:
            told = done
            progress(what, done, count)
    golden = Golden(
        windows.values[picked], score[picked], share[picked], before, after, graph.initial_state
    )
    return Scored(score, share, golden)
