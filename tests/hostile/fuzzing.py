"""Altered records, given to the decoder of their kind in a process of its own.

``python -m tests.hostile.fuzzing KIND FIRST COUNT FILE`` tries so many cases from a seed on. Before
each it notes the seed in FILE, which outlives the process: a decoder that crashes can't tell.
"""

from __future__ import annotations

import random
import resource
import struct
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from headgate.core import records as kinds
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.commands import Command
from headgate.core.errors import DataError
from headgate.core.log import StoredRecord
from headgate.core.records import aggregates as aggregate_columns
from headgate.core.records import alarm_notes as alarm_note_columns
from headgate.core.records import alarms as alarm_columns
from headgate.core.records import anomalies as anomaly_columns
from headgate.core.records import availability as availability_columns
from headgate.core.records import changes as change_columns
from headgate.core.records import commands as command_columns
from headgate.core.records import health as health_columns
from headgate.core.records import messages as message_columns
from headgate.core.records import readings as reading_columns
from headgate.core.records import rejected as rejected_columns
from headgate.core.records import states as state_columns
from headgate.core.results import (
    STATISTICS,
    Aggregates,
    Alarm,
    AlarmNote,
    Anomaly,
    Availability,
    DeviceState,
    SensorHealth,
    StateChange,
)
from headgate.core.stage import Snapshot
from streams.forward.backlog import read_note
from streams.process.state import STATE_SCHEMA, read_snapshot, snapshot_record

#: Memory that no record may make its reader take, bytes, the process itself included.
_MEMORY_BYTES = 1 << 30

_INTERESTING = (0, 1, -1, 7, 8, 255, 2**15, 2**16, 2**31 - 1, -(2**31), 2**62, 2**63 - 1, -(2**63))


def _table(rng: random.Random) -> ChannelTable:
    table = ChannelTable()
    for number in range(rng.randint(1, 12)):
        tags = (("line", f"l{number % 3}"),) if number % 2 else ()
        table.row(Channel("f", f"d{number // 3}", "m", f"c{number}", "°C", tags))
    return table


def _batch(rng: random.Random, count: int) -> Batch:
    table = _table(rng)
    channel = np.array([rng.randrange(len(table)) for _ in range(count)], np.int32)
    value = np.array([rng.choice([rng.random(), np.nan, 1e300]) for _ in range(count)])
    time_ns = np.array([rng.randrange(2**60) for _ in range(count)], np.int64)
    return Batch.from_columns(table, time_ns, channel, value, origin=Origin("r", 1, 5))


def _readings(rng: random.Random) -> bytes:
    return kinds.encode_readings(_batch(rng, rng.randint(0, 60)))


def _rejected(rng: random.Random) -> bytes:
    batch = _batch(rng, rng.randint(0, 40))
    return kinds.encode_rejected(batch, [rng.choice(["late", "duplicate"]) for _ in batch.time_ns])


def _text_readings(rng: random.Random) -> bytes:
    return kinds.encode_readings(_text_batch(rng, rng.randint(1, 60)))


def _text_rejected(rng: random.Random) -> bytes:
    batch = _text_batch(rng, rng.randint(1, 40))
    return kinds.encode_rejected(batch, [rng.choice(["late", "conflict"]) for _ in batch.time_ns])


def _text_batch(rng: random.Random, count: int) -> Batch:
    table = _table(rng)
    mode = table.row(Channel("f", "d1", "f", "mode", is_text=True))
    codes = [table.texts.add(mode, text) for text in ("idle", "läuft", "x" * rng.randint(1, 256))]
    channel = [rng.choice((mode, rng.randrange(len(table)))) for _ in range(count - 1)]
    channel.append(mode)
    value = [rng.choice([*codes, np.nan]) if row == mode else rng.random() for row in channel]
    time_ns = [rng.randrange(2**60) for _ in channel]
    return Batch.from_columns(table, time_ns, channel, value, origin=Origin("r", 1, 5))


def _text_aggregates(rng: random.Random) -> bytes:
    table, k = _table(rng), rng.randint(1, 12)
    mode = table.row(Channel("f", "d1", "f", "mode", is_text=True))
    codes = [table.texts.add(mode, text) for text in ("idle", "läuft")]
    one, empty = np.ones(k, np.int64), [np.empty(0, np.int32)] * k
    return kinds.encode_aggregates(
        Aggregates(
            channel=np.full(k, mode, np.int32),
            start_ns=np.arange(k),
            window_ns=one,
            n=one,
            flagged=one,
            expected=one,
            stats={name: np.full(k, rng.choice([np.nan, *codes])) for name in STATISTICS},
            sketch_keys=empty,
            sketch_counts=[each.astype(np.int64) for each in empty],
            spent=[{code: rng.randrange(9) for code in codes[: rng.randint(0, 2)]} for _ in one],
        ),
        table,
    )


def _count_aggregates(rng: random.Random) -> bytes:
    table, k = _table(rng), rng.randint(1, 12)
    one, empty = np.ones(k, np.int64), [np.empty(0, np.int32)] * k
    return kinds.encode_aggregates(
        Aggregates(
            channel=np.zeros(k, np.int32),
            start_ns=np.arange(k),
            window_ns=one,
            n=one,
            flagged=one,
            expected=one,
            stats={name: np.full(k, rng.choice([np.nan, 5.0])) for name in STATISTICS},
            sketch_keys=empty,
            sketch_counts=[each.astype(np.int64) for each in empty],
            counts={
                "increase": np.full(k, rng.choice([np.nan, 0.5])),
                "increase_ns": one * rng.randrange(9),
                "resets": np.array([rng.randrange(3) for _ in one]),
            },
        ),
        table,
    )


def _changes(rng: random.Random) -> bytes:
    return kinds.encode_changes(
        [
            StateChange("f", f"d{n}", "c", n, "on", "off", n, (("line", "a"),) * (n % 2))
            for n in range(rng.randint(0, 9))
        ]
    )


def _alarm(n: int) -> Alarm:
    part, channel = (("line", "a"),) * (n % 2), "x" * (n % 3)
    return Alarm("f", f"d{n}", "hot", n, n, n, n % 2 == 0, "major", "é", part, channel)


def _alarms(rng: random.Random) -> bytes:
    return kinds.encode_alarms([_alarm(n) for n in range(rng.randint(0, 9))])


def _commands(rng: random.Random) -> bytes:
    one = Command(
        "stop", "0", "f", "d", "hot", "", "", "major", 1, 2, True, "sent", "", "", "t/d", "{}", 3
    )
    return kinds.encode_commands(
        [
            replace(one, id=f"{n}", answer="é" * n, tags=(("a", "b"),))
            for n in range(rng.randint(0, 9))
        ]
    )


def _alarm_notes(rng: random.Random) -> bytes:
    return kinds.encode_alarm_notes(
        [
            AlarmNote(
                "f", f"d{n}", "hot", "", n, n, "é", n % 2 == 0, "c" * n, (("line", "a"),), (), n
            )
            for n in range(rng.randint(0, 9))
        ]
    )


def _messages(rng: random.Random) -> bytes:
    return kinds.encode_messages(
        [
            kinds.QuarantinedMessage(n, f"mqtt:a/{n}", rng.randbytes(n), "not_json", "é", n)
            for n in range(rng.randint(0, 20))
        ]
    )


def _retried(rng: random.Random) -> bytes:
    return kinds.encode_retried(
        [
            kinds.RetriedMessage(n, rng.randrange(9), n, rng.randrange(9), "not_json")
            for n in range(rng.randint(0, 20))
        ]
    )


def _aggregates(rng: random.Random) -> bytes:
    table, k = _table(rng), rng.randint(0, 12)
    sizes = [rng.randint(0, 9) for _ in range(k)]
    one = np.ones(k, np.int64)
    return kinds.encode_aggregates(
        Aggregates(
            channel=np.array([rng.randrange(len(table)) for _ in range(k)], np.int32),
            start_ns=np.arange(k),
            window_ns=one,
            n=one,
            flagged=one,
            expected=one,
            stats={name: np.full(k, rng.random()) for name in STATISTICS},
            sketch_keys=[np.arange(size, dtype=np.int32) for size in sizes],
            sketch_counts=[np.ones(size, np.int64) for size in sizes],
        ),
        table,
    )


def _anomaly(rng: random.Random, number: int) -> Anomaly:
    shares = tuple((f"c{n}", rng.random()) for n in range(rng.randint(0, 4)))
    return Anomaly(
        feed="f",
        device=f"d{number}",
        model="m",
        start_ns=1,
        opened_ns=2,
        end_ns=3,
        peak_ns=2,
        peak_score=2.5,
        threshold=1.0,
        severity="major",
        shares=shares,
        verdict="process",
        faulty=("c1",) * rng.randint(0, 2),
        is_open=bool(number % 2),
        revision=number,
        tags=(("line", "a"), ("site", ""))[: rng.randint(0, 2)],
    )


def _anomalies(rng: random.Random) -> bytes:
    return kinds.encode_anomalies([_anomaly(rng, number) for number in range(rng.randint(0, 9))])


def _old_anomalies(rng: random.Random) -> bytes:
    table = pa.ipc.open_stream(_anomalies(rng)).read_all()
    new = ["opened", "verdict", "faulty", "tag_names", "tag_values"]
    return _stream(table.drop_columns(new), rng)


def _health(rng: random.Random) -> bytes:
    return kinds.encode_health(
        [
            SensorHealth("f", f"d{n}", "c", n, "stuck", n, rng.random(), np.nan)
            for n in range(rng.randint(0, 9))
        ]
    )


def _states(rng: random.Random) -> bytes:
    return kinds.encode_states(
        [DeviceState("f", f"d{n}", n, "offline", "silence", n) for n in range(rng.randint(0, 9))]
    )


def _availability(rng: random.Random) -> bytes:
    return kinds.encode_availability(
        [
            Availability(
                "f", None if n % 3 else f"d{n}", n, "online", "birth", bool(n % 2), bool(n % 3)
            )
            for n in range(rng.randint(0, 9))
        ]
    )


def _state(rng: random.Random) -> bytes:
    devices = rng.randint(0, 5)
    channels = [
        Channel(
            "f", f"d{n % 5}", "f", f"c{n}", tags=(("line", "a"),) * (n % 2), is_text=n % 2 == 1
        ).key
        for n in range(devices)
    ]
    snapshot = Snapshot(
        next_offset=42,
        devices=[Device("f", f"d{n}", (("line", "a"),) * (n % 2)) for n in range(devices)],
        channels=channels,
        fingerprints={"clean": "abc"},
        texts=[(n, f"text {n}") for n in range(1, devices, 2)],
        blocks={
            "clean": {"last": np.arange(devices, dtype=float), "none": np.empty((0, 3), np.int64)},
            "frame.m": {"ring": np.ones((devices, 4, 3), np.float32), "open": np.zeros(2, bool)},
        },
    )
    return snapshot_record(b"7", snapshot).value


def _note(rng: random.Random) -> bytes:
    ranges = [[10 * n, 10 * n + rng.randint(1, 9)] for n in range(rng.randint(0, 6))]
    return orjson.dumps(
        {"live": 100, "tiers": [{"ranges": ranges, "carried": [0, 0]} for _ in range(3)]}
    )


def _read_state(value: bytes) -> object:
    headers = (("schema", STATE_SCHEMA),)
    return read_snapshot(StoredRecord(0, 0, value, b"7", headers))


def _stream(table: pa.Table, rng: random.Random) -> bytes:
    """A table as a stream that others might write: packed or not, in several batches or one."""
    sink = pa.BufferOutputStream()
    compression = rng.choice([None, None, "lz4", "zstd"])
    options = pa.ipc.IpcWriteOptions(compression=compression, use_threads=False)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rng.choice([3, None]))
    value: bytes = sink.getvalue().to_pybytes()
    return value


Decoder = Callable[[bytes], object]

#: By kind: makes a record's value, and reads it.
KINDS: dict[str, tuple[Callable[[random.Random], bytes], Decoder]] = {
    "readings": (_readings, lambda value: kinds.decode_readings(value, ChannelTable())),
    "rejected": (_rejected, lambda value: kinds.decode_rejected(value, ChannelTable())),
    "text_readings": (_text_readings, lambda value: kinds.decode_readings(value, ChannelTable())),
    "text_rejected": (_text_rejected, lambda value: kinds.decode_rejected(value, ChannelTable())),
    "text_aggregates": (
        _text_aggregates,
        lambda value: kinds.decode_aggregates(value, ChannelTable()),
    ),
    "count_aggregates": (
        _count_aggregates,
        lambda value: kinds.decode_aggregates(value, ChannelTable()),
    ),
    "changes": (_changes, kinds.decode_changes),
    "alarms": (_alarms, kinds.decode_alarms),
    "alarm_notes": (_alarm_notes, kinds.decode_alarm_notes),
    "commands": (_commands, kinds.decode_commands),
    "messages": (_messages, kinds.decode_messages),
    "retried": (_retried, kinds.decode_retried),
    "aggregates": (_aggregates, lambda value: kinds.decode_aggregates(value, ChannelTable())),
    "anomalies": (_anomalies, kinds.decode_anomalies),
    "old_anomalies": (_old_anomalies, kinds.decode_anomalies),
    "health": (_health, kinds.decode_health),
    "states": (_states, kinds.decode_states),
    "availability": (_availability, kinds.decode_availability),
    "state": (_state, _read_state),
    "note": (_note, read_note),
}

_SCHEMAS = {
    "readings": reading_columns._READINGS,
    "rejected": rejected_columns._REJECTED,
    "messages": message_columns._MESSAGES,
    "aggregates": aggregate_columns._AGGREGATES,
    "anomalies": anomaly_columns._ANOMALIES,
    "health": health_columns._HEALTH,
    "states": state_columns._STATES,
    "availability": availability_columns._AVAILABILITY,
    "text_readings": reading_columns._TEXT_READINGS,
    "text_rejected": rejected_columns._TEXT_REJECTED,
    "text_aggregates": aggregate_columns._TEXT_AGGREGATES,
    "count_aggregates": aggregate_columns._COUNT_AGGREGATES,
    "changes": change_columns._CHANGES,
    "alarms": alarm_columns._ALARMS,
    "alarm_notes": alarm_note_columns._NOTES,
    "commands": command_columns._COMMANDS,
}


@cache
def _originals(kind: str) -> Sequence[bytes]:
    """Good records of a kind, as Headgate writes them and as others might."""
    make, decode = KINDS[kind]
    rng = random.Random(kind)
    values = [make(rng) for _ in range(12)]
    if kind in _SCHEMAS:
        tables = [pa.ipc.open_stream(value).read_all() for value in values]
        values += [_stream(table, rng) for table in tables for _ in range(2)]
    for value in values:
        decode(value)
    return values


def altered(kind: str, seed: int) -> bytes:
    """A record of a kind, altered somehow; always the same for a seed."""
    rng = random.Random(f"{kind}/{seed}")
    value = bytearray(rng.choice(_originals(kind)))
    if kind == "state" and rng.random() < 0.7:
        # What is inside would hardly ever be reached: the checksum of its packing guards it.
        size = int.from_bytes(value[:8], "little")
        raw = bytearray(pa.decompress(bytes(value[8:]), size, codec="lz4", asbytes=True))
        _alter(raw, rng, _originals(kind))
        packed = pa.compress(bytes(raw), codec="lz4", asbytes=True)
        return b"".join([len(raw).to_bytes(8, "little"), packed])
    _alter(value, rng, _originals(kind))
    return bytes(value)


def _alter(value: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        if value:
            rng.choice(_WAYS)(value, rng.randrange(len(value)), rng, others)


def _flip(value: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    value[at] ^= 1 << rng.randrange(8)


def _set(value: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    value[at] = rng.randrange(256)


def _number(value: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    """A length or an offset becomes another."""
    size = rng.choice([2, 4, 8])
    at -= at % size
    (old,) = struct.unpack_from("<q", value[at : at + size].ljust(8, b"\0"))
    near = old + rng.choice([-8, -4, -1, 1, 4, 8])
    number = rng.choice([near, near, rng.choice(_INTERESTING), len(value), rng.randrange(2**20)])
    value[at : at + size] = struct.pack("<Q", number & (2**64 - 1))[:size]


def _cut(value: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    del value[at : at + rng.choice([1, 4, 8, 64, len(value)])]


def _splice(value: bytearray, at: int, rng: random.Random, others: Sequence[bytes]) -> None:
    """A part of another record, or of this one, over what is there or between."""
    other = rng.choice([*others, bytes(value)])
    start = rng.randrange(len(other) + 1)
    piece = other[start : start + rng.choice([4, 8, 16, 64, 512])]
    value[at : at + len(piece) * rng.choice([0, 1, 1])] = piece


_WAYS = (_flip, _set, _number, _number, _number, _cut, _splice, _splice)


def main(kind: str, first: int, count: int, note: Path) -> int:
    """Try cases; the exit code."""
    decode = KINDS[kind][1]
    outcomes: Counter[str] = Counter()
    with note.open("w") as file:
        for seed in range(first, first + count):
            file.seek(0)
            file.write(f"{seed:12}")
            file.flush()
            try:
                decode(altered(kind, seed))
            except DataError as error:
                outcomes[error.reason] += 1
            else:
                outcomes["read"] += 1
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    sys.stdout.write(f"{orjson.dumps({**outcomes, 'peak_bytes': peak_bytes}).decode()}\n")
    return int(peak_bytes > _MEMORY_BYTES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
