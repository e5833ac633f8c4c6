"""Stretches of time: sets of times, as rising edges at which they begin and end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

#: Before and behind all edges, ns: far enough from int64's ends to be subtracted from.
_FAR_NS = 2**62


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """Some stretches of time, none of which touches another.

    Attributes:
        edges: int64[2s], rising: where each begins, and where it has ended, ns since 1970 UTC.
    """

    edges: NDArray[np.int64]
    #: With the ends of time before and behind them.
    _every: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        every = np.concatenate([[-_FAR_NS], self.edges, [_FAR_NS]]).astype(np.int64)
        object.__setattr__(self, "_every", every)

    @classmethod
    def of(cls, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> Self:
        """Those from each of these begins to its end; they may overlap, or be none."""
        is_some = begins < ends
        return cls(_where(1, (begins[is_some], ends[is_some])))

    @classmethod
    def always(cls) -> Self:
        """All time."""
        return cls(np.array([-_FAR_NS, _FAR_NS], np.int64))

    @classmethod
    def any_of(cls, several: Sequence[Stretches]) -> Self:
        """The times that any of these has."""
        return cls(_where(1, *(each.parts for each in several)))

    def without(self, others: Stretches) -> Stretches:
        """The times that these have, and the others have not."""
        left = (others._every[::2], others._every[1::2])
        return Stretches(_where(2, self.parts, left))

    @property
    def parts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where each begins, and where it has ended."""
        return self.edges[::2], self.edges[1::2]

    def __len__(self) -> int:
        return len(self.edges) // 2

    def at(
        self, time_ns: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
        """How it is at some times.

        Returns:
            bool[n], whether one has the time; int64[n] and int64[n], since when, and until when,
            that is so without a break.
        """
        at = np.searchsorted(self.edges, time_ns, "right")
        return at % 2 == 1, self._every[at], self._every[at + 1]

    def has(self, time_ns: int) -> bool:
        """Whether one has this time."""
        return bool(np.searchsorted(self.edges, time_ns, "right") % 2)


def _where(least: int, *parts: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.int64]:
    """int64[2s]: edges of the times that so many of these stretches have, or more."""
    begins = np.concatenate([np.empty(0, np.int64), *(each for each, _ in parts)])
    ends = np.concatenate([np.empty(0, np.int64), *(each for _, each in parts)])
    edges, which = np.unique(np.concatenate([begins, ends]), return_inverse=True)
    steps = np.zeros(len(edges), np.int64)
    np.add.at(steps, which[: len(begins)], 1)
    np.add.at(steps, which[len(begins) :], -1)
    is_in = np.cumsum(steps) >= least
    is_edge = is_in != np.concatenate([[False], is_in[:-1]])
    found: NDArray[np.int64] = edges[is_edge]
    return found
