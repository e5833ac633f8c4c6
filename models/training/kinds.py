"""The kinds of models, what each is for, and how its alarms are set by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.training import autoencoder, forest, fusion, level, novelty, pca, ridge
from models.training.progress import Progress
from models.training.scoring import Fitted
from models.training.thresholds import Method, choose
from models.training.windows import Windows

#: Chooses a threshold, of scores and their devices.
Limit = Callable[[NDArray[np.float32], NDArray[np.int32]], float]


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """When scores become an anomaly.

    Attributes:
        method: How the threshold is chosen; see ``thresholds.choose``.
        rate: False alarms that are accepted, in the method's unit.
        margin: The threshold is so many times what the method finds: data to come differs from
            the training data by more than the training data differs from itself.
        low: The lower threshold as a part of the threshold, where ``low_rate`` is None.
        low_rate: Part of the training scores that reaches the lower threshold.
        open_after: Scores in a row over the threshold that open an anomaly.
        close_after: Scores in a row under the lower threshold that close it, at most.
        close_surprise: See ``models.package.Alarm``.
        quiet: Likewise.
    """

    method: Method
    rate: float
    margin: float = 1.0
    low: float = 0.8
    low_rate: float | None = None
    open_after: int = 1
    close_after: int = 5
    close_surprise: float = 0.0
    quiet: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of model.

    Attributes:
        fit: Fits windows, given a seed, what chooses the threshold, and whom to tell of progress.
        window: Steps in a window, unless told otherwise.
        has_window: Whether another number of steps makes sense.
        rule: Its alarms, unless told otherwise.
        about: What it looks at, in a line.
        takes_states: Whether channels that only take 0 and 1 help it to explain the others. Where
            they don't they have no vote: a command never given in training is no fault.
    """

    fit: Callable[[Windows, int, Limit, Progress], Fitted]
    window: int
    has_window: bool
    rule: AlarmRule
    about: str
    takes_states: bool = False


def fusion_member(name: str, seed: int, tell: Progress) -> fusion.Member:
    """A kind as it is by itself, its own threshold included."""
    kind = KINDS[name]
    rule = kind.rule

    def meets(score: NDArray[np.float32], device: NDArray[np.int32]) -> float:
        return rule.margin * choose(rule.method, score, device, rule.rate)

    return fusion.Member(lambda windows: kind.fit(windows, seed, meets, tell), kind.window)


KINDS: Mapping[str, Kind] = {
    "level": Kind(
        fit=lambda windows, _seed, meets, tell: level.fit(windows, meets, tell),
        window=level.WINDOW,
        has_window=False,
        rule=AlarmRule("quantile", 0.02, margin=1.4, low=level.LOW, close_after=level.CLOSE_AFTER),
        about="channels that leave their level faster than they drift",
    ),
    "novelty": Kind(
        fit=lambda windows, _seed, _meets, tell: novelty.fit(windows, tell),
        window=novelty.WINDOW,
        has_window=False,
        # One in a hundred by what lately was, and as rare by what training had.
        rule=AlarmRule("probability", 0.01, margin=1.1, quiet=150),
        about="what a device has never done before",
    ),
    "pca": Kind(
        fit=lambda windows, _seed, _meets, _tell: pca.fit(windows),
        window=5,
        has_window=True,
        rule=AlarmRule("quantile", 0.01, margin=1.6, open_after=3),
        about="windows off the plane that healthy ones lie in (T2 and Q)",
    ),
    "autoencoder": Kind(
        fit=lambda windows, seed, _meets, tell: autoencoder.fit(windows, seed, tell),
        window=autoencoder.WINDOW,
        has_window=True,
        rule=AlarmRule("quantile", 0.01, margin=1.6, open_after=3),
        about="windows that a small network can't reconstruct",
    ),
    "forest": Kind(
        fit=lambda windows, seed, _meets, tell: forest.fit(windows, seed, tell),
        window=forest.WINDOW,
        has_window=True,
        rule=AlarmRule("quantile", 0.003, open_after=3),
        about="windows that few random cuts set apart (isolation forest), for comparison",
    ),
    "ridge": Kind(
        fit=lambda windows, _seed, _meets, _tell: ridge.fit(windows),
        window=ridge.WINDOW,
        has_window=False,
        # Once a month of hours, or once in twelve minutes of seconds.
        rule=AlarmRule(
            "events",
            12 / 8766,
            low_rate=0.02,
            close_after=48,
            close_surprise=0.002,
        ),
        about="channels that the others do not explain, with limits that follow drift",
        takes_states=True,
    ),
    "fusion": Kind(
        fit=lambda windows, seed, _meets, tell: fusion.fit(
            windows, [fusion_member(name, seed, tell) for name in fusion.MEMBERS]
        ),
        window=fusion.WINDOW,
        has_window=False,
        rule=AlarmRule("quantile", 0.01, margin=1.6, low=level.LOW, close_after=level.CLOSE_AFTER),
        about="what most of ridge, level and pca find abnormal",
    ),
}
