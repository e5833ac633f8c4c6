"""The whole path of a message in one process, without a broker: where its time goes.

The parts are the gateway's own, called as its lanes call them, on packets as a broker sends them.
What is left out is waiting, system calls of the MQTT socket, and Faust.
"""

from __future__ import annotations

import asyncio
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from benchmarks import services
from benchmarks.plant import Packets, Plant, configuration, train_model
from connectors.formats.decoder import FeedDecoder
from connectors.logs.configured import topic_specs
from connectors.logs.embedded.store import SqliteLog
from connectors.mqtt.packets import Publishes, take_publishes
from connectors.sinks.influxdb.config import InfluxDbConfig
from connectors.sinks.influxdb.sink import InfluxSink
from connectors.sinks.points import Point, aggregate_points
from headgate.config.schema import Config
from headgate.core.batch import Origin, concat
from headgate.core.channels import ChannelTable, device_partition
from headgate.core.clock import SystemClock
from headgate.core.log import READINGS, Record, TopicPartition
from headgate.core.records import (
    KeyGroup,
    KeyRows,
    aggregates_record,
    decode_aggregates,
    decode_readings,
    readings_record,
)
from headgate.core.telemetry import Telemetry
from streams.build import build_pipeline
from streams.pipeline import Pipeline

_START_MS = 1_700_000_000_000
_ARRIVAL_NS = 1_800_000_000 * 10**9
_PIPELINE_STAGES = ("watermark", "clean", "aggregate", "normalize", "frame", "infer", "detect")


class Way:
    """A plant's messages on their way through all parts.

    Args:
        plant: Whose messages.
        config: A configuration for it.
        log: A started log with the topics, or None to leave the log out.
        sink: Where aggregates go, or None to leave forwarding out.
    """

    def __init__(
        self, plant: Plant, config: Config, log: SqliteLog | None, sink: InfluxSink | None
    ) -> None:
        self._plant = plant
        self._config = config
        self._log = log
        self._sink = sink
        self._packets = Packets(plant, 0, plant.devices)
        self._arrived = ChannelTable()
        self._processed = ChannelTable()
        self._forwarded = ChannelTable()
        limits = config.ingest.model_copy(
            update={"max_devices": 1_000_000, "max_channels": 10_000_000}
        )
        self._decoder = FeedDecoder("plant", config.feed["plant"], self._arrived, limits)
        self._groups = [KeyGroup(self._arrived) for _ in range(config.log.partitions)]
        self._key_rows = KeyRows(self._processed)
        self._telemetry = Telemetry(SystemClock())
        self._pipeline: Pipeline = build_pipeline(config, self._processed, self._telemetry)
        self._partition = np.empty(0, np.int32)
        self._next_offset = [0] * config.log.partitions
        self._step = 0

    async def run(self, steps: int) -> dict[str, float]:
        """One batch: so many messages of every device; seconds by stage."""
        spent: dict[str, float] = {}

        @contextmanager
        def timed(stage: str) -> Iterator[None]:
            start = time.perf_counter()
            yield
            spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - start

        data = self._data(steps)
        with timed("split"):
            publishes = Publishes()
            take_publishes(data, 0, publishes, is_v5=False)
        arrival_ns = np.full(len(publishes.topics), _ARRIVAL_NS)
        with timed("decode"):
            decoded = self._decoder.decode(publishes.topics, publishes.payloads, arrival_ns)
            batch = decoded.batch(self._arrived)
        self._place_devices()
        with timed("encode"):
            partition = self._partition[batch.device]
            records = {
                each: [readings_record(batch.take(partition == each), "plant", self._groups[each])]
                for each in np.unique(partition).tolist()
            }
        if self._log is not None:
            with timed("append"):
                await self._log.append_many(self._placed(records))
            with timed("fetch"):
                found = await self._log.read_many(
                    {at: self._next_offset[at.partition] for at in self._placed(records)},
                    max_bytes=1 << 26,
                )
            for at, stored in found.items():
                self._next_offset[at.partition] = stored[-1].offset + 1
        with timed("decode record"):
            origins = {each: Origin("readings", each, self._step) for each in records}
            batch = concat(
                [
                    decode_readings(of[0].value, self._processed, origins[each], self._key_rows)
                    for each, of in records.items()
                ],
                self._processed,
            )
        before = self._pipeline_s()
        results = self._pipeline.process(batch, time.monotonic_ns())  # noqa: TID251
        for stage, total in self._pipeline_s().items():
            spent[stage] = total - before[stage]
        if len(results.aggregates):
            with timed("encode results"):
                record = aggregates_record(results.aggregates, self._processed)
            if self._sink is not None:
                with timed("points"):
                    points = self._points(record)
                with timed("write"):
                    await self._sink.write(points)
        return spent

    def _data(self, steps: int) -> bytes:
        first = self._step
        self._step += steps
        period_ms = self._plant.period_ms
        return b"".join(
            self._packets.at(step, _START_MS + step * period_ms)
            for step in range(first, first + steps)
        )

    def _place_devices(self) -> None:
        known = len(self._partition)
        new = [
            device_partition(each.feed, each.name, self._config.log.partitions)
            for each in self._arrived.devices[known:]
        ]
        self._partition = np.concatenate([self._partition, np.array(new, np.int32)])

    def _placed(self, records: dict[int, list[Record]]) -> dict[TopicPartition, list[Record]]:
        name = f"{self._config.log.topic_prefix}{READINGS}"
        return {TopicPartition(name, each): of for each, of in records.items()}

    def _points(self, record: Record) -> list[Point]:
        aggregates = decode_aggregates(record.value, self._forwarded, has_sketches=False)
        return aggregate_points(aggregates, self._forwarded, "bench")

    def _pipeline_s(self) -> dict[str, float]:
        samples = {
            sample.labels["stage"]: sample.value
            for family in self._telemetry.stage_seconds.collect()
            for sample in family.samples
            if sample.name.endswith("_sum")
        }
        return {stage: samples.get(stage, 0.0) for stage in _PIPELINE_STAGES}


def config_of(
    plant: Plant, folder: Path, *, window: int = 64, models: int = 1, partitions: int = 4
) -> Config:
    """A configuration for this plant, its model trained; files go below the folder."""
    token = folder / "token"
    token.write_text("benchmark")
    package = train_model(plant, folder / f"model-{plant.channels}-{window}", window=window)
    text = configuration(
        plant,
        mqtt_port=1883,
        log_url="sqlite:///log.db",
        sink_url="http://127.0.0.1:1",
        token_file=token,
        packages=[package] * models,
        partitions=partitions,
    )
    table = tomllib.loads(text)
    return Config.model_validate({**table, "gateway": {"data_dir": str(folder)}})


def stages(plant: Plant, batches: list[int], *, seconds: float) -> dict[str, dict[str, float]]:
    """Microseconds per reading of each stage, by messages in a batch; medians.

    Args:
        plant: Whose messages.
        batches: Sizes to measure, in messages; multiples of the number of devices, or fewer
            devices are taken.
        seconds: How long each is measured.
    """
    return {str(size): asyncio.run(_stages(plant, size, seconds)) for size in batches}


async def _stages(plant: Plant, size: int, seconds: float) -> dict[str, float]:
    plant = Plant(min(plant.devices, size), plant.channels, plant.period_ms)
    steps = max(1, size // plant.devices)
    readings = plant.devices * steps * plant.channels
    with ExitStack() as stack:
        folder = stack.enter_context(services.folder())
        url, _ = stack.enter_context(services.store(folder))
        config = config_of(plant, folder)
        log = SqliteLog(folder / "log.db", SystemClock())
        await log.start()
        await log.ensure_topics(topic_specs(config))
        settings = InfluxDbConfig(url=url, org="o", bucket="b", token_file=folder / "token")
        sink = InfluxSink(settings, Telemetry(SystemClock()))
        way = Way(plant, config, log, sink)
        await _fill_windows(way, steps, 64)
        spent: list[dict[str, float]] = []
        # Through a whole aggregate window at least: closing it is part of the work.
        at_least = -(-(10_000 // plant.period_ms) // steps) + 1
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline or len(spent) < at_least:
            spent.append(await way.run(steps))
        await sink.stop()
        await log.stop()
    names = list(dict.fromkeys(name for each in spent for name in each))
    rare = {"aggregate", "encode results", "points", "write"}
    return {
        # What is done once a window is a mean, the rest a median.
        name: 1e6
        / readings
        * float(
            np.mean([each.get(name, 0.0) for each in spent])
            if name in rare
            else np.median([each.get(name, 0.0) for each in spent])
        )
        for name in names
    }


def growth(*, is_quick: bool) -> dict[str, dict[str, float]]:
    """Microseconds per message, all parts but log and sink, as one size grows."""
    largest = 10_000 if is_quick else 50_000
    plants = {
        "devices": [(n, 3, 64, 4, 1) for n in (10, 100, 1000, 10_000, 50_000) if n <= largest],
        "channels": [(1000, n, 16, 4, 1) for n in (1, 4, 16, 64)],
        "window": [(1000, 3, n, 4, 1) for n in (16, 64, 256, 1024)],
        "partitions": [(1000, 3, 64, n, 1) for n in (1, 4, 16)],
        "models": [(1000, 3, 64, 4, n) for n in (1, 2, 4, 8)],
    }
    column = {"devices": 0, "channels": 1, "window": 2, "partitions": 3, "models": 4}
    return {
        name: {f"{name}={sizes[column[name]]}": asyncio.run(_message_us(*sizes)) for sizes in rows}
        for name, rows in plants.items()
    }


async def _message_us(
    devices: int, channels: int, window: int, partitions: int, models: int
) -> float:
    plant = Plant(devices, channels, 50)
    # As many messages a batch as a busy gateway has, whatever the number of devices; fewer where
    # they are large.
    steps = max(1, 4000 // devices // max(1, channels // 4))
    with services.folder() as folder:
        config = config_of(plant, folder, window=window, models=models, partitions=partitions)
        way = Way(plant, config, None, None)
        await _fill_windows(way, steps, window)
        rounds = max(3, min(40, 40_000 // (devices * steps)))
        spent = [sum((await way.run(steps)).values()) for _ in range(rounds)]
    return 1e6 * float(np.median(spent)) / (devices * steps)


async def _fill_windows(way: Way, steps: int, window: int) -> None:
    """Run until every device has a full window."""
    for _ in range(-(-(window + 2) // steps)):
        await way.run(steps)
