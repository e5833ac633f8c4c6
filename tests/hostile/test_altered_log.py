"""Altered records stand in the log when the gateway starts: none of them ends a lane."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from connectors.logs.configured import open_log, topic
from headgate.config.load import load_config
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.errors import DataError
from headgate.core.log import (
    AGGREGATES,
    ANOMALIES,
    FORWARDED,
    MAX_RECORD_BYTES,
    QUARANTINE,
    READINGS,
    STATE,
    THINNED,
    Record,
    TopicPartition,
)
from headgate.core.records import (
    AGGREGATES_SCHEMA,
    ALARM_NOTES_SCHEMA,
    ALARMS_SCHEMA,
    ANOMALIES_SCHEMA,
    CHANGES_SCHEMA,
    COMMANDS_SCHEMA,
    COUNT_AGGREGATES_SCHEMA,
    HEALTH_SCHEMA,
    MESSAGES_SCHEMA,
    OLD_ANOMALIES_SCHEMAS,
    READINGS_SCHEMA,
    REJECTED_SCHEMA,
    RETRIED_SCHEMA,
    STATES_SCHEMA,
    TEXT_AGGREGATES_SCHEMA,
    TEXT_READINGS_SCHEMA,
    TEXT_REJECTED_SCHEMA,
    encode_readings,
)
from streams.process.state import STATE_SCHEMA
from tests.hostile.fuzzing import KINDS, altered
from tests.hostile.scene import ROOM_BYTES, Scene
from tests.mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(400)]

#: What may stand in each topic: the kind of its records, and the schema that they say they have.
_TOPICS: Mapping[str, Sequence[tuple[str, bytes]]] = {
    READINGS: [("readings", READINGS_SCHEMA), ("text_readings", TEXT_READINGS_SCHEMA)],
    AGGREGATES: [
        ("aggregates", AGGREGATES_SCHEMA),
        ("text_aggregates", TEXT_AGGREGATES_SCHEMA),
        ("count_aggregates", COUNT_AGGREGATES_SCHEMA),
    ],
    ANOMALIES: [
        ("anomalies", ANOMALIES_SCHEMA),
        ("old_anomalies", OLD_ANOMALIES_SCHEMAS[0]),
        ("health", HEALTH_SCHEMA),
        ("states", STATES_SCHEMA),
        ("changes", CHANGES_SCHEMA),
        ("alarms", ALARMS_SCHEMA),
        ("alarm_notes", ALARM_NOTES_SCHEMA),
        ("commands", COMMANDS_SCHEMA),
    ],
    QUARANTINE: [
        ("rejected", REJECTED_SCHEMA),
        ("text_rejected", TEXT_REJECTED_SCHEMA),
        ("messages", MESSAGES_SCHEMA),
        ("retried", RETRIED_SCHEMA),
    ],
    THINNED[0]: [("aggregates", AGGREGATES_SCHEMA)],
    STATE: [("state", STATE_SCHEMA)],
    FORWARDED: [("note", b"forwarded/1")],
}

#: Altered records of each kind.
_EACH = 20

#: Rows that a record of a few MB says it has, in batches of so many.
_ROWS, _ROWS_IN_BATCH = 60_000_000, 1_000_000


def _records(name: str) -> list[Record]:
    records = []
    for kind, schema in _TOPICS[name]:
        for seed in range(_EACH):
            headers = (("schema", schema), ("feed", b"plant"))
            key = None
            if name == STATE:
                key = str(seed).encode()
            elif name == FORWARDED:
                key = f"local_store/{seed % 2}".encode()
            records.append(Record(altered(kind, seed), key, headers))
    return records


def _bomb() -> Record:
    """Sixty million readings in as few bytes as they can be packed into."""
    channels = ChannelTable()
    row = channels.row(Channel("plant", "bomb", "plant", "a", "", (("line", "line-1"),)))
    batch = Batch.from_columns(
        channels,
        np.full(_ROWS_IN_BATCH, 1_800_000_000 * 10**9),
        np.full(_ROWS_IN_BATCH, row, np.int32),
        np.zeros(_ROWS_IN_BATCH),
    )
    (readings,) = pa.ipc.open_stream(encode_readings(batch)).read_all().to_batches()
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with pa.ipc.new_stream(sink, readings.schema, options=options) as writer:
        for _ in range(_ROWS // _ROWS_IN_BATCH):
            writer.write_batch(readings)
    value = sink.getvalue().to_pybytes()
    assert len(value) < MAX_RECORD_BYTES
    return Record(value, headers=(("schema", READINGS_SCHEMA), ("feed", b"plant")))


def _append(scene: Scene, records: Mapping[str, Sequence[Record]]) -> None:
    asyncio.run(_append_to(scene.gateway.config_file, records))


async def _append_to(file: Path, records: Mapping[str, Sequence[Record]]) -> None:
    config = load_config(file, check_files=False)
    log = open_log(config, SystemClock())
    await log.start()
    try:
        await log.append_many(
            {TopicPartition(topic(config, name), 0): each for name, each in records.items()}
        )
    finally:
        await log.stop()


def _refused(name: str) -> int:
    """Of the altered records of a topic, those that no decoder takes."""
    count = 0
    for kind, _ in _TOPICS[name]:
        for seed in range(_EACH):
            try:
                KINDS[kind][1](altered(kind, seed))
            except DataError:
                count += 1
    return count


def test_honest_devices_are_served_over_altered_records(broker: Mosquitto, tmp_path: Path) -> None:
    """In each topic, and one that unpacks to gigabytes; what can't be read is put aside by name.

    A snapshot that can't be read costs its devices their history, so the honest ones have no window
    open meanwhile.
    """
    expected = sum(map(_refused, (READINGS, AGGREGATES, ANOMALIES))) + 1
    with Scene(tmp_path, broker.port, silent_after="2s") as scene:
        scene.pause()
        assert scene.gateway.stop() == 0
        _append(scene, {name: _records(name) for name in _TOPICS})
        _append(scene, {READINGS: [_bomb()]})
        scene.gateway.start(ready_within_s=60)
        with scene.watch() as memory:
            scene.honest.resume()
            scene.until(
                lambda: scene.refused()["bad_record"] >= expected,
                lambda: f"{expected} bad records in {scene.refused()}",
            )
            scene.wait_for_honest()
        first = scene.restarts()
        scene.restart()
        scene.wait_for_honest()
        scene.gateway.wait_for("/readyz", 10)
        second = scene.restarts()

    assert scene.over_usual(memory) < ROOM_BYTES
    assert not any(first.values())
    assert not any(second.values())
