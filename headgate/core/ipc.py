"""Arrow IPC streams as values of records: written within limits, and checked before they are used.

What stands in a log may have been altered, or written by anybody. A stream that says that it holds
more than a record may hold is refused before anything is unpacked, by what its own headers say;
what passes is read, and then checked whole by Arrow, whose columns can crash the process when their
offsets or codes point outside of them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headgate.core.errors import DataError
from headgate.core.log import MAX_RECORD_BYTES

#: What a record's columns, dictionaries and tensors may take in memory, bytes. Packed it may be as
#: large as ``MAX_RECORD_BYTES``; LZ4 can pack 255 to 1, ordinary records are packed 5 to 1 at most.
MAX_UNPACKED_BYTES = 8 * MAX_RECORD_BYTES

#: What Headgate itself puts into a record, bytes: less, because padding is not counted here.
_WRITTEN_BYTES = MAX_UNPACKED_BYTES // 2

#: A batch of so few rows and bytes is far from any limit.
_SMALL_ROWS, _SMALL_BYTES = 1 << 12, 1 << 20

#: Rows of a record, and entries of a dictionary. ``ingest.max_rows`` can't be set higher.
MAX_ROWS = 1 << 20

#: Entries of all columns and lists together: as many Python objects, where rows become those.
_MAX_ENTRIES = 8 * MAX_ROWS

#: Messages in a stream: schema, dictionaries, batches. Headgate writes one batch a record.
_MAX_MESSAGES = 256

_Scalar = TypeVar("_Scalar", bound=np.generic)

# Records are small: handing columns to other threads takes ten times as long as packing them.
_WRITE_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_READ_OPTIONS = pa.ipc.IpcReadOptions(use_threads=False)

# Of Arrow's Message.fbs: kinds of messages, and fields by their place in their table.
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_DICTIONARY_DATA = 1
_LENGTH, _NODES, _BUFFERS, _COMPRESSION = 0, 1, 2, 3

#: Columns of a record, and buffers of these: far more than any schema has.
_MAX_PAIRS = 1024

_CONTINUES = 0xFFFFFFFF
_SIZES = struct.Struct("<Ii")
_INT64_TYPE = pa.int64()

# A record's headers are looked through in Python, number by number.
_Read: TypeAlias = Callable[[bytes, int], tuple[Any, ...]]
_BYTE, _UINT16, _UINT32, _INT32, _INT64 = (
    struct.Struct(form).unpack_from for form in ("<B", "<H", "<I", "<i", "<q")
)
_UINT32_BYTES, _INT64_BYTES = 4, 8


def to_ipc(schema: pa.Schema, columns: Sequence[pa.Array]) -> bytes:
    """Columns as a stream of one batch, LZ4 compressed.

    Raises:
        DataError: ``too_large`` when no reader would take it.
    """
    batch = pa.RecordBatch.from_arrays(list(columns), schema=schema)
    if batch.num_rows > _SMALL_ROWS or batch.get_total_buffer_size() > _SMALL_BYTES:
        # Exact, and ten times as dear as asking how large all buffers are.
        size = batch.nbytes
        if size > _WRITTEN_BYTES or batch.num_rows > MAX_ROWS:
            raise DataError("too_large", f"{batch.num_rows} rows, {size} bytes")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=_WRITE_OPTIONS) as writer:
        writer.write_batch(batch)
    value: bytes = sink.getvalue().to_pybytes()
    return value


def rows_to_ipc(schema: pa.Schema, rows: Sequence[Mapping[str, object]]) -> bytes:
    """Rows as such a stream; raises DataError like ``to_ipc``."""
    table = pa.Table.from_pylist(list(rows), schema=schema)
    return to_ipc(schema, [column.combine_chunks() for column in table.columns])


def numbers(column: pa.ChunkedArray, dtype: type[_Scalar]) -> NDArray[_Scalar]:
    """A column of numbers as an array, which may not be written to."""
    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    array: NDArray[_Scalar] = whole.to_numpy(zero_copy_only=False).astype(dtype, copy=False)
    return array


def times(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A column of times as ns since 1970 UTC, as an array which may not be written to."""
    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    array: NDArray[np.int64] = whole.view(_INT64_TYPE).to_numpy(zero_copy_only=False)
    return array


def from_ipc(value: bytes, *schemas: pa.Schema) -> pa.Table:
    """Read a stream back, and check it whole.

    Args:
        value: The stream.
        schemas: The columns that are expected, one of these.

    Raises:
        DataError: ``bad_record`` when it is no such stream, or a larger one than a record may be.
    """
    try:
        _check_sizes(value)
        with pa.ipc.open_stream(value, options=_READ_OPTIONS) as reader:
            found = reader.schema
            if not any(found.equals(schema) for schema in schemas):
                columns = ", ".join(f"{field.name}: {field.type}" for field in found)
                raise DataError("bad_record", f"unexpected columns: {columns[:1000]}")
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, struct.error) as error:
        raise DataError("bad_record", f"no Arrow IPC stream: {str(error)[:1000]}") from error
    return table


def _check_sizes(value: bytes) -> None:
    """Refuse a stream whose headers point outside of it, or say that it unpacks to too much."""
    unpacked = rows = entries = 0
    for kind, header, body, end in _messages(value):
        if kind == _SCHEMA:
            continue
        batch = header if kind == _BATCH else header.table(_DICTIONARY_DATA)
        length = batch.number(_LENGTH, _INT64)
        rows += length if kind == _BATCH else 0
        if length < 0 or max(rows, length) > MAX_ROWS:
            raise ValueError(f"{max(rows, length)} rows")
        # Of each column, and of each that lies below one: entries, and how many are missing.
        nodes = batch.pairs(_NODES)
        if any(nodes[1::2]) or min(nodes, default=0) < 0:
            raise ValueError("a column lacks values")
        buffers, is_packed = batch.pairs(_BUFFERS), batch.has(_COMPRESSION)
        unpacked += _unpacked_bytes(value, body, end, buffers, is_packed=is_packed)
        entries += sum(nodes[::2])
        if unpacked > MAX_UNPACKED_BYTES or entries > _MAX_ENTRIES:
            raise ValueError(f"{entries} entries, {unpacked} bytes when unpacked")


def _unpacked_bytes(
    value: bytes, body: int, end: int, buffers: Sequence[int], *, is_packed: bool
) -> int:
    """What buffers take in memory that lie between two positions; their offset and length each."""
    total = 0
    for offset, length in zip(buffers[::2], buffers[1::2], strict=True):
        if offset < 0 or length < 0 or body + offset + length > end or offset % 8:
            raise ValueError(f"a buffer at {offset}, {length} bytes, in {end - body}")
        if not is_packed or not length:
            total += length
            continue
        # Each packed buffer begins with its length; -1 says that it was not worth packing.
        unpacked = _INT64(value, body + offset)[0] if length >= _INT64_BYTES else -2
        if unpacked < -1:
            raise ValueError(f"a buffer of {unpacked} bytes")
        total += length if unpacked == -1 else unpacked
    return total


def _messages(value: bytes) -> Iterator[tuple[int, _Table, int, int]]:
    """Of each message of a stream its kind and header, and where its body begins and ends.

    Raises:
        ValueError: Something is no message, or points outside of it.
    """
    position, length = 0, len(value)
    for number in range(_MAX_MESSAGES):
        if position == length:
            return
        continues, size = _SIZES.unpack_from(value, position)
        if continues != _CONTINUES or not 0 <= size <= length - position - _SIZES.size:
            raise ValueError("a message does not begin where it should")
        if not size:
            return
        start = position + _SIZES.size
        message = _Table.root(value[start : start + size])
        kind = message.number(_HEADER_TYPE, _BYTE)
        body_length = message.number(_BODY_LENGTH, _INT64)
        position = start + size
        if not 0 <= body_length <= length - position:
            raise ValueError(f"a body of {body_length} bytes in {length - position}")
        if (kind == _SCHEMA) != (number == 0) or kind not in (_SCHEMA, _DICTIONARY, _BATCH):
            raise ValueError(f"a message of kind {kind}")
        end = position + body_length
        yield kind, message.table(_HEADER), position, end
        position = end
    raise ValueError(f"more than {_MAX_MESSAGES} messages")


class _Table:
    """A table of a flatbuffer, just enough of it to find numbers and tables by their place."""

    __slots__ = ("_at", "_buffer", "_end", "_vtable")

    def __init__(self, buffer: bytes, at: int) -> None:
        self._buffer = buffer
        self._at = at
        self._vtable = at - _number(buffer, at, _INT32)
        # Where the offsets of its fields end.
        self._end = self._vtable + _number(buffer, self._vtable, _UINT16)

    @classmethod
    def root(cls, buffer: bytes) -> _Table:
        return cls(buffer, _number(buffer, 0, _UINT32))

    def has(self, field: int) -> bool:
        return bool(self._offset(field))

    def number(self, field: int, read: _Read) -> int:
        offset = self._offset(field)
        return _number(self._buffer, self._at + offset, read) if offset else 0

    def table(self, field: int) -> _Table:
        return _Table(self._buffer, self._target(field))

    def pairs(self, field: int) -> Sequence[int]:
        """A vector of structs of two int64, one after the other."""
        if not self.has(field):
            return ()
        target = self._target(field)
        count = _number(self._buffer, target, _UINT32)
        if count > _MAX_PAIRS:
            raise ValueError(f"a batch of {count} parts")
        return struct.unpack_from(f"<{2 * count}q", self._buffer, target + _UINT32_BYTES)

    def _offset(self, field: int) -> int:
        at = self._vtable + 4 + 2 * field
        return _number(self._buffer, at, _UINT16) if at + 2 <= self._end else 0

    def _target(self, field: int) -> int:
        offset = self._offset(field)
        if not offset:
            raise ValueError("a message lacks a part")
        at = self._at + offset
        return at + _number(self._buffer, at, _UINT32)


def _number(buffer: bytes, at: int, read: _Read) -> int:
    if at < 0:
        raise ValueError("a message points outside of itself")
    number: int = read(buffer, at)[0]
    return number
