"""Times on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

from headgate.core.errors import ConfigError

#: Units of times that are numbers, ns.
UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def time_ns(option: str, text: str | None) -> int | None:
    """A time in ISO 8601 as ns since 1970, UTC where it says nothing else; None stays None.

    Raises:
        ConfigError: It is none.
    """
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{option}: expected a time such as 2026-05-01T12:00:00Z, got {text!r}"
        ) from error
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return round(time.timestamp() * 1000) * 1_000_000
