"""Closed windows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TypedDict, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable
from headgate.core.counts import COUNTS, Counts
from headgate.core.errors import DataError
from headgate.core.ipc import from_ipc, numbers, times, to_ipc
from headgate.core.iso import iso_text
from headgate.core.log import AGGREGATES, Headers, Record
from headgate.core.records.arrow import NAMES, TIME, check_times
from headgate.core.records.keys import channel_rows, key_column
from headgate.core.records.kind import RecordKind, Row, Takes, finite, whole
from headgate.core.results import STATISTICS, Aggregates
from headgate.core.sketch import KEY_LIMIT
from headgate.core.texts import MAX_TEXT

AGGREGATES_SCHEMA = b"aggregates/1"

#: Windows of which some are of text channels.
TEXT_AGGREGATES_SCHEMA = b"aggregates/2"

#: Windows of which some are of counters; others may be of text channels.
COUNT_AGGREGATES_SCHEMA = b"aggregates/3"

AGGREGATES_SCHEMAS = (AGGREGATES_SCHEMA, TEXT_AGGREGATES_SCHEMA, COUNT_AGGREGATES_SCHEMA)

#: The header that marks windows of derived channels: a bit for each window of the record, the
#: lowest of each byte first. Only records that have such have it; older readers pass it over.
_DERIVED = "derived"

_Scalar = TypeVar("_Scalar", bound=np.generic)

_AGGREGATES = pa.schema(
    [
        pa.field("channel", NAMES, nullable=False),
        pa.field("start", TIME, nullable=False),
        pa.field("window_ns", pa.int64(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("flagged", pa.int64(), nullable=False),
        pa.field("expected", pa.int64(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in STATISTICS),
        pa.field("sketch_keys", pa.list_(pa.int32()), nullable=False),
        pa.field("sketch_counts", pa.list_(pa.int64()), nullable=False),
    ]
)

#: The last text, and all texts with for how long of the window each was the state.
_TEXT_AGGREGATES = pa.schema(
    [
        *_AGGREGATES,
        pa.field("last_text", NAMES, nullable=False),
        pa.field("states", pa.list_(pa.utf8()), nullable=False),
        pa.field("states_ns", pa.list_(pa.int64()), nullable=False),
    ]
)

#: How much counters have counted, in which time, and how often they began anew.
_COUNT_AGGREGATES = pa.schema(
    [
        *_TEXT_AGGREGATES,
        pa.field("increase", pa.float64(), nullable=False),
        pa.field("increase_ns", pa.int64(), nullable=False),
        pa.field("resets", pa.int64(), nullable=False),
    ]
)

_COLUMNS = {
    AGGREGATES_SCHEMA: _AGGREGATES,
    TEXT_AGGREGATES_SCHEMA: _TEXT_AGGREGATES,
    COUNT_AGGREGATES_SCHEMA: _COUNT_AGGREGATES,
}


class _Sketches(TypedDict):
    sketch_keys: list[NDArray[np.int32]]
    sketch_counts: list[NDArray[np.int64]]


def encode_aggregates(aggregates: Aggregates, channels: ChannelTable) -> bytes:
    """Closed windows as an ``aggregates`` record's value."""
    stats = aggregates.stats
    more: list[pa.Array] = []
    schema = _schema(aggregates, channels)
    if schema != AGGREGATES_SCHEMA:
        last, more = _said_columns(aggregates, channels)
        stats = {**stats, "last": last}
    if schema == COUNT_AGGREGATES_SCHEMA:
        more += [pa.array(aggregates.counts[name]) for name in COUNTS]
    columns = [
        key_column(aggregates.channel, channels),
        pa.array(aggregates.start_ns, TIME),
        *(
            pa.array(column)
            for column in (
                aggregates.window_ns,
                aggregates.n,
                aggregates.flagged,
                aggregates.expected,
            )
        ),
        *(pa.array(stats[name]) for name in STATISTICS),
        pa.array(aggregates.sketch_keys, pa.list_(pa.int32())),
        pa.array(aggregates.sketch_counts, pa.list_(pa.int64())),
        *more,
    ]
    return to_ipc(_COLUMNS[schema], columns)


def decode_aggregates(
    value: bytes, channels: ChannelTable, *, has_sketches: bool = True
) -> Aggregates:
    """Read closed windows back; raises DataError like ``decode_readings``.

    Args:
        value: The record's value.
        channels: The table that the windows are to point into.
        has_sketches: False leaves the sketches empty, for a reader that has no use for them.
    """
    table = from_ipc(value, *_COLUMNS.values())
    start_ns = times(table.column("start"))
    window_ns, n, flagged, expected = (
        numbers(table.column(name), np.int64) for name in ("window_ns", "n", "flagged", "expected")
    )
    check_times(start_ns, window_ns)
    if (window_ns <= 0).any() or min(column.min(initial=0) for column in (n, flagged)) < 0:
        raise DataError("bad_record", "a window has no length, or fewer readings than none")
    channel = channel_rows(table.column("channel"), channels)
    stats = {name: numbers(table.column(name), np.float64) for name in STATISTICS}
    spent: list[Mapping[float, int]] = []
    if "states" in table.column_names:
        stats["last"], spent = _said(table, channel, stats["last"], channels)
    return Aggregates(
        channel=channel,
        start_ns=start_ns,
        window_ns=window_ns,
        n=n,
        flagged=flagged,
        expected=expected,
        stats=stats,
        **_sketches(table, has_sketches=has_sketches),
        spent=spent,
        counts=_counts(table),
    )


def aggregates_record(
    aggregates: Aggregates,
    channels: ChannelTable,
    is_derived: NDArray[np.bool_] | None = None,
) -> Record:
    """An ``aggregates`` record.

    Args:
        aggregates: The windows.
        channels: The table that they point into.
        is_derived: bool[k], which of them are of derived channels; None for none.
    """
    headers = [("schema", _schema(aggregates, channels))]
    if is_derived is not None and is_derived.any():
        headers.append((_DERIVED, np.packbits(is_derived, bitorder="little").tobytes()))
    return Record(encode_aggregates(aggregates, channels), headers=tuple(headers))


def aggregates_records(
    aggregates: Aggregates,
    channels: ChannelTable,
    is_derived: NDArray[np.bool_] | None = None,
) -> list[Record]:
    """Closed windows as as many records as it takes; arguments as of ``aggregates_record``."""
    return whole(
        len(aggregates),
        lambda first, end: aggregates_record(
            aggregates
            if (first, end) == (0, len(aggregates))
            else aggregates.take(np.arange(first, end)),
            channels,
            None if is_derived is None else is_derived[first:end],
        ),
    )


def derived_in(headers: Headers, count: int) -> NDArray[np.bool_]:
    """Which of a record's windows are of derived channels, as it says itself.

    Args:
        headers: The record's.
        count: Of its windows.

    Returns:
        bool[count]; none of a record that does not say.

    Raises:
        DataError: ``bad_record``: it says so of more or fewer windows than it has.
    """
    for name, value in headers:
        if name == _DERIVED:
            bits = np.unpackbits(np.frombuffer(value, np.uint8), bitorder="little")
            if len(value) != -(-count // 8) or bits[count:].any():
                raise DataError("bad_record", "derived channels are marked in other windows")
            return bits[:count].astype(np.bool_)
    return np.zeros(count, np.bool_)


def _schema(aggregates: Aggregates, channels: ChannelTable) -> bytes:
    """Which kind of record these windows are."""
    if aggregates.counts and (aggregates.counts["resets"] >= 0).any():
        return COUNT_AGGREGATES_SCHEMA
    if channels.has_texts and channels.is_text[aggregates.channel].any():
        return TEXT_AGGREGATES_SCHEMA
    return AGGREGATES_SCHEMA


def _counts(table: pa.Table) -> Counts:
    """What counters have counted; nothing where none is in the record."""
    if "resets" not in table.column_names:
        return {}
    counts: Counts = {
        name: numbers(table.column(name), type(nothing)) for name, nothing in COUNTS.items()
    }
    if counts["increase_ns"].min(initial=0) < 0 or counts["resets"].min(initial=0) < -1:
        raise DataError("bad_record", "a counter counted for less than no time, or began anew")
    return counts


def _said_columns(
    aggregates: Aggregates, channels: ChannelTable
) -> tuple[NDArray[np.float64], list[pa.Array]]:
    """``last`` without codes, and what text channels have of their own."""
    is_text, texts = channels.is_text[aggregates.channel], channels.texts
    last = aggregates.stats["last"].copy()
    lasts, states, states_ns = [""] * len(last), [], []
    rows = aggregates.channel.tolist()
    for at in np.flatnonzero(is_text & ~np.isnan(last)).tolist():
        lasts[at] = texts.text(rows[at], float(last[at]))
    last[is_text] = np.nan
    for row, spent in zip(rows, aggregates.spent or [{}] * len(rows), strict=True):
        named = sorted((texts.text(row, code), ns) for code, ns in spent.items())
        states.append([text for text, _ in named])
        states_ns.append([ns for _, ns in named])
    return last, [
        pa.array(lasts, pa.utf8()).dictionary_encode(),
        pa.array(states, pa.list_(pa.utf8())),
        pa.array(states_ns, pa.list_(pa.int64())),
    ]


def _said(
    table: pa.Table,
    channel: NDArray[np.int32],
    last: NDArray[np.float64],
    channels: ChannelTable,
) -> tuple[NDArray[np.float64], list[Mapping[float, int]]]:
    """``last`` with codes, and how long each state lasted; the texts go into the table."""
    add, rows = channels.texts.add, channel.tolist()
    columns = (table.column(name).to_pylist() for name in ("states", "states_ns"))
    lasts = table.column("last_text").cast(pa.utf8()).to_pylist()
    coded, spent = last.copy(), list[Mapping[float, int]]()
    for at, (row, text, states, states_ns) in enumerate(zip(rows, lasts, *columns, strict=True)):
        if len(states) != len(states_ns) or min(states_ns, default=0) < 0:
            raise DataError("bad_record", "a state has not one time")
        if (text or states) and not channels.channels[row].is_text:
            raise DataError("bad_record", "a channel of numbers has a text")
        if max(map(len, (text, *states))) > MAX_TEXT:
            raise DataError("bad_record", f"a text is longer than {MAX_TEXT} characters")
        if text:
            coded[at] = add(row, text)
        spent.append({add(row, state): ns for state, ns in zip(states, states_ns, strict=True)})
    return coded, spent


def _sketches(table: pa.Table, *, has_sketches: bool) -> _Sketches:
    """Each window's buckets; empty ones when they are of no use."""
    if not has_sketches:
        empty = [np.empty(0, np.int32)] * table.num_rows
        return {"sketch_keys": empty, "sketch_counts": [np.empty(0, np.int64)] * table.num_rows}
    key, ends = _lists(table.column("sketch_keys"), np.int32)
    count, count_ends = _lists(table.column("sketch_counts"), np.int64)
    if not np.array_equal(ends, count_ends):
        raise DataError("bad_record", "a sketch has not one count for each key")
    rises = np.diff(key.astype(np.int64), prepend=0) > 0
    rises[ends[:-1][ends[:-1] < len(key)]] = True
    is_key = (key > -KEY_LIMIT) & (key < KEY_LIMIT)
    if not (rises.all() and is_key.all() and count.min(initial=1) > 0):
        raise DataError("bad_record", "a sketch's keys do not rise, or it counts nothing")
    return {
        "sketch_keys": np.split(key, ends[1:-1]) if len(ends) > 1 else [],
        "sketch_counts": np.split(count, ends[1:-1]) if len(ends) > 1 else [],
    }


def _lists(
    column: pa.ChunkedArray, dtype: type[_Scalar]
) -> tuple[NDArray[_Scalar], NDArray[np.int64]]:
    """What a column's lists hold, one after the other, and where each begins, and the last ends."""
    lists = column.combine_chunks()
    values = lists.flatten().to_numpy(zero_copy_only=False).astype(dtype, copy=False)
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    return values, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _rows(value: bytes, takes: Takes) -> Iterator[Row]:
    channels = ChannelTable()
    return _windows(decode_aggregates(value, channels, has_sketches=False), channels, takes)


def _windows(rows: Aggregates, channels: ChannelTable, takes: Takes) -> Iterator[Row]:
    for row in np.flatnonzero(rows.window_ns).tolist():
        channel = channels.channels[int(rows.channel[row])]
        start_ns = int(rows.start_ns[row])
        if takes(start_ns, channel.device):
            yield {
                "time": iso_text(start_ns),
                "feed": channel.feed,
                "device": channel.device,
                "channel": channel.field,
                "window_s": int(rows.window_ns[row]) / 1e9,
                "n": int(rows.n[row]),
                "flagged": int(rows.flagged[row]),
                **{name: finite(rows.stats[name][row]) for name in STATISTICS},
                **(_state_row(rows, row, channels) if channel.is_text else {}),
                **(_count_row(rows, row) if rows.counts else {}),
                "tags": dict(channel.tags),
            }


def _state_row(rows: Aggregates, row: int, channels: ChannelTable) -> Row:
    """What a window of a text channel says of its states."""
    at, texts = int(rows.channel[row]), channels.texts
    last, spent = float(rows.stats["last"][row]), rows.spent[row] if rows.spent else {}
    return {
        "last": None if math.isnan(last) else texts.text(at, last),
        "states_s": {texts.text(at, code): ns / 1e9 for code, ns in spent.items()},
    }


def _count_row(rows: Aggregates, row: int) -> Row:
    """What a window of a counter says of its count."""
    resets = int(rows.counts["resets"][row])
    if resets < 0:
        return {}
    return {
        "increase": finite(rows.counts["increase"][row]),
        "increase_s": int(rows.counts["increase_ns"][row]) / 1e9,
        "resets": resets,
    }


KIND = RecordKind(
    "aggregates",
    AGGREGATES,
    AGGREGATES_SCHEMAS,
    count=lambda value: len(decode_aggregates(value, ChannelTable())),
    rows=_rows,
    columns=(
        "time",
        "feed",
        "device",
        "channel",
        "window_s",
        "n",
        "flagged",
        *STATISTICS,
        "states_s",
        "increase",
        "increase_s",
        "resets",
        "tags",
    ),
)
