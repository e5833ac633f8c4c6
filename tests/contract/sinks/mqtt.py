"""A real mosquitto, which keeps the newest message of each topic."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from connectors.sinks.points import Point
from headgate.testing.sinks import StoredPoint
from tests.mosquitto import Mosquitto

MARK = pytest.mark.mosquitto

#: A message that ends the retained ones.
_END = "contract/end"


class Scene:
    """See ``SinkScene``."""

    overwrites = True
    refused: Point | None = None

    def __init__(self, folder: Path) -> None:
        self._broker = Mosquitto(folder / "broker")
        self._broker.start()

    def tables(self) -> str:
        """See ``SinkScene``."""
        return f"[mqtt]\nport = {self._broker.port}\npublish_anomalies = false\n"

    def leave(self) -> None:
        """See ``SinkScene``."""
        self._broker.stop()

    def come_back(self) -> None:
        """See ``SinkScene``."""
        self._broker.start()

    def stored(self) -> list[StoredPoint]:
        """See ``SinkScene``."""
        peer = ["-h", "127.0.0.1", "-p", str(self._broker.port)]
        # Behind the retained messages of the first filter come those of the second.
        subprocess.run(["mosquitto_pub", *peer, "-t", _END, "-m", "{}", "-r"], check=True)
        heard = subprocess.Popen(
            ["mosquitto_sub", *peer, "-q", "1", "-t", "headgate/#", "-t", _END, "-F", "%t\t%p"],
            stdout=subprocess.PIPE,
            text=True,
        )
        found = []
        try:
            assert heard.stdout is not None
            for line in heard.stdout:
                topic, _, payload = line.rstrip("\n").partition("\t")
                if topic == _END:
                    break
                said = json.loads(payload)
                measurement = topic.split("/")[2]
                found.append(StoredPoint(measurement, said["device"], said["start_ns"], said["x"]))
        finally:
            heard.kill()
            heard.wait()
            if heard.stdout is not None:
                heard.stdout.close()
        return found

    def close(self) -> None:
        """See ``SinkScene``."""
        self._broker.stop()
