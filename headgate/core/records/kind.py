"""Kinds of records: what is to be known of each, whoever reads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from headgate.core.divide import divided
from headgate.core.errors import Bug, DataError
from headgate.core.log import Headers, Record

#: Says whether a row of this event time, ns since 1970 UTC, and device is wanted.
Takes: TypeAlias = Callable[[int, str], bool]

#: A row for people, as JSON can hold it.
Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RecordKind:
    """One kind of record, in all versions that can be read.

    Attributes:
        name: What it is called in the code.
        topic: The topic that has it.
        schemas: The versions of the header ``schema``, the one that is written now first.
        count: How many things a value holds: readings, windows, messages. It reads all of it, and
            raises DataError ``bad_record`` when the bytes are no such record.
        rows: What a value holds, for people; raises DataError likewise, before the first row.
        columns: Names of a row's values, in order.
    """

    name: str
    topic: str
    schemas: tuple[bytes, ...]
    count: Callable[[bytes], int]
    rows: Callable[[bytes, Takes], Iterator[Row]]
    columns: tuple[str, ...]


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


def finite(value: float) -> float | None:
    """A number for a row, or None where it is none: JSON has no NaN."""
    return float(value) if math.isfinite(value) else None


def whole(count: int, encode: Callable[[int, int], Record]) -> list[Record]:
    """Records of items each of which has room in one: no name that is read is too long for that."""
    records, too_large = divided(count, encode)
    if too_large:
        raise Bug(f"expected what a record has room for, got {too_large[0][1]}")
    return records
