"""The plant of the fault tests: devices with known readings, and a ledger of what was sent.

Everything follows from the seed: readings, injected faults, and so every point that must come out.
The expected points are those of the very pipeline run over the ledger in this process, without a
broker, a log or a fault in sight; the counts are held against the ledger itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from connectors.formats.decoder import FeedDecoder
from connectors.replay.publisher import Publisher
from connectors.simulator.faults import Fault
from connectors.simulator.fleet import CHANNELS, Fleet
from connectors.simulator.payload import PayloadWriter
from connectors.sinks.points import Point, aggregate_points, anomaly_points, health_points
from headgate.config.load import load_config
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S, SystemClock
from streams.build import build_pipeline

START_NS = 1_750_000_000 * NS_PER_S
RATE_HZ = 10.0

#: Event time between the last reading of the plant and the one that closes its windows, s.
_CLOSING_GAP_S = 600

#: Messages decoded at once for the expected points.
_SLICE = 2000

Message = tuple[str, bytes]
Identity = tuple[str, tuple[tuple[str, str], ...], int]


@dataclass
class Ledger:
    """Every message that the broker has acknowledged, in the order of sending.

    Attributes:
        messages: Topic and payload.
    """

    messages: list[Message] = field(default_factory=list)

    def __len__(self) -> int:
        """Messages."""
        return len(self.messages)

    @property
    def readings(self) -> int:
        """Readings in all messages but the closing ones: as many as must be accounted for."""
        return len(CHANNELS) * len(self.messages)


class Plant:
    """A fleet of pumps, some of which fail, that publishes in a thread of its own.

    Args:
        port: The broker's port on loopback.
        seed: Decides everything.
        devices: Pumps.
        steps_per_s: Samples of each pump published in a second of real time.
    """

    def __init__(self, port: int, seed: int, *, devices: int = 10, steps_per_s: float = 40) -> None:
        self.ledger = Ledger()
        self._port = port
        self._steps_per_s = steps_per_s
        second = NS_PER_S
        faults = [
            Fault("cavitation", device, START_NS + begin * second, START_NS + (begin + 20) * second)
            for device, begin in ((0, 20), (3 % devices, 35), (5 % devices, 70))
        ]
        self._fleet = Fleet(
            devices, RATE_HZ, seed, start_ns=START_NS, faults=faults, repeat_faults_s=120
        )
        self._writer = PayloadWriter(self._fleet)
        self._stop = threading.Event()
        # Must not keep a process from ending whose test has failed: it waits for a broker for long.
        self._thread = threading.Thread(target=self._publish, name="plant", daemon=True)
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def abandon(self) -> None:
        """Publish no more, and wait for nothing."""
        self._stop.set()

    def finish(self) -> Ledger:
        """Publish what closes all windows, wait for the broker's word on everything, and stop."""
        self._stop.set()
        self._thread.join(180)
        assert not self._thread.is_alive(), "the plant hangs"
        if self._error is not None:
            raise self._error
        return self.ledger

    def _publish(self) -> None:
        try:
            with Publisher("127.0.0.1", self._port, SystemClock(), patience_s=150) as publisher:
                started = time.perf_counter()
                steps = 0
                while not self._stop.is_set():
                    self._send(publisher, self._writer.messages(self._fleet.step()))
                    steps += 1
                    ahead_s = steps / self._steps_per_s - (time.perf_counter() - started)
                    if ahead_s > 0:
                        time.sleep(ahead_s)
                    elif ahead_s < -1:
                        # The broker was away; nobody has to catch up.
                        started -= ahead_s
                self._send(publisher, self._closing())
                publisher.flush()
        except BaseException as error:  # noqa: BLE001  (raised again in finish)
            self._error = error

    def _send(self, publisher: Publisher, messages: Iterator[Message]) -> None:
        for topic, payload in messages:
            publisher.publish(topic, payload)
            self.ledger.messages.append((topic, payload))

    def _closing(self) -> Iterator[Message]:
        """One reading of each device, so late that every window before it closes."""
        step = self._fleet.step()
        late = type(step)(step.time_ns + _CLOSING_GAP_S * NS_PER_S, step.values)
        return self._writer.messages(late)


@dataclass
class Expected:
    """What must come out.

    Attributes:
        points: Each point's last line, by identity.
        revisions: Every line that may be written under an identity on the way.
        open_readings: Readings in windows that no later reading closes.
    """

    points: dict[Identity, str] = field(default_factory=dict)
    revisions: dict[Identity, set[str]] = field(default_factory=dict)
    open_readings: int = 0

    def add(self, point: Point) -> None:
        """Take up a point, over the one it replaces."""
        identity = identity_of(point)
        self.points[identity] = point.line()
        self.revisions.setdefault(identity, set()).add(point.line())


def identity_of(point: Point) -> Identity:
    """What a store knows a point by."""
    return point.measurement, point.tags, point.time_ns


def expected_points(config_file: Path, ledger: Ledger) -> Expected:
    """The points of an undisturbed run over the ledger."""
    config = load_config(config_file)
    channels = ChannelTable()
    pipeline = build_pipeline(config, channels)
    (feed,) = config.feed
    decoder = FeedDecoder(feed, config.feed[feed], channels, config.ingest)
    expected = Expected()
    messages = iter(ledger.messages)
    while some := list(islice(messages, _SLICE)):
        topics = [topic.encode() for topic, _ in some]
        arrival_ns = np.full(len(some), SystemClock().wall_ns())
        decoded = decoder.decode(topics, [payload for _, payload in some], arrival_ns)
        assert not decoded.refused
        results = pipeline.process(decoded.batch(channels), 0)
        for point in anomaly_points(results.anomalies, config.gateway.name):
            expected.add(point)
        for point in health_points(results.health, config.gateway.name):
            expected.add(point)
        for point in aggregate_points(results.aggregates, channels, config.gateway.name):
            expected.add(point)
    expected.open_readings = pipeline.open_rows()
    return expected
