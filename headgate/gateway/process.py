"""What the operating system does for a lane: ending it with its parent, and at once."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import NoReturn

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have this process killed when its parent ends, even when that was killed itself.

    Otherwise the lanes of a supervisor that was killed would go on for a moment beside those of
    its successor. Where the operating system can't do it, the broken status pipe ends the lane.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def exit_now(code: int) -> NoReturn:
    """End this process without waiting for threads.

    A thread of a client library may hang for as long as its peer is down; whatever it had not
    finished is in the log, or at the broker, and comes again.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
