"""Whether messages flow in: what the ingest lane tells the streams lanes, in a tiny file.

A device that sends nothing is silent, and its windows are closed by the clock. A device that the
gateway can't hear, because the broker is away or the log takes nothing, is not: what it sends
waits, and must not be late when it comes. Both lanes run on one machine, so their monotonic clocks
agree.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from headgate.core.clock import NS_PER_S

#: Since when messages flow (ns, -1 while they do not), and when this was written, by the monotonic
#: clock; and the arrival time at which they last flowed, which earlier versions have not.
_LAYOUT = struct.Struct("<qqq")
_FORMER = struct.Struct("<qq")

#: Its name for the source that earlier versions had.
HEARTBEAT_FILE = "ingest.pulse"

#: Seconds between two writes; one that is much older was left by a lane that is gone.
HEARTBEAT_INTERVAL_S = 0.5
_STALE_S = 3.0

#: Time between two looks that counts at most, ns.
_LONGEST_LOOK_NS = 60 * NS_PER_S


class HeardTime:
    """Time that counts only while devices can be heard: by it they are silent for long.

    While the broker is away, or the log takes nothing, it stands still; so it does while the
    gateway is off.
    """

    def __init__(self) -> None:
        self._counted_ns = 0
        self._looked_ns: int | None = None

    def now_ns(self) -> int:
        """Nanoseconds counted."""
        return self._counted_ns

    def look(self, now_ns: int, *, is_heard: bool) -> None:
        """Count the time since the last look, if devices can be heard; often.

        Args:
            now_ns: Of the monotonic clock.
            is_heard: Whether they can be.
        """
        if is_heard and self._looked_ns is not None:
            # Nobody knows what was between two looks that are far apart.
            self._counted_ns += min(now_ns - self._looked_ns, _LONGEST_LOOK_NS)
        self._looked_ns = now_ns


class Heartbeat:
    """One end of the file; either side may be started first.

    Args:
        folder: ``gateway.data_dir``.
        name: Of the file; each source has one.
    """

    def __init__(self, folder: Path, name: str = HEARTBEAT_FILE) -> None:
        self._path = folder / name
        self._file: int | None = None
        self._since_ns = -1
        self._flowed_ns = self.flowed_ns()

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def flowed_ns(self) -> int:
        """When messages last flowed, ns since 1970 UTC; 0 when nobody has said so."""
        try:
            content = self._path.read_bytes()
        except OSError:
            return 0
        flowed_ns: int = _LAYOUT.unpack_from(content)[2] if len(content) >= _LAYOUT.size else 0
        return flowed_ns

    def beat(self, now_ns: int, arrival_ns: int, *, is_flowing: bool) -> None:
        """Say whether messages flow at this moment.

        Args:
            now_ns: The moment, of the monotonic clock.
            arrival_ns: The same as the time of what arrives now, ns since 1970 UTC.
            is_flowing: Whether they do.
        """
        if is_flowing:
            self._flowed_ns = arrival_ns
        if not is_flowing:
            self._since_ns = -1
        elif self._since_ns < 0:
            self._since_ns = now_ns
        try:
            if self._file is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o600)
            os.pwrite(self._file, _LAYOUT.pack(self._since_ns, now_ns, self._flowed_ns), 0)
        except OSError:
            # A disk that is full: without news devices are waited for, which loses nothing.
            return

    def heard_ns(self, now_ns: int) -> int | None:
        """Since when devices can be heard, of the monotonic clock.

        Returns:
            ``now_ns`` while they can't be heard; None when there is no ingest lane to ask.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            return now_ns
        if len(content) < _FORMER.size:
            return now_ns
        since_ns, written_ns = _FORMER.unpack_from(content)
        # A time far in the future is from before the machine was started. One a little ahead is
        # not: both lanes wake at the same moments, and this time was read before that file was.
        is_stale = abs(now_ns - written_ns) > _STALE_S * NS_PER_S
        return now_ns if is_stale or since_ns < 0 else min(since_ns, now_ns)
