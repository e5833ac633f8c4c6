"""Processes that tests start: waiting for what they do, and ending them in whatever state."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


def end(
    process: subprocess.Popen[bytes], *, within_s: float, number: signal.Signals = signal.SIGTERM
) -> None:
    """End a process: by a signal, and by force with all below it where that does not do.

    Args:
        process: May have ended already.
        within_s: How long it may take over ending.
        number: The signal that it is sent first.
    """
    if process.poll() is not None:
        return
    process.send_signal(number)
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        # Those below first: they would be nobody's children after it.
        kill_below(process.pid)
        process.kill()
        process.wait()


def kill_below(pid: int | None = None) -> int:
    """``kill -9`` of all children of a process (None: of this one), and of theirs; how many."""
    try:
        below = psutil.Process(pid or os.getpid()).children(recursive=True)
    except psutil.NoSuchProcess:
        return 0
    for child in below:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(below, timeout=5)
    return len(below)


def pause(pid: int) -> None:
    """``SIGSTOP``, and wait until all threads stand still: some run for a while after it."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: all(map(_stands_still, _threads(pid))), "a process to stand still", 10)


def _threads(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def _stands_still(thread: Path) -> bool:
    # Behind the name, which may have anything in it.
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] in "TtZX"


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended; one that nobody has waited for has ended."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], bool], what: str, within_s: float = 40) -> float:
    """Wait until something holds; how long that took, s.

    Raises:
        AssertionError: It does not hold after that long.
    """
    started = time.perf_counter()
    while not condition():
        assert time.perf_counter() - started < within_s, f"{what}: not within {within_s} s"
        time.sleep(0.05)
    return time.perf_counter() - started


@contextmanager
def meanwhile(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Have a thread work until the block is left; the event that it is given says so."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
