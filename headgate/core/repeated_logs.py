"""Keeping a library's log messages few: some say the same thing seventy times a second."""

from __future__ import annotations

import logging
from typing import Final

from headgate.core.clock import NS_PER_S, Clock

#: A message is let through this often at first, ns; the next one tells how many were held back. As
#: long as it goes on, it comes half as often each time: an outage may last for days.
_INTERVAL_NS: Final = 30 * NS_PER_S
_INTERVAL_CEILING_NS: Final = 16 * 60 * NS_PER_S

#: Different messages that are remembered. Some hold offsets or ports and never come again.
_MAX_REMEMBERED: Final = 200


class RepeatFilter(logging.Filter):
    """Lets each message through at most once every 30 seconds, and less often if it goes on.

    Two records are the same message when logger, level and the text before its arguments are put
    in agree.

    Args:
        clock: Only its monotonic side is used.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        # By message: when it may come again (ns), how long it was kept (ns), and how many were
        # held back since.
        self._held: dict[tuple[str, int, str], tuple[int, int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True when the record may pass."""
        now_ns = self._clock.monotonic_ns()
        message = (record.name, record.levelno, str(record.msg))
        due_ns, interval_ns, held = self._held.get(message, (now_ns, 0, 0))
        if now_ns < due_ns:
            self._held[message] = (due_ns, interval_ns, held + 1)
            return False
        if message not in self._held and len(self._held) >= _MAX_REMEMBERED:
            del self._held[next(iter(self._held))]
        # One that nobody has missed while it was held back begins anew.
        interval_ns = min(2 * interval_ns, _INTERVAL_CEILING_NS) if held else _INTERVAL_NS
        self._held[message] = (now_ns + interval_ns, interval_ns, 0)
        if held:
            record.msg = f"{record.msg} [{held} more like this were held back]"
        return True
