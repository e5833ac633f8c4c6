"""A gateway as tutorials build it, to show that the rig sees what such a one loses. No example.

A paho callback, clean session, acknowledged on receipt; a Faust agent with ``take`` and the JSON
serializer; influxdb-client's batching writer. Run as ``python -m tests.faults.naive`` with its
settings in the environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import faust
from influxdb_client import InfluxDBClient, WriteOptions
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

_NAME = os.environ["NAIVE_NAME"]
_FOLDER = Path(os.environ["NAIVE_FOLDER"])

app = faust.App(
    _NAME,
    broker=f"kafka://{os.environ['NAIVE_KAFKA']}",
    store="memory://",
    topic_partitions=1,
    topic_disable_leader=True,
    web_enabled=False,
    broker_session_timeout=6,
    broker_heartbeat_interval=1.5,
    datadir=str(_FOLDER / "faust"),
)
readings = app.topic(f"{_NAME}-readings", value_serializer="json", internal=True, partitions=1)
_points = InfluxDBClient(os.environ["NAIVE_STORE"], token="t", org="o").write_api(
    write_options=WriteOptions(batch_size=500, flush_interval=1000)
)
_batches = 0


@app.agent(readings)  # type: ignore[untyped-decorator]
async def work(stream: faust.StreamT[Any]) -> None:
    """Write each reading as a point."""
    global _batches  # noqa: PLW0603  (as the tutorials count)
    async for batch in stream.take(50, within=0.2):
        _batches += 1
        if os.environ["NAIVE_FAULT"] == "raise" and _batches == 5:
            raise ArithmeticError("a model that could not")
        for message in batch:
            line = f"m,device={message['device']} load={message['load']} {message['time']}000000"
            _points.write(bucket="b", record=line)


@app.task  # type: ignore[untyped-decorator]
async def ingest() -> None:
    """Pass every message on."""
    loop = asyncio.get_running_loop()
    client = Client(CallbackAPIVersion.VERSION2)

    def on_message(_client: Client, _data: object, message: Any) -> None:  # noqa: ANN401
        try:
            value = json.loads(message.payload)
            payload = json.dumps({**value, "device": message.topic.split("/")[2]}).encode()
        except ValueError:
            payload = message.payload
        sent = readings.send(value=payload, value_serializer="raw")
        asyncio.run_coroutine_threadsafe(sent, loop)

    client.on_message = on_message
    client.on_subscribe = lambda *_arguments: (_FOLDER / "ready").touch()
    client.connect("127.0.0.1", int(os.environ["NAIVE_MQTT"]))
    client.subscribe("plant/+/+/telemetry", qos=1)
    client.loop_start()


if __name__ == "__main__":
    sys.argv = ["naive", "worker", "-l", "error"]
    app.main()
