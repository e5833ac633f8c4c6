"""Time that only counts: what the ages of records are measured in.

A wall clock is set: from 1970 to today on a box without a battery, by days where somebody mistyped
a date. The difference of two of its readings is then no age, and what goes by age would be deleted.
The computer's uptime is never set, but begins anew with each boot. So a store keeps beside its
records, for the newest boot, what to add to the uptime.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

from headgate.core.clock import NS_PER_S, Clock, built_ns

#: While the power is off nothing counts but the wall clock. It is believed where it has neither
#: gone back nor been in this program's own past, and for this long at most, ns: where it was set
#: meanwhile, no more than that is wrong.
_OFF_CEILING_NS: Final = 24 * 3600 * NS_PER_S

#: Between two notes of how far time has come, ns.
_NOTE_INTERVAL_NS: Final = 60 * NS_PER_S

TABLE: Final = """
CREATE TABLE IF NOT EXISTS boots (
    boot TEXT PRIMARY KEY,
    ahead_ns INTEGER NOT NULL,
    counted_ns INTEGER NOT NULL,
    skew_ns INTEGER
) STRICT
"""


class CountedTime:
    """A store's time. It lives in a table of an SQLite file, one row for the newest boot.

    Args:
        clock: The computer's clocks.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Until a store is opened, its time is the wall clock's.
        self._ahead_ns = clock.wall_ns() - clock.uptime()[1]
        # What to add for the wall clock's time, as it was when that could be believed.
        self._skew_ns: int | None = None
        self._noted_ns = 0

    def now_ns(self) -> int:
        """The time, ns; only differences have a meaning."""
        return self._clock.uptime()[1] + self._ahead_ns

    def wall_ns(self, counted_ns: int) -> int:
        """What a right wall clock would have said then, as far as is known."""
        return counted_ns + (self._skew_ns or 0)

    def begin(self, connection: sqlite3.Connection, newest_ns: Callable[[], int]) -> None:
        """Go on from where the store's time has come, within the caller's transaction.

        Args:
            connection: To the store.
            newest_ns: Looks up the newest time in a store that was written without this table.
        """
        connection.execute(TABLE)
        row = connection.execute(
            "SELECT boot, ahead_ns, counted_ns, skew_ns FROM boots ORDER BY counted_ns DESC LIMIT 1"
        ).fetchone()
        boot, up_ns = self._clock.uptime()
        wall_ns = self._clock.wall_ns()
        if row is None:
            self._ahead_ns = max(wall_ns, newest_ns()) - up_ns
            self.note(connection)
            return
        noted_boot, ahead_ns, counted_ns, self._skew_ns = row
        if noted_boot != boot:
            ahead_ns = counted_ns - up_ns
            if self._skew_ns is not None and wall_ns >= built_ns():
                off_ns = wall_ns - self.wall_ns(counted_ns)
                ahead_ns += min(max(0, off_ns), _OFF_CEILING_NS)
        # Whatever else there is: time never goes back.
        self._ahead_ns = max(ahead_ns, counted_ns - up_ns)
        if noted_boot != boot:
            self.note(connection)

    def note(self, connection: sqlite3.Connection) -> None:
        """Write down how far time has come, within the caller's transaction."""
        counted_ns, wall_ns = self.now_ns(), self._clock.wall_ns()
        if wall_ns >= built_ns():
            self._skew_ns = wall_ns - counted_ns
        boot, _ = self._clock.uptime()
        connection.execute("DELETE FROM boots")
        connection.execute(
            "INSERT INTO boots VALUES (?, ?, ?, ?)",
            (boot, self._ahead_ns, counted_ns, self._skew_ns),
        )
        self._noted_ns = counted_ns

    @property
    def is_due(self) -> bool:
        """Whether it is time for a note."""
        return self.now_ns() - self._noted_ns >= _NOTE_INTERVAL_NS
