"""Edge nodes of another maker, and a running gateway: nodes, broker and gateway are killed.

Every value says which metric it is of. None may be under another's name, and whatever is sent while
everything runs must be in the log.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from connectors.logs.configured import topic
from connectors.logs.embedded.store import SqliteLog
from headgate.config.load import load_config
from headgate.core.channels import ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.log import QUARANTINE, READINGS, TopicPartition
from headgate.core.records import AVAILABILITY_SCHEMA, decode_messages, decode_readings, schema_of
from tests.e2e.gateway import Gateway
from tests.e2e.told import Told
from tests.mosquitto import Mosquitto
from tests.processes import end
from tests.services import require
from tests.sparkplug.environment import CannotMakeError, python

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(900)]

_EDGE = Path(__file__).parents[1] / "sparkplug" / "edge.py"
_UNKNOWN = re.compile(
    rb'^headgate_quarantined_total\{[^}]*reason="unknown_alias"[^}]*\} (\S+)', re.MULTILINE
)

#: For how long everything runs and every value counts, s; and how long nothing unknown may have
#: come before, so that every node has been born.
_QUIET_S = 3.0
_SETTLED_S = 3.0

_CONFIG = """
[mqtt]
port = {port}
publish_anomalies = {publishes}
[sink.store]
type = "local_store"
[feed.plant]
topic = "spBv1.0/g/#"
format = "sparkplug"
sensor_health = false
[feed.plant.channels]
level = {{}}
count = {{}}
total = {{}}
"""

#: Device, metric and value.
Value = tuple[str, str, float]


class Nodes:
    """A process of edge nodes, which can be killed and started again."""

    def __init__(self, broker: Mosquitto, first: int, count: int, folder: Path) -> None:
        try:
            self._python = python()
        except CannotMakeError as error:
            require("pysparkplug", False, str(error))
        self._arguments = [str(broker.port), str(first), str(count)]
        self._file = folder / f"sent-{first}"
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its aliases are other ones each time."""
        self._starts += 1
        self._process = subprocess.Popen(
            [self._python, str(_EDGE), *self._arguments, str(self._starts), str(self._file)],
            stdin=subprocess.DEVNULL,
            # What is tested may stand there, and has another MQTT client beside it.
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        )

    def kill(self) -> None:
        """``kill -9``."""
        if self._process is not None:
            end(self._process, within_s=10, number=signal.SIGKILL)
            self._process = None

    def sent(self) -> list[tuple[float, Value]]:
        """All that was sent: when, s, and what."""
        lines = [line.split(" ") for line in self._file.read_text().splitlines()]
        return [
            (int(time_ms) / 1000, (device, field, float(value)))
            for time_ms, device, field, value in lines
        ]


class Plant:
    """Nodes in two processes, a broker, and the gateway."""

    def __init__(self, gateway: Gateway, broker: Mosquitto, nodes: tuple[Nodes, Nodes]) -> None:
        self.gateway, self.broker, self.nodes = gateway, broker, nodes
        #: Spans in which everything ran, s.
        self.quiet: list[tuple[float, float]] = []

    def unknown(self) -> float:
        """Messages with unknown aliases, since the gateway was started."""
        found = _UNKNOWN.findall(self.gateway.get("/metrics")[1])
        return sum(map(float, found))

    def settle(self) -> None:
        """Wait until every node is born, and let everything run for a while."""
        self.gateway.wait_for("/readyz", 90)
        deadline = time.perf_counter() + 150
        seen, since = -1.0, time.perf_counter()
        while time.perf_counter() - since < _SETTLED_S:
            assert time.perf_counter() < deadline, "nodes go on to send unknown aliases"
            time.sleep(0.25)
            now = self.unknown()
            if now != seen:
                seen, since = now, time.perf_counter()
        first = time.time()  # noqa: TID251  (as the nodes do)
        time.sleep(_QUIET_S)
        # What is under way must arrive before anything is killed.
        self.quiet.append((first, time.time() - 1.0))  # noqa: TID251

    def kill_nodes(self) -> None:
        """Half of them, which are back at once."""
        self.nodes[0].kill()
        self.nodes[0].start()

    def kill_broker(self) -> None:
        """It is back in a second."""
        self.broker.stop(signal.SIGKILL)
        time.sleep(1)
        self.broker.start()

    def kill_gateway(self) -> None:
        """All of its processes."""
        self.gateway.kill()
        self.gateway.start(ready_within_s=180)


@contextmanager
def _plant(
    broker: Mosquitto, folder: Path, count: int, publishes: str = "false"
) -> Iterator[Plant]:
    half = count // 2
    nodes = Nodes(broker, 0, half, folder), Nodes(broker, half, count - half, folder)
    with ExitStack() as stack:
        for each in nodes:
            stack.callback(each.kill)
        config = _CONFIG.format(port=broker.port, publishes=publishes)
        gateway = stack.enter_context(Gateway(folder / "gateway", config))
        # Half of them are there before the gateway is: it has missed their births.
        nodes[0].start()
        gateway.start(ready_within_s=180)
        nodes[1].start()
        yield Plant(gateway, broker, nodes)


async def _logged(config_file: Path) -> tuple[set[Value], set[str]]:
    """All readings in the log, and the reasons in quarantine."""
    config = load_config(config_file)
    log = SqliteLog(config.log_path, SystemClock())
    await log.start()
    found: set[Value] = set()
    reasons: set[str] = set()
    table = ChannelTable()
    for partition in range(config.log.partitions):
        for name in (READINGS, QUARANTINE):
            at = TopicPartition(topic(config, name), partition)
            offset, last = await log.offsets(at)
            while offset < last:
                records = await log.read(at, offset, max_bytes=1 << 22)
                offset = records[-1].offset + 1
                for record in records:
                    if name == QUARANTINE:
                        if schema_of(record.headers).startswith(b"messages/"):
                            reasons |= {each.reason for each in decode_messages(record.value)}
                        continue
                    if schema_of(record.headers) == AVAILABILITY_SCHEMA:
                        continue
                    batch = decode_readings(record.value, table)
                    for row, value in zip(
                        batch.channel.tolist(), batch.value.tolist(), strict=True
                    ):
                        found.add((table.channels[row].device, table.channels[row].field, value))
    await log.stop()
    return found, reasons


def _play(broker: Mosquitto, folder: Path, count: int, rounds: int) -> None:
    with _plant(broker, folder, count) as plant:
        plant.settle()
        kills: list[Callable[[], None]] = [
            plant.kill_gateway,
            plant.kill_nodes,
            plant.kill_broker,
        ]
        for kill in kills * rounds:
            kill()
            plant.settle()
        assert plant.gateway.stop() == 0
        sent = [each for nodes in plant.nodes for each in nodes.sent()]
    found, reasons = asyncio.run(_logged(plant.gateway.config_file))

    assert not found - {value for _, value in sent}, "values under wrong names"
    counting = {value for time_s, value in sent if any(a <= time_s <= b for a, b in plant.quiet)}
    assert len(counting) > 3 * count * len(plant.quiet)
    assert not counting - found, "values that were lost though everything ran"
    assert reasons <= {"unknown_alias"}


def test_nodes_of_another_maker_are_read_through_kills_of_everything(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """No value under a wrong name, none lost but while somebody was away."""
    _play(mosquitto, tmp_path, count=8, rounds=1)


def test_a_node_that_is_killed_takes_its_devices_along(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """At once, by its death; a gateway that was killed meanwhile knows whose it is."""
    with _plant(mosquitto, tmp_path, 4, publishes="true") as plant, Told(mosquitto) as told:
        plant.settle()
        told.wait_for(lambda: told.count("online") >= 4)
        everybody = dict(told.states)
        plant.nodes[0].kill()
        told.wait_for(lambda: told.count("offline") > 0)
        told.wait_for(lambda: told.count("offline") * 2 == len(everybody))
        assert {cause for state, cause in told.states.values() if state == "offline"} == {"death"}

        plant.nodes[0].start()
        told.wait_for(lambda: told.count("online") == len(everybody))
        plant.gateway.kill()
        plant.nodes[1].kill()
        plant.gateway.start(ready_within_s=180)
        told.wait_for(lambda: told.count("offline") * 2 == len(everybody))
        assert told.states.keys() == everybody.keys()


@pytest.mark.thorough
def test_so_are_a_hundred(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Killed three times each."""
    _play(mosquitto, tmp_path, count=100, rounds=3)
