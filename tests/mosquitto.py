"""A real mosquitto for the tests, on loopback, with whatever configuration a test needs."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from connectors.mqtt.config import MqttConfig
from connectors.mqtt.session import BrokerSession
from headgate.config.schema import Config
from headgate.core.clock import Clock
from headgate.core.telemetry import Telemetry
from headgate.demo.processes import free_port
from tests.processes import end, pause
from tests.services import require

_HOW = "install mosquitto (on Debian: apt-get install mosquitto)"


def settings_of(config: Config) -> MqttConfig:
    """The settings of the source called mqtt."""
    table = config.source["mqtt"].table
    assert isinstance(table, MqttConfig)
    return table


def session_of(config: Config, clock: Clock, telemetry: Telemetry) -> BrokerSession:
    """The session of the source called mqtt."""
    return BrokerSession(
        settings_of(config),
        config.gateway.name,
        config.source_file("mqtt", "mqtt_session.json"),
        "mqtt",
        clock,
        telemetry,
    )


class Mosquitto:
    """One broker process. It keeps its sessions over ``stop`` and ``start``.

    Args:
        folder: Where its configuration, log and database are.
        lines: Further lines of its configuration.
        listener: Lines that belong to its listener, such as TLS options.
    """

    def __init__(self, folder: Path, *, lines: str = "", listener: str = "") -> None:
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
        require("mosquitto", program is not None, _HOW)
        self._program = str(program)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        anonymous = "" if "allow_anonymous" in lines else "allow_anonymous true\n"
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\n{listener}\n{anonymous}"
            f"persistence true\npersistence_location {folder}/\nautosave_interval 1\n"
            f"autosave_on_changes true\nmax_queued_messages 10000000\n"
            f"max_inflight_messages 5000\nuser root\n{lines}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", str(self.folder / "mosquitto.conf"), "-v"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.perf_counter() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self._process.poll() is None, self.log()[-2000:]
                assert time.perf_counter() < deadline, "mosquitto does not listen"
                time.sleep(0.02)
            else:
                return

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, by any signal."""
        if self._process is not None:
            end(self._process, within_s=10, number=number)
            self._process = None

    def pause(self) -> None:
        """Stop answering."""
        assert self._process is not None
        pause(self._process.pid)

    def resume(self) -> None:
        """Answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        """What it has logged, verbosely."""
        return (self.folder / "mosquitto.log").read_text(errors="replace")


MakeMosquitto = Callable[..., Mosquitto]


@pytest.fixture
def make_mosquitto(tmp_path: Path) -> Iterator[MakeMosquitto]:
    """Starts brokers with ``lines`` and ``listener`` options; all end with the test."""
    with ExitStack() as stack:

        def make(**options: str) -> Mosquitto:
            broker = Mosquitto(tmp_path / f"mosquitto-{time.perf_counter_ns()}", **options)
            stack.callback(broker.stop)
            broker.start()
            return broker

        yield make


@pytest.fixture
def mosquitto(make_mosquitto: MakeMosquitto) -> Mosquitto:
    """A broker without authentication."""
    return make_mosquitto()
