"""Telling other processes at once that something was appended to the embedded log.

SQLite tells no one of a commit. Whoever commits sets the file's times, which costs a few
microseconds, and Linux (inotify) wakes those who watch it. Where that can't be had, nobody is told,
and readers have to look for themselves.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys
from contextlib import suppress
from pathlib import Path

#: ``IN_ATTRIB`` of inotify(7): a file's times were set, among others.
_IN_ATTRIB = 0x4

#: Events are read by so many bytes; one of a file takes 16.
_READ_BYTES = 4096


def tell(path: Path) -> None:
    """Wake those who watch the file, after a commit. Never raises."""
    with suppress(OSError):
        os.utime(path)


class Wake:
    """Waits until somebody tells of a commit.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._closing = os.eventfd(0, os.EFD_CLOEXEC) if sys.platform == "linux" else None
        self._inotify = None if self._closing is None else _watch(path)
        self._poll = select.poll()
        for each in (self._closing, self._inotify):
            if each is not None:
                self._poll.register(each, select.POLLIN)
        self._try(path)

    @property
    def is_told(self) -> bool:
        """Whether there is anything to wait for."""
        return self._inotify is not None

    def wait(self, timeout_s: float) -> None:
        """Return when somebody tells of a commit, after ``interrupt``, or when time is up."""
        self._poll.poll(1000 * timeout_s)
        if self._inotify is not None:
            # What piled up is one piece of news.
            with suppress(BlockingIOError):
                os.read(self._inotify, _READ_BYTES)

    def _try(self, path: Path) -> None:
        """Give up waiting where telling brings nothing: not every file system passes it on."""
        if self._inotify is None:
            return
        tell(path)
        try:
            os.read(self._inotify, _READ_BYTES)
        except BlockingIOError:
            self._poll.unregister(self._inotify)
            os.close(self._inotify)
            self._inotify = None

    def interrupt(self) -> None:
        """Have ``wait`` return, now and from now on. May be called from any thread."""
        if self._closing is not None:
            os.eventfd_write(self._closing, 1)

    def close(self) -> None:
        """Release everything; nobody may be waiting."""
        for each in (self._inotify, self._closing):
            if each is not None:
                os.close(each)
        self._inotify = self._closing = None


def _watch(path: Path) -> int | None:
    """A descriptor that is readable when the file's times were set; None where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        # So many users' watches as the system allows are there already.
        return None
    if libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_ATTRIB) < 0:
        os.close(descriptor)
        return None
    return descriptor
