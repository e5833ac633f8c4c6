"""What a kind of model is: how it is fitted, what sets its alarms, and how it becomes a component.

A kind is a module, or a package of somebody else's, that brings

- a ``Kind``: it needs what the extra ``train`` installs, and is loaded only to train;
- a ``KindComponent`` whose ``make`` gives it, named in ``models/training/kinds.py`` or by an entry
  point of the group ``headgate.kinds``. It is loaded wherever kinds are listed, without that extra.

What comes of training is a package with an ONNX graph, which runs where no kind is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headgate.config.table import Table
from headgate.core.components import Component, component
from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from models.training.progress import Progress
    from models.training.scoring import Fitted
    from models.training.thresholds import Method
    from models.training.windows import Windows

#: Chooses a threshold, of scores and their devices.
Limit: TypeAlias = Callable[[NDArray[np.float32], NDArray[np.int32]], float]


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
        takes_states: Whether channels that only take 0 and 1 help it to explain the others. Where
            they don't they have no vote: a command never given in training is no fault.
    """

    fit: Callable[[Windows, int, Limit, Progress], Fitted]
    window: int
    has_window: bool
    rule: AlarmRule
    takes_states: bool = False


class KindConfig(Table):
    """A kind has no keys of its own: ``headgate model train`` has the same options for all."""


@dataclass(frozen=True, slots=True)
class KindComponent(Component[Callable[[], Kind]]):
    """A kind of model, before it is loaded."""


def kind_of(name: str) -> Kind:
    """The kind of this name.

    Raises:
        ConfigError: There is none, or what is installed as one is none.
    """
    found = component("kinds", name)
    if not isinstance(found, KindComponent):
        raise ConfigError(f"headgate.kinds: {name}: expected a KindComponent, got {found!r}")
    return found.make()
