"""When a lane that is started anew again and again counts as in a loop, although it works just now.

A lane that dies of what it meets comes up, looks well, and meets it again: whoever looks at such
moments only sees nothing wrong.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from headgate.core.clock import NS_PER_S

#: More restarts than this within this time are a loop. A poison record takes three or four.
_MOST = 3
_SPAN_S = 600.0

#: A lane in a loop counts as well again when it has done its work for so long, s, or for twice as
#: long as it did between two of those restarts.
_SETTLED_S = 60.0


class Restarts:
    """The restarts of one lane."""

    def __init__(self) -> None:
        self.count = 0
        self._recent_ns: deque[int] = deque()
        self._ending = ""

    def note(self, now_ns: int, ending: str) -> None:
        """Note a restart.

        Args:
            now_ns: Monotonic time.
            ending: How the process before ended.
        """
        self.count += 1
        self._ending = ending
        self._recent_ns.append(now_ns)
        while now_ns - self._recent_ns[0] > _SPAN_S * NS_PER_S:
            self._recent_ns.popleft()

    def loop(self, worked_s: float) -> str:
        """Why the lane can't be relied on yet; empty when it can.

        Args:
            worked_s: For how long it has done its work since the last restart, s.
        """
        if len(self._recent_ns) <= _MOST:
            return ""
        between_ns = max(b - a for a, b in pairwise(self._recent_ns))
        if worked_s >= max(_SETTLED_S, 2 * between_ns / NS_PER_S):
            self._recent_ns.clear()
            return ""
        return (
            f"started anew {len(self._recent_ns)} times within {_SPAN_S / 60:.0f} minutes, at last "
            f"after: {self._ending}"
        )
