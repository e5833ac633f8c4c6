"""Several models as one: what most of them find abnormal is abnormal.

Members look at the same steps, and each keeps its own state. Their scores have no common unit, so
each is divided by where its tail begins: the score that one in a hundred of its held-out windows
reaches. The score is the median of that over the members, which is a vote of the majority at every
threshold (the median rule: Kittler, Hatef, Duin and Matas, "On Combining Classifiers", IEEE PAMI
20, 1998): one that is wrong by itself, for whatever reason and by however much, is outvoted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import onnx
import spox
import spox.opset.ai.onnx.v17 as op
from numpy.typing import NDArray
from spox import Var

from models.training.graphs import axes, build_stateful, columns, number, shares
from models.training.kind import AlarmRule, Kind, kind_of
from models.training.level import CLOSE_AFTER, LOW
from models.training.progress import Progress
from models.training.scoring import Fitted, Graph
from models.training.thresholds import choose
from models.training.windows import Windows

#: Kinds that are combined: one holds channels against each other, one against their levels, one
#: looks at windows as a whole.
MEMBERS = ("ridge", "level", "pca")

#: Steps in a window: the longest of the members'.
WINDOW = 5

#: Members' scores are in units of this quantile of theirs.
_TAIL = 0.99

#: Least of these units: a member that never says anything in training stays finite.
_LEAST = 1e-6

_Kind = TypeVar("_Kind", np.float32, np.int64)


@dataclass(frozen=True, slots=True)
class Member:
    """A kind that takes part.

    Attributes:
        fit: Fits windows.
        window: Steps that it looks at, the last ones of a window.
    """

    fit: Callable[[Windows], Fitted]
    window: int


def member(name: str, seed: int, tell: Progress) -> Member:
    """A kind as it is by itself, its own threshold included."""
    kind = kind_of(name)
    rule = kind.rule

    def meets(score: NDArray[np.float32], device: NDArray[np.int32]) -> float:
        return rule.margin * choose(rule.method, score, device, rule.rate)

    return Member(lambda windows: kind.fit(windows, seed, meets, tell), kind.window)


def fit(windows: Windows, members: Sequence[Member]) -> Fitted:
    """Fit each member to the steps it looks at; held out is what all of them held out."""
    fitted = [
        each.fit(replace(windows, values=windows.values[:, -each.window :])) for each in members
    ]
    units = [max(float(np.quantile(each.held_out, _TAIL)), _LEAST) for each in fitted]
    _, steps, channels = windows.values.shape
    graph = to_graph(
        [
            (each.graph, member.window, unit)
            for each, member, unit in zip(fitted, members, units, strict=True)
        ],
        steps,
        channels,
    )
    # Members score a device from different steps on, and all to the end.
    counts = {
        int(device): min(int((each.device == device).sum()) for each in fitted)
        for device in np.unique(windows.device)
    }
    held_out = np.median(
        [
            _last(each.held_out, each.device, counts) / unit
            for each, unit in zip(fitted, units, strict=True)
        ],
        axis=0,
    )
    device = np.repeat(list(counts), list(counts.values())).astype(np.int32)
    end_ns = _last(fitted[0].end_ns, fitted[0].device, counts)
    return Fitted(graph, held_out.astype(np.float32), device, end_ns)


def to_graph(members: Sequence[tuple[Graph, int, float]], steps: int, channels: int) -> Graph:
    """The graph: the members' graphs, each with its part of the state.

    A channel's share is the mean of its shares by the members, weighted by their scores.

    Args:
        members: Graph, steps it looks at, and unit of its scores; an odd number of them.
        steps: Steps in a window.
        channels: Channels.
    """
    ends = np.cumsum([0, *(len(graph.initial_state) for graph, _, _ in members)]).tolist()

    def body(window: Var, state: Var) -> tuple[Var, Var, Var]:
        scores, blamed, following = [], [], []
        for (graph, looks_at, unit), first, end in zip(members, ends[:-1], ends[1:], strict=True):
            inputs = {"window": op.slice(window, axes(steps - looks_at), axes(steps), axes(1))}
            if end > first:
                inputs["state"] = columns(state, first, end)
            said = spox.inline(onnx.load_from_string(graph.content))(**inputs)
            score = op.mul(op.unsqueeze(said["score"], axes(1)), number(1 / unit))
            scores.append(score)
            blamed.append(op.mul(said["share"], score))
            if end > first:
                following.append(said["next_state"])
        upper, _ = op.top_k(op.concat(scores, axis=1), axes((len(members) + 1) // 2), axis=1)
        median = op.reduce_min(upper, axes=[1], keepdims=0)
        return median, shares(op.sum(blamed)), op.concat(following, axis=1)

    initial = np.concatenate([graph.initial_state for graph, _, _ in members])
    return build_stateful(body, steps, channels, initial)


def _last(
    rows: NDArray[_Kind], devices: NDArray[np.int32], counts: Mapping[int, int]
) -> NDArray[_Kind]:
    """So many of each device's last rows."""
    parts = [rows[devices == device] for device in counts]
    return np.concatenate(
        [part[len(part) - count :] for part, count in zip(parts, counts.values(), strict=True)]
    )


KIND = Kind(
    fit=lambda windows, seed, _meets, tell: fit(
        windows, [member(name, seed, tell) for name in MEMBERS]
    ),
    window=WINDOW,
    has_window=False,
    rule=AlarmRule("quantile", 0.01, margin=1.6, low=LOW, close_after=CLOSE_AFTER),
)
