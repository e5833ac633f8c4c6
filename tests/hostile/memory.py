"""How much memory a program takes with all its processes, at its worst."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil

_INTERVAL_S = 0.1


class Memory:
    """Looks at a process and all below it again and again; use it as a context manager.

    Args:
        pid: The process.
    """

    def __init__(self, pid: int) -> None:
        #: Most that all together had at any look, bytes; each page shared by n counts 1/n for each.
        self.most_bytes = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> Self:
        self.most_bytes = pss_bytes(self._pid)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            self.most_bytes = max(self.most_bytes, pss_bytes(self._pid))


def pss_bytes(pid: int) -> int:
    """Proportional set size of a process and all below it, bytes; 0 when it has ended."""
    total = 0
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            # Ended between the two looks.
            continue
    return total
