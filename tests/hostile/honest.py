"""Devices that do as they should, and what must come of each second of theirs."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from connectors.replay.publisher import Publisher
from headgate.core.clock import SystemClock

#: Channels in a message.
CHANNELS = ("a", "b")

#: How long a window stays open for readings that come late, ms.
GRACE_MS = 1000


class Honest:
    """Devices that publish in a thread of their own, QoS 1, with the time of now.

    Args:
        port: The broker's port on loopback.
        devices: How many.
        period_ms: Between two messages of each, ms.
        window_ms: Length of the gateway's windows, ms.
    """

    def __init__(
        self, port: int, *, devices: int = 5, period_ms: int = 200, window_ms: int = 1000
    ) -> None:
        self.devices = devices
        self.period_ms = period_ms
        self.window_ms = window_ms
        #: Readings that the broker has taken, by the begin of the window they belong to, ms.
        self.readings: Counter[int] = Counter()
        self._port = port
        self._clock = SystemClock()
        self._stop = threading.Event()
        self._publishing = threading.Event()
        self._publishing.set()
        self._silent = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="honest", daemon=True)
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def pause(self) -> None:
        """Fall silent for a while; the broker has all before that."""
        self._publishing.clear()
        self._silent.wait(60)

    def resume(self) -> None:
        """Publish again."""
        self._silent.clear()
        self._publishing.set()

    def stop(self) -> None:
        """Publish no more; everything has been confirmed by the broker after this."""
        self._stop.set()
        self._publishing.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the honest devices hang"
        if self._error is not None:
            raise self._error

    def _publish(self) -> None:
        try:
            with Publisher("127.0.0.1", self._port, self._clock, patience_s=60) as publisher:
                step = self._now_ms() // self.period_ms
                while not self._stop.is_set():
                    if not self._publishing.is_set():
                        publisher.flush()
                        self._silent.set()
                        self._publishing.wait()
                        step = self._now_ms() // self.period_ms
                    step += 1
                    # On a grid that it never leaves: each window has the same number of readings.
                    self._stop.wait(max(0, step * self.period_ms - self._now_ms()) / 1000)
                    self._send(publisher, step)
                publisher.flush()
        except BaseException as error:  # noqa: BLE001  (raised again in stop)
            self._error = error

    def _send(self, publisher: Publisher, step: int) -> None:
        time_ms = step * self.period_ms
        payload = json.dumps({"t": time_ms, "a": step % 7, "b": step % 11}).encode()
        for device in range(self.devices):
            publisher.publish(topic_of(device), payload)
            self.readings[time_ms // self.window_ms * self.window_ms] += len(CHANNELS)

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // 1_000_000


def topic_of(device: int) -> str:
    """Where an honest device publishes."""
    return f"plant/line-1/honest-{device}/telemetry"


class Stored(NamedTuple):
    """An aggregate of an honest device, as the local store has it.

    Attributes:
        begin_ms: Begin of its window.
        readings: That it stands for.
        stored_ms: When it was stored, by the wall clock.
    """

    begin_ms: int
    readings: int
    stored_ms: int


def stored(points: Path) -> list[Stored]:
    """What the local store has of honest devices.

    Args:
        points: The store's file; may not be there yet.
    """
    if not points.exists():
        return []
    with closing(sqlite3.connect(f"file:{points}?mode=ro", uri=True)) as database:
        # The file is there a moment before its tables.
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'points'").fetchall():
            return []
        rows = database.execute(
            "SELECT time_ns, fields, stored_ns FROM points WHERE kind = 'aggregates' "
            "AND json_extract(tags, '$.device') LIKE 'honest-%' "
            "AND json_extract(tags, '$.line') = 'line-1'"
        ).fetchall()
    return [
        Stored(
            time_ns // 1_000_000,
            sum(value for name, value in json.loads(fields).items() if name.endswith("_n")),
            stored_ns // 1_000_000,
        )
        for time_ns, fields, stored_ns in rows
    ]
