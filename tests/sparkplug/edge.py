"""Edge nodes on pysparkplug; runs in its environment, and knows nothing of the gateway.

    python edge.py PORT FIRST COUNT SEED SENT

Nodes FIRST to FIRST + COUNT - 1 of group g, each with two devices, send some metrics twice a
second, by nothing but their aliases, which are others after each birth. No two metrics ever have
the same value. What is sent is written to the file SENT before, a line each: when, which device,
which metric, and its value.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from pysparkplug import (
    Client,
    ClientOptions,
    DataType,
    DBirth,
    DData,
    Message,
    MessageType,
    Metric,
    NBirth,
    NData,
    NDeath,
    QoS,
    Topic,
)

#: Names and types; and the devices of a node, the node itself first.
METRICS = (("level", DataType.DOUBLE), ("count", DataType.INT32), ("total", DataType.INT64))
DEVICES = ("", "d1", "d2")
STEP = 1_000_000

_INTERVAL_S = 0.5


def _now_ms() -> int:
    return time.time_ns() // 1_000_000  # noqa: TID251  (a program of its own)


class Node:
    """One edge node, with a connection of its own."""

    def __init__(self, port: int, number: int, chance: random.Random, sent: IO[str]) -> None:
        self._number = number
        self._name = f"n{number}"
        self._chance = chance
        self._sent = sent
        self._lock = threading.RLock()
        self._seq = self._bd = 0
        # Those of an earlier process were other values.
        self._count = chance.randrange(STEP // 2)
        self._is_born = False
        self._aliases: list[int] = []
        options = ClientOptions(reconnection_delay_min=1, reconnection_delay_max=2)
        self._client = Client(client_options=options)
        self._set_will()
        self._client.subscribe(
            Topic(group_id="g", message_type=MessageType.NCMD, edge_node_id=self._name),
            QoS.AT_LEAST_ONCE,
            self._on_command,
        )
        self._client.connect("127.0.0.1", port=port, callback=self._on_connect)

    def tick(self) -> None:
        """Send each metric once."""
        with self._lock:
            if not self._is_born:
                return
            try:
                for device in range(len(DEVICES)):
                    self._send_data(device)
            except Exception:  # noqa: BLE001  (whatever paho says: it will be born again)
                self._is_born = False

    def _on_connect(self, _client: Any) -> None:  # noqa: ANN401
        with self._lock:
            self._bear()
            # For the next connection.
            self._bd += 1
            self._set_will()

    def _on_command(self, _client: Any, message: Any) -> None:  # noqa: ANN401
        for metric in message.payload.metrics:
            if metric.name == "Node Control/Rebirth" and metric.value is True:
                with self._lock:
                    self._bear(self._bd - 1)

    def _bear(self, bd: int | None = None) -> None:
        self._seq = 0
        count = len(DEVICES) * len(METRICS)
        self._aliases = self._chance.sample(range(1, count + 1), count)
        for device in range(len(DEVICES)):
            metrics = [self._metric(device, at, is_birth=True) for at in range(len(METRICS))]
            birth: Any = DBirth
            if device == 0:
                metrics.append(self._bd_metric(self._bd if bd is None else bd))
                birth = NBirth
            payload = birth(timestamp=_now_ms(), seq=self._next(), metrics=tuple(metrics))
            self._note(device, metrics)
            self._publish("BIRTH", device, payload)
        self._is_born = True

    def _send_data(self, device: int) -> None:
        self._count += 1
        data: Any = DData if device else NData
        metrics = [self._metric(device, at, is_birth=False) for at in range(len(METRICS))]
        payload = data(timestamp=_now_ms(), seq=self._next(), metrics=tuple(metrics))
        self._note(device, metrics)
        self._publish("DATA", device, payload)

    def _note(self, device: int, metrics: list[Metric]) -> None:
        name = f"g/{self._name}/{DEVICES[device]}".rstrip("/")
        for (field, _), metric in zip(METRICS, metrics, strict=False):
            self._sent.write(f"{_now_ms()} {name} {field} {metric.value}\n")

    def _metric(self, device: int, at: int, *, is_birth: bool) -> Metric:
        name, datatype = METRICS[at]
        number = (self._number * len(DEVICES) + device) * len(METRICS) + at + 1
        return Metric(
            timestamp=_now_ms(),
            name=name if is_birth else None,
            datatype=datatype,
            alias=self._aliases[device * len(METRICS) + at],
            value=number * STEP + self._count,
        )

    def _publish(self, kind: str, device: int, payload: object) -> None:
        topic = Topic(
            group_id="g",
            message_type=MessageType(("D" if device else "N") + kind),
            edge_node_id=self._name,
            device_id=DEVICES[device] or None,
        )
        message = Message(topic=topic, payload=payload, qos=QoS.AT_MOST_ONCE, retain=False)
        self._client.publish(message, include_dtypes=kind == "BIRTH")

    def _next(self) -> int:
        seq = self._seq
        self._seq = (seq + 1) % 256
        return seq

    def _bd_metric(self, bd: int) -> Metric:
        return Metric(timestamp=_now_ms(), name="bdSeq", datatype=DataType.INT64, value=bd % 256)

    def _set_will(self) -> None:
        topic = Topic(group_id="g", message_type=MessageType.NDEATH, edge_node_id=self._name)
        death = NDeath(timestamp=_now_ms(), bd_seq_metric=self._bd_metric(self._bd))
        self._client.set_will(
            Message(topic=topic, payload=death, qos=QoS.AT_MOST_ONCE, retain=False)
        )


def main() -> None:
    """Run until killed."""
    port, first, count, seed = map(int, sys.argv[1:5])
    chance = random.Random(seed)
    with Path(sys.argv[5]).open("a", buffering=1, encoding="ascii") as sent:
        nodes = [
            Node(port, number, random.Random(chance.random()), sent)
            for number in range(first, first + count)
        ]
        while True:
            for node in nodes:
                node.tick()
            time.sleep(_INTERVAL_S)


if __name__ == "__main__":
    main()
