"""Structured logs on stderr: text for people, JSON for machines."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

_CONTROL_CHARACTERS = {code: f"\\x{code:02x}" for code in (*range(32), 127) if chr(code) != "\n"}


def configure_logging(level: str, style: str, **context: str) -> None:
    """Send all logs of this process, those of libraries included, to stderr.

    Args:
        level: ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``.
        style: ``"text"``, ``"json"``, or ``"auto"``: text on a terminal, else JSON.
        context: Names and values that every line carries, such as the lane.
    """
    is_text = style == "text" or (style == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _escape_control_characters,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if is_text
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # They report each connection and each rebalance step; what matters of it we say ourselves.
    for name in ("faust", "mode", "aiokafka", "kafka", "asyncio", "aiohttp.access"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.contextvars.bind_contextvars(**context)


def _escape_control_characters(
    _logger: object, _method: str, event: dict[str, Any]
) -> dict[str, Any]:
    """Keep text that came from outside on its one line, so that nobody can forge another."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = value.replace("\n", "\\n").translate(_CONTROL_CHARACTERS)
    return event
