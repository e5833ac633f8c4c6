"""Texts travel with what has their codes: readings, rejected ones, windows, changes and state."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from headgate.core import records as kinds
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.errors import DataError
from headgate.core.ipc import to_ipc
from headgate.core.log import StoredRecord
from headgate.core.records.readings import _TEXT_READINGS
from headgate.core.results import STATISTICS, Aggregates, StateChange
from headgate.core.stage import Snapshot
from streams.process.state import read_snapshot, snapshot_record

_MODE = Channel("press", "p1", "press", "mode", tags=(("hall", "a"),), is_text=True)
_RECIPE = Channel("press", "p1", "press", "recipe", is_text=True)
_FORCE = Channel("press", "p1", "press", "force", "kN")
_NAN = float("nan")


def _batch() -> Batch:
    table = ChannelTable()
    mode, force, recipe = (table.row(channel) for channel in (_MODE, _FORCE, _RECIPE))
    idle, same = table.texts.add(mode, "idle"), table.texts.add(recipe, "idle")
    other = table.texts.add(recipe, "Öl, 5 °C")
    return Batch.from_columns(
        table,
        range(6),
        [mode, force, recipe, mode, recipe, force],
        [idle, 1.5, other, _NAN, same, _NAN],
        origin=Origin("readings", 1, 7),
    )


def _said(batch: Batch) -> list[tuple[str, float | str | None]]:
    rows = zip(batch.channel.tolist(), batch.value.tolist(), strict=True)
    table = batch.channels
    return [(table.channels[row].field, table.said(row, value)) for row, value in rows]


_SAID = [
    ("mode", "idle"),
    ("force", 1.5),
    ("recipe", "Öl, 5 °C"),
    ("mode", None),
    ("recipe", "idle"),
    ("force", None),
]


def test_a_text_channel_is_another_than_one_of_numbers() -> None:
    """Of the same name, too; its key says what it is, and a key of before is of numbers."""
    numbers = Channel("press", "p1", "press", "mode", tags=(("hall", "a"),))

    assert Channel.from_key(_MODE.key) == _MODE
    assert Channel.from_key(numbers.key) == numbers
    assert _MODE.key != numbers.key
    told_apart = Channel("f", "d", "m", "x", tags=(("a", "b"),), identity=(), is_text=True)
    assert Channel.from_key(told_apart.key) == told_apart
    with pytest.raises(ValueError, match="no channel"):
        Channel.from_key('["f","d","m","x","",{},["a"],["b"]]')


def test_readings_come_back_with_their_texts() -> None:
    """In a version of their own; without texts it is the one of before."""
    batch = _batch()
    record = kinds.readings_record(batch, "press")
    back = kinds.decode_readings(record.value, ChannelTable())

    assert kinds.schema_of(record.headers) == kinds.TEXT_READINGS_SCHEMA
    assert _said(back) == _SAID
    assert back.value.tobytes() == batch.value.tobytes()
    numbers = kinds.readings_record(batch.take(np.array([1, 5])), "press")
    assert kinds.schema_of(numbers.headers) == kinds.READINGS_SCHEMA


def test_rejected_readings_come_back_with_their_texts() -> None:
    """In parts, too."""
    batch = _batch()
    (record,) = kinds.rejected_records(batch, ["late"] * len(batch))

    assert kinds.schema_of(record.headers) == kinds.TEXT_REJECTED_SCHEMA
    assert _said(kinds.decode_rejected(record.value, ChannelTable()).batch) == _SAID
    rows = list(kinds.kind_of(record.headers).rows(record.value, lambda *_: True))
    assert [row["payload"] for row in rows] == ["idle", "1.5", "Öl, 5 °C", "None", "idle", "None"]


def test_people_see_texts() -> None:
    """Where readings are exported."""
    record = kinds.readings_record(_batch(), "press")
    rows = kinds.kind_of(record.headers).rows(record.value, lambda *_: True)

    assert [row["value"] for row in rows] == [value for _, value in _SAID]


def _windows() -> tuple[Aggregates, ChannelTable]:
    table = _batch().channels
    idle, run = table.texts.add(0, "idle"), table.texts.add(0, "running")
    one = np.ones(3, np.int64)
    stats = {name: np.array([_NAN, 2.5, _NAN]) for name in STATISTICS}
    stats["last"] = np.array([run, 2.5, _NAN])
    windows = Aggregates(
        channel=np.array([0, 1, 0], np.int32),
        start_ns=np.array([0, 0, 10]),
        window_ns=10 * one,
        n=np.array([3, 2, 0]),
        flagged=0 * one,
        expected=one,
        stats=stats,
        sketch_keys=[np.empty(0, np.int32)] * 3,
        sketch_counts=[np.empty(0, np.int64)] * 3,
        spent=[{idle: 4, run: 6}, {}, {}],
    )
    return windows, table


def test_windows_come_back_with_their_states() -> None:
    """In a version of their own; those of numbers are as they were."""
    windows, table = _windows()
    record = kinds.aggregates_record(windows, table)
    other = ChannelTable()
    back = kinds.decode_aggregates(record.value, other)

    assert kinds.schema_of(record.headers) == kinds.TEXT_AGGREGATES_SCHEMA
    assert back.spent == windows.spent
    assert [name for name, column in back.stats.items() if column[0] == column[0]] == ["last"]
    assert other.said(int(back.channel[0]), float(back.stats["last"][0])) == "running"
    rows = list(kinds.kind_of(record.headers).rows(record.value, lambda *_: True))
    assert (rows[0]["last"], rows[0]["states_s"]) == ("running", {"idle": 4e-9, "running": 6e-9})
    assert (rows[1]["last"], rows[2]["last"]) == (2.5, None)
    numbers = windows.take(np.array([1]))
    schema = kinds.schema_of(kinds.aggregates_record(numbers, table).headers)
    assert schema == kinds.AGGREGATES_SCHEMA


def test_changes_come_back_as_they_were() -> None:
    """With the tags of their devices."""
    changes = [
        StateChange("f", "d", "mode", 5, "on", "", 0),
        StateChange("f", "d", "mode", 9, 'läuft, "heiß"', "on", 4, (("line", "a"),)),
    ]
    (record,) = kinds.changes_records(changes)

    assert kinds.decode_changes(record.value) == changes


def _stored(snapshot: Snapshot) -> StoredRecord:
    record = snapshot_record(b"0", snapshot)
    return StoredRecord(0, 0, record.value, record.key, record.headers)


def test_a_snapshot_has_the_texts_of_its_channels() -> None:
    """And one of before has none."""
    device = Device("press", "p1")
    snapshot = Snapshot(0, [device], [_RECIPE.key], {}, {}, texts=[(0, "A-17"), (0, "B")])

    assert read_snapshot(_stored(snapshot)).texts == [(0, "A-17"), (0, "B")]
    assert read_snapshot(_stored(Snapshot(0, [device], [_FORCE.key], {}, {}))).texts == []
    for texts in ([(1, "a")], [(-1, "a")], [(0, "x" * 257)]):
        odd = Snapshot(0, [device], [_RECIPE.key], {}, {}, texts=texts)
        with pytest.raises(DataError, match="text"):
            read_snapshot(_stored(odd))


def test_a_text_channel_without_its_text_is_refused() -> None:
    """So is a text that nobody has written."""
    batch = _batch().take(np.array([0]))
    plain = kinds.encode_readings(_batch().take(np.array([1])))
    key = pa.array([_MODE.key]).dictionary_encode()
    table = pa.ipc.open_stream(plain).read_all().combine_chunks()
    numbers = [table.column("time"), key, table.column("value"), table.column("quality")]
    columns = [each.chunk(0) if isinstance(each, pa.ChunkedArray) else each for each in numbers]
    without = to_ipc(table.schema, columns)
    with pytest.raises(DataError, match="no text"):
        kinds.decode_readings(without, ChannelTable())

    batch.channels.texts.forget([0])
    batch.channels.texts._by_row[0] = {float(batch.value[0]): "x" * 257}
    with pytest.raises(DataError, match="longer"):
        kinds.decode_readings(kinds.encode_readings(batch), ChannelTable())
    assert "text" in _TEXT_READINGS.names


def test_a_table_that_is_numbered_anew_keeps_its_texts() -> None:
    """Of the channels that are left."""
    table = _batch().channels
    left = table.only(np.array([False, False, True]))

    assert left.table.has_texts
    assert left.table.is_text.tolist() == [True]
    assert sorted(left.table.texts.known(0).values()) == ["idle", "Öl, 5 °C"]
