"""What a record would unpack to is known, and refused, before it is unpacked."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest

from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError
from headgate.core.ipc import MAX_ROWS, MAX_UNPACKED_BYTES, from_ipc, to_ipc
from headgate.core.log import MAX_RECORD_BYTES
from headgate.core.records import decode_readings
from headgate.core.records.readings import _READINGS

_NUMBERS = pa.schema([pa.field("x", pa.int64(), nullable=False)])


def _stream(columns: list[pa.Array], schema: pa.Schema, *, batches: int = 1) -> bytes:
    """A stream as anybody may write it."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for _ in range(batches):
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    value: bytes = sink.getvalue().to_pybytes()
    return value


def _refusal(value: bytes, schema: pa.Schema) -> str:
    """Why a stream is refused."""
    with pytest.raises(DataError, match="bad_record") as caught:
        from_ipc(value, schema)
    return caught.value.detail


def test_a_small_record_can_not_become_many_rows() -> None:
    """5.4 MB that say they are 60 million readings are refused unread; here a tenth."""
    count = 6_000_000
    keys = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(count, np.int32)), pa.array(['["f","d","f","x","",{}]'])
    )
    columns = [
        pa.array(np.zeros(count, np.int64), pa.timestamp("ns", "UTC")),
        keys,
        pa.array(np.zeros(count)),
        pa.array(np.zeros(count, np.uint16)),
    ]
    value = _stream(columns, _READINGS)

    assert len(value) < MAX_RECORD_BYTES
    with pytest.raises(DataError, match="rows"):
        decode_readings(value, ChannelTable())


@pytest.mark.parametrize("batches", [1, 3])
def test_rows_are_counted_over_all_batches(batches: int) -> None:
    """The limit itself may be reached."""
    value = _stream([pa.array(np.zeros(MAX_ROWS // batches, np.int64))], _NUMBERS, batches=batches)
    more = _stream(
        [pa.array(np.zeros(MAX_ROWS // batches + 1, np.int64))], _NUMBERS, batches=batches
    )

    assert from_ipc(value, _NUMBERS).num_rows == MAX_ROWS // batches * batches
    assert "rows" in _refusal(more, _NUMBERS)


def test_long_texts_are_refused_before_they_are_unpacked() -> None:
    """A dictionary, and a column of texts, count as much as numbers do."""
    text = pa.schema([pa.field("x", pa.utf8(), nullable=False)])
    names = pa.schema([pa.field("x", pa.dictionary(pa.int32(), pa.utf8()), nullable=False)])
    long = pa.array(["x" * MAX_UNPACKED_BYTES])
    for schema, column in (
        (text, long),
        (names, pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), long)),
    ):
        value = _stream([column], schema)
        assert len(value) < MAX_RECORD_BYTES
        assert "bytes when unpacked" in _refusal(value, schema)


def test_a_packed_buffer_that_says_it_is_huge_is_refused() -> None:
    """Its length stands before it; a terabyte is not even asked for."""
    value = bytearray(_stream([pa.array(np.zeros(1000, np.int64))], _NUMBERS))
    at = value.index(struct.pack("<q", 8000))
    value[at : at + 8] = struct.pack("<q", 1 << 40)

    assert "unpacked" in _refusal(bytes(value), _NUMBERS)


def test_missing_values_are_refused() -> None:
    """No column may lack any, whatever its type says."""
    value = _stream([pa.array([1, None])], _NUMBERS)

    assert "lacks" in _refusal(value, _NUMBERS)


def test_what_no_reader_would_take_is_not_written() -> None:
    """The writer divides it instead."""
    with pytest.raises(DataError, match="too_large"):
        to_ipc(_NUMBERS, [pa.array(np.zeros(MAX_ROWS + 1, np.int64))])
