"""What stands around the gateway in a benchmark: broker, Kafka, store, load generator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.plant import Plant
from headgate.core.errors import PermanentError
from headgate.demo.processes import free_port
from tests.kafka import jars
from tests.kafka.server import KafkaServer, start

ROOT = Path(__file__).parents[1]

#: The recommended broker's limits (deploy/mosquitto), without what it writes to disk.
_MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 10000000
max_queued_bytes 1073741824
max_inflight_messages 5000
set_tcp_nodelay true
sys_interval 0
log_type error
"""


class Process:
    """A program that ends with the ``with`` block.

    Args:
        name: What it is called in messages.
        command: Program and arguments.
        output: File for what it prints.
        reads: Whether it ends when its standard input is closed.
        environment: Further variables.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        output: Path,
        *,
        reads: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._output = output
        with output.open("wb") as sink:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, if it has not ended."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def result(self, within_s: float = 60) -> Any:  # noqa: ANN401  (JSON)
        """Let it end, and read the JSON object on its last line.

        Raises:
            PermanentError: It failed; the message quotes the end of what it printed.
        """
        if self._process.stdin is not None:
            self._process.stdin.close()
        code = self._process.wait(within_s)
        text = self._output.read_text(errors="replace")
        if code:
            raise PermanentError(f"{self._name}: ended with {code}:\n{text[-2000:]}")
        return json.loads(text.splitlines()[-1])

    def lines(self) -> list[str]:
        """What it has printed."""
        return self._output.read_text(errors="replace").splitlines()

    def quoted(self) -> str:
        """The end of what it has printed."""
        return self._output.read_text(errors="replace")[-3000:]


@dataclass(frozen=True, slots=True)
class Broker:
    """A running mosquitto."""

    port: int
    pid: int


@contextmanager
def mosquitto(folder: Path) -> Iterator[Broker]:
    """A mosquitto on loopback.

    Raises:
        PermanentError: It is not installed, or did not start.
    """
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
    if program is None or shutil.which("mosquitto_sub") is None:
        raise PermanentError(
            "expected mosquitto and mosquitto_sub, found none; "
            "on Debian: apt-get install mosquitto mosquitto-clients"
        )
    port = free_port()
    configuration = folder / "mosquitto.conf"
    configuration.write_text(_MOSQUITTO.format(port=port))
    with Process("mosquitto", [program, "-c", str(configuration)], folder / "mosquitto.out") as it:
        _wait_for_port(port, it)
        yield Broker(port, it.pid)


@contextmanager
def kafka(folder: Path) -> Iterator[KafkaServer]:
    """A Kafka node on loopback, with the jars that the tests use."""
    folder.mkdir()
    server = start(jars.fetch(), folder)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def store(folder: Path) -> Iterator[tuple[str, Process]]:
    """A store's write endpoint: its URL and its process."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.sink", str(port)]
    with Process("store", command, folder / "store.out", reads=True) as it:
        _wait_for_port(port, it)
        yield f"http://127.0.0.1:{port}", it


def load(folder: Path, port: int, plant: Plant, **options: object) -> Process:
    """The load generator, started. Options as in ``benchmarks.load``."""
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(port)]
    command += ["--devices", str(plant.devices), "--channels", str(plant.channels)]
    command += ["--period-ms", str(plant.period_ms)]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            command.append(flag)
        elif value is not False:
            command += [flag, str(value)]
    return Process("load generator", command, folder / f"load-{time.perf_counter_ns()}.out")


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one benchmark's files, deleted after it."""
    # Not /tmp's memory file system where /var/tmp is a disk: syncing is part of what is measured.
    path = Path(tempfile.mkdtemp(prefix="headgate-bench-", dir="/var/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _wait_for_port(port: int, process: Process, within_s: float = 20) -> None:
    import socket  # noqa: PLC0415

    deadline = time.perf_counter() + within_s
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if not process.is_running or time.perf_counter() > deadline:
            raise PermanentError(f"does not listen on port {port}:\n{process.quoted()}")
        time.sleep(0.02)
