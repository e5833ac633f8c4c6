"""What a sink is: the contract with the forward lane, and how a sink becomes a component.

A kind of sink is a folder, or a package of somebody else's, that brings

- a table of its configuration, a ``headgate.config.table.Table``; keys that name secrets, files and
  certificates are annotated with the types of ``headgate.config.values``, and need nothing else to
  be checked, hidden and warned of;
- a ``SinkComponent``, named in ``connectors/sinks/components.py`` or by an entry point of the group
  ``headgate.sinks``. It is imported whenever the configuration asks for such a sink, also by
  commands that only look; its ``make`` imports what is heavy.

``headgate.testing.sinks`` holds a sink to what stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from headgate.core.components import Component

if TYPE_CHECKING:
    from connectors.finding import Finding
    from connectors.sinks.points import Kind, Point
    from headgate.config.schema import Config
    from headgate.core.clock import Clock
    from headgate.core.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Refused:
    """A point that a sink will never take, and what it said."""

    point: Point
    detail: str


class Sink(Protocol):
    """Takes points. Writing a point again must overwrite it, or add one of the same identity."""

    #: Name in metrics, logs and consumer groups: the one that ``make`` was given.
    name: str

    #: What it takes: the component's.
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


@runtime_checkable
class WaitingSink(Protocol):
    """A sink that says yes to points and does something about them later; both keep its contract.

    It keeps what waits over restarts and kills by itself.
    """

    def is_due(self) -> bool:
        """Whether there is something to do now: ``write`` is called with no points then.

        Asked every few seconds.
        """
        ...


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What a sink is made with, besides its table.

    Attributes:
        name: Its name, ``NAME`` of ``[sink.NAME]``.
        key: Where the configuration has its table, as it is written in messages.
        config: The whole configuration; ``config.data_path`` makes a ``WritableFile`` absolute.
        clock: Source of time.
        telemetry: Where it counts, under its name.
    """

    name: str
    key: str
    config: Config
    clock: Clock
    telemetry: Telemetry


#: Makes a sink, not started yet, of its checked table. It connects to nothing.
MakeSink: TypeAlias = Callable[[Any, SinkContext], Sink]


@dataclass(frozen=True, slots=True)
class Probe:
    """Looks whether a sink would take points, without writing one.

    Attributes:
        ask: Looks, given what ``make`` is given; may block, and runs in a thread. What it raises is
            told as well: ``ConfigError`` where somebody must mend something, ``TransientError``
            where nobody answers.
        limit_s: How long that may take with this table, s.
    """

    ask: Callable[[Any, SinkContext], Finding]
    limit_s: Callable[[Any], float]


@dataclass(frozen=True, slots=True)
class SinkComponent(Component[MakeSink]):
    """A kind of sink.

    Attributes:
        kinds: What it takes.
        probe: For ``headgate check --connect``.
        points_file: Where it keeps points, if it keeps them on this machine in a SQLite file with
            the tables and views of the local store.
        passes_over: Whether a sink of this table lets a point go by, knowingly and by nothing but
            the table: it says yes to it and keeps nothing. None: it keeps all.
        test: For ``headgate notify test``: sends one message that says it is a test, and gives the
            bytes that were sent. None: it tells nobody.
    """

    kinds: tuple[Kind, ...] = ("anomalies", "aggregates")
    probe: Probe | None = None
    points_file: Callable[[Any, Config], Path] | None = None
    passes_over: Callable[[Any, Point], bool] | None = None
    test: Callable[[Any, SinkContext], Coroutine[Any, Any, int]] | None = None
