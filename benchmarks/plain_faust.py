"""The same job the way Faust's tutorials do it, to measure against. Not an example to follow.

A paho callback sends every message as a record of its own; an agent takes them one by one, keeps
each device's window in a Table, cleans, runs the model on one window, and hands points to
influxdb-client's batching writer. Same topic, same rules, same results out.

Run as ``python -m benchmarks.plain_faust`` with its settings in the environment; it reports the
messages it has finished, once a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import faust
import numpy as np
import onnxruntime
from influxdb_client import InfluxDBClient, WriteOptions
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from models.package import ModelPackage

_PACKAGE = ModelPackage.load(Path(os.environ["BENCH_PACKAGE"]))
_MANIFEST = _PACKAGE.manifest
_NAMES = [channel.name for channel in _MANIFEST.channels]
_WINDOW = _MANIFEST.framing.window
_PERIOD_MS = _MANIFEST.framing.period // 1_000_000
_AGGREGATE_MS, _GRACE_MS = 10_000, 1_000
_LOW, _HIGH = 0.0, 98.0
_SPIKE_WINDOW, _SPIKE_THRESHOLD, _SPIKE_SCALE = 11, 8.0, 1.0

_options = onnxruntime.SessionOptions()
_options.intra_op_num_threads = 1
_session = onnxruntime.InferenceSession(
    _PACKAGE.graph, _options, providers=["CPUExecutionProvider"]
)
_points = InfluxDBClient(os.environ["BENCH_SINK"], token="benchmark", org="bench").write_api(
    write_options=WriteOptions(batch_size=1000, flush_interval=1000)
)

app = faust.App(
    os.environ["BENCH_GROUP"],
    broker=f"kafka://{os.environ['BENCH_KAFKA']}",
    store="memory://",
    topic_partitions=4,
    topic_disable_leader=True,
    web_enabled=False,
    datadir=os.environ["BENCH_FOLDER"],
)
readings = app.topic(
    f"{os.environ['BENCH_GROUP']}-readings", value_serializer="json", internal=True, partitions=4
)
windows = app.Table("windows", default=dict)
_finished = 0


@app.agent(readings)  # type: ignore[untyped-decorator]
async def work(stream: faust.StreamT[dict[str, Any]]) -> None:
    """Clean, aggregate, score and judge one message after the other."""
    global _finished  # noqa: PLW0603  (as the tutorials count)
    async for device, message in stream.items():
        state = windows[device]
        values = [_cleaned(state, name, message[name]) for name in _NAMES]
        _aggregate(state, device, message["t"], values)
        _score(state, device, message["t"], values)
        # A Table notices assignment only.
        windows[device] = state
        _finished += 1


def _cleaned(state: dict[str, Any], name: str, value: float) -> float | None:
    recent: list[float] = state.setdefault(f"recent_{name}", [])
    if not _LOW <= value <= _HIGH:
        return None
    if len(recent) >= _SPIKE_WINDOW // 2:
        center = statistics.median(recent)
        mad = statistics.median([abs(each - center) for each in recent])
        if abs(value - center) > _SPIKE_THRESHOLD * max(1.4826 * mad, _SPIKE_SCALE):
            return None
    recent.append(value)
    del recent[:-_SPIKE_WINDOW]
    return value


def _aggregate(state: dict[str, Any], device: str, time_ms: int, values: list[Any]) -> None:
    gathered: list[Any] = state.setdefault("gathered", [])
    start_ms = state.setdefault("start_ms", time_ms // _AGGREGATE_MS * _AGGREGATE_MS)
    gathered.append([time_ms, values])
    if time_ms - _GRACE_MS < start_ms + _AGGREGATE_MS:
        return
    end_ms = start_ms + _AGGREGATE_MS
    inside = [row for at, row in gathered if at < end_ms]
    fields = []
    for column, name in enumerate(_NAMES):
        numbers = np.array([row[column] for row in inside if row[column] is not None])
        low, mid, high = np.percentile(numbers, (50, 95, 99))
        fields += [
            f"{name}_mean={numbers.mean()}", f"{name}_min={numbers.min()}",
            f"{name}_max={numbers.max()}", f"{name}_std={numbers.std()}",
            f"{name}_last={numbers[-1]}", f"{name}_n={len(numbers)}i",
            f"{name}_p50={low}", f"{name}_p95={mid}", f"{name}_p99={high}",
        ]  # fmt: skip
    _write(f"plant_10s,device={device} {','.join(fields)} {start_ms * 1_000_000}")
    state["gathered"] = [row for row in gathered if row[0] >= end_ms]
    state["start_ms"] = end_ms


def _score(state: dict[str, Any], device: str, time_ms: int, values: list[Any]) -> None:
    steps: list[Any] = state.setdefault("steps", [])
    held = steps[-1] if steps else values
    steps.append([old if new is None else new for old, new in zip(held, values, strict=True)])
    del steps[:-_WINDOW]
    if len(steps) < _WINDOW:
        return
    offset = np.array([channel.offset for channel in _MANIFEST.channels])
    scale = np.array([channel.scale for channel in _MANIFEST.channels])
    window = ((np.array(steps) - offset) / scale).astype(np.float32)[None]
    score = float(_session.run(["score"], {"window": window})[0][0])
    alarm = _MANIFEST.alarm
    state["over"] = state.get("over", 0) + 1 if score >= alarm.threshold else 0
    state["below"] = 0 if score >= alarm.threshold_low else state.get("below", 0) + 1
    if state["over"] == alarm.open_after and not state.get("is_open"):
        state["is_open"] = True
        _write(f"anomalies,device={device} peak_score={score},is_open=true {time_ms * 1_000_000}")
    elif state.get("is_open") and state["below"] >= alarm.close_after:
        state["is_open"] = False
        _write(f"anomalies,device={device} peak_score={score},is_open=false {time_ms * 1_000_000}")


def _write(line: str) -> None:
    _points.write(bucket="bench", record=line)


@app.task  # type: ignore[untyped-decorator]
async def subscribe() -> None:
    """Have paho's own thread hand each message over."""
    loop = asyncio.get_running_loop()
    client = Client(CallbackAPIVersion.VERSION2)

    def on_message(_client: Client, _data: object, message: Any) -> None:  # noqa: ANN401  (paho's)
        device = message.topic.split("/")[2]
        sending = readings.send(key=device, value=json.loads(message.payload))
        asyncio.run_coroutine_threadsafe(sending, loop)

    client.on_message = on_message
    client.connect("127.0.0.1", int(os.environ["BENCH_MQTT"]))
    client.subscribe("plant/+/+/telemetry")
    client.loop_start()


@app.timer(1.0)  # type: ignore[untyped-decorator]
async def report() -> None:
    """Say how many messages are finished."""
    # Not printed: Faust makes log messages of what is printed.
    with Path(os.environ["BENCH_REPORT"]).open("a") as file:  # noqa: ASYNC230
        file.write(json.dumps({"at_s": time.perf_counter(), "finished": _finished}) + "\n")


if __name__ == "__main__":
    sys.argv = ["plain_faust", "worker", "-l", "error"]
    app.main()
