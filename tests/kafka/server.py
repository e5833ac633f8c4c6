"""One Kafka node in KRaft mode, started for the tests and stopped after them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from headgate.demo.processes import free_port
from tests.processes import end, pause

_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 10

_LOGIN_MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=BROKER://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller},\
PASSWORD://127.0.0.1:{password}{tls}
advertised.listeners=BROKER://127.0.0.1:{broker},PASSWORD://127.0.0.1:{password}{tls}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,PASSWORD:SASL_PLAINTEXT,\
TLS:SSL
controller.listener.names=CONTROLLER
inter.broker.listener.name=BROKER
sasl.enabled.mechanisms=PLAIN
listener.name.password.plain.sasl.jaas.config={module} required \
user_gateway="secret";
log.dirs={folder}/kafka
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=true
num.partitions=1
log.cleaner.backoff.ms=200
log.retention.check.interval.ms=500
"""

#: A certificate and its key, in one file.
_TLS = """\
listener.name.tls.ssl.keystore.type=PEM
listener.name.tls.ssl.keystore.location={file}
"""


@dataclass
class KafkaServer:
    """A broker that can be reached.

    Attributes:
        address: ``host:port``, without credentials.
        password_address: Where user ``gateway`` with password ``secret`` (PLAIN) is asked for;
            None for a broker that was there before.
        tls_address: Where TLS is spoken; None without a certificate.
        process: None for a broker that was there before.
        command: What starts it again.
        output: Where it writes what it has to say.
    """

    address: str
    password_address: str | None = None
    tls_address: str | None = None
    process: subprocess.Popen[bytes] | None = None
    command: tuple[str, ...] = ()
    output: Path = Path(os.devnull)

    def pause(self) -> None:
        """Stop answering, as a broker on a hung disk does."""
        assert self.process is not None
        pause(self.process.pid)

    def resume(self) -> None:
        """Answer again."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """``kill -9``; what it had not written out is in the page cache still."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def launch(self) -> None:
        """Start it, for the first time or again, and wait until it takes connections.

        Raises:
            RuntimeError: It did not start; the message ends with what it wrote last.
        """
        with self.output.open("ab") as sink:
            self.process = subprocess.Popen(
                self.command,
                stdout=sink,
                stderr=sink,
                env={**os.environ, "JAVA_TOOL_OPTIONS": ""},
            )
        deadline = time.perf_counter() + _START_TIMEOUT_S
        port = int(self.address.rpartition(":")[2])
        while not _accepts(port):
            if self.process.poll() is not None or time.perf_counter() > deadline:
                self.stop()
                raise RuntimeError(f"Kafka did not start: {self.output.read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the broker, if it is ours."""
        if self.process is not None:
            end(self.process, within_s=_STOP_TIMEOUT_S)


def start(jars: Path, folder: Path, *, certificate: Path | None = None) -> KafkaServer:
    """Format storage below ``folder``, start a broker and wait until it takes connections.

    Args:
        jars: Kafka's.
        folder: For all of its files.
        certificate: PEM file of a key and its certificate, read at each start: the broker speaks
            TLS, too.

    Raises:
        RuntimeError: It did not start; the message ends with what it wrote last.
    """
    broker, controller, password, tls = (free_port() for _ in range(4))
    properties = folder / "server.properties"
    properties.write_text(
        _PROPERTIES.format(
            broker=broker,
            controller=controller,
            password=password,
            module=_LOGIN_MODULE,
            folder=folder,
            tls=f",TLS://127.0.0.1:{tls}" if certificate else "",
        )
        + (_TLS.format(file=certificate) if certificate else "")
    )
    output = folder / "server.log"
    environment = {**os.environ, "JAVA_TOOL_OPTIONS": ""}
    # One small JVM with a serial collector: two cores serve the tests too.
    java = ["java", "-Xmx384m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    java += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars}/*"]
    # A cluster id is 16 bytes in base64; any will do.
    format_storage = ["kafka.tools.StorageTool", "format", "-t", "aGVhZGdhdGUtdGVzdHMtMQ"]
    with output.open("wb") as sink:
        subprocess.run(
            [*java, *format_storage, "-c", str(properties)],
            check=True,
            stdout=sink,
            stderr=sink,
            env=environment,
            timeout=_START_TIMEOUT_S,
        )
    server = KafkaServer(
        f"127.0.0.1:{broker}",
        f"127.0.0.1:{password}",
        f"127.0.0.1:{tls}" if certificate else None,
        command=(*java, "kafka.Kafka", str(properties)),
        output=output,
    )
    server.launch()
    return server


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
