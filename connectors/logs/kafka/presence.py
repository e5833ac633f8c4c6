"""Kafka going away and coming back: a line each, instead of its client's.

While Kafka is away the client tells of each request that fails, and of errors of its own on top.
All of it says the same, and whoever appends or reads gets the error anyway.
"""

from __future__ import annotations

import logging
from typing import Final

import structlog

from headgate.core.clock import NS_PER_S, Clock

_logger = structlog.get_logger()

#: Kafka is back when it answers and nothing of it has been missed for so long, ns.
_QUIET_NS: Final = 5 * NS_PER_S

#: What the client says when a server does not answer, by how its message begins ...
_BEGINNINGS: Final = (
    "Unable connect to",
    "Unable to request metadata",
    "Unable to update metadata",
)

#: ... and by what it holds.
_ERRORS: Final = (
    "Connect call failed",
    "KafkaConnectionError",
    "KafkaTimeoutError",
    "NodeNotReadyError",
    "RequestTimedOutError",
)

#: What a consumer of a group says when it has lost whoever keeps the group. By itself that is a
#: first sign that Kafka is away; when it is back, the consumer only finds out belatedly.
_COORDINATOR: Final = (
    "Marking the coordinator dead",
    "Heartbeat session expired",
    "is either not started or not valid",
    "GroupCoordinatorNotAvailableError",
    "NotCoordinatorForGroupError",
)

#: What it says when the group has gone on without it, which passes by itself: how its message
#: begins, and how it ends.
_AFTERMATH: Final = (("Heartbeat failed", ""), ("OffsetCommit failed", "will rejoin"))

#: For so long after Kafka is back a consumer may find out belatedly, ns.
_AFTERMATH_NS: Final = 60 * NS_PER_S


class Presence:
    """Whether Kafka answers, as far as one log's clients have noticed.

    Args:
        servers: Theirs, for the message.
        clock: Only its monotonic side is used.
    """

    def __init__(self, servers: str, clock: Clock) -> None:
        self._servers = servers
        self._clock = clock
        self._is_reached = False
        self._is_away = False
        self._missed_ns = 0
        self._back_ns: int | None = None
        self._filter = _AwayFilter(self)

    @property
    def is_away(self) -> bool:
        """Whether it has last been missed."""
        return self._is_away

    @property
    def is_back_lately(self) -> bool:
        """Whether it was away until a little while ago."""
        since = self._back_ns
        is_lately = since is not None and self._clock.monotonic_ns() - since < _AFTERMATH_NS
        return is_lately and not self._is_away

    def watch(self) -> None:
        """Listen to what the client says; safe to call again."""
        # Loggers don't inherit filters, so each one needs it.
        for name in _client_loggers():
            logging.getLogger(name).addFilter(self._filter)

    def unwatch(self) -> None:
        """Leave the client's messages alone."""
        self._is_reached = self._is_away = False
        self._back_ns = None
        for name in _client_loggers():
            logging.getLogger(name).removeFilter(self._filter)

    def missed(self, cause: str) -> None:
        """A client could not reach it. Before the first time, whoever starts the log says so."""
        self._missed_ns = self._clock.monotonic_ns()
        if self._is_reached and not self._is_away:
            self._is_away = True
            _logger.warning(
                "Kafka does not answer; will keep trying.", servers=self._servers, cause=cause
            )

    def answered(self) -> None:
        """It has done what it was asked. While one of several servers is missed that is not all."""
        self._is_reached = True
        if self._is_away and self._clock.monotonic_ns() - self._missed_ns >= _QUIET_NS:
            self._is_away = False
            self._back_ns = self._clock.monotonic_ns()
            _logger.info("Kafka answers again.", servers=self._servers)


class _AwayFilter(logging.Filter):
    def __init__(self, presence: Presence) -> None:
        super().__init__()
        self._presence = presence

    def filter(self, record: logging.LogRecord) -> bool:
        """True when the record tells more than that Kafka is away."""
        if record.name == "asyncio":
            return not (self._presence.is_away and _is_clients(record))
        message = record.getMessage()
        is_lost = any(sign in message for sign in _COORDINATOR)
        if is_lost and self._presence.is_back_lately:
            return False
        if is_lost or message.startswith(_BEGINNINGS) or any(err in message for err in _ERRORS):
            self._presence.missed(message)
            return False
        is_aftermath = any(
            message.startswith(beginning) and message.endswith(end) for beginning, end in _AFTERMATH
        )
        return not (is_aftermath and (self._presence.is_away or self._presence.is_back_lately))


def _is_clients(record: logging.LogRecord) -> bool:
    """Whether an error that nobody waited for was raised inside the client."""
    trace = record.exc_info[2] if record.exc_info else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and "aiokafka" in trace.tb_frame.f_globals.get("__name__", "")


def _client_loggers() -> list[str]:
    known = logging.root.manager.loggerDict
    return ["asyncio", *(name for name in known if name.split(".")[0] == "aiokafka")]
