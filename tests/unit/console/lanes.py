"""A lane as the console sees it, set by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import generate_latest

from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock


@dataclass
class FakeLane:
    """Says of itself what the test wants."""

    metrics: str = ""
    pid: int | None = None
    restarts: int = 0
    is_alive: bool = True
    health: tuple[bool, str] = (True, "")
    details: Mapping[str, Any] = field(default_factory=dict)


def page(count: Callable[[Telemetry], None]) -> str:
    """The page of metrics of a lane after ``count`` has counted."""
    telemetry = Telemetry(ManualClock())
    count(telemetry)
    return generate_latest(telemetry.registry).decode()
