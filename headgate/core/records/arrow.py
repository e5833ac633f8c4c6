"""What the columns of records share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headgate.core.channels import Tags
from headgate.core.errors import DataError
from headgate.core.ipc import numbers

#: Times are nearer to 1970 than this, ns (until 2116): stages add spans to them, and take them off.
_TIME_LIMIT_NS = 2**62

TIME = pa.timestamp("ns", "UTC")
NAMES = pa.dictionary(pa.int32(), pa.utf8())


def tag_fields(which: str = "tag") -> list[pa.Field]:
    """Columns that hold a row's tags: their names, and their values."""
    return [
        pa.field(f"{which}_{part}", pa.list_(pa.utf8()), nullable=False)
        for part in ("names", "values")
    ]


#: Columns of what is told of a device: what else than its name tells it from others of its feed.
TAGS = tag_fields()


def time_column(time_ns: NDArray[np.int64]) -> pa.Array:
    """Times, ns since 1970 UTC, as a column; ``pa.array`` takes eight times as long."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(time_ns))]
    return pa.Array.from_buffers(TIME, len(time_ns), buffers)


def check_times(*columns: NDArray[np.int64]) -> None:
    """Refuse a record with times that no stage can calculate with, with DataError."""
    for time_ns in columns:
        if len(time_ns) and not -_TIME_LIMIT_NS < time_ns.min() <= time_ns.max() < _TIME_LIMIT_NS:
            raise DataError("bad_record", "a time is out of range")


def with_numbers(table: pa.Table, *times: str) -> pa.Table:
    """The table with these columns, where it has them, as ns since 1970 UTC."""
    for name in times:
        index = table.schema.get_field_index(name)
        if index >= 0:
            column = table.column(name).cast(pa.int64())
            check_times(numbers(column, np.int64))
            table = table.set_column(index, name, column)
    return table


def tag_columns(tags: Tags, which: str = "tag") -> dict[str, list[str]]:
    """Values of the columns ``tag_fields`` of a row."""
    return {
        f"{which}_names": [name for name, _ in tags],
        f"{which}_values": [value for _, value in tags],
    }


def tags_in(row: Mapping[str, Any], which: str = "tag") -> Tags:
    """The tags of a row; none where its version has no such columns."""
    names, values = row.get(f"{which}_names", ()), row.get(f"{which}_values", ())
    if len(names) != len(values):
        raise DataError("bad_record", "a device has not one value for each tag")
    return tuple(zip(names, values, strict=True))
