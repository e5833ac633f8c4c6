"""Making sure that a gateway's files have one owner.

Two streams lanes on the same log would each write snapshots that hold what only it has seen, and a
restart would take up one of them. A lock ends with its process, however that ends, so there is
nothing to clean up after a crash.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from headgate.core.errors import PermanentError


class FileLock:
    """An exclusive lock that is held as long as the ``with`` block, or the process, lasts.

    Args:
        path: A file of its own; it is made when it is not there, and stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            PermanentError: Another process has it; the message names it.
        """
        if not self.try_take():
            raise PermanentError(
                f"{self._path}: expected no other gateway on this data, found process "
                f"{self.owner() or 'unknown'}; stop it, or give each its own gateway.data_dir"
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def try_take(self) -> bool:
        """Take the lock if nobody has it; whether it is ours now."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        os.truncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        self._file = file
        return True

    def owner(self) -> str:
        """Process id that the last owner wrote down, empty when there is none."""
        try:
            return self._path.read_text()
        except OSError:
            return ""


@contextmanager
def without_gateway(folder: Path) -> Iterator[None]:
    """Keep every gateway, and every lane of one, off its data for as long as the block lasts.

    Args:
        folder: Its ``gateway.data_dir``.

    Raises:
        PermanentError: One is there; or none has ever been, so that it may run elsewhere.
    """
    files = sorted(folder.glob("*.lock"))
    if folder / "gateway.lock" not in files:
        raise PermanentError(
            f"{folder}: expected the data of a gateway that has run, found no gateway.lock; do "
            "this on the gateway's machine, with its configuration"
        )
    with ExitStack() as stack:
        for file in files:
            lock = FileLock(file)
            try:
                is_ours = lock.try_take()
            except OSError as error:
                raise PermanentError(
                    f"{file}: expected a file that can be written to, got {error.strerror}; do "
                    "this as the gateway's user"
                ) from error
            if not is_ours:
                raise PermanentError(
                    f"{file}: expected that the gateway is stopped, found process "
                    f"{lock.owner() or 'unknown'}; stop it, and start it again afterwards"
                )
            stack.push(lock)
        yield
