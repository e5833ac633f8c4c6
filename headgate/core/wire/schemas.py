"""Kinds and versions of records, and what their columns share."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headgate.core.errors import DataError
from headgate.core.log import Headers

READINGS_SCHEMA = b"readings/1"
AGGREGATES_SCHEMA = b"aggregates/1"
ANOMALIES_SCHEMA = b"anomalies/3"
HEALTH_SCHEMA = b"sensor_health/2"
REJECTED_SCHEMA = b"rejected/1"
MESSAGES_SCHEMA = b"messages/1"

#: Anomalies as they were written before they had a verdict, and before they had tags; and
#: sensors' health before it had tags.
OLD_ANOMALIES_SCHEMAS = (b"anomalies/1", b"anomalies/2")
OLD_HEALTH_SCHEMA = b"sensor_health/1"

#: A part of rejected readings that are too many for one record; see ``rejected_records``.
REJECTED_PART_SCHEMA = b"rejected/2"

#: Times are nearer to 1970 than this, ns (until 2116): stages add spans to them, and take them off.
_TIME_LIMIT_NS = 2**62

TIME = pa.timestamp("ns", "UTC")
NAMES = pa.dictionary(pa.int32(), pa.utf8())


def schema_of(headers: Headers) -> bytes:
    """The record's kind and version; empty when the header is missing."""
    for name, value in headers:
        if name == "schema":
            return value
    return b""


def check_schema(headers: Headers, *expected: bytes) -> None:
    """Refuse a record of other kinds or versions, or a damaged one, with DataError."""
    found = schema_of(headers)
    if found not in expected:
        kinds = " or ".join(kind.decode() for kind in expected)
        raise DataError("bad_record", f"expected {kinds}, got {found.decode(errors='replace')!r}")


def check_times(*columns: NDArray[np.int64]) -> None:
    """Refuse a record with times that no stage can calculate with, with DataError."""
    for time_ns in columns:
        if len(time_ns) and not -_TIME_LIMIT_NS < time_ns.min() <= time_ns.max() < _TIME_LIMIT_NS:
            raise DataError("bad_record", "a time is out of range")
