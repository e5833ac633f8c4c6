"""The demo's MQTT broker: mosquitto where it is installed, else the embedded one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headgate.core.clock import Clock
from headgate.core.errors import ConfigError
from headgate.demo.processes import Child
from headgate.installed.extras import with_extra

#: Debian keeps mosquitto in /usr/sbin, which is not on every user's path.
_MORE_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")

#: On loopback everybody may come in; a message that the gateway has yet to take is never dropped.
_MOSQUITTO_CONF = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 10000000
max_inflight_messages 1000
log_dest stderr
log_type error
log_type warning
"""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker to be started: enter ``child``, then wait until ``is_ready``.

    Attributes:
        name: ``"mosquitto"`` or ``"amqtt"``.
        port: Its port on loopback.
        version: Newest MQTT version that it speaks.
        child: Its process.
    """

    name: str
    port: int
    version: Literal["3.1.1", "5"]
    child: Child

    def is_ready(self) -> bool:
        """Whether somebody can connect."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=0.5).close()
        except OSError:
            return False
        return True


def make_broker(folder: Path, port: int, clock: Clock, *, may_use_mosquitto: bool = True) -> Broker:
    """The best broker this machine has, not started yet.

    Args:
        folder: For its configuration and output.
        port: Port on loopback.
        clock: For timeouts.
        may_use_mosquitto: False takes the embedded one even where mosquitto is installed.

    Raises:
        ConfigError: There is neither.
    """
    output = folder / "broker.log"
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_MORE_FOLDERS])
    mosquitto = shutil.which("mosquitto", path=path) if may_use_mosquitto else None
    if mosquitto is not None:
        conf = folder / "mosquitto.conf"
        conf.write_text(_MOSQUITTO_CONF.format(port=port))
        child = Child("mosquitto", [mosquitto, "-c", str(conf)], output, clock)
        return Broker("mosquitto", port, "5", child)
    if importlib.util.find_spec("amqtt") is not None:
        command = [sys.executable, "-m", "headgate.demo.embedded_broker", str(port)]
        return Broker("amqtt", port, "3.1.1", Child("amqtt", command, output, clock))
    raise ConfigError(
        "demo: expected mosquitto or the Python package amqtt, got neither; "
        f"run apt-get install mosquitto, or {with_extra('embedded')}"
    )
