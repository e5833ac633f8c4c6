"""The rig: broker, log, gateway and store as real processes, a plant before them, an account after.

::

    plant ──▶ mosquitto ──▶ gateway (log: SQLite or Apache Kafka) ──▶ HTTP store ──▶ VictoriaMetrics
                                                                ├──▶ local store
                                                                └──▶ mosquitto ──▶ listener
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from connectors.logs.configured import open_log, topic
from connectors.simulator.payload import DEFAULT_TOPIC
from headgate.config.load import load_config
from headgate.core.channels import ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.log import QUARANTINE, Log, TopicPartition
from headgate.core.records import (
    MESSAGES_SCHEMA,
    REJECTED_SCHEMAS,
    decode_messages,
    decode_rejected,
    schema_of,
)
from headgate.demo.config import PUMP_MODEL
from tests.accounts import Tally
from tests.e2e.gateway import Gateway
from tests.faults.auditor import Account, settle
from tests.faults.plant import Plant, expected_points
from tests.faults.sinks import (
    Content,
    Listener,
    LocalContent,
    SinkTally,
    StoreContent,
    settle_sinks,
)
from tests.faults.store import Store
from tests.mosquitto import Mosquitto
from tests.processes import until

#: Where the gateway's processes find ``tests.faults.site``, and what it imports; what is tested is
#: the same as in this process.
SITE = os.pathsep.join(
    [
        str(Path(__file__).parent / "site"),
        *filter(None, [os.environ.get("PYTHONPATH")]),
        str(Path(__file__).parents[2]),
    ]
)
LANES = ("ingest", "streams", "forward")

_CONFIG = """
[mqtt]
port = {broker_port}
[log]
url = "{log_url}"
partitions = 2
topic_prefix = "{prefix}."
[streams]
silent_after = "{silent_after}"
snapshot_interval = "500ms"
stage_timeout = "{stage_timeout}"
[influxdb]
url = "{store_url}"
org = "o"
bucket = "b"
token_file = "{token}"
max_points = 200
max_wait = "200ms"
timeout = "2s"
[local_store]
[feed.pump]
topic = "{topic}"
time = {{ path = "time", unit = "ms" }}
period = "100ms"
grace = "500ms"
aggregates = [{{ window = "1s" }}]
models = ["pump"]
[feed.pump.channels]
load = {{ unit = "%", range = [0, 120] }}
flow = {{ unit = "m3/h", range = [0, 200] }}
pressure = {{ unit = "bar", range = [0, 25] }}
current = {{ unit = "A", range = [0, 100] }}
temperature = {{ unit = "C", range = [-40, 150] }}
vibration = {{ unit = "mm/s", range = [0, 50] }}
[model.pump]
package = "{package}"
{more}
"""


class Rig:
    """Everything but the log's and the broker's processes, which are handed in.

    Args:
        folder: For all files.
        broker: Runs already.
        log_url: As in the configuration.
        seed: Decides what the plant sends and what is drawn.
        behind: URL of a VictoriaMetrics that really keeps the points.
        workers: Streams lanes.
        more: More lines of configuration.
        silent_after: As in the configuration; long, because every silence of the plant is a
            fault's.
        stage_timeout: As in the configuration.
        devices: Size of the plant.
        steps_per_s: Samples of each device in a second.
    """

    def __init__(
        self,
        folder: Path,
        broker: Mosquitto,
        log_url: str,
        *,
        seed: int,
        behind: str,
        workers: int = 1,
        more: str = "",
        silent_after: str = "10m",
        stage_timeout: str = "5s",
        devices: int = 10,
        steps_per_s: float = 40,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.random = random.Random(seed)
        self.broker = broker
        self.store = Store(behind)
        #: Hears what is published at the broker.
        self.listener = Listener(broker.port)
        self._behind = behind
        self.plant = Plant(broker.port, seed, devices=devices, steps_per_s=steps_per_s)
        self.faults = folder / "faults"
        self.faults.mkdir()
        self.kills = 0
        #: Seconds from each kill to the gateway being ready again.
        self.recoveries_s: list[float] = []
        self._account = Account()
        self._workers = workers
        self._log_url = log_url
        self._folder = folder
        self._more = more
        self._silent_after = silent_after
        self._stage_timeout = stage_timeout
        self._gateway: Gateway | None = None

    def __enter__(self) -> Self:
        self.store.__enter__()
        self.listener.__enter__()
        token = self._folder / "token"
        token.write_text("a-token")
        config = _CONFIG.format(
            broker_port=self.broker.port,
            log_url=self._log_url,
            prefix=f"{self._folder.name}-{time.perf_counter_ns()}",
            store_url=self.store.url,
            token=token,
            topic=DEFAULT_TOPIC,
            package=PUMP_MODEL,
            more=self._more,
            silent_after=self._silent_after,
            stage_timeout=self._stage_timeout,
        )
        self._gateway = Gateway(
            self._folder / "gateway",
            config,
            environment={"HEADGATE_TEST_FAULTS": str(self.faults), "PYTHONPATH": SITE},
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.plant.abandon()
        try:
            self.gateway.__exit__(kind, error, trace)
        finally:
            self.listener.__exit__(kind, error, trace)
            self.store.__exit__(kind, error, trace)

    @property
    def gateway(self) -> Gateway:
        """The gateway's processes."""
        assert self._gateway is not None
        return self._gateway

    @property
    def tally(self) -> Tally:
        """What it was put through, and what the last account says."""
        account = self._account
        return Tally(
            self.kills, 1, account.messages, account.lost, account.duplicated, account.lost_at
        )

    @property
    def local_store(self) -> Path:
        """The local store's file."""
        return self.gateway.folder / "data" / "points.db"

    @property
    def lanes(self) -> tuple[str, ...]:
        """Names of the lanes."""
        if self._workers == 1:
            return LANES
        streams = (f"streams-{number}" for number in range(1, self._workers + 1))
        return ("ingest", *streams, "forward")

    def start(self) -> None:
        """Start the gateway and wait until it is ready."""
        self.gateway.start("--workers", str(self._workers), ready_within_s=90)

    def pid(self, lane: str) -> int | None:
        """Process id of a lane; None while it does not run."""
        pid: int | None = self.gateway.status()["lanes"][lane]["pid"]
        return pid

    def signal(self, lane: str, number: signal.Signals) -> None:
        """Send a lane a signal, if it runs just now."""
        pid = self.pid(lane)
        if pid is not None:
            os.kill(pid, number)

    def kill(self, lane: str) -> None:
        """``kill -9`` of a lane, if it runs just now."""
        pid = self.pid(lane)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.kills += 1

    def kill_all(self) -> None:
        """``kill -9`` of every process of the gateway, and a new start."""
        self.gateway.kill()
        self.kills += 1 + len(self.lanes)
        self.gateway.start_without_waiting("--workers", str(self._workers))

    def recover(self, within_s: float = 60) -> float:
        """Wait until all lanes work; how long that took, s.

        That is not when the gateway is ready: whoever kills a lane again and again is told for a
        minute that it was.
        """
        started = time.perf_counter()
        # The supervisor learns of a death some milliseconds later.
        time.sleep(0.15)
        self.gateway.wait_for("/healthz", within_s)
        until(
            lambda: all(
                lane["ready"] or lane["reason"].startswith("works, but was")
                for lane in self.gateway.status()["lanes"].values()
            ),
            "all lanes at work",
            within_s,
        )
        elapsed_s = time.perf_counter() - started
        self.recoveries_s.append(elapsed_s)
        return elapsed_s

    def settle(
        self,
        *,
        within_s: float = 90,
        exact: bool = True,
        refused: bool = False,
        extra: int = 0,
    ) -> Account:
        """End the plant, wait until everything has come through, and settle the account.

        Args:
            within_s: For what is under way.
            exact: Every point must be as in an undisturbed run; otherwise readings may be in
                quarantine instead.
            refused: Take in the lines that the store refused.
            extra: Readings that were sent beside the plant's, and must be in quarantine.
        """
        ledger = self.plant.finish()
        expected = expected_points(self.gateway.config_file, ledger)
        deadline = time.perf_counter() + within_s
        was_settled = False
        while True:
            readings, by_sink = self.quarantined()
            account = self._account = settle(
                ledger,
                expected,
                self.store,
                quarantined=None if exact else readings,
                refused=by_sink["influxdb"] if refused else (),
                extra=extra,
            )
            is_over = time.perf_counter() > deadline
            if account.is_settled or is_over:
                account.sinks = self.settle_sinks()
            # Twice, because what comes twice may come late.
            if account.is_settled and was_settled:
                return account
            was_settled = account.is_settled
            if is_over:
                return account
            time.sleep(1)

    def settle_sinks(self) -> dict[str, SinkTally]:
        """What became of each point in the log at each sink, and is really there."""
        _, refused = self.quarantined()
        return asyncio.run(self._settle_sinks(refused))

    async def _settle_sinks(self, refused: Mapping[str, Iterable[str]]) -> dict[str, SinkTally]:
        config = load_config(self.gateway.config_file, check_files=False)
        log: Log = open_log(config, SystemClock())
        try:
            await log.start()
            return await settle_sinks(config, log, self._contents, refused)
        finally:
            await log.stop()

    def _contents(self) -> dict[str, Content]:
        return {
            "influxdb": StoreContent(self._behind),
            "local_store": LocalContent(self.local_store),
            "mqtt": self.listener,
        }

    def quarantined(self) -> tuple[Counter[str], dict[str, list[str]]]:
        """Readings in quarantine by reason, without duplicates, and refused lines by sink."""
        return asyncio.run(self._quarantined())

    async def _quarantined(self) -> tuple[Counter[str], dict[str, list[str]]]:
        config = load_config(self.gateway.config_file, check_files=False)
        log: Log = open_log(config, SystemClock())
        readings: Counter[str] = Counter()
        met: dict[tuple[int, int], Counter[str]] = {}
        lines: defaultdict[str, dict[str, None]] = defaultdict(dict)
        try:
            await log.start()
            for partition in range(config.log.partitions):
                at = TopicPartition(topic(config, QUARANTINE), partition)
                position, end = await log.offsets(at)
                while position < end:
                    records = await log.read(at, position, max_bytes=4 << 20)
                    if not records:
                        break
                    for record in records:
                        schema = schema_of(record.headers)
                        if schema in REJECTED_SCHEMAS:
                            _count_rejected(record.value, met)
                        elif schema == MESSAGES_SCHEMA:
                            _note_refused(record.value, lines)
                    position = records[-1].offset + 1
        finally:
            await log.stop()
        for counter in met.values():
            readings.update(counter)
        del readings["duplicate"]
        return +readings, defaultdict(list, {sink: list(each) for sink, each in lines.items()})


def _note_refused(value: bytes, lines: defaultdict[str, dict[str, None]]) -> None:
    for message in decode_messages(value):
        if message.reason == "rejected_by_sink":
            lines[message.source][message.payload.decode()] = None


def _count_rejected(value: bytes, met: dict[tuple[int, int], Counter[str]]) -> None:
    # A replay rejects a source record's readings again: of all times the fullest counts.
    rejected = decode_rejected(value, ChannelTable())
    found: dict[tuple[int, int], Counter[str]] = {}
    for partition, offset, reason in zip(
        rejected.partition.tolist(), rejected.offset.tolist(), rejected.reasons, strict=True
    ):
        found.setdefault((partition, offset), Counter())[reason] += 1
    for place, counter in found.items():
        met[place] = met.get(place, Counter()) | counter
