"""A message becomes readings, or a reason why not; nothing in between."""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.formats.columns import Decoded
from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable, Device

_NOW_NS = 1_800_000_000 * 10**9
_T_MS = 1_750_000_000_000


def _decode(
    payload: object,
    mqtt_topic: str = "hall/a/p1",
    limits: IngestConfig = IngestConfig(max_devices=10),  # noqa: B008  (it is frozen)
    **feed: object,
) -> tuple[Decoded, ChannelTable]:
    settings: dict[str, Any] = {
        "topic": "hall/{line}/{device}",
        "time": {"path": "t", "unit": "ms"},
        "channels": {"x": {}, "y": {}},
        **feed,
    }
    table = ChannelTable()
    decoder = FeedDecoder("f", FeedConfig.model_validate(settings), table, limits)
    content = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    arrival_ns = np.array([_NOW_NS])
    return decoder.decode([mqtt_topic.encode()], [content], arrival_ns), table


def _reasons(decoded: Decoded) -> list[str]:
    return [error.reason for _, error in decoded.refused]


def test_an_object_is_a_record() -> None:
    """Its channels are readings at its time; placeholders are tags and the device."""
    decoded, table = _decode({"t": _T_MS, "x": 1, "y": 2.5})

    assert decoded.time_ns.tolist() == [_T_MS * 10**6] * 2
    assert decoded.value.tolist() == [1.0, 2.5]
    assert decoded.quality.tolist() == [0, 0]
    assert table.channels[0].device == "p1"
    assert table.channels[0].tags == (("line", "a"),)
    assert table.channels[0].measurement == "f"


def test_an_array_is_several_records() -> None:
    """A bad one among them is refused by itself."""
    decoded, _ = _decode([{"t": _T_MS, "x": 1}, {"t": "noon", "x": 2}, {"t": _T_MS + 1, "x": 3}])

    assert decoded.value.tolist() == [1.0, 3.0]
    assert _reasons(decoded) == ["bad_time"]


def test_paths_reach_into_nested_payloads() -> None:
    """Dotted paths, list positions, a records path, scale and offset."""
    decoded, table = _decode(
        {"serial": 9, "d": {"list": [{"at": "2020-01-01T00:00:00+01:00", "v": [7, 8]}]}},
        mqtt_topic="x",
        topic="x",
        device="serial",
        records="d.list",
        time={"path": "at", "unit": "iso8601"},
        channels={"x": {"path": "v.1", "scale": 0.5, "offset": 1}},
    )

    assert decoded.value.tolist() == [5.0]
    assert decoded.time_ns.tolist() == [(1577836800 - 3600) * 10**9]
    assert table.devices == [Device("f", "9")]


def test_a_records_path_must_lead_somewhere() -> None:
    """A payload without the array is refused with a reason of its own."""
    decoded, _ = _decode({"t": _T_MS, "x": 1}, records="list")

    assert _reasons(decoded) == ["missing_records"]


def test_null_is_missing_and_absent_is_nothing() -> None:
    """A sensor that says it has no value is not one that was not asked."""
    decoded, _ = _decode({"t": _T_MS, "x": None})

    assert math.isnan(decoded.value[0])
    assert decoded.quality.tolist() == [Quality.MISSING]


def test_a_number_that_no_float_can_hold_is_missing() -> None:
    """It is flagged as not finite, and never reaches a sum."""
    payload = b'{"t": 1750000000000, "x": 1' + b"0" * 400 + b', "y": 2}'
    no_number = Quality.MISSING | Quality.NOT_FINITE
    decoded, _ = _decode(payload)
    strict, _ = _decode(payload, strict=True)

    assert decoded.quality.tolist() == [no_number | Quality.BAD_FIELD, 0]
    assert strict.quality.tolist() == [no_number, 0]


def test_without_a_time_path_the_arrival_counts() -> None:
    """And the reading says so."""
    decoded, _ = _decode({"x": 1}, time={})

    assert decoded.time_ns.tolist() == [_NOW_NS]
    assert decoded.quality.tolist() == [Quality.ARRIVAL_TIME]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b" \0\r\n", "empty"),
        (b'{"t": 1', "not_json"),
        (b'{"t": 1750000000000, "x": 007}', "not_json"),
        (b'{"t": 1750000000000, "x": nanometre}', "not_json"),
        (b'{"t": 1750000000000, nan: 1}', "not_json"),
        (b"NaN", "not_json"),
        (b'"\xff"', "not_utf8"),
        ('{"t": 1750000000000, "x": 1}'.encode("utf-16"), "not_utf8"),
        (gzip.compress(b'{"t": 1750000000000, "x": 1}', mtime=0)[:-4], "compressed"),
        (bz2.compress(b'{"t": 1750000000000, "x": 1}'), "compressed"),
        (b"\x28\xb5\x2f\xfd\x04\x58\x11\x00", "compressed"),
        (lzma.compress(b'{"t": 1750000000000, "x": 1}'), "compressed"),
        (b"[" * 10_000 + b"]" * 10_000, "too_deep"),
        (b"7", "not_object"),
        (b'{"t": nan, "x": 1}', "bad_time"),
        ({"t": _T_MS, "z": 1}, "no_channels"),
        ({"x": 1}, "bad_time"),
        ({"t": None, "x": 1}, "bad_time"),
        ({"t": "soon", "x": 1}, "bad_time"),
        ({"t": True, "x": 1}, "bad_time"),
        ({"t": 0, "x": 1}, "bad_time"),  # 1970
        ({"t": 4_300_000_000_000, "x": 1}, "bad_time"),  # 2106
        (b'{"t": 1' + b"0" * 30 + b', "x": 1}', "bad_time"),
    ],
)
def test_what_cannot_be_used_has_a_reason(payload: object, reason: str) -> None:
    """One reason a record, and no reading of it."""
    decoded, _ = _decode(payload)

    assert _reasons(decoded) == [reason]
    assert decoded.value.tolist() == []


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        (b'"1"', "wrong_type"),
        (b'"unavailable"', "wrong_type"),
        (b"[1]", "wrong_type"),
        (b"NaN", "not_json"),
        (b"nan", "not_json"),
    ],
)
def test_one_bad_field_refuses_the_record_of_a_strict_feed(field: bytes, reason: str) -> None:
    """Its neighbour goes with it."""
    decoded, _ = _decode(b'{"t": 1750000000000, "x": %s, "y": 2}' % field, strict=True)

    assert _reasons(decoded) == [reason]
    assert decoded.value.tolist() == []


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        (b"nan", "not_finite"),
        (b"NaN", "not_finite"),
        (b"-nan(ind)", "not_finite"),
        (b"inf", "not_finite"),
        (b" -Infinity ", "not_finite"),
        (b"1.#QNAN", "not_finite"),
        (b'"NaN"', "not_finite"),
        (b'" -inf"', "not_finite"),
        (b'"unavailable"', "text"),
        (b'"N"', "text"),
        (b'"1_000"', "text"),
        (b'"0x1A"', "text"),
        (b'"' + b"1" * 1000 + b'"', "text"),
        (b'"nan, inf"', "text"),
        (b'""', "empty"),
        (b'"  "', "empty"),
        (b"[1]", "array"),
        (b'{"a": 1}', "object"),
    ],
)
def test_a_bad_field_is_missing_and_its_neighbours_stay(field: bytes, kind: str) -> None:
    """It is marked, and counted by channel and kind."""
    decoded, _ = _decode(b'{"t": 1750000000000, "x": %s, "y": 2}' % field)
    more = Quality.NOT_FINITE if kind == "not_finite" else Quality.GOOD

    assert _reasons(decoded) == []
    assert math.isnan(decoded.value[0])
    assert decoded.value[1] == 2
    assert decoded.quality.tolist() == [Quality.MISSING | Quality.BAD_FIELD | more, 0]
    assert [(key, bad.count) for key, bad in decoded.bad_fields.items()] == [(("x", kind), 1)]
    assert decoded.bad_fields["x", kind].detail.startswith("x: expected a number, got ")


def test_a_record_of_bad_fields_only_is_a_record() -> None:
    """The device is there, and says that it measures nothing."""
    decoded, _ = _decode({"t": _T_MS, "x": "unavailable", "y": ""}, channels={"x": {}, "y": {}})

    assert decoded.quality.tolist() == [Quality.MISSING | Quality.BAD_FIELD] * 2
    assert not decoded.refused


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("13.9", 13.9),
        ("3.22e+01", 32.2),
        ("00123", 123),
        (" 21.5 ", 21.5),
        ("-4", -4),
        ("+.5", 0.5),
        ("7.", 7),
        ("1e999", None),
    ],
)
def test_a_number_in_a_text_is_a_number(text: str, number: float | None) -> None:
    """Scaled like any other; past all floats it is none."""
    decoded, _ = _decode({"t": _T_MS, "x": text}, channels={"x": {"scale": 2}, "y": {}})

    if number is None:
        assert decoded.quality.tolist() == [
            Quality.MISSING | Quality.BAD_FIELD | Quality.NOT_FINITE
        ]
    else:
        assert decoded.value.tolist() == [2 * number]
        assert decoded.quality.tolist() == [0]


def test_what_looks_like_a_literal_in_a_text_is_left_alone() -> None:
    """Also behind quotes and backslashes; only what stands where a value may is taken for one."""
    payload = rb'{"t": 1750000000000, "id": "a\\", "s": ":nan, \" ,inf ]", "x": nan, "y": 2}'
    decoded, table = _decode(payload, mqtt_topic="in", topic="in", device="s")

    assert table.devices == [Device("f", ':nan, " ,inf ]')]
    assert [*decoded.bad_fields] == [("x", "not_finite")]


def test_a_literal_is_no_name() -> None:
    """A device whose name is ``nan`` has none."""
    decoded, _ = _decode(b'{"s": nan, "x": 1, "t": 1}', mqtt_topic="in", topic="in", device="s")

    assert _reasons(decoded) == ["bad_device"]


@pytest.mark.parametrize(
    "around", [(b"", b"\0"), (b"\0\0", b""), (b" \t", b"\r\n"), (b"\xef\xbb\xbf", b"")]
)
def test_what_stands_around_a_payload_is_left_out(around: tuple[bytes, bytes]) -> None:
    """NUL bytes of C strings, line ends, and a byte order mark."""
    before, after = around
    decoded, _ = _decode(before + orjson.dumps({"t": _T_MS, "x": 1}) + after)

    assert decoded.value.tolist() == [1]


def test_a_required_channel_must_be_there() -> None:
    """Its absence refuses the record."""
    decoded, _ = _decode({"t": _T_MS, "y": 1}, channels={"x": {"required": True}, "y": {}})

    assert _reasons(decoded) == ["missing_field"]
    assert decoded.value.tolist() == []


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("a b", None),
        ('a,b="c"', None),
        ("ü" * 256, None),
        ("", "bad_device"),
        ("d" * 257, "name_too_long"),
        ("a\nb", "bad_device"),
        ("a\x7f", "bad_device"),
    ],
)
def test_device_names(device: str, reason: str | None) -> None:
    """Anything printable up to 256 characters; no control characters."""
    decoded, _ = _decode({"t": _T_MS, "x": 1}, mqtt_topic=f"hall/a/{device}")

    assert _reasons(decoded) == ([] if reason is None else [reason])


@pytest.mark.parametrize("size", [257, 65_000])
def test_a_placeholder_is_bounded_as_a_name_is(size: int) -> None:
    """It would stand in every point and in every record."""
    long = "l" * size
    tag, _ = _decode({"t": _T_MS, "x": 1}, mqtt_topic=f"hall/{long}/d")
    name, _ = _decode({"t": _T_MS, "x": 1, "s": long}, mqtt_topic="in", topic="in", device="s")
    part, _ = _decode({"s": long, "t": _T_MS, "x": 1}, topic="hall/{line}/+", device="{line}-{s}")

    assert [*_reasons(tag), *_reasons(name), *_reasons(part)] == ["name_too_long"] * 3
    assert tag.refused[0][1].detail == f"{{line}}: expected at most 256 characters, got {size}"


def test_channels_and_tag_values_are_bounded() -> None:
    """What is known goes on; what would be one too many is refused, and takes up no room."""
    feed = FeedConfig.model_validate(
        {"topic": "{line}/{device}", "identity": [], "channels": {"x": {}}}
    )

    def reasons(limits: IngestConfig, *topics: bytes) -> list[str | None]:
        decoder = FeedDecoder("f", feed, ChannelTable(), limits)
        payloads = [b'{"x": 1}'] * len(topics)
        found = dict(decoder.decode(topics, payloads, np.full(len(topics), _NOW_NS)).refused)
        return [found[at].reason if at in found else None for at in range(len(topics))]

    new = "too_many_channels"
    assert reasons(IngestConfig(max_channels=2), b"a/p", b"b/p", b"c/p", b"a/p") == [
        None,
        None,
        new,
        None,
    ]
    new = "too_many_tag_values"
    topics = [b"a/p", b"b/p", b"c/p", b"a/q", b"c/q"]
    assert reasons(IngestConfig(max_tag_values=2), *topics) == [None, None, new, None, new]


def test_devices_are_bounded() -> None:
    """One device too many is refused; the others go on."""
    table = ChannelTable()
    feed = FeedConfig.model_validate({"topic": "{device}", "channels": {"x": {}}})
    decoder = FeedDecoder("f", feed, table, IngestConfig(max_devices=2))
    decoded = decoder.decode([b"a", b"b", b"c", b"a"], [b'{"x": 1}'] * 4, np.full(4, _NOW_NS))

    assert [(at, error.reason) for at, error in decoded.refused] == [(2, "too_many_devices")]
    assert len(decoded.value) == 3


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["t", "x", "y", "z"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.one_of(_JSON.map(orjson.dumps), st.binary(max_size=40)))
def test_every_record_is_read_or_refused(payload: bytes) -> None:
    """Never an exception, and never a record without a trace."""
    decoded, _ = _decode(payload)
    try:
        content = orjson.loads(payload)
    except orjson.JSONDecodeError:
        records = 1
    else:
        records = len(content) if isinstance(content, list) else 1
    lengths = {
        len(column) for column in (decoded.time_ns, decoded.channel, decoded.value, decoded.quality)
    }

    assert len(lengths) == 1
    assert len(decoded.refused) <= 1
    assert len(decoded.value) <= 2 * records
    assert len(decoded.value) >= records - _bad_records(decoded, records)


def _bad_records(decoded: Decoded, records: int) -> int:
    if not decoded.refused:
        return 0
    ((_, error),) = decoded.refused
    return int(error.detail.partition(" ")[0]) if records > 1 else 1


@pytest.mark.parametrize(
    ("value", "unit", "hint"),
    [
        (1750000000000, "s", "ms"),
        ("1750000000000", "s", "ms"),
        (1750000000, "ms", "s"),
        (1750000000, "iso8601", "s"),
        (1750000000 * 10**9, "us", "ns"),
        ("2026-01-01T00:00:00Z", "ms", "iso8601"),
        (12345, "s", None),
    ],
)
def test_a_time_that_another_unit_would_make_one_says_so(
    value: object, unit: str, hint: str | None
) -> None:
    """The key to change, and to what."""
    decoded, _ = _decode({"t": value, "x": 1}, time={"path": "t", "unit": unit})
    (detail,) = [error.detail for _, error in decoded.refused]

    assert (f'with time.unit = "{hint}" it would be one' in detail) == (hint is not None)


def test_an_array_that_is_not_reached_is_told() -> None:
    """Where it stands, and whether a records path can reach it."""
    rows = [{"t": _T_MS, "x": 1}]
    outer, _ = _decode({"id": 1, "samples": rows})
    inner, _ = _decode({"devices": [{"d": {"samples": rows}}, {"x": 1, "t": 1}]}, records="devices")
    missing, _ = _decode({"list": rows}, records="records")

    assert 'records = "samples" reads it' in outer.refused[0][1].detail
    assert '"d.samples"; records = "devices.d.samples" reads it' in inner.refused[0][1].detail
    assert inner.refused[0][1].detail.startswith("2 of 2 records; the first, number 1: no event")
    assert (
        'no array at "records"; the payload has list; there is one at "list"'
        in missing.refused[0][1].detail
    )
