"""A real mosquitto, which keeps its sessions over a restart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from connectors.replay.publisher import Publisher
from headgate.core.clock import SystemClock
from tests.mosquitto import Mosquitto

MARK = pytest.mark.mosquitto


class Scene:
    """See ``SourceScene``."""

    def __init__(self, folder: Path) -> None:
        self._broker = Mosquitto(folder / "broker")
        self._broker.start()

    def tables(self) -> str:
        """See ``SourceScene``."""
        return f"port = {self._broker.port}\n"

    def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        """See ``SourceScene``."""
        with Publisher("127.0.0.1", self._broker.port, SystemClock()) as publisher:
            for payload in payloads:
                publisher.publish(topic, payload)
            publisher.flush()

    def leave(self) -> None:
        """See ``SourceScene``."""
        self._broker.stop()

    def come_back(self) -> None:
        """See ``SourceScene``."""
        self._broker.start()

    def close(self) -> None:
        """See ``SourceScene``."""
        self._broker.stop()
