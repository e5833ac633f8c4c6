"""The contract between the forward lane and a sink."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from connectors.sinks.points import Kind, Point


@dataclass(frozen=True, slots=True)
class Refused:
    """A point that a sink will never take, and what it said."""

    point: Point
    detail: str


class Sink(Protocol):
    """Takes points. Writing a point again must overwrite it."""

    #: Name in metrics, logs and consumer groups.
    name: str

    #: What it takes.
    kinds: tuple[Kind, ...]

    #: Points in one call at most.
    max_points: int

    #: Aggregates are gathered for so long before a call, s. Anomalies never wait.
    max_wait_s: float

    async def start(self) -> None:
        """Get ready; does not wait for a peer that is not there."""
        ...

    async def stop(self) -> None:
        """Release everything."""
        ...

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        """Write points; returns once they are acknowledged, with those that never will be.

        Raises:
            TransientError: Not now. Some of the points may have been written; all must be
                written again.
        """
        ...
