"""Keeping the Kafka client's own log messages few.

While Kafka is away the client writes some seventy lines a second, about a gigabyte a day.
"""

from __future__ import annotations

import logging

from headgate.core.clock import Clock
from headgate.core.repeated_logs import RepeatFilter

__all__ = ["RepeatFilter", "quiet_client_logs"]


def quiet_client_logs(clock: Clock) -> None:
    """Put a ``RepeatFilter`` on every logger of aiokafka that exists; safe to call again."""
    # Loggers don't inherit filters, so each one needs it.
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "aiokafka"]
    repeats = RepeatFilter(clock)
    for name in names:
        logger = logging.getLogger(name)
        if not any(isinstance(present, RepeatFilter) for present in logger.filters):
            logger.addFilter(repeats)
