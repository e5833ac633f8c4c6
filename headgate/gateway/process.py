"""The processes of a gateway: what they load, and what the operating system does to end them."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

#: glibc's name for how many arenas there may be.
_M_ARENA_MAX = -8

#: What keeps a process small, unless the environment says otherwise. glibc gives each thread an
#: arena of its own, and Arrow and OpenBLAS keep pools, and Arrow's jemalloc a thread, for parallel
#: work that a lane does not do.
_MEMORY_SETTINGS = {
    "MALLOC_ARENA_MAX": "2",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "OPENBLAS_NUM_THREADS": "1",
}


def load_small() -> None:
    """Load for a process of the gateway what would take more memory if others loaded it.

    To be called before anything imports structlog or numpy. structlog takes rich along where it is
    installed, for tracebacks that the gateway does not print: 5 MB of each process.
    """
    for name, value in _MEMORY_SETTINGS.items():
        os.environ.setdefault(name, value)
    # glibc has read its part of the environment already.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and os.environ["MALLOC_ARENA_MAX"].isdecimal():
        mallopt(_M_ARENA_MAX, int(os.environ["MALLOC_ARENA_MAX"]))
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


def count_threads() -> int:
    """Threads of this process, those that Python knows nothing of included; on Linux."""
    return len(list(Path("/proc/self/task").iterdir()))


def close_all_files_but(kept: int) -> None:
    """Close all descriptors but the standard ones and one more; on Linux."""
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if number > 2 and number != kept:
            try:
                os.close(number)
            except OSError:
                # The one that the list was read by.
                continue


def rename_process(command: Sequence[str]) -> None:
    """Have ``ps`` and ``top`` show another command line for this forked process; on Linux.

    Args:
        command: Its words; cut off where they take more room than the parent's.
    """
    ctypes.CDLL(None).prctl(_PR_SET_NAME, command[0].encode())
    try:
        # The process's own name, in parentheses, may hold spaces; what follows it does not.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
    except (OSError, IndexError, ValueError):
        return
    if 0 < start < end:
        # The last byte stays zero: the kernel would take what follows it for more of the same.
        text = b"\0".join(os.fsencode(word) for word in command)[: end - start - 1]
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def exit_now(code: int) -> NoReturn:
    """End this process without waiting for threads.

    A thread of a client library may hang for as long as its peer is down; whatever it had not
    finished is in the log, or at the broker, and comes again.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
