"""Records are small enough for the log, whatever they hold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from headgate.core import records as kinds
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable
from headgate.core.divide import DIVIDE_BYTES, divided
from headgate.core.errors import DataError
from headgate.core.log import MAX_RECORD_BYTES, Record
from headgate.core.results import STATISTICS, Aggregates, Anomaly, DeviceState, SensorHealth

pytestmark = pytest.mark.slow

_RNG = np.random.default_rng(5)


def _long_name(length: int = 65_000) -> str:
    """A name that can't be packed."""
    return _RNG.bytes(length // 2).hex()


def _table(devices: int) -> ChannelTable:
    table = ChannelTable()
    for number in range(devices):
        table.row(Channel("f", f"d{number}", "f", "x", "", (("line", _long_name()),)))
    return table


def _batch(table: ChannelTable) -> Batch:
    rows = np.arange(len(table), dtype=np.int32)
    return Batch.from_columns(
        table, rows.astype(np.int64), rows, rows.astype(float), origin=Origin("readings", 0, 7)
    )


def test_what_fits_is_encoded_once() -> None:
    """Dividing costs nothing where there is nothing to divide."""
    calls: list[tuple[int, int]] = []

    def encode(first: int, end: int) -> Record:
        calls.append((first, end))
        return Record(b"x" * (end - first))

    records, too_large = divided(1000, encode)

    assert calls == [(0, 1000)]
    assert ([record.size_bytes for record in records], too_large) == ([1000], [])
    assert divided(0, encode) == ([], [])


def test_items_keep_their_order_and_only_what_is_too_large_alone_is_left_out() -> None:
    """Every item is in one record or named, whatever its neighbours are like."""
    sizes = [1, MAX_RECORD_BYTES + 1, 5, DIVIDE_BYTES, DIVIDE_BYTES, MAX_RECORD_BYTES, 3, 4]
    spans: list[tuple[int, int]] = []

    def encode(first: int, end: int) -> Record:
        size = sum(sizes[first:end])
        if size > 3 * MAX_RECORD_BYTES:
            raise DataError("too_large", f"{size} bytes")
        spans.append((first, end))
        return Record(b"x" * size)

    records, too_large = divided(len(sizes), encode)
    written = [record.size_bytes for record in records]

    assert [at for at, _ in too_large] == [1]
    assert sum(written) == sum(sizes) - sizes[1]
    assert max(written) <= MAX_RECORD_BYTES
    assert written[0] == 1
    assert written[-1] == 7


def test_readings_of_names_that_are_too_long_together_become_several_records() -> None:
    """400 devices with names as long as a topic allows: none is lost, and all records fit."""
    table = _table(400)
    records = kinds.readings_records(_batch(table), "f", kinds.KeyGroup(table))
    other = ChannelTable()
    back = [kinds.decode_readings(record.value, other) for record in records]

    assert max(record.size_bytes for record in records) <= MAX_RECORD_BYTES
    assert np.concatenate([part.time_ns for part in back]).tolist() == list(range(400))
    assert [channel.key for channel in other.channels] == table.keys(np.arange(400, dtype=np.int32))


def test_a_groups_long_names_are_not_written_again_and_again() -> None:
    """A record of few channels has theirs only, when those of the group are many bytes."""
    table = _table(100)
    group = kinds.KeyGroup(table)
    batch = _batch(table)
    kinds.readings_records(batch, "f", group)
    (record,) = kinds.readings_records(batch.take(np.arange(25)), "f", group)

    assert record.size_bytes < 26 * 65_000


def test_rejected_readings_that_are_too_many_become_parts_that_say_so() -> None:
    """Parts are of another version: a reader that takes each for the whole must not read them."""
    batch = _batch(_table(200))
    records = kinds.rejected_records(batch, ["late"] * 200)
    parts = [kinds.part_of(record.headers) for record in records]

    assert max(record.size_bytes for record in records) <= MAX_RECORD_BYTES
    assert parts == [(number, len(records)) for number in range(len(records))]
    assert {kinds.schema_of(record.headers) for record in records} == {kinds.REJECTED_PART_SCHEMA}
    assert (
        sum(len(kinds.decode_rejected(each.value, ChannelTable()).batch) for each in records) == 200
    )


def test_rejected_readings_that_fit_are_as_they_were() -> None:
    """Every reader knows them."""
    (record,) = kinds.rejected_records(_batch(_table(2)), ["late"] * 2)

    assert kinds.schema_of(record.headers) == kinds.REJECTED_SCHEMA
    assert kinds.part_of(record.headers) == (0, 1)


def test_windows_with_long_names_or_long_sketches_become_several_records() -> None:
    """Sketches are as long as their readings are different."""
    table = _table(90)
    one = np.ones(90, np.int64)
    sketch = np.arange(70_000, dtype=np.int32)
    aggregates = Aggregates(
        channel=np.arange(90, dtype=np.int32),
        start_ns=np.arange(90),
        window_ns=one,
        n=one,
        flagged=one,
        expected=one,
        stats={name: np.zeros(90) for name in STATISTICS},
        sketch_keys=[sketch] * 90,
        sketch_counts=[_RNG.integers(1, 2**40, len(sketch)) for _ in range(90)],
    )
    records = kinds.aggregates_records(aggregates, table)
    other = ChannelTable()
    back = [kinds.decode_aggregates(record.value, other) for record in records]

    assert max(record.size_bytes for record in records) <= MAX_RECORD_BYTES
    assert np.concatenate([part.start_ns for part in back]).tolist() == list(range(90))
    assert all(len(keys) == len(sketch) for part in back for keys in part.sketch_keys)


@pytest.mark.parametrize("kind", ["anomalies", "health", "states"])
def test_what_is_told_of_devices_with_long_names_becomes_several_records(kind: str) -> None:
    """Anomalies, sensors' health and devices' states, 160 devices at a time."""
    names = [_long_name() for _ in range(160)]
    if kind == "anomalies":
        records = kinds.anomalies_records(
            [
                Anomaly("f", name, "m", 1, 1, 2, 2, 2.0, 1.0, "minor", (), "process", (), True, 0)
                for name in names
            ]
        )
        found = [each.device for record in records for each in kinds.decode_anomalies(record.value)]
    elif kind == "states":
        records = kinds.states_records(
            [DeviceState("f", name, 1, "online", "reading", 1) for name in names]
        )
        found = [each.device for record in records for each in kinds.decode_states(record.value)]
    else:
        records = kinds.health_records(
            [SensorHealth("f", name, "x", 1, "stuck", 1, 0.0, 0.0) for name in names]
        )
        found = [each.device for record in records for each in kinds.decode_health(record.value)]

    assert max(record.size_bytes for record in records) <= MAX_RECORD_BYTES
    assert found == names


def test_messages_are_divided_and_one_that_is_too_large_is_cut() -> None:
    """However much of a payload is configured to be kept."""
    large = _RNG.bytes(3 << 20)
    messages = [
        kinds.QuarantinedMessage(1, f"mqtt:{number}", payload, "not_json", "", len(payload))
        for number, payload in enumerate([large, large, large, _RNG.bytes(9 << 20)])
    ]
    records = kinds.messages_records(messages)
    back = [each for record in records for each in kinds.decode_messages(record.value)]

    assert max(record.size_bytes for record in records) <= MAX_RECORD_BYTES
    assert back[:3] == messages[:3]
    assert back[3].payload == messages[3].payload[: len(back[3].payload)]
    assert (len(back[3].payload), back[3].payload_bytes) == (1 << 20, 9 << 20)


def test_lengths_of_records_rise_no_more_than_by_half() -> None:
    """A part is never so small that dividing makes a flood of records."""
    records = kinds.readings_records(_batch(_table(600)), "f")
    sizes = [record.size_bytes for record in records]

    assert all(DIVIDE_BYTES // 3 < size <= DIVIDE_BYTES for size in sizes)
    assert all(abs(a - b) < DIVIDE_BYTES // 2 for a, b in pairwise(sizes))
