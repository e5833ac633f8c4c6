"""A registry's metrics in Prometheus' text format, at little cost when it is asked for again.

Lanes make this page once a second, whether anybody reads it or not. Which lines it has changes
seldom, and ``generate_latest`` spends most of its time on what is the same in each of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

#: Names and labels of a family's samples, in order.
_Keys: TypeAlias = list[tuple[str, dict[str, str]]]


@dataclass(frozen=True, slots=True)
class _Layout:
    """A family's lines without their values.

    Attributes:
        keys: Of its samples.
        head: What stands before the first sample.
        starts: What stands before each sample's value.
    """

    keys: _Keys
    head: str
    starts: list[str]


class Page:
    """The page of one registry.

    Args:
        registry: Its samples have no time stamps, and none are told that only OpenMetrics knows.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._layouts: dict[str, _Layout] = {}

    def text(self) -> str:
        """What ``generate_latest`` says."""
        parts: list[str] = []
        for family in self._registry.collect():
            samples = family.samples
            keys = [(sample.name, sample.labels) for sample in samples]
            layout = self._layouts.get(family.name)
            if layout is None or layout.keys != keys:
                layout = self._layouts[family.name] = _layout(family, keys)
            parts.append(layout.head)
            for start, sample in zip(layout.starts, samples, strict=True):
                value: str = floatToGoString(sample.value)  # type: ignore[no-untyped-call]
                parts += (start, value, "\n")
        return "".join(parts)


class _One(Collector):
    """A family as a registry of its own."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family]


def _layout(family: Metric, keys: _Keys) -> _Layout:
    # Line feeds in texts are escaped; other characters that end lines are not.
    lines = generate_latest(_One(family)).decode().split("\n")[:-1]
    first = len(lines) - len(keys)
    starts = [line[: line.rindex(" ") + 1] for line in lines[first:]]
    return _Layout(keys, "".join(f"{line}\n" for line in lines[:first]), starts)
