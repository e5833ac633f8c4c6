"""What the watermark has to say of readings, and of time that passes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headgate.core.results import DeviceState
from headgate.core.stage import Output

#: int32[0]
NOBODY: Final[NDArray[np.int32]] = np.empty(0, np.int32)

#: int64[2, 0]
NO_JUMPS: Final[NDArray[np.int64]] = np.empty((2, 0), np.int64)


@dataclass(frozen=True, slots=True)
class Silence:
    """What the passing of time has to say of devices.

    Attributes:
        silent: int32[s], those that have gone silent: no reading has come for too long.
        closing: int32[c], those with windows that are not waited for any longer.
        floor_ns: int64[c], up to where.
        missed: int32[m], those that have not said that they are there for too long, either.
        said: int32[o], those of which it is said that they are away.
        states: What is said of them.
    """

    silent: NDArray[np.int32]
    closing: NDArray[np.int32]
    floor_ns: NDArray[np.int64]
    missed: NDArray[np.int32]
    said: NDArray[np.int32] = field(default_factory=lambda: NOBODY)
    states: list[DeviceState] = field(default_factory=list)

    @property
    def devices(self) -> NDArray[np.int32]:
        """All of them, each once."""
        return np.unique(np.concatenate([self.silent, self.closing, self.missed, self.said]))


@dataclass(frozen=True, slots=True)
class Turn:
    """Readings between two times that devices go back.

    Attributes:
        back: int32[d], rows of the devices that went back right before: their clocks were set.
        output: What is passed on, and what is rejected.
        states: Which devices have been heard after a silence, or for the first time.
        jumps: int64[2, j], rows of the devices whose clocks jump in it over windows, and up to
            where all is closed before that.
    """

    back: NDArray[np.int32]
    output: Output
    states: list[DeviceState] = field(default_factory=list)
    jumps: NDArray[np.int64] = field(default_factory=lambda: NO_JUMPS)
