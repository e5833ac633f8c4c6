"""Anomalies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from headgate.core.errors import DataError
from headgate.core.ipc import from_ipc, rows_to_ipc
from headgate.core.iso import iso_text
from headgate.core.log import ANOMALIES, Record
from headgate.core.records.arrow import TAGS, TIME, tag_columns, tags_in, with_numbers
from headgate.core.records.kind import RecordKind, Row, Takes, whole
from headgate.core.results import Anomaly

ANOMALIES_SCHEMA = b"anomalies/3"

#: As they were written before they had a verdict, and before they had tags.
OLD_ANOMALIES_SCHEMAS = (b"anomalies/1", b"anomalies/2")


_ANOMALIES_1 = pa.schema(
    [
        pa.field("feed", pa.utf8(), nullable=False),
        pa.field("device", pa.utf8(), nullable=False),
        pa.field("model", pa.utf8(), nullable=False),
        pa.field("start", TIME, nullable=False),
        pa.field("end", TIME, nullable=False),
        pa.field("peak", TIME, nullable=False),
        pa.field("peak_score", pa.float64(), nullable=False),
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("severity", pa.utf8(), nullable=False),
        pa.field("channels", pa.list_(pa.utf8()), nullable=False),
        pa.field("shares", pa.list_(pa.float64()), nullable=False),
        pa.field("is_open", pa.bool_(), nullable=False),
        pa.field("revision", pa.int64(), nullable=False),
    ]
)
_ANOMALIES_2 = pa.schema(
    [
        *_ANOMALIES_1,
        pa.field("opened", TIME, nullable=False),
        pa.field("verdict", pa.utf8(), nullable=False),
        pa.field("faulty", pa.list_(pa.utf8()), nullable=False),
    ]
)
_ANOMALIES = pa.schema([*_ANOMALIES_2, *TAGS])


def encode_anomalies(anomalies: Sequence[Anomaly]) -> bytes:
    """Anomalies as an ``anomalies`` record's value."""
    rows = [
        {
            "feed": anomaly.feed,
            "device": anomaly.device,
            "model": anomaly.model,
            "start": anomaly.start_ns,
            "end": anomaly.end_ns,
            "peak": anomaly.peak_ns,
            "peak_score": anomaly.peak_score,
            "threshold": anomaly.threshold,
            "severity": anomaly.severity,
            "channels": [name for name, _ in anomaly.shares],
            "shares": [share for _, share in anomaly.shares],
            "is_open": anomaly.is_open,
            "revision": anomaly.revision,
            "opened": anomaly.opened_ns,
            "verdict": anomaly.verdict,
            "faulty": list(anomaly.faulty),
            **tag_columns(anomaly.tags),
        }
        for anomaly in anomalies
    ]
    return rows_to_ipc(_ANOMALIES, rows)


def decode_anomalies(value: bytes) -> list[Anomaly]:
    """Read anomalies back, in this version or one before.

    One that has no verdict is taken for one of the process that opened at its start.

    Raises:
        DataError: ``bad_record`` when the bytes are no such record.
    """
    table = from_ipc(value, _ANOMALIES, _ANOMALIES_2, _ANOMALIES_1)
    table = with_numbers(table, "start", "end", "peak", "opened")
    rows = table.to_pylist()
    if any(len(row["channels"]) != len(row["shares"]) for row in rows):
        raise DataError("bad_record", "an anomaly has not one share for each channel")
    return [
        Anomaly(
            feed=row["feed"],
            device=row["device"],
            model=row["model"],
            start_ns=row["start"],
            end_ns=row["end"],
            peak_ns=row["peak"],
            peak_score=row["peak_score"],
            threshold=row["threshold"],
            severity=row["severity"],
            shares=tuple(zip(row["channels"], row["shares"], strict=True)),
            opened_ns=row.get("opened", row["start"]),
            verdict=row.get("verdict", "process"),
            faulty=tuple(row.get("faulty", ())),
            is_open=row["is_open"],
            revision=row["revision"],
            tags=tags_in(row),
        )
        for row in rows
    ]


def anomalies_record(anomalies: Sequence[Anomaly]) -> Record:
    """An ``anomalies`` record."""
    return Record(encode_anomalies(anomalies), headers=(("schema", ANOMALIES_SCHEMA),))


def anomalies_records(anomalies: Sequence[Anomaly]) -> list[Record]:
    """Anomalies as as many records as it takes."""
    return whole(len(anomalies), lambda first, end: anomalies_record(anomalies[first:end]))


def _rows(anomalies: Sequence[Anomaly], takes: Takes) -> Iterator[Row]:
    for anomaly in anomalies:
        if takes(anomaly.start_ns, anomaly.device):
            yield {
                "time": iso_text(anomaly.start_ns),
                "end": iso_text(anomaly.end_ns),
                "feed": anomaly.feed,
                "device": anomaly.device,
                "model": anomaly.model,
                "severity": anomaly.severity,
                "peak_score": anomaly.peak_score,
                "threshold": anomaly.threshold,
                "top_channel": anomaly.shares[0][0] if anomaly.shares else "",
                "verdict": anomaly.verdict,
                "faulty": " ".join(anomaly.faulty),
                "is_open": anomaly.is_open,
                "revision": anomaly.revision,
                "tags": dict(anomaly.tags),
            }


KIND = RecordKind(
    "anomalies",
    ANOMALIES,
    (ANOMALIES_SCHEMA, *reversed(OLD_ANOMALIES_SCHEMAS)),
    count=lambda value: len(decode_anomalies(value)),
    rows=lambda value, takes: _rows(decode_anomalies(value), takes),
    columns=(
        "time",
        "end",
        "feed",
        "device",
        "model",
        "severity",
        "peak_score",
        "threshold",
        "top_channel",
        "verdict",
        "faulty",
        "is_open",
        "revision",
        "tags",
    ),
)
