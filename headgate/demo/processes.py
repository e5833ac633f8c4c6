"""The demo's child processes: started, watched, stopped, and quoted when they fail."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import PermanentError

_POLL_S = 0.05

#: Above the ports of known services, and below those that Linux gives to connections.
_PORTS = (20_000, 32_768)

_QUOTED_LINES = 15


def free_port() -> int:
    """A TCP port on loopback that nothing listens on.

    None of those that systems give to connections: what listens there may be started anew, and its
    port must be free then, too.
    """
    # Those who draw may have the same seed.
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(*_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Child:
    """A program that runs as long as the ``with`` block.

    Args:
        name: What it is called in messages.
        command: Program and arguments.
        output_file: Where its stdout and stderr go.
        clock: For timeouts.
    """

    def __init__(self, name: str, command: Sequence[str], output_file: Path, clock: Clock) -> None:
        self._name = name
        self._command = list(command)
        self._output_file = output_file
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._output_file.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603  (our own command, no shell)
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._output_file.parent,
                # Out of the terminal's process group: at Ctrl-C the demo stops its parts in
                # order, instead of all of them stopping at once.
                start_new_session=True,
                env={**os.environ, "PYTHONSAFEPATH": "1"},
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process is not None and self._process.poll() is None

    def stop(self, *, within_s: float = 15) -> int | None:
        """SIGTERM, and SIGKILL for one that does not end in time; the exit code."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(within_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return self._process.returncode

    def wait_until(self, is_ready: Callable[[], bool], within_s: float) -> None:
        """Wait until it does what it is for.

        Raises:
            PermanentError: It ended, or was not ready in time. The message quotes its last lines.
        """
        process = self._process
        if process is None:
            raise RuntimeError("wait_until is for a child inside its with block")
        deadline_ns = self._clock.monotonic_ns() + round(within_s * NS_PER_S)
        while not is_ready():
            try:
                code = process.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                pass
            else:
                raise PermanentError(f"{self._name}: ended with {code}:\n{self.last_lines()}")
            if self._clock.monotonic_ns() > deadline_ns:
                raise PermanentError(
                    f"{self._name}: not ready within {within_s:g} s:\n{self.last_lines()}"
                )

    def last_lines(self) -> str:
        """The end of what it has printed."""
        lines = self._output_file.read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_QUOTED_LINES:])
