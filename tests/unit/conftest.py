"""Commands run in the tests' own process; what they do to its logs is undone."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Take back what ``configure_logging`` has set, also in loggers that have kept it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    if not structlog.is_configured():
        return
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    for module in list(sys.modules.values()):
        logger = getattr(module, "_logger", None)
        if isinstance(logger, structlog._config.BoundLoggerLazyProxy):
            vars(logger).pop("bind", None)
