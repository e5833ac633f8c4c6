"""Where each kind of sink is put through the contract: a module a kind, called as the kind is.

A new kind of sink needs a module here with a class ``Scene`` and, for those that need a service, a
``MARK``; ``tests/contract/test_sinks.py`` finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from connectors.sinks.points import Kind, Point

_START_NS = 1_750_000_000 * 10**9

#: Points of each kind in a batch.
_POINTS = 3


class Stored(NamedTuple):
    """A point as a sink has it."""

    measurement: str
    device: str
    time_ns: int
    value: float


class Scene(Protocol):
    """A sink's other side. Its folder is the gateway's ``data_dir``'s parent."""

    #: Whether a point that is written again takes its own place; otherwise it is there once more.
    overwrites: bool

    #: A point that the sink never takes, if there is one.
    refused: Point | None

    def __init__(self, folder: Path) -> None: ...

    def tables(self, sink: str) -> str:
        """What the configuration needs besides ``type``: the rest of the sink's table first."""
        ...

    def leave(self) -> None:
        """Be away, so that nothing can be written."""
        ...

    def come_back(self) -> None:
        """Be there again, with all that was there."""
        ...

    def stored(self) -> list[Stored]:
        """All that is there; raises for what can't be read."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


def batch(number: int, kinds: Sequence[Kind]) -> list[Point]:
    """A batch of points; no two batches have a device in common."""
    return [point(kind, f"d{number}-{place}", number) for kind in kinds for place in range(_POINTS)]


def point(kind: Kind, device: str, number: int = 0) -> Point:
    """A point of this device."""
    measurement = "anomalies" if kind == "anomalies" else "pump_10s"
    tags = (("device", device), ("feed", "f"), ("gateway", "g"))
    return Point(kind, measurement, tags, {"x": number + 0.5}, _START_NS + number * 10**9)


def as_stored(points: Sequence[Point]) -> set[Stored]:
    """What a sink must have of these points."""
    return {
        Stored(each.measurement, each.tag("device"), each.time_ns, float(each.fields["x"]))
        for each in points
    }


class OnDisk:
    """A sink that writes below ``data_dir``; it is away while a file stands in place of that."""

    refused: Point | None = None

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self._moved = folder / "moved"

    def leave(self) -> None:
        """See ``Scene``."""
        self.data.rename(self._moved)
        self.data.touch()

    def come_back(self) -> None:
        """See ``Scene``."""
        self.data.unlink()
        self._moved.rename(self.data)

    def close(self) -> None:
        """See ``Scene``."""
