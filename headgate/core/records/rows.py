"""Values of rows, for people."""

from __future__ import annotations

import math
from datetime import UTC, datetime


def number(value: float) -> float | None:
    """A number, or None where it is none: JSON has no NaN."""
    return float(value) if math.isfinite(value) else None


def time_text(time_ns: int) -> str:
    """A time, ns since 1970 UTC, in ISO 8601 with all its digits."""
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns:09d}Z"
