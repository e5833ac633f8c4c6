"""Structured logs on stderr: text for people, JSON for machines."""

from __future__ import annotations

import logging
import sys
from io import StringIO
from typing import Any, TextIO

import structlog

from headgate.core.clock import SystemClock
from headgate.core.repeated_logs import RepeatFilter
from headgate.core.text import printable, printable_lines

#: Loggers that report each connection, request and rebalance step. What matters of it we say
#: ourselves. The last two are ours by name, but Faust writes to them.
_TALKATIVE = (
    "aiokafka",
    "asyncio",
    "faust",
    "kafka",
    "mode",
    "connectors.logs.embedded.transport",
    "connectors.logs.kafka.transport",
)

_OWN_PACKAGES = ("connectors", "headgate", "models", "streams")


def configure_logging(level: str, style: str, **context: str) -> None:
    """Send all logs of this process, those of libraries included, to stderr.

    Args:
        level: ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``.
        style: ``"text"``, ``"json"``, or ``"auto"``: text on a terminal, else JSON.
        context: Names and values that every line carries, such as the lane.
    """
    is_text = style == "text" or (style == "auto" and sys.stderr.isatty())

    # Not by context variables: libraries have threads of their own, which begin without any.
    def add_context(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {**context, **event}

    shared: list[Any] = [
        add_context,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _escape_control_characters,
    ]
    rendering: list[Any]
    if is_text:
        colors = sys.stderr.isatty()
        rendering = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_traceback)]
    else:
        rendering = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
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
                *rendering,
            ],
        )
    )
    handler.addFilter(_FewLibraryLines(SystemClock()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # Of a loop that is a little late; what hangs is told by the watchdog.
    logging.getLogger("mode.timers").setLevel(logging.ERROR)


def _traceback(target: TextIO, info: structlog.typing.ExcInfo) -> None:
    """Write a traceback: the message of an exception may hold anything, even escape sequences."""
    plain = StringIO()
    structlog.dev.plain_traceback(plain, info)
    target.write(printable_lines(plain.getvalue()))


class _FewLibraryLines(RepeatFilter):
    """Holds back what libraries repeat. Our own messages pass: we repeat none needlessly."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.name.partition(".")[0] in _OWN_PACKAGES or super().filter(record)


def _escape_control_characters(
    _logger: object, _method: str, event: dict[str, Any]
) -> dict[str, Any]:
    """Keep text that came from outside on its one line, so that nobody can forge another."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = printable(value)
    return event
