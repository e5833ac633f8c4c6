"""Noticing at little cost that any process has appended to the embedded log.

Whoever commits tells it (``wake.py``), and one thread for each open log waits for that. Where
nobody is told, the thread looks every few milliseconds, and only while somebody waits. A look costs
a few microseconds: the file's change counter lies in shared memory.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from connectors.logs.embedded.database import open_reader
from connectors.logs.embedded.wake import Wake
from headgate.core.errors import HeadgateError

#: Between two looks of a thread that is told of commits, s: who could not tell, and a file that was
#: put into the other's place, is noticed as late as this.
_TOLD_S = 2.0

#: Between two looks of one that is not, while records keep coming, and when there were none lately,
#: s. Half of it is the mean delay of a record from another process. A hundred looks a second take
#: about half a percent of a small core.
_BUSY_S = 0.004
_QUIET_S = 0.010

#: Looks without a change after which it is quiet.
_QUIET_AFTER = 100


@dataclass(eq=False, slots=True)
class _Waiter:
    """Someone waiting for any partition's next offset to pass its threshold."""

    thresholds: Mapping[int, int]
    done: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop

    def wake(self) -> None:
        # The loop may be closed by now, and then nobody waits any more.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Watcher:
    """Wakes those who wait for records; one for each open log.

    Args:
        path: An existing log.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiters: set[_Waiter] = set()
        self._has_new_waiter = False
        self._is_closed = False
        # Set while there is a reason to look.
        self._is_needed = threading.Event()
        self._wake = Wake(path)
        #: Counts the times that there was anything new.
        self.news = 0
        self._thread = threading.Thread(target=self._watch, name="log-watch", daemon=True)
        self._thread.start()

    async def wait(self, thresholds: Mapping[int, int], news: int, timeout_s: float) -> None:
        """Return once a partition's next offset is past its threshold, or when time is up.

        May also return for no reason: the caller looks for itself.

        Args:
            thresholds: By number of the partition in the file.
            news: What ``news`` was before it was found that none is.
            timeout_s: Longest wait.
        """
        loop = asyncio.get_running_loop()
        waiter = _Waiter(thresholds, loop.create_future(), loop)
        if self._is_closed:
            return
        self._waiters.add(waiter)
        self._has_new_waiter = True
        self._is_needed.set()
        try:
            # What came before the waiter did woke nobody.
            if self.news == news:
                await asyncio.wait([waiter.done], timeout=timeout_s)
        finally:
            self._waiters.discard(waiter)

    def close(self) -> None:
        """Wake everybody and end the thread."""
        self._is_closed = True
        self._is_needed.set()
        self._wake.interrupt()
        self._thread.join()
        self._wake.close()

    def _watch(self) -> None:
        connection: sqlite3.Connection | None = None
        version = -1
        quiet_looks = 0
        try:
            while self._wait_for_turn(_QUIET_S if quiet_looks > _QUIET_AFTER else _BUSY_S):
                try:
                    # No busy timeout: what is locked for a moment is looked at again anyway.
                    connection = connection or open_reader(self._path, busy_timeout_s=0)
                    (seen,) = connection.execute("PRAGMA data_version").fetchone()
                    quiet_looks = quiet_looks + 1 if seen == version else 0
                    if seen != version or self._has_new_waiter:
                        self.news += seen != version
                        # Lowered before they are copied: one that comes later raises it anew.
                        self._has_new_waiter = False
                        _wake_those_due(connection, list(self._waiters))
                    version = seen
                except (sqlite3.Error, HeadgateError):
                    # Whoever waits meets the same trouble when reading, and can tell about it.
                    self._wake_all()
        finally:
            self._wake_all()
            if connection is not None:
                connection.close()

    def _wait_for_turn(self, pause_s: float) -> bool:
        """Pause until the next look; False when it is time to end."""
        if self._wake.is_told:
            self._wake.wait(_TOLD_S)
        elif self._waiters:
            time.sleep(pause_s)
        else:
            # A waiter that comes between the two lines sets the event again.
            self._is_needed.clear()
            if not self._waiters and not self._is_closed:
                self._is_needed.wait()
        return not self._is_closed

    def _wake_all(self) -> None:
        self.news += 1
        for waiter in list(self._waiters):
            waiter.wake()


def _wake_those_due(connection: sqlite3.Connection, waiters: list[_Waiter]) -> None:
    if not waiters:
        return
    partitions = sorted({partition for waiter in waiters for partition in waiter.thresholds})
    next_offsets = dict(
        connection.execute(
            "SELECT id, next_offset FROM partitions WHERE id IN (SELECT value FROM json_each(?))",
            (orjson.dumps(partitions).decode(),),
        ).fetchall()
    )
    for waiter in waiters:
        if any(
            next_offsets.get(partition, 0) > threshold
            for partition, threshold in waiter.thresholds.items()
        ):
            waiter.wake()
