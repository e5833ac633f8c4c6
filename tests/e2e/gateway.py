"""Running the real gateway in a test: its own process, its own configuration, its own ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from headgate.demo.processes import free_port
from tests.processes import end


class Gateway:
    """``headgate run`` as a process; leaving the context ends it.

    Args:
        folder: Where its configuration, data and output are kept.
        config: Text of its configuration, without ``[gateway]`` and ``[console]``.
        environment: More variables for its processes.
    """

    def __init__(
        self, folder: Path, config: str, environment: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config_file = folder / "headgate.toml"
        self.output_file = folder / "gateway.out"
        self._port = free_port()
        self._environment = environment or {}
        self.config_file.write_text(
            f'[gateway]\nname = "test"\ndata_dir = "{folder / "data"}"\n'
            f"[console]\nport = {self._port}\n{config}"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._pids: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            end(self._process, within_s=15)
        if kind is not None:
            sys.stderr.write(f"--- {self.output_file}\n{self.output()[-8000:]}\n")

    @property
    def url(self) -> str:
        """Where the console listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        assert self._process is not None
        return self._process.pid

    def start(self, *arguments: str, ready_within_s: float = 45) -> None:
        """Start it with further arguments, and wait until every lane is ready."""
        self.start_without_waiting(*arguments)
        self.wait_for("/readyz", ready_within_s)

    def start_without_waiting(self, *arguments: str) -> None:
        """Start it with further arguments."""
        with self.output_file.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "headgate.cli", "run", "-c", str(self.config_file)),
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env={**os.environ, "PYTHONFAULTHANDLER": "1", **self._environment},
            )

    def stop(self, *, within_s: float = 15) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.wait(within_s=within_s)

    def wait(self, *, within_s: float = 15) -> int:
        """Wait until it has ended; the exit code."""
        assert self._process is not None
        return self._process.wait(within_s)

    def kill(self) -> None:
        """``kill -9`` of the supervisor and of each lane, as a power cut would."""
        assert self._process is not None
        self.signal_all(signal.SIGKILL)
        self._process.wait()

    def signal_all(self, number: signal.Signals) -> None:
        """Send the supervisor and each lane a signal; those that had the last one are known."""
        assert self._process is not None
        if number != signal.SIGCONT:
            lanes = self.status()["lanes"].values()
            self._pids = [lane["pid"] for lane in lanes if lane.get("pid")]
        # The lanes first: the supervisor's death would end them too, and free their numbers.
        for pid in (*self._pids, self._process.pid):
            os.kill(pid, number)

    def get(self, path: str) -> tuple[int, bytes]:
        """HTTP status and body of a page of the console."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def status(self) -> dict[str, Any]:
        """What ``/status`` says."""
        body: dict[str, Any] = json.loads(self.get("/status")[1])
        return body

    def output(self) -> str:
        """All that the gateway has printed so far."""
        return self.output_file.read_text(errors="replace")

    def wait_for(self, path: str, within_s: float) -> None:
        """Wait until a page of the console answers 200."""
        assert self._process is not None
        deadline = time.perf_counter() + within_s
        answer: object = "no answer"
        while time.perf_counter() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(
                    f"the gateway ended with {self._process.returncode}:\n{self.output()[-4000:]}"
                )
            try:
                code, body = self.get(path)
                if code == 200:
                    return
                answer = (code, body)
            except OSError as error:
                answer = error
            time.sleep(0.1)
        raise AssertionError(
            f"{path} not 200 within {within_s} s: {answer}\n{self.output()[-4000:]}"
        )
