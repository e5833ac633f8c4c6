"""What is written to the log is read back the same, and anything else is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core import records as kinds
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable
from headgate.core.commands import Command
from headgate.core.errors import DataError
from headgate.core.ipc import to_ipc
from headgate.core.results import STATISTICS, Aggregates, Anomaly, DeviceState, SensorHealth

_CHANNELS = [
    Channel("pump", "p 1", "pump", "flow", "l/min", (("line", "a,b"),)),
    Channel("pump", 'p"2', "pump", "temp", "°C"),
]


def _table() -> ChannelTable:
    table = ChannelTable()
    for channel in _CHANNELS:
        table.row(channel)
    return table


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1 - 2**62, 2**62 - 1),
            st.integers(0, 1),
            st.floats(allow_infinity=False),
            st.integers(0, 511),
        )
    )
)
def test_readings_come_back_as_they_were(rows: list[tuple[int, int, float, int]]) -> None:
    """Every column survives bit for bit, into a table that numbers channels differently."""
    times, channel, values, quality = zip(*rows, strict=True) if rows else ((), (), (), ())
    batch = Batch.from_columns(_table(), times, channel, values, quality=quality)
    other = ChannelTable()
    other.row(_CHANNELS[1])
    back = kinds.decode_readings(kinds.encode_readings(batch), other)

    assert back.time_ns.tobytes() == batch.time_ns.tobytes()
    assert back.value.tobytes() == batch.value.tobytes()
    assert back.quality.tobytes() == batch.quality.tobytes()
    assert [other.channels[row] for row in back.channel] == [_CHANNELS[row] for row in channel]


def test_a_groups_keys_are_as_good_as_a_records_own() -> None:
    """Whatever has been written before, with many channels or few, a record says its own."""
    table = ChannelTable()
    for number in range(40):
        table.row(Channel("f", f"d{number % 9}", "f", f"c{number}"))
    group, other = kinds.KeyGroup(table), ChannelTable()
    key_rows = kinds.KeyRows(other)
    rng = np.random.default_rng(1)
    for count in (30, 3, 40, 1, 200, 40, 5):
        rows = rng.integers(0, 40, count).astype(np.int32)
        batch = Batch.from_columns(table, rows.astype(np.int64), rows, rows.astype(float))
        origin = Origin("r", int(rng.integers(0, 2)), 1)
        back = kinds.decode_readings(kinds.encode_readings(batch, group), other, origin, key_rows)

        assert [other.channels[row].key for row in back.channel] == table.keys(batch.channel)


def test_a_group_brings_no_channels_that_were_never_written() -> None:
    """A feed may list channels that its devices never send; readers need not know of them."""
    table, other = _table(), ChannelTable()
    batch = Batch.from_columns(table, [1], [1], [1.0])
    kinds.decode_readings(kinds.encode_readings(batch, kinds.KeyGroup(table)), other)

    assert [channel.key for channel in other.channels] == [_CHANNELS[1].key]


def test_rejected_readings_name_their_source_record() -> None:
    """Reason, partition and offset stand beside every rejected reading."""
    table = _table()
    batch = Batch.from_columns(table, [1, 2], [0, 1], [1.0, 2.0], origin=Origin("r", 3, 42))
    back = kinds.decode_rejected(kinds.encode_rejected(batch, ["late", "duplicate"]), table)

    assert back.reasons == ["late", "duplicate"]
    assert back.partition.tolist() == [3, 3]
    assert back.offset.tolist() == [42, 42]
    assert back.batch.value.tolist() == [1.0, 2.0]


def test_quarantined_messages_come_back() -> None:
    """Payload bytes that are no text, and text that UTF-8 can't carry, are kept or replaced."""
    message = kinds.QuarantinedMessage(5, "mqtt:a/\ud800", b"\xff\x00", "not_json", "é", 2)
    (back,) = kinds.decode_messages(kinds.encode_messages([message]))

    assert (back.payload, back.source, back.detail) == (b"\xff\x00", "mqtt:a/?", "é")


def test_quarantined_messages_of_the_version_before_are_read() -> None:
    """Nobody knows of them whether readings were taken of them all the same, or what they were."""
    message = kinds.QuarantinedMessage(5, "mqtt:a", b"\xff", "not_json", "é", 2, 3, "text/csv")
    value = kinds.encode_messages([message])
    before = message._replace(readings=-1, content_type="")

    assert kinds.decode_messages(value) == [message]
    assert kinds.decode_messages(_without(value, "readings", "content_type")) == [before]


def test_people_see_the_content_type_of_a_quarantined_message() -> None:
    """Behind its detail, in what is exported; the detail itself is as it was."""
    message = kinds.QuarantinedMessage(5, "mqtt:a", b"x", "not_json", "no", 1, 0, "text/csv")
    record = kinds.messages_record([message])
    (row,) = kinds.kind_of(record.headers).rows(record.value, lambda _time, _device: True)
    (back,) = kinds.decode_messages(record.value)

    assert row["detail"] == "no; content type text/csv"
    assert back.detail == "no"


def test_a_record_of_a_message_of_quarantine_says_which() -> None:
    """And what is no such header says nothing."""
    place = kinds.Place(1, 7, 2, -5)
    assert kinds.retried_from((kinds.RETRIED_HEADER, kinds.from_header(place))) == place
    for value in (b"", b"1/7/2", b"1/7/2/x", b"1/7/2/" + b"9" * 5000):
        assert kinds.retried_from((("retried-from", value),)) is None


def test_what_was_taken_of_quarantine_comes_back() -> None:
    """Which messages those are, and what they gave; also as rows for people."""
    retried = [kinds.RetriedMessage(10**18, 7, row, 2, "bad_time") for row in range(3)]
    (record,) = kinds.retried_records(retried)
    kind = kinds.kind_of(record.headers)
    row, *others = kind.rows(record.value, lambda *_: True)

    assert kinds.decode_retried(record.value) == retried
    assert kind.count(record.value) == 3
    assert len(others) == 2
    assert tuple(row) == kind.columns
    assert (row["source"], row["reason"]) == ("@7/0", "retried")
    assert row["detail"] == "2 readings of what was refused as bad_time"


def test_aggregates_come_back() -> None:
    """Statistics, counts and sketches survive."""
    table = _table()
    aggregates = Aggregates(
        channel=np.array([1, 0], np.int32),
        start_ns=np.array([10, 20]),
        window_ns=np.array([5, 5]),
        n=np.array([3, 0]),
        flagged=np.array([0, 1]),
        expected=np.array([5, 5]),
        stats={name: np.array([float(i), np.nan]) for i, name in enumerate(STATISTICS)},
        sketch_keys=[np.array([1, 2], np.int32), np.array([], np.int32)],
        sketch_counts=[np.array([2, 1]), np.array([], np.int64)],
    )
    back = kinds.decode_aggregates(kinds.encode_aggregates(aggregates, table), table)

    assert back.channel.tolist() == [1, 0]
    assert back.n.tolist() == [3, 0]
    assert all(
        back.stats[name].tobytes() == aggregates.stats[name].tobytes() for name in STATISTICS
    )
    assert [keys.tolist() for keys in back.sketch_keys] == [[1, 2], []]
    assert [counts.tolist() for counts in back.sketch_counts] == [[2, 1], []]


def test_anomalies_come_back() -> None:
    """An anomaly is equal to itself after the trip."""
    anomaly = _anomaly()

    assert kinds.decode_anomalies(kinds.encode_anomalies([anomaly])) == [anomaly]


def _without(value: bytes, *names: str) -> bytes:
    """A record as a version wrote it that did not know these columns."""
    table = pa.ipc.open_stream(value).read_all().drop_columns(list(names))
    return to_ipc(table.schema, [column.combine_chunks() for column in table.columns])


def test_anomalies_of_the_versions_before_are_read() -> None:
    """Those that waited in the log while the gateway was updated have no tags or verdict yet."""
    anomaly = replace(_anomaly(), tags=())
    value = kinds.encode_anomalies([anomaly])

    assert kinds.decode_anomalies(_without(value, "tag_names", "tag_values")) == [anomaly]
    assert kinds.decode_anomalies(
        _without(value, "opened", "verdict", "faulty", "tag_names", "tag_values")
    ) == [replace(anomaly, opened_ns=1, verdict="process", faulty=())]


def test_health_comes_back() -> None:
    """Also where there are no figures."""
    known = SensorHealth("pump", "p1", "flow", 9, "noise", 5, 3.5, 0.5, (("line", "a"),))
    unknown = SensorHealth("pump", "p1", "flow", 9, "ok", 9, math.nan, math.nan)

    back = kinds.decode_health(kinds.encode_health([known, unknown]))

    assert back[0] == known
    assert math.isnan(back[1].found)
    assert replace(back[1], found=0, usual=0) == replace(unknown, found=0, usual=0)


def test_states_come_back() -> None:
    """With and without tags."""
    states = [
        DeviceState("pump", "p1", 9, "online", "reading", 9, (("line", "a"),)),
        DeviceState("pump", "p2", 8, "offline", "silence", 7),
    ]

    assert kinds.decode_states(kinds.encode_states(states)) == states


def _anomaly() -> Anomaly:
    return Anomaly(
        feed="pump",
        device="p1",
        model="m",
        start_ns=1,
        opened_ns=2,
        end_ns=3,
        peak_ns=4,
        peak_score=4.5,
        threshold=1.0,
        severity="major",
        shares=(("flow", 0.7), ("t", 0.3)),
        verdict="sensor",
        faulty=("flow",),
        is_open=True,
        revision=1,
        tags=(("line", "a"), ("site", "")),
    )


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00" * 40,
        b"not arrow",
        kinds.encode_messages([]),
        kinds.encode_readings(Batch.from_columns(_table(), [1], [0], [1.0]))[:100],
    ],
    ids=["empty", "zeros", "text", "another kind", "cut off"],
)
def test_a_record_that_is_none_is_a_data_error(value: bytes) -> None:
    """Bytes that are no readings record are refused, never half read."""
    with pytest.raises(DataError, match="bad_record"):
        kinds.decode_readings(value, ChannelTable())


def test_a_channel_key_that_is_none_is_a_data_error() -> None:
    """A dictionary entry that is no channel key spoils its record only."""
    schema = pa.ipc.open_stream(
        kinds.encode_readings(Batch.from_columns(_table(), [1], [0], [1.0]))
    ).schema
    table = pa.table(
        {"time": [1], "channel": ["nonsense"], "value": [1.0], "quality": [0]}, schema=schema
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table)

    with pytest.raises(DataError, match="channel key"):
        kinds.decode_readings(sink.getvalue().to_pybytes(), ChannelTable())


def test_commands_come_back_as_they_were() -> None:
    """And people read when they were sent, or nothing."""
    asked = Command(
        "stop", "5b", "pump", "p 1", "hot", "", "", "major", 1, 2, True,
        "asked", "", "", "plant/p 1/set", '{"é": 1}', 3, tags=(("line", "a,b"),),
    )  # fmt: skip
    answered = replace(asked, state="answered", sent_ns=4, answered_ns=5, answer="yes")
    (record,) = kinds.commands_records([asked, answered])
    kind = kinds.kind_of(record.headers)

    assert kinds.decode_commands(record.value) == [asked, answered]
    rows = list(kind.rows(record.value, lambda _time_ns, _device: True))
    assert [(row["sent"], row["answer"]) for row in rows] == [
        (None, ""),
        ("1970-01-01T00:00:00.000000004Z", "yes"),
    ]
    assert all(tuple(row) == kind.columns for row in rows)
