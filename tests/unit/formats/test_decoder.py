"""A message becomes readings, or a reason why not; nothing in between."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.formats.columns import Decoded
from connectors.formats.decoder import FeedDecoder
from connectors.formats.times import iso8601_to_ns, number_to_ns
from connectors.formats.topics import TopicPattern
from headgate.config.schema import Feed
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable, Device
from headgate.core.errors import DataError

_NOW_NS = 1_800_000_000 * 10**9
_T_MS = 1_750_000_000_000


def _decode(
    payload: object, mqtt_topic: str = "hall/a/p1", **feed: object
) -> tuple[Decoded, ChannelTable]:
    settings: dict[str, Any] = {
        "topic": "hall/{line}/{device}",
        "time": {"path": "t", "unit": "ms"},
        "channels": {"x": {}, "y": {}},
        **feed,
    }
    table = ChannelTable()
    decoder = FeedDecoder("f", Feed.model_validate(settings), table, 10)
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


def _devices(messages: list[tuple[str, object]], **feed: object) -> tuple[list[str], list[str]]:
    """The devices that these messages make, and why others were refused."""
    table = ChannelTable()
    decoder = FeedDecoder("f", Feed.model_validate({"channels": {"x": {}}, **feed}), table, 10)
    decoded = decoder.decode(
        [topic.encode() for topic, _ in messages],
        [orjson.dumps(payload) for _, payload in messages],
        np.full(len(messages), _NOW_NS),
    )
    refused = [f"{error.reason}: {error.detail}" for _, error in decoded.refused]
    return [device.label for device in table.devices], refused


def test_a_name_may_be_made_of_placeholders() -> None:
    """Which stay tags; what is in the payload does not matter."""
    found, refused = _devices(
        [("hall/a b/p/1", {"x": 1}), ("hall//ü/1", {"x": 1}), ("hall/a b/p/1", {"x": 2})],
        topic="hall/{line}/{device}/{unit}",
        device="{line}/{device}",
    )

    assert found == ["a b/p line=a b unit=1", "/ü line= unit=1"]
    assert refused == []


def test_a_name_may_be_made_of_several_fields() -> None:
    """Numbers and texts alike; a part that is not there is named."""
    messages: list[tuple[str, object]] = [
        ("in", {"model": "Prologue-TH", "id": 5, "x": 1}),
        ("in", {"model": "Schrader", "id": 5, "x": 1}),
        ("in", {"model": "Smoke", "x": 1}),
        ("in", {"model": "Smoke", "id": [1], "x": 1}),
        ("in", {"model": "Schrader", "id": "5", "x": 1}),
    ]

    found, refused = _devices(messages, topic="in", device="{model}-{id}")
    assert found == ["Prologue-TH-5", "Schrader-5"]
    assert refused == [
        "bad_device: id: expected a device's name, got nothing",
        "bad_device: id: expected a device's name, got [1]",
    ]
    assert _devices(messages, topic="in", device=["model", "id"])[0] == [
        "Prologue-TH/5",
        "Schrader/5",
    ]


@pytest.mark.parametrize("records", [None, "all"])
def test_a_name_may_be_made_of_topic_and_payload(records: str | None) -> None:
    """A placeholder comes before a field of its name, and a path may lead out of the record."""
    payload: dict[str, object] = {"meta": {"serial": 7}, "line": "z", "x": 1}

    found, refused = _devices(
        [("hall/a", {**payload, "all": [{"x": 1}]})],
        topic="hall/{line}",
        device="{line}.{meta.serial}!",
        records=records,
    )

    assert found == ["a.7! line=a"]
    assert refused == []


@pytest.mark.parametrize("records", [None, "all"])
def test_two_devices_never_get_one_name(records: str | None) -> None:
    """Where parts that differ would make the same name the second is refused."""
    messages: list[tuple[str, object]] = [
        ("in", {"model": "A-1", "id": 2, "x": 1, "all": [{"x": 1}]}),
        ("in", {"model": "A", "id": "1-2", "x": 1, "all": [{"x": 1}]}),
        ("in", {"model": "A-1", "id": 2, "x": 1, "all": [{"x": 1}]}),
    ]

    found, refused = _devices(messages, topic="in", device="{model}-{id}", records=records)

    assert found == ["A-1-2"]
    (only,) = refused
    assert only.startswith("bad_device: 'A-1-2' is made of ('A-1', '2') already")


def test_devices_of_one_name_count_as_what_they_are() -> None:
    """Each line's is a further device, unless the name alone tells them apart."""
    messages: list[tuple[str, object]] = [(f"hall/{n}/p", {"x": 1}) for n in range(12)]

    found, refused = _devices(messages, topic="hall/{line}/{device}")
    assert len(found) == 10
    assert {each.split(":")[0] for each in refused} == {"too_many_devices"}
    assert _devices(messages, topic="hall/{line}/{device}", identity=[]) == (["p"], [])


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
    payload = b'{"t": 1750000000000, "x": 1' + b"0" * 400 + b"}"
    decoded, _ = _decode(payload)
    if decoded.refused:
        assert _reasons(decoded) == ["not_json"]
    else:
        assert decoded.quality.tolist() == [Quality.MISSING | Quality.NOT_FINITE]


def test_without_a_time_path_the_arrival_counts() -> None:
    """And the reading says so."""
    decoded, _ = _decode({"x": 1}, time={})

    assert decoded.time_ns.tolist() == [_NOW_NS]
    assert decoded.quality.tolist() == [Quality.ARRIVAL_TIME]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not_json"),
        (b'{"t": 1', "not_json"),
        (b'{"t": 1750000000000, "x": NaN}', "not_json"),
        (b'{"t": 1750000000000, "x": Infinity}', "not_json"),
        (b'"\xff"', "not_utf8"),
        (b"[" * 10_000 + b"]" * 10_000, "too_deep"),
        (b"7", "not_object"),
        ({"t": _T_MS, "x": "1"}, "wrong_type"),
        ({"t": _T_MS, "x": [1]}, "wrong_type"),
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


def test_a_required_channel_must_be_there() -> None:
    """Its absence refuses the record."""
    decoded, _ = _decode({"t": _T_MS, "y": 1}, channels={"x": {"required": True}, "y": {}})

    assert _reasons(decoded) == ["missing_field"]
    assert decoded.value.tolist() == []


@pytest.mark.parametrize(
    ("device", "is_good"),
    [
        ("a b", True),
        ('a,b="c"', True),
        ("ü" * 256, True),
        ("", False),
        ("d" * 257, False),
        ("a\nb", False),
        ("a\x7f", False),
    ],
)
def test_device_names(device: str, is_good: bool) -> None:
    """Anything printable up to 256 characters; no control characters."""
    decoded, _ = _decode({"t": _T_MS, "x": 1}, mqtt_topic=f"hall/a/{device}")

    assert _reasons(decoded) == ([] if is_good else ["bad_device"])


def test_devices_are_bounded() -> None:
    """One device too many is refused; the others go on."""
    table = ChannelTable()
    feed = Feed.model_validate({"topic": "{device}", "channels": {"x": {}}})
    decoder = FeedDecoder("f", feed, table, 2)
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
    assert len(decoded.refused) <= records
    assert len(decoded.value) <= 2 * (records - len(decoded.refused))
    assert len(decoded.value) >= records - len(decoded.refused)


@pytest.mark.parametrize(
    ("value", "unit_ns", "ns"),
    [(0.1, 10**9, 10**8), (1750000000.123456789, 10**9, 1750000000123456717), (3, 1, 3)],
)
def test_numbers_of_units_are_exact(value: float, unit_ns: int, ns: int) -> None:
    """A decimal fraction is taken as written."""
    assert abs(number_to_ns(value, unit_ns) - ns) <= 128


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T00:00:01.123456789Z", 1_123_456_789),
        ("1970-01-01 01:00:00+01:00", 0),
        ("1970-01-01", 0),
    ],
)
def test_iso_8601(text: str, ns: int) -> None:
    """With and without offset, down to the nanosecond."""
    assert iso8601_to_ns(text) == ns


@pytest.mark.parametrize("value", ["yesterday", 5, None, float("inf"), "2020-13-01"])
def test_what_is_no_time_is_a_data_error(value: object) -> None:
    """Both readers refuse it with the same reason."""
    with pytest.raises(DataError, match="bad_time"):
        iso8601_to_ns(value)


def test_topic_patterns() -> None:
    """Placeholders are whole levels; wildcards match as MQTT has them."""
    pattern = TopicPattern("plant/{line}/+/{device}/#")

    assert pattern.match("plant/l1/x/p.1/a/b") == {"line": "l1", "device": "p.1"}
    assert pattern.match("plant/l1/p.1") is None
    assert TopicPattern("a.b/{device}").match("axb/p") is None
