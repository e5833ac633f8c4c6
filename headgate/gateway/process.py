"""The processes of a gateway: what they load, and what the operating system does to end them."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
from typing import NoReturn

_PR_SET_PDEATHSIG = 1


def load_small() -> None:
    """Load for a process of the gateway what would take more memory if others loaded it.

    To be called before anything imports structlog. That takes rich along where it is installed, for
    tracebacks that the gateway does not print: 5 MB of each process.
    """
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("structlog")
    finally:
        # Components of others may want it.
        del sys.modules["rich"]


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
